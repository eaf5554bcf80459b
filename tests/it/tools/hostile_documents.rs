//! Documents that try to cost much, to reach other servers, or to mislead clients.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::openapi::Document;
use shared::tools::{Compiled, Tool};

use super::{compile_all, document, only_tool, request, texts};

/// Much more processor time than a document of 1 MB takes in a debug build.
const MOST: Duration = Duration::from_secs(10);
/// The largest input schema, in bytes: that of the tree, and the names of parameters.
const MOST_BYTES: usize = 26_000;

/// The processor time of this thread. Elsewhere than on Linux, the time that has passed.
fn processor_time(start: Instant) -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split(' ').next().and_then(|text| text.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Runs `work` and checks that it takes a bounded time.
fn bounded<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let now = Instant::now();
    let start = processor_time(now);
    let result = work();
    let taken = processor_time(now).saturating_sub(start);
    assert!(taken < MOST, "{name} took {taken:?}");
    result
}

fn with_schemas(schema: &Value, schemas: &Value) -> Document {
    let body = json!({ "content": { "application/json": { "schema": schema } } });
    Document::from_value(json!({
        "openapi": "3.1.0",
        "paths": { "/x": { "post": { "requestBody": body, "responses": { "200": body } } } },
        "components": { "schemas": schemas },
    }))
    .unwrap()
}

