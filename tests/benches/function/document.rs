//! An `OpenAPI` document.

use serde_json::{Value, json};

/// A document with this many operations, of the size that real ones have.
pub(crate) fn document(operations: usize) -> Value {
    let operation = |number: usize| {
        json!({ "get": {
            "operationId": format!("report_{number}"),
            "summary": format!("Get report {number}"),
            "description": "Returns the report of an organization, for the given period and in the given currency.",
            "parameters": [
                { "name": "id", "in": "path", "required": true, "description": "The id of the organization.", "schema": { "type": "string" } },
                { "name": "from", "in": "query", "description": "The first day.", "schema": { "type": "string", "format": "date" } },
                { "name": "to", "in": "query", "description": "The last day.", "schema": { "type": "string", "format": "date" } },
                { "name": "currency", "in": "query", "schema": { "type": "string", "enum": ["CHF", "EUR", "USD"] } },
            ],
            "responses": { "200": { "description": "The report." } },
        }})
    };
    let paths = (1..=operations)
        .map(|number| (format!("/organizations/{{id}}/report-{number}"), operation(number)))
        .collect::<serde_json::Map<_, _>>();
    json!({ "openapi": "3.1.0", "info": { "title": "Reports", "version": "1" }, "paths": paths })
}
