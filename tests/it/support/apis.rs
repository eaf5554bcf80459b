//! Protected APIs.

use serde_json::{Value, json};

/// A document with two tools and an operation that cannot be a tool.
pub(crate) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Teams API", "version": "1.4.0" },
        "paths": {
            "/teams": { "get": { "operationId": "listTeams", "summary": "List teams" } },
            "/teams/{id}": {
                "delete": {
                    "operationId": "deleteTeam", "summary": "Delete a team",
                    "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                },
                "trace": { "operationId": "traceTeam" },
            },
        },
    })
}

/// The body that registers [`document`].
pub(crate) fn api() -> Value {
    json!({ "title": "Teams", "baseUrl": "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "openapi": document() })
}

/// The same with another value of one member, or without it.
pub(crate) fn api_with(member: &str, value: Value) -> Value {
    let mut body = api();
    if value.is_null() {
        body.as_object_mut().unwrap().remove(member);
    } else {
        body[member] = value;
    }
    body
}
