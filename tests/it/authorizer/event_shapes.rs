//! The four shapes of authorizer event. The response to each has the form of an IAM policy.

use authorizer::FunctionError;
use insta::assert_json_snapshot;
use serde_json::{Map, Value, json};
use shared::config::variable;
use shared::policy::Api;
use tests::{Harness, Key, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::keys::{foreign, forged, generated_key};
use crate::support::{changes, denied, unauthorized};

/// AWS's sample events, unchanged.
const SAMPLES: [(&str, &str); 6] = [
    ("rest_token", include_str!("../../events/aws/rest_token.json")),
    ("rest_request", include_str!("../../events/aws/rest_request.json")),
    ("http_v1", include_str!("../../events/aws/http_v1.json")),
    ("http_v2", include_str!("../../events/aws/http_v2.json")),
    ("http_v2_null_maps", include_str!("../../events/aws/http_v2_null_maps.json")),
    ("websocket", include_str!("../../events/aws/websocket.json")),
];

/// The whole response, as the Lambda runtime sends it: a result or an error.
async fn respond(harness: &Harness, event: &Value) -> Value {
    match harness.authorize(event).await {
        Ok(response) => serde_json::to_value(response).unwrap(),
        Err(failed) => json!({ "error": failed.to_string() }),
    }
}

fn malformed() -> Verdict {
    Verdict::Failed(FunctionError::MalformedEvent)
}

#[tokio::test]
async fn each_shape_gets_an_iam_policy() {
    let harness = Harness::start().await;
    harness.put_role("orgs.read", &["GET /organizations/{id}"]).await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let narrow = harness.issue_key_with(&account, &json!({ "name": "narrow", "role": "orgs.read" })).await;
    let admin = harness.system.facts().admin_api_token.clone();
    let mut responses = Map::new();
    for shape in Shape::ALL {
        let for_shape = json!({
            "a valid key": respond(&harness, &shape.bearer(&key.secret)).await,
            "a key with its own role": respond(&harness, &shape.bearer(&narrow.secret)).await,
            "an admin": respond(&harness, &shape.bearer(&admin)).await,
            "a key without the permission": respond(&harness, &shape.request("POST", "/organizations", &key.secret)).await,
            "a malformed key": respond(&harness, &shape.bearer("kwsa_local_x")).await,
            "no credential": respond(&harness, &shape.without_authorization()).await,
            "an ambiguous path": respond(&harness, &shape.request("GET", "/a//b", &key.secret)).await,
        });
        responses.insert(shape.name().to_owned(), for_shape);
    }
    for response in responses.values().flat_map(|shape| shape.as_object().unwrap().values()) {
        assert!(!response.to_string().contains("null"), "{response}");
        let context = response.get("context").and_then(Value::as_object);
        assert!(context.into_iter().flat_map(Map::values).all(Value::is_string), "{response}");
    }
    assert_json_snapshot!(responses);
}

/// The refusals of valid keys, as credential, method and path: by the account's role, the
/// key's role, the networks and the reserved prefix.
async fn refusals_of_valid_keys(harness: &Harness) -> Vec<(&'static str, String, &'static str, String)> {
    harness.put_role("orgs.read", &["GET /organizations/{id}"]).await;
    let (account, reader) = harness.account_with_key("reader", "ServiceAccountReader").await;
    let issue = async |body: Value| harness.issue_key_with(&account, &body).await.secret;
    let narrow = issue(json!({ "name": "narrow", "role": "orgs.read" })).await;
    let elsewhere = issue(json!({ "name": "elsewhere", "allowedCidrs": ["192.0.2.0/24"] })).await;
    let reader = reader.secret;
    let case = |name, secret: &str, method, path: &str| (name, secret.to_owned(), method, path.to_owned());
    vec![
        case("the account's role", &reader, "POST", "/organizations"),
        case("the key's role", &narrow, "GET", "/teams/7/members"),
        case("a segment with an escape", &reader, "PUT", "/organizations/a%20b/members"),
        case("a long path", &reader, "PUT", &format!("/organizations/{}/members", "a".repeat(300))),
        // The path contains a key, and the missing permission does not.
        case("a path with a key", &reader, "PUT", &format!("/organizations/{reader}")),
        case("the networks", &elsewhere, "GET", "/organizations/42"),
        case("the reserved prefix", &reader, "POST", "/iam/v1/service-accounts"),
    ]
}

#[tokio::test]
async fn only_a_rest_api_learns_why_a_valid_key_is_refused() {
    let harness = Harness::start().await;
    let refusals = refusals_of_valid_keys(&harness).await;
    let mut contexts = Map::new();
    for shape in Shape::ALL {
        for (name, secret, method, path) in &refusals {
            let response = respond(&harness, &shape.request(method, path, secret)).await;
            assert_eq!(response["policyDocument"]["Statement"][0]["Effect"], "Deny", "{shape:?} {name}");
            assert!(!response["context"].to_string().contains(secret), "{shape:?} {name}");
            let is_rest = matches!(shape, Shape::RestToken | Shape::RestRequest);
            assert_eq!(response.get("context").is_some(), is_rest, "{shape:?} {name}");
            if let Some(context) = response.get("context") {
                let first = contexts.entry(*name).or_insert_with(|| context.clone());
                assert_eq!(first, context, "{shape:?} {name}");
            }
        }
    }
    assert_json_snapshot!(contexts);
}

#[tokio::test]
async fn no_api_learns_why_another_credential_is_refused() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    let [revoked, retired] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = harness.revoke(&revoked).await.expect(204);
    changes::rotate(&harness, &retired, 0).await;
    let (disabled_account, disabled) = harness.account_with_key("disabled", "ServiceAccountReader").await;
    changes::disable(&harness, &disabled_account).await;
    harness.clock.advance_days(1);
    let credentials = [
        ("malformed", "junk".to_owned()),
        ("foreign_environment", foreign(&key, "prod")),
        ("unknown", generated_key("local", 1)),
        ("wrong_secret", forged(&key, 1)),
        ("revoked", revoked.secret),
        ("retired", retired.secret),
        ("expired", short.secret),
        ("disabled", disabled.secret),
        ("reserved", harness.admin_token(|_| {})),
    ];
    for shape in Shape::ALL {
        // A valid key with this role is refused for both of these requests.
        for (method, path) in [("POST", "/organizations"), ("PUT", "/iam/v1/roles/Auditor")] {
            for (reason, credential) in &credentials {
                let event = shape.request(method, path, credential);
                // An instance looks up only a few retired keys per second.
                harness.clock.advance_seconds(1);
                let logs = Logs::capture(LevelFilter::INFO);
                let response = match harness.authorize_at(Api::Business, &event).await {
                    Ok(response) => serde_json::to_value(response).unwrap(),
                    Err(failed) => json!({ "error": failed.to_string() }),
                };
                assert_eq!(logs.take_decisions()[0]["reason"], *reason, "{shape:?} {path}");
                assert_eq!(response.get("context"), None, "{shape:?} {reason} {path}");
                if *reason != "reserved" && shape != Shape::HttpV2 {
                    assert_eq!(response, json!({ "error": "Unauthorized" }), "{shape:?} {reason} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_samples_of_aws_are_refused() {
    let harness = Harness::start().await;
    for (name, text) in SAMPLES {
        let verdict = Verdict::from(harness.authorizer().answer(text, "invocation").await);
        let expected = match name {
            // The ARN of this sample has `*` as its stage, which is not valid.
            "rest_token" | "websocket" => malformed(),
            "rest_request" | "http_v1" => Verdict::Failed(FunctionError::Unauthorized),
            _ => Verdict::Deny,
        };
        assert_eq!(verdict, expected, "{name}");
    }
}

#[tokio::test]
async fn the_header_name_is_case_insensitive() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let value = format!("Bearer {}", key.secret);
    for shape in Shape::REQUESTS {
        for name in ["Authorization", "authorization", "AUTHORIZATION", "aUTHORIZATION"] {
            let mut event = shape.without_authorization();
            event["headers"][name] = value.as_str().into();
            assert_eq!(harness.verdict(&event).await, Verdict::Allow, "{shape:?} {name}");
        }
        for name in
            ["X-Authorization", "Authorization ", "Proxy-Authorization", "Author\u{131}zation", "x-api-key"]
        {
            let mut event = shape.without_authorization();
            event["headers"][name] = value.as_str().into();
            assert_eq!(harness.decide(&event).await, unauthorized(shape, "missing"), "{shape:?} {name}");
        }
    }
}

#[tokio::test]
async fn the_scheme_is_case_insensitive_and_can_have_several_spaces_after_it() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in Shape::ALL {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(harness.verdict(&shape.with(&format!("{scheme} {key}"))).await, Verdict::Allow);
            assert_eq!(harness.verdict(&shape.with(&format!("{scheme}   {key}"))).await, Verdict::Allow);
        }
    }
}

#[tokio::test]
async fn the_header_can_be_in_multi_value_headers_only() {
    let harness = Harness::start().await;
    let value = format!("Bearer {}", harness.reader_key().await.secret);
    for shape in [Shape::RestRequest, Shape::HttpV1] {
        let mut event = shape.without_authorization();
        event["multiValueHeaders"]["authorization"] = json!([value]);
        assert_eq!(harness.verdict(&event).await, Verdict::Allow);
        event["headers"] = Value::Null;
        assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    }
}

#[tokio::test]
async fn a_repeated_or_joined_header_is_refused() {
    let harness = Harness::start().await;
    let [good, other] =
        [harness.reader_key().await.secret, "kwsa_local_x".to_owned()].map(|key| format!("Bearer {key}"));
    let joined = [
        format!("{good},{good}"),
        format!("{good}, {good}"),
        format!("{good},{other}"),
        format!("{other},{good}"),
        format!("{good},"),
        format!(",{good}"),
        format!("Basic eA==, {good}"),
    ];
    for shape in Shape::ALL {
        for header in &joined {
            assert_eq!(harness.decide(&shape.with(header)).await, unauthorized(shape, "malformed"));
        }
    }
    for shape in Shape::REQUESTS {
        let mut events = Vec::new();
        for twice in [[&good, &good], [&good, &other], [&other, &good]] {
            let mut event = shape.without_authorization();
            event["headers"]["Authorization"] = twice[0].as_str().into();
            event["headers"]["authorization"] = twice[1].as_str().into();
            events.push(event);
            let mut event = shape.with(&good);
            event["multiValueHeaders"] = json!({ "Authorization": twice });
            events.push(event);
            let mut event = shape.without_authorization();
            event["multiValueHeaders"] = json!({ "Authorization": [twice[0]], "authorization": [twice[1]] });
            events.push(event);
        }
        // The two maps have different values.
        let mut event = shape.with(&good);
        event["multiValueHeaders"] = json!({ "Authorization": [other] });
        events.push(event);
        for event in events {
            let decided = harness.decide(&event).await;
            assert_eq!(decided, unauthorized(shape, "malformed"), "{event}");
        }
    }
}

#[tokio::test]
async fn websocket_events_are_malformed() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in Shape::REQUESTS {
        for kind in ["CONNECT", "MESSAGE", "DISCONNECT", "", "other"] {
            let mut event = shape.bearer(&key);
            event["requestContext"]["eventType"] = kind.into();
            assert_eq!(harness.verdict(&event).await, malformed());
        }
    }
    let mut event: Value = serde_json::from_str(SAMPLES[5].1).unwrap();
    event["headers"]["Authorization"] = format!("Bearer {key}").into();
    assert_eq!(harness.verdict(&event).await, malformed());
}

#[tokio::test]
async fn a_path_that_ends_in_connect_is_not_a_websocket_event() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in Shape::ALL {
        let event = shape.request("GET", "/organizations/$connect", &key);
        assert_eq!(harness.decide(&event).await, denied("ambiguous_path"));
        let event = shape.request("GET", "/organizations/connect", &key);
        assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    }
}

