//! `infra/openapi.json` is up to date, well-formed and complete, and describes the
//! routes of the template.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::api::ProblemCode;
use tests::{Harness, Shape, Verdict};

use crate::support::keys::use_key;
use crate::support::routes::{self, ROUTES};
use crate::support::{changes, golden};

fn document() -> Value {
    local::openapi::document()
}

/// Each operation with its path and method.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations_of_path = |(path, item): (&String, &Value)| {
        let operations = item.as_object().unwrap().iter();
        let operations =
            operations.map(|(method, operation)| (path.clone(), method.clone(), operation.clone()));
        operations.collect::<Vec<_>>()
    };
    paths.iter().flat_map(operations_of_path).collect()
}

/// Adds the targets of all references in `value`.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.insert(target.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_file_is_up_to_date() {
    let text = serde_json::to_string_pretty(&document()).unwrap();
    golden::check("../infra/openapi.json", &format!("{text}\n"));
}

#[test]
fn the_operations_are_the_routes_of_the_template() {
    let routes = local::template::Template::read().unwrap().routes().unwrap();
    let deployed: BTreeSet<String> = routes.iter().map(local::template::Route::key).collect();
    let described = operations(&document()).into_iter();
    let described: BTreeSet<String> =
        described.map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
    assert_eq!(deployed, described);
}

#[test]
fn every_problem_code_is_listed() {
    let document = document();
    let listed =
        document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    let codes: Vec<_> = ProblemCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(*listed, codes);
}

#[test]
fn every_reference_resolves() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in &found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} does not exist");
    }
}

/// The parts of the document that have no description.
fn undescribed(document: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    let mut check = |what: &str, part: &Value, members: &[&str]| {
        for member in members {
            if part[member].as_str().is_none_or(|text| text.trim().is_empty()) {
                missing.push(format!("{what}: {member}"));
            }
        }
    };
    check("info", &document["info"], &["description"]);
    let mut tags = Vec::new();
    for tag in document["tags"].as_array().unwrap() {
        check("tag", tag, &["description"]);
        tags.push(&tag["name"]);
    }
    for (_, _, operation) in operations(document) {
        let id = operation["operationId"].as_str().unwrap();
        check(id, &operation, &["summary", "description"]);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            check(&format!("{id}, parameter {}", parameter["name"]), parameter, &["description"]);
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            check(&format!("{id}, status {status}"), response, &["description"]);
            for (name, header) in response["headers"].as_object().into_iter().flatten() {
                check(&format!("{id}, status {status}, header {name}"), header, &["description"]);
            }
        }
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{id}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        check(name, schema, &["description"]);
        let parts = schema["allOf"].as_array().into_iter().flatten();
        for properties in parts.chain([schema]).filter_map(|part| part["properties"].as_object()) {
            for (property, schema) in properties {
                check(&format!("{name}.{property}"), schema, &["description"]);
            }
        }
    }
    for (name, scheme) in document["components"]["securitySchemes"].as_object().unwrap() {
        check(name, scheme, &["description"]);
    }
    missing
}

/// If this test fails, add a doc comment or a `description` for each listed item.
#[test]
fn everything_has_a_description() {
    assert_eq!(undescribed(&document()), [""; 0]);
}

#[test]
fn each_problem_code_is_described_only_under_its_status() {
    let document = document();
    // `RouteNotFound` is the problem of paths that have no operation.
    for code in ProblemCode::ALL.iter().filter(|code| **code != ProblemCode::RouteNotFound) {
        let mut statuses = BTreeSet::new();
        for (_, _, operation) in operations(&document) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                if response["description"].as_str().unwrap().contains(&format!("`{}`", code.name())) {
                    statuses.insert(status.clone());
                }
            }
        }
        assert_eq!(statuses, BTreeSet::from([code.status().as_str().to_owned()]), "{}", code.name());
    }
}

