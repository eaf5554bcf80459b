//! `tools/list`: what roles permit, pages, and the search.

use serde_json::{Map, Value, json};
use tests::Harness;

use crate::support::agent::{API, Agent, document, register, register_with};

/// A document with this many operations. The number of the operation is in its name and path.
fn large(operations: usize, description: &str) -> Value {
    let path = |number: usize| {
        let operation = json!({
            "get": {
                "operationId": format!("get_thing_{number:04}"),
                "summary": format!("Get thing {number}"),
                "description": description,
                "responses": { "200": { "description": "OK" } },
            },
        });
        (format!("/things/{number:04}"), operation)
    };
    let paths: Map<String, Value> = (0..operations).map(path).collect();
    json!({ "openapi": "3.1.0", "info": { "title": "Things", "version": "1" }, "paths": paths })
}

async fn register_large(harness: &Harness, operations: usize, description: &str) {
    let body = json!({
        "title": "Things", "baseUrl": harness.system.facts().api, "openapi": large(operations, description),
    });
    register_with(harness, &body).await;
}

#[tokio::test]
async fn an_agent_sees_the_tools_that_all_its_roles_permit() {
    let harness = Harness::start().await;
    register(&harness).await;
    harness.put_role("orgs.read", &["GET /organizations", "GET /organizations/{id}"]).await;
    harness.put_role("one.org", &["ANY /organizations/42"]).await;
    harness.put_role("nothing", &["GET /teams"]).await;
    let (account, key) = harness.account_with_key("Agent", "orgs.read").await;
    assert_eq!(Agent::new(&harness, &key).list().await, ["list_organizations", "get_organization"]);
    let narrow = harness.issue_key_with(&account, &json!({ "name": "narrow", "role": "one.org" })).await;
    assert_eq!(Agent::new(&harness, &narrow).list().await, ["get_organization"]);
    let none = harness.issue_key_with(&account, &json!({ "name": "none", "role": "nothing" })).await;
    assert_eq!(Agent::new(&harness, &none).list().await, Vec::<String>::new());
    let (_, admin) = harness.account_with_key("Admin", "ServiceAccountAdmin").await;
    let all = ["list_organizations", "create_organization", "get_organization", "delete_organization"];
    let mut listed = Agent::new(&harness, &admin).list().await;
    listed.sort_unstable();
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(listed, sorted);
}

#[tokio::test]
async fn an_agent_without_permitted_tools_is_told_so() {
    let harness = Harness::start().await;
    register_large(&harness, 3, "A thing.").await;
    harness.put_role("elsewhere", &["GET /elsewhere"]).await;
    let (_, key) = harness.account_with_key("Agent", "elsewhere").await;
    let agent = Agent::new(&harness, &key);
    assert_eq!(agent.list().await, Vec::<String>::new());
    let described = agent.ask("server/discover", &json!({})).await.result();
    let instructions = described["instructions"].as_str().unwrap();
    assert!(instructions.starts_with("Your role permits none of the 3 tools of the API "), "{instructions}");
}

#[tokio::test]
async fn changes_of_the_role_and_the_api_apply_to_the_next_list() {
    let harness = Harness::start().await;
    register(&harness).await;
    harness.put_role("agent", &["GET /organizations"]).await;
    let (_, key) = harness.account_with_key("Agent", "agent").await;
    let agent = Agent::new(&harness, &key);
    assert_eq!(agent.list().await, ["list_organizations"]);
    harness.put_role("agent", &["GET /organizations/{id}"]).await;
    assert_eq!(agent.list().await, ["get_organization"]);
    let body = json!({
        "title": "Teams", "baseUrl": harness.system.facts().api, "openapi": document(),
        "exclude": ["GET /organizations/{id}"],
    });
    register_with(&harness, &body).await;
    assert_eq!(agent.list().await, Vec::<String>::new());
    let deleted = harness.request("DELETE", &format!("/iam/v1/apis/{API}")).admin().send().await;
    assert_eq!(deleted.status, 204);
    let reply = agent.ask("tools/list", &json!({})).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("api_not_found")));
}