/// Fails unless `event` is refused as malformed, and neither the error nor the log quotes the
/// event.
async fn assert_malformed(harness: &Harness, event: &str) {
    let logs = Logs::capture(LevelFilter::TRACE);
    let result = harness.authorizer().answer(event, "invocation-7").await;
    let shown = &event[..event.floor_char_boundary(300)];
    assert!(matches!(result, Err(FunctionError::MalformedEvent)), "{shown}");
    assert_eq!(FunctionError::MalformedEvent.to_string(), "MalformedEvent");
    let log = logs.take();
    assert!(!log.contains("kwsa_") && !log.contains("canary"), "{shown}\n{log}");
    assert_eq!(log.matches("\"decision\"").count(), 1, "{log}");
    assert!(log.contains("invocation-7"));
}

#[tokio::test]
async fn events_with_a_missing_or_mistyped_member_are_malformed() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in Shape::ALL {
        let required: &[&str] = match shape {
            Shape::RestToken => &["/type", "/methodArn"],
            Shape::RestRequest | Shape::HttpV1 => &["/type", "/methodArn", "/httpMethod", "/path"],
            Shape::HttpV2 => &[
                "/type",
                "/routeArn",
                "/rawPath",
                "/requestContext",
                "/requestContext/http",
                "/requestContext/http/method",
            ],
        };
        for pointer in required {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let mut event = shape.bearer(&key);
            event.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name).unwrap();
            assert_malformed(&harness, &event.to_string()).await;
            for value in [Value::Null, json!(1), json!(true), json!([["canary", 1]])] {
                let mut event = shape.bearer(&key);
                *event.pointer_mut(pointer).unwrap() = value;
                assert_malformed(&harness, &event.to_string()).await;
            }
        }
        for member in ["headers", "multiValueHeaders", "version", "requestContext"] {
            for value in [json!(1), json!("canary"), json!(["canary"]), json!(true)] {
                let mut event = shape.bearer(&key);
                event[member] = value;
                assert_malformed(&harness, &event.to_string()).await;
            }
        }
        for value in [json!(1), json!({ "a": key }), json!([1]), json!([[key]]), json!(true)] {
            for map in ["headers", "multiValueHeaders"] {
                let mut event = shape.without_authorization();
                event[map]["authorization"] = value.clone();
                assert_malformed(&harness, &event.to_string()).await;
            }
        }
        for version in ["", "1", "2", "3.0", "2.0 ", "$LATEST"] {
            let mut event = shape.bearer(&key);
            event["version"] = version.into();
            assert_malformed(&harness, &event.to_string()).await;
        }
        for kind in ["", "token", "Request", "CONNECT"] {
            let mut event = shape.bearer(&key);
            event["type"] = kind.into();
            assert_malformed(&harness, &event.to_string()).await;
        }
    }
}

