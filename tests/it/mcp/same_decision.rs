//! A call is let through if and only if the authorizer allows the same request, and a tool is
//! listed if and only if some request of the tool is allowed.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use tests::{Harness, Shape, Verdict};

use crate::support::agent::{Agent, register_with};
use crate::support::report;
use crate::support::scripted_server::{Script, ScriptedServer, ok};

/// The literal segments and values in paths.
const WORDS: [&str; 3] = ["a", "b", "c"];

/// A random path with this number of segments. Some are variables.
fn path(random: &mut StdRng, segments: usize, variables: f64) -> String {
    let segment = |at: usize| {
        if random.random_bool(variables) {
            format!("/{{v{at}}}")
        } else {
            format!("/{}", WORDS[random.random_range(0..WORDS.len())])
        }
    };
    (0..segments).map(segment).collect()
}

fn method(random: &mut StdRng) -> &'static str {
    ["GET", "POST", "DELETE"][random.random_range(0..3)]
}

/// A document with random operations. Some variables have values.
fn document(random: &mut StdRng) -> Value {
    let mut paths = Map::new();
    for _ in 0..12 {
        let segments = random.random_range(1..=3);
        let path = path(random, segments, 0.5);
        let parameter = |at: usize, random: &mut StdRng| {
            let mut schema = json!({ "type": "string" });
            if random.random_bool(0.3) {
                schema["enum"] = json!(["a", "b"]);
            }
            json!({ "name": format!("v{at}"), "in": "path", "required": true, "schema": schema })
        };
        let is_variable = |at: &usize| path.contains(&format!("{{v{at}}}"));
        let parameters: Vec<Value> =
            (0..segments).filter(is_variable).map(|at| parameter(at, random)).collect();
        let operation = json!({ "parameters": parameters, "responses": { "200": { "description": "OK" } } });
        paths.entry(path).or_insert_with(|| json!({}))[method(random).to_lowercase()] = operation;
    }
    json!({ "openapi": "3.1.0", "info": { "title": "Random", "version": "1" }, "paths": paths })
}

/// Every request of an operation whose values are words.
fn requests(template: &str, parameters: &Value) -> Vec<(String, Value)> {
    let mut all = vec![(template.to_owned(), json!({}))];
    for parameter in parameters.as_array().unwrap() {
        let name = parameter["name"].as_str().unwrap();
        let values = match parameter["schema"]["enum"].as_array() {
            Some(values) => values.iter().map(|value| value.as_str().unwrap()).collect(),
            None => WORDS.to_vec(),
        };
        all = all
            .iter()
            .flat_map(|(path, arguments)| {
                values.iter().map(move |value| {
                    let mut arguments = arguments.clone();
                    arguments[name] = (*value).into();
                    (path.replace(&format!("{{{name}}}"), value), arguments)
                })
            })
            .collect();
    }
    all
}

#[tokio::test]
async fn tools_are_listed_and_called_if_and_only_if_the_authorizer_allows_it() {
    let server = ScriptedServer::start().await;
    server.set(|_| Script::Send(ok("{}")));
    let harness = Harness::start().await;
    let (account, _) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    let (mut calls, mut listed) = (0, 0);
    for round in 0..8 {
        let mut allowed = 0;
        let mut random = StdRng::seed_from_u64(round);
        for role in ["first", "second"] {
            let permission = |random: &mut StdRng| {
                let segments = random.random_range(1..=3);
                format!("{} {}", method(random), path(random, segments, 0.4))
            };
            let permissions: BTreeSet<String> = (0..8).map(|_| permission(&mut random)).collect();
            harness.put_role(role, &permissions.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        let update = harness.request("PATCH", &account.path()).admin();
        assert_eq!(update.json(&json!({ "role": "first" })).send().await.status, 200);
        let key = json!({ "name": format!("key {round}"), "role": "second" });
        let key = harness.issue_key_with(&account, &key).await;
        let document = document(&mut random);
        let body = json!({ "title": "Random", "baseUrl": server.url, "openapi": document });
        register_with(&harness, &body).await;
        let agent = Agent::new(&harness, &key);
        let names = agent.list().await;
        let registered = harness.get("/iam/v1/apis/teams").await.json();
        for tool in registered["tools"].as_array().unwrap() {
            let (name, template) = (tool["name"].as_str().unwrap(), tool["path"].as_str().unwrap());
            let method = tool["method"].as_str().unwrap();
            let parameters = &document["paths"][template][method.to_lowercase()]["parameters"];
            let mut is_possible = false;
            for (path, arguments) in requests(template, parameters) {
                let event = Shape::HttpV2.request(method, &path, &key.secret);
                let is_allowed = harness.verdict(&event).await == Verdict::Allow;
                let (text, is_error) = agent.call(name, &arguments).await.called();
                assert_eq!(!is_error, is_allowed, "{method} {path}: {text}");
                assert!(is_allowed || text.starts_with("Not permitted: "), "{text}");
                is_possible |= is_allowed;
                (calls, allowed) = (calls + 1, allowed + usize::from(is_allowed));
            }
            // Values beyond the words can be permitted only through a variable, which also
            // permits the words.
            assert_eq!(names.contains(&name.to_owned()), is_possible, "{method} {template} in round {round}");
            listed += usize::from(is_possible);
        }
        assert_eq!(server.take_connections(), allowed, "only allowed calls reach the API");
    }
    report(&format!("{calls} calls, {listed} listed tools"));
}