#[tokio::test]
async fn long_lists_have_pages_of_at_most_100_tools_in_a_fixed_order() {
    let harness = Harness::start().await;
    register_large(&harness, 250, "A thing.").await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    let agent = Agent::new(&harness, &key);
    let (mut params, mut sizes, mut names) = (json!({}), Vec::new(), Vec::new());
    loop {
        let page = agent.ask("tools/list", &params).await;
        sizes.push(page.tools().len());
        names.extend(page.tools());
        match page.result()["nextCursor"].as_str() {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => break,
        }
    }
    assert_eq!(sizes, [100, 100, 51]);
    let expected = (0..250).map(|number| format!("get_thing_{number:04}"));
    assert_eq!(names, ["search_tools".to_owned()].into_iter().chain(expected).collect::<Vec<_>>());
    // A cursor belongs to the tools for which it was made.
    let cursor = agent.ask("tools/list", &json!({})).await.result()["nextCursor"].clone();
    register_large(&harness, 251, "A thing.").await;
    let stale = agent.ask("tools/list", &json!({ "cursor": cursor })).await;
    assert_eq!(stale.error_code(), -32602);
}

#[tokio::test]
async fn a_page_has_at_most_512_kb() {
    let harness = Harness::start().await;
    register_large(&harness, 900, &"x".repeat(900)).await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountAdmin").await;
    let agent = Agent::new(&harness, &key);
    let page = agent.ask("tools/list", &json!({})).await;
    assert!(page.text.len() < 600_000, "{}", page.text.len());
    assert_eq!(agent.list().await.len(), 901);
}

#[tokio::test]
async fn the_search_is_offered_for_more_than_60_tools_and_finds_only_permitted_ones() {
    let harness = Harness::start().await;
    register_large(&harness, 61, "A thing.").await;
    harness.put_role("sixty", &["GET /things/{proxy+}"]).await;
    harness.put_role("few", &["GET /things/0001", "GET /things/0002"]).await;
    let (_, key) = harness.account_with_key("Agent", "sixty").await;
    let agent = Agent::new(&harness, &key);
    assert_eq!(agent.list().await.len(), 62);
    let instructions = agent.ask("server/discover", &json!({})).await.result()["instructions"].clone();
    assert!(instructions.as_str().unwrap().contains("search_tools"), "{instructions}");
    let found = agent.call("search_tools", &json!({ "query": "thing 0042", "limit": 2 })).await.result();
    insta::assert_json_snapshot!("search", found["structuredContent"]);
    for (arguments, problem) in [
        (json!({}), "query must contain at least one word."),
        (json!({ "query": "?!" }), "query must contain at least one word."),
        (json!({ "query": "x".repeat(201) }), "query must have at most 200 characters."),
        (json!({ "query": "x", "limit": 21 }), "limit must be a whole number from 1 to 20."),
        (json!({ "query": "x", "more": 1 }), "search_tools takes only query and limit."),
    ] {
        assert_eq!(agent.call("search_tools", &arguments).await.called(), (problem.to_owned(), true));
    }
    let (_, few) = harness.account_with_key("Few", "few").await;
    let few = Agent::new(&harness, &few);
    assert_eq!(few.list().await, ["get_thing_0001", "get_thing_0002"]);
    let found = few.call("search_tools", &json!({ "query": "thing", "limit": 20 })).await.result();
    let found = found["structuredContent"]["tools"].as_array().unwrap().len();
    assert_eq!(found, 2);
}

#[tokio::test]
async fn a_repeated_list_takes_one_small_read_of_the_api() {
    let harness = Harness::start().await;
    register_large(&harness, 500, "A thing.").await;
    let (_, key) = harness.account_with_key("Agent", "ServiceAccountReader").await;
    let agent = Agent::new(&harness, &key);
    agent.ask("tools/list", &json!({})).await;
    harness.wire.take_calls();
    agent.ask("tools/list", &json!({})).await;
    let reads: Vec<Value> = harness
        .wire
        .take_calls()
        .into_iter()
        .filter(|call| call.operation == "GetItem")
        .map(|call| call.body["Key"]["pk"]["S"].clone())
        .filter(|key| key.as_str().unwrap().starts_with("API#"))
        .collect();
    assert_eq!(reads, [json!("API#teams")]);
}
