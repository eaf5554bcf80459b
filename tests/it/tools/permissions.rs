//! The permissions that could allow the requests of a tool.

use serde_json::{Value, json};
use shared::domain::RoutePrefix;
use shared::policy::Permission;

use super::only_tool;

/// The permissions of a tool with this path, whose variables have these schemas.
fn permissions(path: &str, schemas: &Value) -> Vec<String> {
    let parameters: Vec<_> = schemas
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, schema)| json!({ "name": name, "in": "path", "required": true, "schema": schema }))
        .collect();
    let tool = only_tool(&json!({ path: { "get": { "parameters": parameters } } }));
    let prefix = RoutePrefix::parse("/v1").unwrap();
    tool.permissions(&prefix).iter().map(Permission::to_string).collect()
}

#[test]
fn a_tool_has_one_permission_for_each_combination_of_listed_values() {
    let listed = |values: Value| json!({ "type": "string", "enum": values });
    let many = |number: usize| listed((0..number).map(|at| format!("v{at}")).collect());
    assert_eq!(permissions("/a/{x}", &json!({})), ["GET /v1/a/{x}"]);
    assert_eq!(permissions("/a/{the x}/", &json!({})), ["GET /v1/a/{the_x}/"]);
    assert_eq!(permissions("/a/{x+}", &json!({ "x": listed(json!(["b"])) })), ["GET /v1/a/{x+}"]);
    assert_eq!(
        permissions(
            "/{x}/b/{y}",
            &json!({ "x": listed(json!(["p", "q"])), "y": { "enum": [1, true, null, 1] } })
        ),
        ["GET /v1/p/b/1", "GET /v1/p/b/true", "GET /v1/q/b/1", "GET /v1/q/b/true"]
    );
    // A value that no request can have adds no permission, and a value that a permission cannot
    // contain makes all values possible.
    assert_eq!(permissions("/{x}", &json!({ "x": listed(json!(["a/b", "..", "", "c"])) })), ["GET /v1/c"]);
    assert_eq!(permissions("/{x}", &json!({ "x": listed(json!(["a/b"])) })), [""; 0]);
    assert_eq!(permissions("/{x}", &json!({ "x": listed(json!(["a b", "c"])) })), ["GET /v1/{x}"]);
    assert_eq!(permissions("/{x}", &json!({ "x": listed(json!(["x".repeat(250), "c"])) })), ["GET /v1/{x}"]);
    assert_eq!(permissions("/{x}", &json!({ "x": many(64) })).len(), 64);
    assert_eq!(permissions("/{x}", &json!({ "x": many(65) })), ["GET /v1/{x}"]);
    assert_eq!(permissions("/{x}/{y}", &json!({ "x": many(8), "y": many(9) })).len(), 8);
}