#[tokio::test]
async fn invalid_json_and_other_values_are_malformed() {
    let harness = Harness::start().await;
    let good = Shape::HttpV2.bearer("kwsa_canary").to_string();
    let deep = "[".repeat(200_000);
    let huge = "x".repeat(4 << 20);
    let texts = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"kwsa_canary\"".to_owned(),
        "{}".to_owned(),
        "{\"type\":\"REQUEST\"}".to_owned(),
        "{kwsa_canary}".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}}}"),
        format!("{good} kwsa_canary"),
        good.replacen('{', "{\"type\":\"REQUEST\",", 1),
        good.replacen('{', "{\"rawPath\":\"/kwsa_canary\",", 1),
        good.replacen("kwsa_canary", "kwsa_canary\\ud800", 1),
        good.replacen("kwsa_canary", "kwsa_canary\n", 1),
        deep.clone(),
        format!("{{\"a\":{deep}"),
        format!("{{\"{huge}\":1}}"),
        format!("{{\"type\":\"{huge}\"}}"),
    ];
    for text in texts {
        assert_malformed(&harness, &text).await;
    }
}

#[tokio::test]
async fn unused_members_can_have_any_value() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in Shape::REQUESTS {
        let mut event = shape.bearer(&key);
        for member in [
            "queryStringParameters",
            "pathParameters",
            "stageVariables",
            "cookies",
            "body",
            "isBase64Encoded",
            "surprise",
        ] {
            event[member] = json!({ "a": [1, null, { "b": "x".repeat(1 << 20) }] });
        }
        event["headers"]["X-Odd"] = json!({ "a": 1 });
        event["requestContext"]["authorizer"] = Value::Null;
        assert_eq!(harness.verdict(&event).await, Verdict::Allow, "{shape:?}");
    }
}

