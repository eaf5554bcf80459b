//! `PUT /iam/v1/apis/{name}`

use std::collections::BTreeSet;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::config::{Setup, variable};
use tests::{Action, Event, Harness, RequestBuilder};

use crate::support::apis::{api, api_with, document};
use crate::support::faults::cancelled;
use crate::support::{bad_input, keys, routes};

fn put<'a>(harness: &'a Harness, name: &str, body: &Value) -> RequestBuilder<'a> {
    harness.request("PUT", &format!("/iam/v1/apis/{name}")).admin().json(body)
}

/// A document with this many operations.
fn operations(count: usize) -> Value {
    let paths = (0..count).map(|number| (format!("/things/{number}"), json!({ "get": {} }))).collect();
    let mut document = document();
    document["paths"] = Value::Object(paths);
    document
}

/// The sort keys in the partition of an API, each with the build replaced by its number.
async fn sort_keys(harness: &Harness, name: &str) -> Vec<String> {
    let items = harness.table.items(&format!("API#{name}")).await;
    let keys: Vec<_> = items.iter().map(|item| item["sk"].as_s().unwrap().clone()).collect();
    let builds: BTreeSet<_> = keys.iter().filter_map(|key| Some(key.split_once('#')?.0.to_owned())).collect();
    let number = |build: &str| builds.iter().position(|known| known == build).unwrap();
    let short = |key: &String| match key.split_once('#') {
        Some((build, rest)) => format!("{} {rest}", number(build)),
        None => key.clone(),
    };
    let mut keys: Vec<_> = keys.iter().map(short).collect();
    keys.sort_unstable();
    keys
}

/// The sort keys of an API with one small build.
const SMALL: [&str; 4] = ["0 DOCUMENT#000", "0 SKIPPED#000", "0 TOOLS#000", "API"];

#[tokio::test]
async fn registers_an_api_201() {
    let harness = Harness::start().await;
    let reply = put(&harness, "teams", &api()).send().await;
    assert_json_snapshot!(reply.snapshot());
    let read = harness.get("/iam/v1/apis/teams").await;
    assert_eq!((read.json(), &read.headers["etag"]), (reply.json(), &reply.headers["etag"]));
    assert_eq!(sort_keys(&harness, "teams").await, SMALL);
}

#[tokio::test]
async fn documents_in_json_and_yaml_texts_give_the_same_tools_201() {
    let harness = Harness::start().await;
    let object = put(&harness, "object", &api()).send().await.expect(201).json();
    let yaml = "openapi: 3.1.0\ninfo: {title: Teams API, version: 1.4.0}\npaths:\n  /teams:\n    get: {operationId: \
                listTeams, summary: List teams}\n  /teams/{id}:\n    delete:\n      operationId: deleteTeam\n      \
                summary: Delete a team\n      parameters: [{name: id, in: path, required: true, schema: {type: \
                string}}]\n    trace: {operationId: traceTeam}\n";
    for (name, text) in [("json", document().to_string()), ("yaml", yaml.to_owned())] {
        let text = put(&harness, name, &api_with("openapi", text.into())).send().await.expect(201).json();
        for member in ["tools", "skipped", "documentTitle", "documentVersion"] {
            assert_eq!(text[member], object[member], "{name} {member}");
        }
    }
}

#[tokio::test]
async fn changes_every_setting_and_keeps_the_document_200() {
    let harness = Harness::start().await;
    let first = put(&harness, "teams", &api()).send().await.expect(201);
    harness.clock.advance_seconds(60);
    let second = harness.token_of("admin-2", "second@keyward.local");
    let body = json!({
        "title": "Teams 2", "baseUrl": "https://API.example.com:443/v1/", "apiId": "other", "routePrefix": "/prod",
        "include": ["ANY /prod/teams/{proxy+}"], "exclude": ["PUT /elsewhere"], "confirmation": "ask",
    });
    let reply = harness.request("PUT", "/iam/v1/apis/teams").bearer(&second).json(&body).send().await;
    assert_json_snapshot!(reply.snapshot());
    assert_ne!(reply.headers["etag"], first.headers["etag"]);
    assert_eq!(harness.get("/iam/v1/apis/teams").await.json(), reply.json());
    assert_eq!(sort_keys(&harness, "teams").await, SMALL, "the earlier build is deleted");
}

