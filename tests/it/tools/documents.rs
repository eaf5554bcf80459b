//! What documents become.

use std::path::Path;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::domain::RoutePrefix;
use shared::openapi::Document;
use shared::policy::Permission;
use shared::tools::{Compiled, Selection, Tool, compile, pack, pack_text, unpack, unpack_text};

use super::{compile_all, document, only_tool, texts};

fn read(file: &str) -> Document {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    Document::read(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The whole result, for snapshots.
fn shown(compiled: &Compiled) -> Value {
    let skipped = compiled.skipped.iter().map(|skipped| (skipped.pointer.clone(), json!(skipped.reason)));
    json!({ "skipped": skipped.collect::<serde_json::Map<_, _>>(), "tools": compiled.tools })
}

fn names(tools: &[Tool]) -> Vec<&str> {
    tools.iter().map(|tool| tool.name.as_str()).collect()
}

#[test]
fn a_document_of_version_3_0_becomes_tools() {
    assert_json_snapshot!(shown(&compile_all(&read("openapi/organizations-3.0.yaml")).unwrap()));
}

#[test]
fn a_document_of_version_3_1_becomes_tools() {
    assert_json_snapshot!(shown(&compile_all(&read("openapi/teams-3.1.json")).unwrap()));
}

#[test]
fn all_operations_of_keywards_own_document_become_tools_outside_of_iam() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/openapi.json");
    let text = std::fs::read_to_string(file).unwrap();
    let compiled = compile_all(&Document::read(&text).unwrap()).unwrap();
    for skipped in &compiled.skipped {
        assert!(skipped.pointer.starts_with("/paths/~1iam~1"), "{skipped:?}");
        assert!(skipped.reason.contains("outside of /iam"), "{skipped:?}");
    }
    let moved = Document::read(&text.replace("\"/iam/", "\"/moved/")).unwrap();
    let moved = compile_all(&moved).unwrap();
    assert_eq!(moved.skipped, []);
    assert_eq!(moved.tools.len(), compiled.tools.len() + compiled.skipped.len());
}

#[test]
fn names_are_plain_short_and_unique_whatever_is_selected() {
    let long = "x".repeat(60);
    let operation = |id: &str| json!({ "operationId": id });
    let document = document(&json!({
        "/a": { "get": operation("list.All things"), "post": operation("LIST_ALL_THINGS"), "put": operation("…") },
        "/b": { "get": operation(&long), "post": operation(&long), "delete": operation("search_tools") },
        "/c/{id}/d": { "get": {}, "patch": operation("") },
    }));
    let all = compile_all(&document).unwrap().tools;
    let (forty_eight, numbered) = ("x".repeat(48), format!("{}_2", "x".repeat(46)));
    assert_eq!(
        names(&all),
        [
            "list_All_things",
            "LIST_ALL_THINGS_2",
            "put_a",
            &forty_eight,
            &numbered,
            "search_tools_2",
            "get_c_id_d",
            "patch_c_id_d"
        ]
    );
    let prefix = RoutePrefix::parse("/v1").unwrap();
    let include = [Permission::parse("POST /v1/{proxy+}").unwrap()];
    let selection = Selection { include: Some(&include), exclude: &[], route_prefix: &prefix };
    let selected = compile(&document, &selection).unwrap().tools;
    assert_eq!(names(&selected), ["LIST_ALL_THINGS_2", &numbered]);
}

#[test]
fn a_selection_contains_the_operations_that_its_permissions_cover() {
    let document = document(&json!({
        "/teams": { "get": {}, "post": {} },
        "/teams/{id}": { "get": {}, "delete": {} },
        "/teams/{id}/members": { "get": {} },
        "/odd/{a}.{b}": { "get": {} },
        "/x": { "trace": {} },
    }));
    let prefix = RoutePrefix::parse("/v1").unwrap();
    let select = |include: Option<&[&str]>, exclude: &[&str]| {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| Permission::parse(text).unwrap()).collect::<Vec<_>>();
        let (include, exclude) = (include.map(parse), parse(exclude));
        let selection = Selection { include: include.as_deref(), exclude: &exclude, route_prefix: &prefix };
        let compiled = compile(&document, &selection).unwrap();
        (compiled.tools.iter().map(|tool| tool.name.to_string()).collect::<Vec<_>>(), compiled.skipped.len())
    };
    let all = ["get_teams", "post_teams", "get_teams_id", "delete_teams_id", "get_teams_id_members"];
    assert_eq!(select(None, &[]), (all.map(str::to_owned).to_vec(), 2));
    for (include, exclude, expected) in [
        (
            Some(&["GET /v1/{proxy+}"][..]),
            &[][..],
            &["get_teams", "get_teams_id", "get_teams_id_members"][..],
        ),
        (Some(&["GET /v1/teams/{team}"]), &[], &["get_teams_id"]),
        // A permission for one team does not cover the operation for all teams.
        (Some(&["ANY /v1/teams/42", "GET /teams"]), &[], &[]),
        (
            Some(&["ANY /v1/{proxy+}"]),
            &["GET,POST /v1/teams", "DELETE /v1/{proxy+}"],
            &["get_teams_id", "get_teams_id_members"],
        ),
        (Some(&[]), &[], &[]),
    ] {
        assert_eq!(select(include, exclude).0, expected, "{include:?} {exclude:?}");
    }
}