async fn with_arn(harness: &Harness, shape: Shape, key: &str, arn: &str) -> Verdict {
    let mut event = shape.bearer(key);
    event[shape.arn_member()] = arn.into();
    harness.verdict(&event).await
}

#[tokio::test]
async fn the_response_has_the_events_arn_in_every_partition_region_and_stage() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let arns = [
        "arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/GET/organizations/42",
        "arn:aws-cn:execute-api:cn-north-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/$default/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/blue_green-2/GET/organizations/42",
    ];
    for shape in Shape::ALL {
        for arn in arns {
            let mut event = shape.bearer(&key);
            event[shape.arn_member()] = arn.into();
            let response = respond(&harness, &event).await;
            assert_eq!(response["policyDocument"]["Statement"][0]["Resource"], arn, "{shape:?}");
            assert_eq!(response["policyDocument"]["Statement"][0]["Effect"], "Allow");
        }
    }
}

#[tokio::test]
async fn an_invalid_or_wildcard_arn_is_refused() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let arns = [
        "",
        "*",
        "arn",
        "arn:aws:execute-api",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/prod",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/prod/GET",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/*/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/prod//organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:*/prod/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:*:abcdef123/prod/GET/organizations/42",
        "arn:aws:execute-api:*:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:*:execute-api:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws:*:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws:lambda:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws*:execute-api:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws?:execute-api:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws${x}:execute-api:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/pr?d/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/${stage}/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/$default*/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1:123456789012:abcdef123//GET/organizations/42",
        "arn:aws:execute-api::123456789012:abcdef123/prod/GET/organizations/42",
        "arn:aws:execute-api:eu-central-1::abcdef123/prod/GET/organizations/42",
        " arn:aws:execute-api:eu-central-1:123456789012:abcdef123/prod/GET/organizations/42",
    ];
    for shape in Shape::ALL {
        for arn in arns {
            assert_eq!(with_arn(&harness, shape, &key, arn).await, malformed(), "{shape:?} {arn}");
        }
        for path in [
            "GET/*",
            "GET/organizations/*",
            "GET/organizations/4?",
            "GET/organizations/${aws:username}",
            "GET/organizations/$",
            "*/organizations/42",
            "G*/organizations/42",
        ] {
            let arn = format!("arn:aws:execute-api:eu-central-1:123456789012:abcdef123/prod/{path}");
            assert_eq!(with_arn(&harness, shape, &key, &arn).await, Verdict::Deny, "{shape:?} {arn}");
        }
    }
}