/// The tool of a document whose schemas try to be large. Checks its size, and that it has no
/// references.
fn bounded_tool(name: &str, document: &Document) -> Tool {
    let compiled = bounded(name, || compile_all(document).unwrap());
    let tool = compiled.tools.into_iter().next().unwrap();
    for schema in [Some(&tool.input_schema), tool.output_schema.as_ref()].into_iter().flatten() {
        let text = serde_json::to_string(schema).unwrap();
        assert!(text.len() <= MOST_BYTES, "{name}: {}", text.len());
        assert!(!text.contains("\"$ref\""), "{name}");
    }
    tool
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[test]
fn cyclic_schemas_end() {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let schemas = json!({
        "Node": { "type": "object", "properties": { "next": reference("Node"), "all": { "type": "array", "items": reference("Node") } } },
        "A": { "properties": { "b": reference("B") } },
        "B": { "type": ["object", "null"], "properties": { "a": reference("A") } },
        "Self": reference("Self"),
        "Ping": { "allOf": [reference("Pong")] },
        "Pong": { "anyOf": [reference("Ping"), { "type": "string" }] },
    });
    for name in ["Node", "A", "B", "Self", "Ping", "Pong"] {
        bounded_tool(name, &with_schemas(&reference(name), &schemas));
    }
    let tool = bounded_tool("Node", &with_schemas(&reference("Node"), &schemas));
    let end = json!({ "type": "object", "description": "The same schema as that of the enclosing Node." });
    assert_eq!(
        tool.input_schema["properties"]["body"],
        json!({ "type": "object", "properties": { "next": end, "all": { "type": "array", "items": end } } })
    );
    // What is beyond the end is left to the API.
    request(&tool, &json!({ "body": { "next": { "next": { "next": 5 } } } })).unwrap();
    request(&tool, &json!({ "body": { "next": 5 } })).unwrap_err();
}

#[test]
fn schemas_that_double_at_each_level_are_cut() {
    let mut schemas = serde_json::Map::new();
    for level in 0..30 {
        let next = json!({ "$ref": format!("#/components/schemas/L{}", level + 1) });
        for (kind, schema) in [
            ("L", json!({ "type": "object", "properties": { "a": next, "b": next } })),
            (
                "M",
                json!({ "allOf": [{ "$ref": format!("#/components/schemas/M{}", level + 1) }, { "$ref": format!("#/components/schemas/M{}", level + 1) }] }),
            ),
        ] {
            schemas.insert(format!("{kind}{level}"), schema);
        }
    }
    schemas.insert("L30".to_owned(), json!({ "type": "string" }));
    schemas.insert("M30".to_owned(), json!({ "type": "object" }));
    for kind in ["L0", "M0"] {
        let document =
            with_schemas(&json!({ "$ref": format!("#/components/schemas/{kind}") }), &schemas.clone().into());
        let tool = bounded_tool(kind, &document);
        bounded("a call", || request(&tool, &json!({ "body": { "a": { "b": {} } } })).unwrap());
    }
}

#[test]
fn large_and_deep_schemas_are_cut() {
    let wide: Value = (0..20_000)
        .map(|at| (format!("p{at}"), json!({ "type": "string" })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let deep =
        (0..100).fold(json!({ "type": "string" }), |inner, _| json!({ "type": "array", "items": inner }));
    let chain: Value = (0..5_000)
        .map(|at| (format!("C{at}"), json!({ "$ref": format!("#/components/schemas/C{}", at + 1) })))
        .chain([("C5000".to_owned(), json!({ "type": "string" }))])
        .collect::<serde_json::Map<_, _>>()
        .into();
    let values: Value = (0..50_000).collect();
    let long = "x".repeat(900_000);
    for (name, schema) in [
        ("wide", json!({ "type": "object", "properties": wide, "additionalProperties": false })),
        ("deep", deep),
        ("chain", json!({ "$ref": "#/components/schemas/C0" })),
        ("values", json!({ "enum": values, "default": values, "const": values })),
        (
            "texts",
            json!({ "title": long, "description": long, "format": long, "pattern": long, "properties": { (long.clone()): { "type": "string" } } }),
        ),
        (
            "required",
            json!({ "type": "object", "required": (0..50_000).map(|at| at.to_string()).collect::<Vec<_>>() }),
        ),
        ("alternatives", json!({ "anyOf": vec![json!({ "type": "string" }); 50_000] })),
    ] {
        let tool = bounded_tool(name, &with_schemas(&schema, &chain));
        assert!(depth(&Value::from(tool.input_schema.clone())) < 60, "{name}");
    }
    // A cut never refuses what the document allows.
    let tool = bounded_tool(
        "wide",
        &with_schemas(
            &json!({ "type": "object", "properties": wide, "additionalProperties": false }),
            &chain,
        ),
    );
    request(&tool, &json!({ "body": { "p19999": "x" } })).unwrap();
}

#[test]
fn regular_expressions_are_bounded() {
    let pattern = |text: &str| json!({ "type": "string", "pattern": text });
    for unusable in ["^(?!a)b", "(?<=a)b", "(a)\\1", "(a{1000}){1000}", "(", &"a".repeat(300)] {
        let tool = only_tool(
            &json!({ "/x": { "get": { "parameters": [{ "name": "p", "in": "query", "schema": pattern(unusable) }] } } }),
        );
        assert_eq!(tool.input_schema["properties"]["p"], json!({ "type": "string" }), "{unusable}");
        request(&tool, &json!({ "p": "b" })).unwrap();
    }
    let slow = pattern("^(a|a)*(b|b)*[ab]*a[ab]{100}$");
    let parameters: Vec<_> =
        (0..50).map(|at| json!({ "name": format!("p{at}"), "in": "query", "schema": slow })).collect();
    let body = json!({ "content": { "application/json": { "schema": { "type": "array", "items": slow } } } });
    let tool = only_tool(&json!({ "/x": { "post": { "parameters": parameters, "requestBody": body } } }));
    let patterns = serde_json::to_string(&tool.input_schema).unwrap().matches("\"pattern\"").count();
    assert_eq!(patterns, 20);
    let value = "ab".repeat(500_000);
    // The API checks the patterns of a body.
    bounded("a long body", || request(&tool, &json!({ "body": [&value[..900_000]] })).unwrap());
    bounded("a long parameter", || request(&tool, &json!({ "p0": value })).unwrap_err());
    let different: Vec<_> = (0..20_000).map(|at| pattern(&format!("(a{{1000}}){{1000}}{at}"))).collect();
    bounded("many patterns", || {
        let paths: serde_json::Map<_, _> = different
            .chunks(50)
            .enumerate()
            .map(|(at, chunk)| {
                let body =
                    json!({ "content": { "application/json": { "schema": { "prefixItems": chunk } } } });
                (format!("/{at}"), json!({ "post": { "requestBody": body } }))
            })
            .collect();
        compile_all(&document(&paths.into())).unwrap()
    });
}

#[test]
fn documents_have_at_most_2000_operations_and_8_mb_of_tools() {
    let read = |paths: Value| Document::from_value(json!({ "openapi": "3.0.0", "paths": paths }));
    for number in [2_001, 10_000] {
        let errors = bounded("too many", || read(paths(number, &json!({}))).unwrap_err());
        assert_eq!(texts(&errors), [" has more than 2000 operations"]);
    }
    let many = bounded("many", || compile_all(&read(paths(2_000, &json!({}))).unwrap()).unwrap());
    assert_eq!(many.tools.len(), 2_000);
    // The same path item under many paths.
    let operation = json!({ "post": {}, "put": {}, "get": {}, "delete": {}, "patch": {} });
    let shared: serde_json::Map<_, _> =
        (0..1_000).map(|at| (format!("/p{at}"), json!({ "$ref": "#/components/pathItems/One" }))).collect();
    let document = Document::from_value(
        json!({ "openapi": "3.1.0", "paths": shared, "components": { "pathItems": { "One": operation } } }),
    );
    assert_eq!(texts(&document.unwrap_err()), [" has more than 2000 operations"]);
    // The same large schema in many operations.
    let members: serde_json::Map<_, _> =
        (0..400).map(|at| (format!("property{at}"), json!({ "type": "string" }))).collect();
    let parameter = json!({ "name": "q", "in": "query", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Large" } } } });
    let document = Document::from_value(json!({
        "openapi": "3.1.0",
        "paths": paths(2_000, &json!({ "parameters": [parameter] })),
        "components": { "schemas": { "Large": { "type": "object", "properties": members } } },
    }))
    .unwrap();
    let errors = bounded("large tools", || compile_all(&document).unwrap_err());
    assert_eq!(
        texts(&errors),
        [
            "/paths has operations whose tools are too large in total. Select fewer operations with `include` or `exclude`"
        ]
    );
}

/// The paths `/p0`, `/p1` and so on, with the same operation.
fn paths(number: usize, operation: &Value) -> Value {
    members(number, "/p", &json!({ "get": operation }))
}

/// An object with the members `prefix0`, `prefix1` and so on, which have the same value.
fn members(number: usize, prefix: &str, value: &Value) -> Value {
    (0..number).map(|at| (format!("{prefix}{at}"), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn large_values_that_many_schemas_share_are_not_read_again_and_again() {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut annotated = members(20_000, "x-", &json!(1));
    annotated["$ref"] = reference("Leaf")["$ref"].clone();
    let names: Vec<_> = (0..20_000).map(|at| at.to_string()).collect();
    let long = "x".repeat(300_000);
    for (name, large) in [
        ("properties", json!({ "properties": members(20_000, "p", &json!({})) })),
        ("names", json!({ "properties": { ("n".repeat(500_000)): {} } })),
        ("required", json!({ "required": names })),
        ("values", json!({ "enum": names, "default": names, "const": names })),
        ("texts", json!({ "description": long, "title": long, "format": long, "pattern": long })),
        ("alternatives", json!({ "oneOf": vec![json!({}); 20_000] })),
        ("annotations", annotated),
    ] {
        let content = json!({ "application/json": { "schema": reference("Many") } });
        let document = Document::from_value(json!({
            "openapi": "3.1.0",
            "paths": paths(100, &json!({ "parameters": [{ "name": "q", "in": "query", "content": content }] })),
            "components": { "schemas": {
                "Many": { "properties": members(400, "p", &reference("Large")) },
                "Large": large,
                "Leaf": { "type": "string" },
            } },
        }))
        .unwrap();
        let _ = bounded(name, || compile_all(&document));
    }
}

#[test]
fn long_media_types_are_ignored() {
    let name = format!("application/json;{}", "~".repeat(900_000));
    let body = json!({ "content": { name: { "schema": { "properties": members(700, "p", &json!({})) } } } });
    let operation = json!({ "post": { "requestBody": body } });
    let document = Document::from_value(json!({ "openapi": "3.1.0", "paths": { "/x": operation } })).unwrap();
    let compiled = bounded("a long media type", || compile_all(&document).unwrap());
    assert!(compiled.tools.is_empty());
    assert_eq!(compiled.skipped.len(), 1);
}

#[test]
fn yaml_bombs_and_oversized_texts_are_refused() {
    let bomb =
        (1..12).fold("openapi: 3.1.0\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |bomb, level| {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("{bomb}a{level}: &a{level} [{aliases}]\n")
        });
    let deep = format!("{{\"openapi\": \"3.1.0\", \"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    for (text, problem) in [
        (bomb, "there are more than 300000 values"),
        (deep, "nested more than 127 levels deep"),
        (format!("openapi: 3.1.0\nx: {}", "y".repeat(1_000_000)), "must be at most 1 MB"),
    ] {
        let errors = bounded(problem, || Document::read(&text).unwrap_err());
        assert!(errors.len() == 1 && errors[0].detail.contains(problem), "{errors:?}");
    }
}

#[test]
fn documents_cannot_send_requests_elsewhere_or_configure_clients() {
    let evil = "https://evil.example/";
    let schema = json!({
        "type": "object", "$schema": evil, "$id": evil, "$anchor": "a", "$dynamicRef": "#a", "$comment": evil,
        "x-mcp-header": "Authorization", "externalDocs": { "url": evil }, "xml": { "namespace": evil }, "example": evil,
        "examples": [evil], "contentMediaType": "text/html", "contentSchema": {}, "$defs": {}, "$vocabulary": {},
        "properties": { "a": { "type": "string", "x-mcp-header": "Host", "x-secret": evil } },
    });
    let document = Document::from_value(json!({
        "openapi": "3.1.0", "servers": [{ "url": evil }], "jsonSchemaDialect": evil, "externalDocs": { "url": evil },
        "webhooks": { "w": { "$ref": evil } },
        "security": [{ "evil": [] }],
        "components": { "securitySchemes": { "evil": { "type": "oauth2", "flows": { "clientCredentials": { "tokenUrl": evil } } } } },
        "paths": {
            "//evil.example/x": { "get": {} },
            "https://evil.example/x": { "get": {} },
            "/\\evil.example": { "get": {} },
            "/..;/x": { "get": {} },
            "/%2e%2e/x": { "get": {} },
            "/a?b=c": { "get": {} },
            "/a b\r\nHost: evil": { "get": {} },
            "/IAM/v1/roles": { "get": {} },
            "/iam;x": { "get": {} },
            "x-internal": { "get": {} },
            "/good": {
                "servers": [{ "url": evil }],
                "post": {
                    "servers": [{ "url": evil }],
                    "parameters": [{ "name": "p", "in": "query", "x-mcp-header": "Authorization", "schema": schema, "examples": { "e": { "externalValue": evil } } }],
                    "requestBody": { "content": { "application/json": { "schema": schema, "example": evil, "encoding": { "a": { "headers": { "Host": { "schema": {} } } } } } } },
                    "responses": { "200": { "links": { "l": { "server": { "url": evil } } }, "headers": { "Location": {} }, "content": { "application/json": { "schema": schema } } } },
                    "callbacks": { "c": { evil: { "post": {} } } },
                },
            },
        },
    }))
    .unwrap();
    let Compiled { tools, skipped } = compile_all(&document).unwrap();
    assert_eq!(skipped.len(), 9, "{skipped:#?}");
    assert_eq!(tools.len(), 1);
    let plain = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    assert_eq!(tools[0].input_schema["properties"], json!({ "p": plain, "body": plain }));
    assert_eq!(tools[0].output_schema.as_ref().unwrap()["anyOf"][0], plain);
    assert!(!serde_json::to_string(&tools).unwrap().contains("evil"));
}