#[test]
fn hints_follow_from_the_method() {
    let operations: Value = ["get", "head", "options", "post", "put", "patch", "delete"]
        .into_iter()
        .map(|method| (method.to_owned(), json!({})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let compiled = compile_all(&document(&json!({ "/x": operations }))).unwrap();
    let hints: Vec<_> = compiled
        .tools
        .iter()
        .map(|tool| (tool.method.name(), tool.hints.read_only, tool.hints.destructive, tool.hints.idempotent))
        .collect();
    assert_eq!(
        hints,
        [
            ("GET", true, false, true),
            ("HEAD", true, false, true),
            ("OPTIONS", true, false, true),
            ("POST", false, false, false),
            ("PUT", false, true, true),
            ("PATCH", false, true, false),
            ("DELETE", false, true, true),
        ]
    );
}

#[test]
fn scalars_of_yaml_have_the_types_of_the_core_schema() {
    let schema = "enum: [yes, no, on, 'true', true, False, 12, '12', -3, 0x1f, 0o17, 1.5, .5, 1e3, +4, 1_000, 1.2.3, \
                  .inf, 2020-01-01, ~, null, 'null', '', !!str 7]";
    let text = format!(
        "openapi: 3.1\npaths:\n  /x:\n    get:\n      parameters:\n        - name: value\n          in: query\n          \
         schema:\n            {schema}\n      responses:\n        200: {{ content: {{ application/json: {{ schema: {{ type: object, \
         properties: {{ 1: {{}}, true: {{}}, ~: {{}} }} }} }} }} }}\n"
    );
    let compiled = compile_all(&Document::read(&text).unwrap()).unwrap();
    let tool = &compiled.tools[0];
    assert_eq!(
        tool.input_schema["properties"]["value"]["enum"],
        json!([
            "yes",
            "no",
            "on",
            "true",
            true,
            false,
            12,
            "12",
            -3,
            31,
            15,
            1.5,
            0.5,
            1000.0,
            4,
            "1_000",
            "1.2.3",
            ".inf",
            "2020-01-01",
            null,
            null,
            "null",
            "",
            "7"
        ])
    );
    let output = tool.output_schema.as_ref().unwrap();
    let keys = output["anyOf"][0]["properties"].as_object().unwrap().keys().collect::<Vec<_>>();
    assert_eq!(keys, ["1", "true", "~"]);
}

#[test]
fn errors_point_into_the_document() {
    let schema = |schema: Value| json!({ "/x": { "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } } });
    let at = "/paths/~1x/post/requestBody/content/application~1json/schema";
    let parameters = |parameters: Value| json!({ "/x": { "get": { "parameters": parameters } } });
    let reference = "must be a reference into the same document, such as #/components/schemas/Name";
    for (paths, expected) in [
        (schema(json!({ "type": "strin" })), format!("{at}/type must be one or more of array, boolean")),
        (schema(json!({ "type": [] })), format!("{at}/type must be one or more of")),
        (schema(json!("text")), format!("{at} must be an object")),
        (schema(json!({ "properties": [] })), format!("{at}/properties must be an object whose values")),
        (
            schema(json!({ "properties": { "a/b": { "minimum": "1" } } })),
            format!("{at}/properties/a~1b/minimum must be a number"),
        ),
        (
            schema(json!({ "items": { "maxItems": -1 } })),
            format!("{at}/items/maxItems must be a whole number"),
        ),
        (schema(json!({ "multipleOf": 0 })), format!("{at}/multipleOf must be greater than 0")),
        (schema(json!({ "enum": [] })), format!("{at}/enum must be an array with at least one value")),
        (schema(json!({ "required": "a" })), format!("{at}/required must be an array of property names")),
        (schema(json!({ "oneOf": {} })), format!("{at}/oneOf must be an array with at least one schema")),
        (schema(json!({ "pattern": 1 })), format!("{at}/pattern must be a regular expression")),
        (
            schema(json!({ "$ref": "#/components/schemas/Missing" })),
            format!("{at}/$ref must refer to a value that the document contains"),
        ),
        (schema(json!({ "$ref": "https://evil.example/x" })), format!("{at}/$ref {reference}")),
        (schema(json!({ "$ref": "other.yaml#/x" })), format!("{at}/$ref {reference}")),
        (schema(json!({ "$ref": "#anchor" })), format!("{at}/$ref {reference}")),
        (schema(json!({ "$ref": "file:///etc/passwd" })), format!("{at}/$ref {reference}")),
        (schema(json!({ "$ref": 1 })), format!("{at}/$ref {reference}")),
        (parameters(json!({})), "/paths/~1x/get/parameters must be an array of parameters".to_owned()),
        (
            parameters(json!([{ "name": "a" }])),
            "/paths/~1x/get/parameters/0 must be a parameter with the strings".to_owned(),
        ),
        (
            parameters(json!([{ "name": "a", "in": "body" }])),
            "/paths/~1x/get/parameters/0/in must be path, query".to_owned(),
        ),
        (
            parameters(json!([{ "$ref": "#/paths/~1x/get/parameters/0" }])),
            "/paths/~1x/get/parameters/0 must not refer to itself".to_owned(),
        ),
        (json!({ "/x": { "$ref": "#/paths/~1x" } }), "/paths/~1x must not refer to itself".to_owned()),
        (json!({ "/x": 5 }), "/paths/~1x must be an object".to_owned()),
        (json!({ "/x": { "get": [] } }), "/paths/~1x/get must be an object".to_owned()),
    ] {
        let errors = texts(&compile_all(&document(&paths)).unwrap_err());
        assert!(errors.iter().any(|error| error.starts_with(&expected)), "{expected}: {errors:#?}");
    }
    let shared = json!({ "/x": { "parameters": [{ "name": "a", "in": "body" }], "get": {}, "delete": {} } });
    assert_eq!(compile_all(&document(&shared)).unwrap_err().len(), 1, "the operations share the error");
    let wrong: Value =
        (0..30).map(|at| (format!("/{at}"), json!({ "get": 1 }))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(compile_all(&document(&wrong)).unwrap_err().len(), 20, "at most 20 errors are listed");
}

#[test]
fn an_error_outside_of_the_selection_is_no_error() {
    let document = document(&json!({ "/x": { "get": {}, "post": [] }, "/y": { "$ref": "#/missing" } }));
    assert_eq!(compile_all(&document).unwrap_err().len(), 2);
    let (include, prefix) = ([Permission::parse("GET /x").unwrap()], RoutePrefix::default());
    let selection = Selection { include: Some(&include), exclude: &[], route_prefix: &prefix };
    assert_eq!(names(&compile(&document, &selection).unwrap().tools), ["get_x"]);
}

#[test]
fn operations_that_tools_cannot_carry_out_are_skipped_with_their_reasons() {
    let parameter = |place: &str, more: Value| {
        let mut parameter = json!({ "name": "p", "in": place, "required": true });
        parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "get": { "parameters": [parameter] } })
    };
    let media = |media: &str| json!({ "post": { "requestBody": { "content": { media: {} } } } });
    let many: Vec<_> = (0..101).map(|at| json!({ "name": format!("p{at}"), "in": "query" })).collect();
    let compiled = compile_all(&document(&json!({
        "/any": { "x-amazon-apigateway-any-method": {} },
        "/body": { "get": { "requestBody": { "required": true } } },
        "/cookie": parameter("cookie", json!({})),
        "/content": parameter("query", json!({ "content": { "text/csv": {} } })),
        "/dots/../x": { "get": {} },
        "/label/{p}": parameter("path", json!({ "style": "label" })),
        (format!("/long/{}", "x".repeat(300))): { "get": {} },
        "/many": { "get": { "parameters": many } },
        "/multipart": media("multipart/form-data"),
        "/object/{p}": parameter("path", json!({ "schema": { "type": "object" } })),
        "/same/{a}": { "get": {} },
        "/same/{b}": { "get": {} },
        "/style": parameter("query", json!({ "style": "matrix" })),
        "/twice/{a}/{a}": { "get": {} },
        "/xml": media("application/xml"),
        "no-slash": { "get": {} },
    })))
    .unwrap();
    assert_eq!(names(&compiled.tools), ["get_same_a"]);
    assert_json_snapshot!(shown(&compiled)["skipped"]);
}

#[test]
fn optional_parameters_that_cannot_be_sent_are_left_out() {
    let tool = only_tool(&json!({ "/x": { "get": { "parameters": [
        { "name": "session", "in": "cookie" },
        { "name": "odd", "in": "query", "style": "matrix" },
        { "name": "other", "in": "path" },
        { "name": "kept", "in": "query" },
    ], "requestBody": { "content": { "application/json": {} } } } } }));
    assert_eq!(tool.input_schema["properties"], json!({ "kept": { "type": "string" } }));
}

#[test]
fn texts_have_no_hidden_characters_and_no_credentials() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let tool = only_tool(&json!({ "/x": { "get": {
        "summary": "Gets\u{202e} it\u{0}\u{200b}",
        "description": format!("Send {jwt} here. {}", "long ".repeat(1_000)),
        "parameters": [{ "name": "p", "in": "query", "description": format!("{jwt}{}", "y".repeat(400)),
            "schema": { "type": "string", "default": jwt, "title": "\u{2066}T" } }],
    } } }));
    assert_eq!(tool.title.as_deref(), Some("Gets it"));
    assert!(tool.description.starts_with("Send [redacted] here. long"), "{}", tool.description);
    assert!(tool.description.ends_with("…\nGET /x"), "{}", tool.description);
    assert!(tool.description.chars().count() <= 1_000);
    let parameter = &tool.input_schema["properties"]["p"];
    assert_eq!(parameter["title"], "T");
    assert!(parameter.get("default").is_none());
    assert!(parameter["description"].as_str().unwrap().chars().count() <= 300);
    assert!(!serde_json::to_string(&tool).unwrap().contains("eyJ"));
}

#[test]
fn only_apis_with_at_most_60_tools_have_output_schemas() {
    let operation = json!({ "get": { "responses": { "200": { "content": { "application/json": { "schema": { "type": "object" } } } } } } });
    for (number, has_outputs) in [(60, true), (61, false)] {
        let paths: serde_json::Map<_, _> =
            (0..number).map(|at| (format!("/{at}"), operation.clone())).collect();
        let compiled = compile_all(&document(&paths.into())).unwrap();
        assert!(compiled.tools.iter().all(|tool| tool.output_schema.is_some() == has_outputs), "{number}");
    }
}

#[test]
fn every_object_satisfies_an_output_schema() {
    let schema = json!({ "type": "object", "required": ["id"], "additionalProperties": false, "properties": { "id": { "type": "string" } } });
    let tool = only_tool(
        &json!({ "/x": { "get": { "responses": { "201": {}, "200": { "content": { "application/json": { "schema": schema } } } } } } }),
    );
    assert_eq!(
        Value::from(tool.output_schema.unwrap()),
        json!({ "type": "object", "anyOf": [schema, { "type": "object" }] })
    );
}

#[test]
fn packed_tools_and_documents_are_read_back_within_their_limits() {
    let compiled = compile_all(&read("openapi/organizations-3.0.yaml")).unwrap();
    assert_eq!(unpack(&pack(&compiled.tools)).unwrap(), compiled.tools);
    assert_eq!(unpack_text(&pack_text("openapi: 3.1.0")).unwrap(), "openapi: 3.1.0");
    let bomb = pack_text(&" ".repeat(8_000_001));
    assert!(bomb.len() < 10_000);
    assert_eq!(unpack(&bomb).unwrap_err().to_string(), "the packed text is longer than 8000000 bytes");
    assert!(unpack_text(&bomb).unwrap_err().to_string().contains("is longer than"));
    assert!(unpack(b"not deflated").unwrap_err().to_string().contains("cannot be inflated"));
    assert!(
        unpack(&pack_text("[{\"name\": \"x y\"}]"))
            .unwrap_err()
            .to_string()
            .contains("is not a list of tools")
    );
    let mut stored: Value = serde_json::to_value(&compiled.tools).unwrap();
    stored[0]["unknown"] = json!(1);
    assert!(unpack(&pack_text(&stored.to_string())).is_err(), "an unknown member is an error");
}