#[tokio::test]
async fn the_stage_is_not_part_of_the_path() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in [Shape::HttpV1, Shape::HttpV2] {
        let cases = [
            ("dev", "/dev/organizations/42", "/organizations/42", Verdict::Allow),
            ("$default", "/organizations/42", "/organizations/42", Verdict::Allow),
            // With a custom domain, the path does not contain the stage.
            ("dev", "/organizations/42", "/organizations/42", Verdict::Allow),
            ("organizations", "/organizations/42", "/organizations/42", Verdict::Allow),
            // A route whose first segment begins with the stage's name.
            ("dev", "/dev/organizations/42", "/dev/organizations/42", Verdict::Deny),
            ("dev", "/dev/dev/organizations/42", "/dev/organizations/42", Verdict::Deny),
            ("dev", "/developers/42", "/developers/42", Verdict::Deny),
            ("organizations", "/organizations/organizations/42", "/organizations/42", Verdict::Allow),
            // The reserved prefix is reserved after any stage.
            ("dev", "/dev/iam/v1/service-accounts", "/iam/v1/service-accounts", Verdict::Deny),
            ("dev", "/dev/iam/v1/whoami", "/iam/v1/whoami", Verdict::Allow),
            ("iam", "/iam/v1/whoami", "/v1/whoami", Verdict::Deny),
        ];
        for (stage, event_path, arn_path, expected) in cases {
            let event = event_of(shape, stage, event_path, arn_path, &key);
            assert_eq!(harness.verdict(&event).await, expected, "{shape:?} {stage} {event_path}");
        }
    }
}