/// The differences between `value` and the schema: missing required members, undescribed
/// members, and values of another type.
fn mismatches(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let members = value.as_object().into_iter().flatten();
    let mut undescribed: BTreeSet<&str> = members.map(|(name, _)| name.as_str()).collect();
    let mut schemas = vec![schema];
    while let Some(schema) = schemas.pop() {
        if let Some(target) = schema["$ref"].as_str() {
            schemas.push(document.pointer(&target[1..]).unwrap());
        }
        schemas.extend(schema["allOf"].as_array().into_iter().flatten());
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                problems.push(format!("{name} is required and missing"));
            }
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            undescribed.remove(name.as_str());
            if let Some(value) = value.get(name) {
                problems.extend(mismatches(document, schema, value));
            }
        }
        if schema["additionalProperties"].is_object() {
            undescribed.clear();
        }
        for item in value.as_array().into_iter().flatten() {
            problems.extend(mismatches(document, &schema["items"], item));
        }
        let is_of_type = match schema["type"].as_str() {
            None => true,
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_u64(),
            Some(other) => panic!("unsupported type {other}"),
        };
        if !is_of_type {
            problems.push(format!("{value} is not of type {}", schema["type"]));
        }
    }
    problems.extend(undescribed.into_iter().map(|name| format!("{name} is not described")));
    problems
}

#[tokio::test]
async fn every_response_matches_its_schema() {
    let harness = Harness::start().await;
    let document = document();
    for route in &ROUTES {
        let (account, key) = routes::create_target(&harness, &route.key()).await;
        let narrow =
            json!({ "name": "narrow", "role": "ServiceAccountReader", "allowedCidrs": ["127.0.0.0/8"] });
        let narrow = harness.issue_key_with(&account, &narrow).await;
        changes::update(&harness, &account, json!({ "tags": { "a": "1" } })).await;
        // So that the key has activity.
        use_key(&harness, &key).await;
        let refused = Shape::HttpV2.request("POST", "/organizations", &key.secret);
        assert_eq!(harness.verdict(&refused).await, Verdict::Deny);
        let admin = harness.system.facts().admin_token.clone();
        let keys = [key.secret.clone(), narrow.secret].into_iter().filter(|_| route.is_for_keys);
        for credential in keys.chain([admin, "garbage".to_owned()]) {
            let reply = route.request(&harness, &key).bearer(&credential).send().await;
            let operation = &document["paths"][route.path][route.method.to_lowercase()];
            let described = &operation["responses"][reply.status.to_string()];
            assert!(described.is_object(), "{} does not describe {}", route.key(), reply.status);
            let schema = &described["content"]["application/json"]["schema"];
            match reply.status {
                204 => assert_eq!(reply.text, ""),
                403 => {}
                _ => assert_eq!(mismatches(&document, schema, &reply.json()), [""; 0], "{}", route.key()),
            }
        }
        // The function's own refusal, without an authorizer's context.
        let refused = harness.invoke(route.function, &route.event(&key, None)).await;
        let problem = json!({ "$ref": "#/components/schemas/Problem" });
        assert_eq!(mismatches(&document, &problem, &refused.json()), [""; 0]);
    }
}

#[test]
fn every_operation_has_an_id_parameters_and_responses() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id.clone()), "{id} is used twice");
        // The described path parameters are exactly those in the path.
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let in_path: BTreeSet<_> = in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        let segments = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        assert_eq!(in_path, segments.collect(), "{id}");
        // Requests of an operation without the authorizer authenticate themselves.
        let is_open = operation.get("security").is_some();
        let common = ["401", "403", "429", "500", "503"].into_iter().skip(if is_open { 2 } else { 0 });
        for status in common {
            assert!(operation["responses"][status].is_object(), "{id} does not mention {status}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = response["content"].as_object();
            let media_types: Vec<_> =
                content.into_iter().flatten().map(|(media_type, _)| media_type).collect();
            match status.as_str() {
                // An error of OAuth, or a page for people.
                _ if is_open && (media_types == ["application/json"] || media_types == ["text/plain"]) => {}
                "204" => assert!(media_types.is_empty(), "{id}"),
                "200" | "201" => assert_eq!(media_types, ["application/json"], "{id}"),
                // API Gateway also sends these itself, with its own body.
                "401" | "403" | "413" | "429" | "500" | "503" => {
                    assert_eq!(media_types, ["application/json", "application/problem+json"], "{id}");
                }
                _ => assert_eq!(media_types, ["application/problem+json"], "{id}"),
            }
        }
        assert_eq!(
            operation.get("requestBody").is_some(),
            ["post", "patch", "put"].contains(&&*method),
            "{id}"
        );
    }
}