#[tokio::test]
async fn each_change_writes_one_event() {
    let harness = Harness::start().await;
    let created = put(&harness, "teams", &api_with("include", json!(["ANY /teams", "ANY /teams/{id}"])))
        .send()
        .await
        .expect(201);
    harness.clock.advance_seconds(1);
    let _ = put(&harness, "teams", &api_with("include", json!(["ANY /teams"]))).send().await.expect(200);
    harness.clock.advance_seconds(1);
    let _ = harness.request("DELETE", "/iam/v1/apis/teams").admin().send().await.expect(204);
    let events = harness.get("/iam/v1/events?api=teams").await.json();
    assert_eq!(events["items"][2]["requestId"], created.request_id());
    assert_json_snapshot!(events, { ".items[].requestId" => "[request id]" });
    for kind in ["registered", "changed", "deleted"] {
        let found = harness.get(&format!("/iam/v1/events?type=api.{kind}")).await.json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn an_identical_api_changes_nothing_and_writes_no_event_200() {
    let harness = Harness::start().await;
    let created = put(&harness, "teams", &api()).send().await.expect(201);
    let before = harness.table.dump().await;
    harness.clock.advance_seconds(60);
    for body in [api(), api_with("openapi", Value::Null), api_with("confirmation", "off".into())] {
        let reply = put(&harness, "teams", &body).send().await.expect(200);
        assert_eq!((reply.json(), &reply.headers["etag"]), (created.json(), &created.headers["etag"]));
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn a_deployment_has_at_most_fifty_apis_409() {
    let harness = Harness::start().await;
    for number in 0..50 {
        let _ = put(&harness, &format!("a{number}"), &api()).send().await.expect(201);
    }
    let one_more = || put(&harness, "more", &api());
    assert_json_snapshot!(harness.refuse(one_more(), 409, "api_limit_reached").await.snapshot());
    let _ = harness.request("DELETE", "/iam/v1/apis/a7").admin().send().await.expect(204);
    let _ = one_more().send().await.expect(201);
    let _ = put(&harness, "a8", &api_with("title", "Changed".into())).send().await.expect(200);
}

#[tokio::test]
async fn preconditions_200_201_400_412() {
    let harness = Harness::start().await;
    let (body, other) = (api(), api_with("title", "Other".into()));
    let keep = api_with("openapi", Value::Null);
    for missing in [&body, &keep] {
        harness.refuse(put(&harness, "teams", missing).if_match("*"), 412, "precondition_failed").await;
    }
    let absent = |body: &Value| put(&harness, "teams", body).header("if-none-match", "*");
    let created = absent(&body).send().await.expect(201);
    harness.refuse(absent(&other), 412, "precondition_failed").await;
    harness.refuse(absent(&keep), 412, "precondition_failed").await;
    let tag = created.headers["etag"].clone();
    bad_input::refuses_bad_if_match(&harness, || put(&harness, "teams", &other), &tag).await;
    let _ = put(&harness, "teams", &other).if_match(&tag).send().await.expect(200);
    harness.refuse(put(&harness, "teams", &body).if_match(&tag), 412, "precondition_failed").await;
    // A new registration after a deletion has another version.
    let _ = harness.request("DELETE", "/iam/v1/apis/teams").admin().send().await.expect(204);
    harness.refuse(put(&harness, "teams", &body).if_match("*"), 412, "precondition_failed").await;
    let again = absent(&body).send().await.expect(201);
    assert_ne!(again.headers["etag"], tag);
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let url = |text: &str| api_with("baseUrl", text.into());
    let mut cases: Vec<Value> = [
        "",
        "api.example.com",
        "http://api.example.com",
        "ftp://api.example.com",
        "https://",
        "https://api.example.com?x=1",
        "https://api.example.com#x",
        "https://user@api.example.com",
        "https://api.example.com/a b",
        "https://api.example.com/a//b",
        "https://api.example.com/a/../b",
        "https://api.example.com/%2e%2e/b",
        "https://api.example.com/a%2Fb",
        "https:\\\\api.example.com",
        &format!("https://api.example.com/{}", "a".repeat(500)),
        // Its normal form is longer.
        &format!("https://1/{}", "a".repeat(502)),
        &format!("https://api.example.com/{}", keys::generated_key("prod", 1)),
        // Without the id of the API in API Gateway.
        "https://api.example.com",
        "https://a1b2c3-vpce-0123.execute-api.eu-central-1.amazonaws.com",
    ]
    .map(url)
    .to_vec();
    cases.extend([
        json!({}),
        api_with("title", Value::Null),
        api_with("title", " ".into()),
        api_with("title", "x".repeat(129).into()),
        api_with("title", keys::generated_key("prod", 1).into()),
        api_with("apiId", "A1".into()),
        api_with("apiId", "".into()),
        api_with("routePrefix", "v1".into()),
        api_with("routePrefix", "/".into()),
        api_with("routePrefix", "/v1/".into()),
        api_with("routePrefix", "/{stage}".into()),
        api_with("routePrefix", "/iam".into()),
        api_with("routePrefix", "/..;a".into()),
        api_with("routePrefix", format!("/{}", "a".repeat(128)).into()),
        api_with("include", json!([])),
        api_with("include", json!(["GET /a", "FETCH /b", "GET /{x}", "GET /{y}", "GET /iam/v1"])),
        api_with("include", json!(["GET /elsewhere"])),
        api_with("exclude", json!(["ANY /{proxy+}"])),
        api_with("exclude", (0..101).map(|number| format!("GET /{number}")).collect()),
        api_with("confirmation", "always".into()),
        api_with("name", "other".into()),
        // Every error at once.
        json!({ "title": "", "baseUrl": "x", "apiId": "X", "routePrefix": "x", "include": ["x"], "exclude": ["x"],
            "confirmation": "x", "openapi": "x" }),
    ]);
    let errors =
        bad_input::refuse_fields(&harness, || harness.request("PUT", "/iam/v1/apis/teams").admin(), &cases)
            .await;
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn each_invalid_document_422() {
    let harness = Harness::start().await;
    let with = |member: &str, value: Value| {
        let mut document = document();
        document[member] = value;
        document
    };
    let documents = [
        Value::Null,
        json!(1),
        json!([]),
        json!({}),
        json!(""),
        json!("{"),
        json!("a: [b"),
        json!({ "swagger": "2.0" }),
        with("openapi", "2.0".into()),
        with("paths", json!([])),
        with("paths", json!({})),
        with("paths", json!({ "/teams": { "trace": {} } })),
        operations(2001),
        with("x-filler", "x".repeat(1_000_000).into()),
    ];
    let cases: Vec<_> = documents.into_iter().map(|document| api_with("openapi", document)).collect();
    let errors =
        bad_input::refuse_fields(&harness, || harness.request("PUT", "/iam/v1/apis/teams").admin(), &cases)
            .await;
    assert_json_snapshot!(errors);
    // A lone surrogate is not a text.
    let body = api().to_string().replace("\"openapi\":{", "\"openapi\":\"\\ud800\",\"x\":{");
    let request = harness.request("PUT", "/iam/v1/apis/teams").admin().text("application/json", &body);
    harness.refuse(request, 422, "invalid_fields").await;
}

/// A document can have a real key in an example.
#[tokio::test]
async fn credentials_in_documents_are_redacted_201() {
    let harness = Harness::start().await;
    let key = keys::generated_key("prod", 1);
    let mut document = document();
    document["info"]["description"] = format!("Try it with {key}").into();
    document["paths"]["/teams"]["get"]["summary"] = format!("Use {key}").into();
    document["paths"]["/teams"]["get"]["parameters"] =
        json!([{ "name": "key", "in": "query", "schema": { "type": "string", "default": key } }]);
    let reply = put(&harness, "teams", &api_with("openapi", document.clone())).send().await.expect(201);
    assert!(!reply.text.contains(&key));
    assert_eq!(reply.json()["tools"][0]["title"], "Use [redacted]");
    let text = document.to_string().replace(&key, "[redacted]");
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&text));
    assert_eq!(reply.json()["documentSha256"], digest, "the stored document is redacted");
}

/// Texts in which a key or a JWT could start at almost every position.
#[tokio::test]
async fn hostile_documents_cost_bounded_time_201() {
    let harness = Harness::start().await;
    for text in
        ["kwsa_".repeat(199_000), "kwst_.".repeat(165_000), "eyJ.".repeat(248_000), "%25".repeat(330_000)]
    {
        let mut document = document();
        document["x-filler"] = text.into();
        let started = Instant::now();
        let _ = put(&harness, "teams", &api_with("openapi", document)).send().await;
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn accepts_the_largest_document_and_refuses_larger_bodies_201_413() {
    let harness = Harness::start().await;
    let mut document = operations(2000);
    document["x-filler"] = "".into();
    let length = document.to_string().len();
    // Characters that do not compress well, so that the document has several chunks.
    let filler: String = (0..1_000_000 - length)
        .scan(1_u64, |state, _| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from_digit(u32::try_from(*state >> 59).unwrap(), 36)
        })
        .collect();
    document["x-filler"] = filler.into();
    assert_eq!(document.to_string().len(), 1_000_000);
    let reply = put(&harness, "large", &api_with("openapi", document)).send().await.expect(201);
    assert_eq!(reply.json()["toolCount"], 2000);
    assert_eq!(harness.get("/iam/v1/apis/large").await.json(), reply.json());
    let chunks = sort_keys(&harness, "large").await;
    assert!(chunks.contains(&"0 DOCUMENT#001".to_owned()), "{chunks:?}");
    // The stored document is complete: it gives the same tools.
    let kept = put(&harness, "large", &api_with("openapi", Value::Null)).send().await.expect(200);
    assert_eq!(kept.headers["etag"], reply.headers["etag"]);

    let large = api().to_string() + &" ".repeat(2_500_000);
    let request = harness.request("PUT", "/iam/v1/apis/large").admin().text("application/json", &large);
    assert_json_snapshot!(harness.refuse(request, 413, "body_too_large").await.snapshot());
}

/// Only local mode and tests accept APIs on their own machine, and have an id for them.
#[tokio::test]
async fn an_api_on_this_machine_is_refused_when_deployed_422() {
    let harness = Harness::start().await;
    let put = async |trusts: &str| {
        let setup = harness.system.setup_for("ManageApis").unwrap();
        let own = setup.variables.iter().filter(|(name, _)| *name != variable::LOOPBACK_HOSTS);
        let own = own.chain([(variable::LOOPBACK_HOSTS, trusts)]);
        let setup = Setup { variables: own.collect(), ..setup.clone() };
        let event = Event {
            route: "PUT /iam/v1/apis/{name}".to_owned(),
            parameters: json!({ "name": "local" }),
            body: Some(api_with("baseUrl", "http://127.0.0.1:8080".into())),
            context: Some(routes::admin_context()),
        };
        harness.invoke_with("ManageApis", &setup, &event).await
    };
    let refused = put("false").await;
    assert_eq!((refused.status, &refused.errors()[0]["pointer"]), (422, &json!("/baseUrl")));
    let accepted = put("true").await.expect(201);
    assert_eq!(accepted.json()["apiId"], "keyward");
}

/// Whatever call fails, the API has its old tools or its new ones.
#[tokio::test]
async fn a_request_that_fails_part_way_leaves_the_old_api_working_503() {
    let harness = Harness::start().await;
    let changed = api_with("include", json!(["GET /teams"]));
    let old = put(&harness, "teams", &api()).send().await.expect(201).json();
    harness.wire.take_calls();
    let new = put(&harness, "teams", &changed).send().await.expect(200).json();
    let calls = harness.wire.take_calls().len();
    for position in 0..calls {
        let before = put(&harness, "teams", &api()).send().await.expect(200).json();
        assert_eq!(before["tools"], old["tools"]);
        let seen = std::sync::atomic::AtomicUsize::new(0);
        harness.wire.intercept(move |_| {
            let is_later = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= position;
            if is_later { Action::Respond(500, "{}".to_owned()) } else { Action::Pass }
        });
        let reply = put(&harness, "teams", &changed).send().await;
        harness.wire.pass_all();
        let after = harness.get("/iam/v1/apis/teams").await.expect(200).json();
        let expected = if reply.status == 200 { &new } else { &before };
        assert_eq!(after["tools"], expected["tools"], "{position}");
        assert!([200, 503].contains(&reply.status), "{reply:?}");
    }
    // The next request deletes what is left, but nothing that a running request may have written.
    assert!(sort_keys(&harness, "teams").await.len() > SMALL.len());
    harness.clock.advance_seconds(3601);
    let _ = put(&harness, "teams", &api_with("title", "Last".into())).send().await.expect(200);
    assert_eq!(sort_keys(&harness, "teams").await, SMALL);
}

/// A PUT that other PUTs overtake is made again, or refused if it has a precondition.
#[tokio::test]
async fn concurrent_requests_never_mix_their_tools_200_409_412() {
    let harness = Harness::start().await;
    let tag = put(&harness, "teams", &api()).send().await.expect(201).headers["etag"].clone();
    let body = |number: usize| {
        let mut body = api_with("openapi", operations(number + 1));
        body["title"] = format!("Title {number}").into();
        body
    };
    for with_tag in [true, false] {
        let replies = join_all((0..8).map(|number| {
            let request = put(&harness, "teams", &body(number));
            if with_tag { request.if_match(&tag).send() } else { request.send() }
        }))
        .await;
        let accepted = replies.iter().filter(|reply| reply.status == 200).count();
        let others = replies.iter().filter(|reply| [409, 412].contains(&reply.status)).count();
        assert_eq!(accepted + others, 8, "{replies:?}");
        if with_tag {
            assert_eq!(accepted, 1);
        } else {
            assert!(accepted >= 1);
        }
        let read = harness.get("/iam/v1/apis/teams").await.expect(200).json();
        let number: usize = read["title"].as_str().unwrap()["Title ".len()..].parse().unwrap();
        assert_eq!(read["toolCount"], number + 1);
        assert_eq!(read["tools"].as_array().unwrap().len(), number + 1);
    }
}

/// A PUT with a precondition is refused if another PUT comes between its read and its write.
#[tokio::test]
async fn a_request_that_is_overtaken_before_its_write_changes_nothing_412() {
    let harness = Harness::start().await;
    let tag = put(&harness, "teams", &api()).send().await.expect(201).headers["etag"].clone();
    harness.wire.intercept(|call| {
        let is_slow = call.operation == "TransactWriteItems" && call.body.to_string().contains("Overtaken");
        if is_slow { Action::Delay(std::time::Duration::from_millis(300)) } else { Action::Pass }
    });
    let (slow, fast) = (api_with("title", "Overtaken".into()), api_with("title", "Other".into()));
    let (slow, fast) = tokio::join!(put(&harness, "teams", &slow).if_match(&tag).send(), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        put(&harness, "teams", &fast).send().await
    });
    harness.wire.pass_all();
    let _ = fast.expect(200);
    let _ = slow.expect_problem(412, "precondition_failed");
    assert_eq!(harness.get("/iam/v1/apis/teams").await.json()["title"], "Other");
}

/// Settings that are put without a document are refused if another request changes the document
/// at the same time.
#[tokio::test]
async fn a_document_that_changes_meanwhile_is_not_lost_409() {
    let harness = Harness::start().await;
    let _ = put(&harness, "teams", &api()).send().await.expect(201);
    let other = put(&harness, "teams", &api_with("openapi", operations(3)));
    // The other request is made after the first has read the document.
    let settings = {
        let reads = std::sync::atomic::AtomicUsize::new(0);
        harness.wire.intercept(move |call| {
            let is_second = call.operation == "GetItem"
                && call.body["Key"]["sk"]["S"] == "API"
                && reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
            if is_second { Action::Delay(std::time::Duration::from_millis(300)) } else { Action::Pass }
        });
        let body = api_with("openapi", Value::Null);
        let mut body = body;
        body["title"] = "Settings".into();
        put(&harness, "teams", &body)
    };
    let (settings, other) = tokio::join!(settings.send(), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        other.send().await
    });
    harness.wire.pass_all();
    assert_eq!((settings.status, settings.code().as_str()), (409, "concurrent_changes"), "{settings:?}");
    let _ = other.expect(200);
    assert_eq!(harness.get("/iam/v1/apis/teams").await.json()["toolCount"], 3);
}

#[tokio::test]
async fn a_cancelled_transaction_changes_nothing_409() {
    let harness = Harness::start().await;
    let created = put(&harness, "teams", &api()).send().await.expect(201);
    harness.wire.intercept(|call| match call.operation.as_str() {
        "TransactWriteItems" => cancelled(&["ConditionalCheckFailed", "None"]),
        _ => Action::Pass,
    });
    let changed = put(&harness, "teams", &api_with("title", "Changed".into()));
    let _ = changed.send().await.expect_problem(409, "concurrent_changes");
    harness.wire.pass_all();
    let read = harness.get("/iam/v1/apis/teams").await;
    assert_eq!((read.json(), &read.headers["etag"]), (created.json(), &created.headers["etag"]));
}