#[tokio::test]
async fn an_admin_key_cannot_reach_the_iam_api_behind_a_stage() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("root", "ServiceAccountAdmin").await;
    let path = "/iam/v1/service-accounts";
    for shape in [Shape::HttpV1, Shape::HttpV2] {
        let event = event_of(shape, "dev", &format!("/dev{path}"), path, &key.secret);
        assert_eq!(harness.decide(&event).await, denied("reserved"), "{shape:?}");
        assert_eq!(harness.verdict_at(Api::Business, &event).await, Verdict::Deny, "{shape:?}");
    }
}

/// The event of a GET request. `sent` is the path in the request's URL, and `routed` is the
/// path that API Gateway matches with the API's routes.
fn event_of(shape: Shape, stage: &str, sent: &str, routed: &str, key: &str) -> Value {
    let mut event = shape.request("GET", sent, key);
    let arn = format!("arn:aws:execute-api:eu-central-1:123456789012:abcdef123/{stage}/GET{routed}");
    event[shape.arn_member()] = arn.into();
    event["requestContext"]["stage"] = stage.into();
    event
}

#[tokio::test]
async fn the_checked_path_is_the_routed_path() {
    let harness = Harness::builder().variable(variable::BASE_PATHS, "/v1, /v1/eu,/shop").start().await;
    let key = harness.reader_key().await.secret;
    let (ok, mismatch, role) = ("allowed", "path_mismatch", "role");
    let cases = [
        // The stage or a configured base path can precede the routed path.
        ("prod", "/organizations/42", "/organizations/42", ok),
        ("prod", "/prod/organizations/42", "/organizations/42", ok),
        ("prod", "/v1/organizations/42", "/organizations/42", ok),
        ("prod", "/v1/eu/organizations/42", "/organizations/42", ok),
        ("prod", "/shop/organizations/42", "/organizations/42", ok),
        ("$default", "/shop/organizations/42", "/organizations/42", ok),
        // Routes of the API that begin with `/v1` are checked with that prefix.
        ("prod", "/v1/organizations/42", "/v1/organizations/42", role),
        ("prod", "/v1/v1/organizations/42", "/v1/organizations/42", role),
        ("prod", "/prod/prod/organizations/42", "/prod/organizations/42", role),
        // With any other difference, the paths are not of the same request.
        ("prod", "/v2/organizations/42", "/organizations/42", mismatch),
        ("prod", "/V1/organizations/42", "/organizations/42", mismatch),
        ("prod", "/v1x/organizations/42", "/organizations/42", mismatch),
        ("prod", "/v1//organizations/42", "/organizations/42", mismatch),
        ("prod", "/dev/organizations/42", "/organizations/42", mismatch),
        ("$default", "/$default/organizations/42", "/teams/7", mismatch),
        ("prod", "/prod/v1/organizations/42", "/organizations/42", mismatch),
        ("prod", "/organizations/42", "/organizations/43", mismatch),
        ("prod", "/organizations/42", "/organizations/42/", mismatch),
        ("prod", "/organizations/42/", "/organizations/42", mismatch),
        ("prod", "/organizations/42", "/prod/organizations/42", mismatch),
        ("prod", "/teams/7", "/organizations/42", mismatch),
        ("prod", "/iam/v1/service-accounts", "/organizations/42", mismatch),
        ("prod", "", "/organizations/42", mismatch),
        ("prod", "xprod/organizations/42", "/organizations/42", mismatch),
        // The paths are compared after one percent-decoding.
        ("prod", "/organizations/a%20b", "/organizations/a b", ok),
        ("prod", "/organizations/a b", "/organizations/a%20b", ok),
        ("prod", "/organizations/%C3%A9", "/organizations/\u{e9}", ok),
        ("prod", "/organizations%2F42", "/organizations/42", ok),
        ("prod", "/organizations/%2534", "/organizations/4", mismatch),
        ("prod", "/organizations/%252e%252e/x", "/organizations/../x", mismatch),
        ("prod", "/organizations/%2e%2e/x", "/organizations/../x", "ambiguous_path"),
        // After a prefix, the slash of the root path is optional.
        ("prod", "/prod", "/", role),
        ("prod", "/prod/", "/", role),
        ("prod", "/shop", "/", role),
        ("prod", "/", "/", role),
    ];
    for (stage, sent, routed, reason) in cases {
        for shape in Shape::REQUESTS {
            let event = event_of(shape, stage, sent, routed, &key);
            assert_eq!(harness.decide(&event).await.1, reason, "{shape:?} {stage} {sent} {routed}");
        }
    }
    // A TOKEN event has only its ARN.
    let event = Shape::RestToken.request("GET", "/v1/organizations/42", &key);
    assert_eq!(harness.decide(&event).await, denied("role"));
    assert_eq!(harness.verdict(&Shape::RestToken.bearer(&key)).await, Verdict::Allow);
}

/// The event of a request as AWS documents it for this shape, stage and address.
fn documented_event(shape: Shape, stage: &str, address: Address, path: &str, key: &str) -> Value {
    let base = if let Address::Custom { base, .. } = address { base } else { "" };
    let sent = match (shape, address) {
        // The path of a REST API has no stage, and has the base path of a custom domain. For
        // HTTP APIs, AWS documents that the path has no base path, and users report that it has.
        (Shape::RestRequest, _) | (_, Address::Custom { is_in_path: true, .. }) => format!("{base}{path}"),
        // At its default address, the path of an HTTP API has the stage.
        (_, Address::Default) if stage != "$default" => format!("/{stage}{path}"),
        (_, Address::Default | Address::Custom { .. }) => path.to_owned(),
    };
    event_of(shape, stage, &sent, path, key)
}

/// The address of an API.
#[derive(Clone, Copy, Debug)]
enum Address {
    /// The address that API Gateway assigns.
    Default,
    /// A custom domain with this base path, which is or is not in the event's path.
    Custom { base: &'static str, is_in_path: bool },
}

#[tokio::test]
async fn every_documented_event_of_a_request_gets_the_decision_for_its_arn() {
    let harness = Harness::builder().variable(variable::BASE_PATHS, "/v1,/shop/eu").start().await;
    let key = harness.reader_key().await.secret;
    let addresses = [
        Address::Default,
        Address::Custom { base: "", is_in_path: true },
        Address::Custom { base: "/v1", is_in_path: true },
        Address::Custom { base: "/v1", is_in_path: false },
        Address::Custom { base: "/shop/eu", is_in_path: true },
        // This base path is not configured.
        Address::Custom { base: "/other", is_in_path: true },
    ];
    let paths = [
        "/",
        "/organizations",
        "/organizations/42",
        "/organizations/42/",
        "/organizations/a b",
        "/organizations/a%20b",
        "/organizations/\u{e9}",
        "/organizations/%C3%A9;x=1",
        "/v1/organizations/42",
        "/prod/organizations/42",
        "/reports/7",
        "/iam/v1/whoami",
        "/organizations/../iam",
        "/organizations/%2e%2e/iam",
        "/organizations/%252e",
    ];
    let mut reasons = std::collections::BTreeSet::new();
    for path in paths {
        let for_arn = harness.decide(&Shape::RestToken.request("GET", path, &key)).await.1;
        for shape in Shape::REQUESTS {
            for stage in ["$default", "prod", "v1", "organizations"] {
                for address in addresses {
                    let event = documented_event(shape, stage, address, path, &key);
                    let reason = harness.decide(&event).await.1;
                    let is_unconfigured = matches!(address, Address::Custom { base: "/other", .. });
                    let expected = if is_unconfigured { "path_mismatch" } else { &for_arn };
                    assert_eq!(reason, expected, "{shape:?} {stage} {address:?} {path}");
                    // The same event with the ARN of another path.
                    let mut other = event.clone();
                    let arn = event[shape.arn_member()].as_str().unwrap().to_owned();
                    other[shape.arn_member()] = format!("{arn}x").into();
                    assert_eq!(harness.decide(&other).await.1, "path_mismatch", "{shape:?} {stage} {path}");
                    reasons.insert(reason);
                }
            }
        }
    }
    let reasons: Vec<_> = reasons.iter().map(String::as_str).collect();
    assert_eq!(reasons, ["allowed", "ambiguous_path", "path_mismatch", "role"]);
}

#[tokio::test]
async fn the_checked_method_is_the_routed_method() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for shape in Shape::REQUESTS {
        let mut event = shape.bearer(&key);
        let post = event[shape.arn_member()].as_str().unwrap().replace("/GET/", "/POST/");
        event[shape.arn_member()] = post.into();
        assert_eq!(harness.decide(&event).await, denied("path_mismatch"), "{shape:?}");
    }
}

/// A client can send any method, so an unsupported method is not an outage.
#[tokio::test]
async fn unsupported_methods_are_denied() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for method in ["M-SEARCH", "FOO.BAR", "get", "X*", "$X", "A|B", "~", "VERSION-CONTROL", "PROPFIND"] {
        for shape in Shape::ALL {
            let event = shape.request(method, "/organizations/42", &key);
            let decided = harness.decide(&event).await;
            assert_eq!(decided, denied("ambiguous_path"), "{shape:?} {method}");
        }
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}/organizations/42", harness.system.facts().api);
        let request = harness.client.request(method.clone(), url).bearer_auth(&key);
        assert_eq!(request.send().await.unwrap().status(), 403, "{method}");
    }
}

async fn key_from(harness: &Harness, cidrs: &[&str]) -> Key {
    let account = harness.create_account(&cidrs.join(" "), "ServiceAccountReader").await;
    harness.issue_key_with(&account, &json!({ "name": "key", "allowedCidrs": cidrs })).await
}

#[tokio::test]
async fn a_key_with_allowed_networks_works_only_from_them() {
    let harness = Harness::start().await;
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (
            &["203.0.113.0/24"],
            &["203.0.113.0", "203.0.113.7", "203.0.113.255", "::ffff:203.0.113.7", "::ffff:cb00:7107"],
            &[
                "203.0.112.255",
                "203.0.114.0",
                "198.51.100.1",
                "2001:db8::1",
                "::203.0.113.7",
                "",
                "?",
                "203.0.113",
                "203.0.113.7:443",
                "203.0.113.7, 198.51.100.1",
                " 203.0.113.7",
                "203.0.113.007",
                "0x7f.1",
                "::ffff:198.51.100.1",
            ],
        ),
        (&["203.0.113.7/32"], &["203.0.113.7"], &["203.0.113.6", "203.0.113.8"]),
        (
            &["2001:db8::/32", "10.0.0.0/8"],
            &["2001:db8::1", "2001:DB8:ffff::", "10.255.255.255", "::ffff:10.0.0.1"],
            &["2001:db9::1", "11.0.0.0", "::1", "2001:db8::1%eth0"],
        ),
        (&["0.0.0.0/0"], &["198.51.100.1", "0.0.0.0"], &["2001:db8::1", "::"]),
    ];
    for (cidrs, inside, outside) in cases {
        let key = key_from(&harness, cidrs).await;
        for shape in Shape::REQUESTS {
            let mut event = shape.bearer(&key.secret);
            for address in inside {
                shape.set_source(&mut event, address);
                assert_eq!(harness.verdict(&event).await, Verdict::Allow, "{shape:?} {cidrs:?} {address}");
            }
            for address in outside {
                shape.set_source(&mut event, address);
                let decided = harness.decide(&event).await;
                assert_eq!(decided, denied("network"), "{shape:?} {cidrs:?} {address}");
            }
        }
    }
}

#[tokio::test]
async fn no_header_replaces_the_source_address() {
    let harness = Harness::start().await;
    let key = key_from(&harness, &["192.0.2.0/24"]).await;
    for shape in Shape::REQUESTS {
        let mut event = shape.bearer(&key.secret);
        for name in [
            "X-Forwarded-For",
            "x-forwarded-for",
            "Forwarded",
            "X-Real-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
        ] {
            event["headers"][name] = "192.0.2.1".into();
        }
        assert_eq!(harness.decide(&event).await, denied("network"), "{shape:?}");
        shape.set_source(&mut event, "192.0.2.1");
        assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    }
}

/// A TOKEN event has no source address.
#[tokio::test]
async fn a_key_with_allowed_networks_is_refused_for_token_events() {
    let harness = Harness::start().await;
    for cidrs in [&["203.0.113.0/24"][..], &["0.0.0.0/0", "::/0"]] {
        let key = key_from(&harness, cidrs).await;
        let decided = harness.decide(&Shape::RestToken.bearer(&key.secret)).await;
        assert_eq!(decided, denied("network"), "{cidrs:?}");
    }
}
