//! Each decision logs one line with the principal and the reason.

use authorizer::{FunctionError, Reason};
use local::issuer::API_CLIENT;
use serde_json::{Value, json};
use shared::config::variable;
use shared::domain::ApiKey;
use tests::{Action, Harness, Key, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::audit_lines::with_message;
use crate::support::changes;
use crate::support::keys::{environment, foreign, parsed};
use tests::tokens::{Parent, add_identity, end_issuer, register_issuer};

/// The audience of business APIs.
const AUDIENCE: &str = "business-apis";

/// An event and the decision that it must cause.
struct Case {
    reason: Reason,
    verdict: Verdict,
    event: Value,
    key: Option<String>,
    identity: Option<String>,
}

/// A case for each reason, in the order of the [`Reason`] variants.
async fn cases(harness: &Harness) -> Vec<Case> {
    let shape = Shape::HttpV2;
    let local = environment("local");
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    let good = harness.issue_key(&account).await;
    let other = harness.issue_key(&account).await;
    let narrow = json!({ "name": "key", "allowedCidrs": ["192.0.2.0/24"] });
    let narrow = harness.issue_key_with(&account, &narrow).await;
    let [revoked, retired] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = harness.revoke(&revoked).await.expect(204);
    changes::rotate(harness, &retired, 0).await;
    let (disabled_account, disabled) = harness.account_with_key("disabled", "ServiceAccountReader").await;
    changes::disable(harness, &disabled_account).await;
    let broken = harness.reader_key_of("broken").await;
    harness.table.tamper(&broken.account, |item| drop(item.remove("enabled"))).await;
    register_issuer(harness, "platform").await;
    let identity = add_identity(harness, &account, "platform", None).await;
    let mut unknown = parsed(&good);
    unknown.id = "key_0000000000000000".parse().unwrap();
    let mut wrong = parsed(&good);
    wrong.secret = parsed(&other).secret;
    harness.clock.advance_days(1);
    // A token for business APIs. This test configures an audience for them.
    let token = |change: &dyn Fn(&mut Value)| {
        let mut claims = harness.system.issuer().claims(API_CLIENT);
        claims["aud"] = AUDIENCE.into();
        change(&mut claims);
        shape.bearer(&harness.sign(&harness.system.issuer().header(), &claims))
    };
    let other_audience = token(&|claims| claims["aud"] = "another-api".into());
    let admin_scope = token(&|claims| claims["scope"] = "openid aws.cognito.signin.user.admin".into());
    let of_ended_issuer = identity.token(harness).await;
    end_issuer(harness, "platform").await;
    let of_request = Parent::key(&good).request_token(harness, "GET", "/teams/42").await;
    let mut mismatch = shape.bearer(&good.secret);
    mismatch["rawPath"] = "/teams/42".into();

    let key = |reason, verdict, key: &Key, event: Value| Case {
        reason,
        verdict,
        event,
        key: Some(key.id.clone()),
        identity: None,
    };
    let with = |key: &Key| shape.bearer(&key.secret);
    let with_parsed = |key: &ApiKey| shape.bearer(key.display(&local).expose());
    let at = |path: &str| shape.request("GET", path, &good.secret);
    let no_key = |reason, event| Case { reason, verdict: Verdict::Deny, event, key: None, identity: None };
    let deny = Verdict::Deny;
    vec![
        key(Reason::Allowed, Verdict::Allow, &good, with(&good)),
        no_key(Reason::Missing, shape.without_authorization()),
        no_key(Reason::Malformed, shape.bearer(&good.secret[..90])),
        no_key(Reason::ForeignEnvironment, shape.bearer(&foreign(&good, "prod"))),
        Case {
            reason: Reason::Unknown,
            verdict: deny,
            event: with_parsed(&unknown),
            key: Some(unknown.id.to_string()),
            identity: None,
        },
        key(Reason::Revoked, deny, &revoked, with(&revoked)),
        key(Reason::Retired, deny, &retired, with(&retired)),
        key(Reason::Expired, deny, &short, with(&short)),
        key(Reason::Disabled, deny, &disabled, with(&disabled)),
        key(Reason::WrongSecret, deny, &good, with_parsed(&wrong)),
        Case {
            reason: Reason::Issuer,
            verdict: deny,
            event: shape.bearer(&of_ended_issuer),
            key: None,
            identity: Some(identity.grant.to_string()),
        },
        key(Reason::Request, deny, &good, shape.bearer(&of_request)),
        no_key(Reason::Audience, other_audience),
        no_key(Reason::Scope, admin_scope),
        key(Reason::Role, deny, &good, at("/orders")),
        key(Reason::Network, deny, &narrow, with(&narrow)),
        no_key(Reason::AmbiguousPath, at("/organizations//42")),
        no_key(Reason::PathMismatch, mismatch),
        key(Reason::Reserved, deny, &good, at("/iam/v1/service-accounts")),
        key(Reason::Outage, Verdict::Failed(FunctionError::Unavailable), &broken, with(&broken)),
    ]
}

/// The position of a reason in [`cases`]. The exhaustive match makes sure that each new
/// reason is added here, and the test compares these numbers with the cases.
fn number(reason: Reason) -> usize {
    match reason {
        Reason::Allowed => 0,
        Reason::Missing => 1,
        Reason::Malformed => 2,
        Reason::ForeignEnvironment => 3,
        Reason::Unknown => 4,
        Reason::Revoked => 5,
        Reason::Retired => 6,
        Reason::Expired => 7,
        Reason::Disabled => 8,
        Reason::WrongSecret => 9,
        Reason::Issuer => 10,
        Reason::Request => 11,
        Reason::Audience => 12,
        Reason::Scope => 13,
        Reason::Role => 14,
        Reason::Network => 15,
        Reason::AmbiguousPath => 16,
        Reason::PathMismatch => 17,
        Reason::Reserved => 18,
        Reason::Outage => 19,
    }
}

#[tokio::test]
async fn each_decision_logs_one_line_with_its_reason() {
    let harness = Harness::builder().variable(variable::OIDC_API_AUDIENCE, AUDIENCE).start().await;
    let cases = cases(&harness).await;
    assert_eq!(cases.iter().map(|case| number(case.reason)).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    for Case { reason, verdict, event, key, identity } in cases {
        let logs = Logs::capture(LevelFilter::TRACE);
        assert_eq!(harness.verdict(&event).await, verdict, "{}", reason.name());
        let log = logs.take();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let decisions = with_message(&lines, "decision");
        let [line] = &decisions[..] else { panic!("{} lines: {log}", decisions.len()) };
        assert_eq!(line["reason"], reason.name());
        assert_eq!(line["request_id"], "request-1");
        assert_eq!(line["key_id"].as_str(), key.as_deref(), "{}", reason.name());
        assert_eq!(line["identity_id"].as_str(), identity.as_deref(), "{}", reason.name());
        let has_token = matches!(reason, Reason::Issuer | Reason::Request);
        assert_eq!(line.get("token_id").is_some(), has_token, "{}", reason.name());
        assert_eq!(line["level"], if reason == Reason::Outage { "ERROR" } else { "INFO" });
        assert_eq!(line.get("cause").is_some(), reason == Reason::Outage);
        if let Some(header) = event["headers"]["authorization"].as_str() {
            let credential = header.trim_start_matches("Bearer ");
            // A token's signature can contain `_`.
            let secret = credential.rsplit(if credential.contains('.') { '.' } else { '_' }).next().unwrap();
            let secret = &secret[..secret.len().min(43)];
            assert!(!log.contains(credential) && !log.contains(secret), "{}", reason.name());
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_valid_key_names_the_part_of_its_scope_that_refused() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountWriter").await;
    harness.put_role("orders", &["POST /orders", "GET /organizations/{id}"]).await;
    let issue = async |body: Value| harness.issue_key_with(&account, &body).await.secret;
    let plain = issue(json!({ "name": "plain" })).await;
    let reader = issue(json!({ "name": "reader", "role": "ServiceAccountReader" })).await;
    let orders = issue(json!({ "name": "orders", "role": "orders" })).await;
    let narrow = issue(json!({ "name": "narrow", "role": "orders", "allowedCidrs": ["192.0.2.0/24"] })).await;
    let logs = Logs::capture(LevelFilter::INFO);
    for (credential, method, path, reason, refused_by) in [
        (&plain, "GET", "/organizations/42", "allowed", None),
        (&plain, "POST", "/orders", "role", Some("account_role")),
        (&reader, "GET", "/organizations/42", "allowed", None),
        (&reader, "POST", "/teams", "role", Some("key_role")),
        (&reader, "POST", "/orders", "role", Some("account_role")),
        (&orders, "GET", "/organizations/42", "allowed", None),
        (&orders, "POST", "/orders", "role", Some("account_role")),
        (&orders, "GET", "/teams", "role", Some("key_role")),
        // The network is checked first, so other networks learn nothing about the key's roles.
        (&narrow, "GET", "/organizations/42", "network", Some("network")),
        (&narrow, "GET", "/teams", "network", Some("network")),
        (&orders, "POST", "/iam/v1/service-accounts", "reserved", None),
    ] {
        harness.verdict(&Shape::HttpV2.request(method, path, credential)).await;
        let line = logs.take_decisions().remove(0);
        let logged = (line["reason"].as_str().unwrap(), line.get("refused_by").and_then(Value::as_str));
        assert_eq!(logged, (reason, refused_by), "{method} {path}: {line}");
    }
    // A TOKEN event has no source address, so the network is the reason.
    harness.verdict(&Shape::RestToken.bearer(&narrow)).await;
    assert_eq!(logs.take_decisions()[0]["refused_by"], "network");
}

#[tokio::test]
async fn an_event_without_a_request_id_is_logged_with_the_invocation_id() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::INFO);
    harness.verdict(&Shape::RestToken.bearer("junk")).await;
    assert_eq!(logs.take_decisions()[0]["request_id"], "invocation-1");
    harness.verdict(&json!({ "type": "canary" })).await;
    let lines = logs.take_decisions();
    assert_eq!((&lines[0]["request_id"], &lines[0]["reason"]), (&json!("invocation-1"), &json!("outage")));
}

#[tokio::test]
async fn an_admin_is_logged_by_the_tokens_subject() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::TRACE);
    let token = harness.system.facts().admin_api_token.clone();
    harness.verdict(&Shape::HttpV2.bearer(&token)).await;
    let log = logs.take();
    assert!(!log.contains(&token) && !log.contains(token.rsplit('.').next().unwrap()));
    let line = log.lines().find(|line| line.contains("\"decision\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["principal"], local::issuer::ADMIN_SUB);
    assert_eq!(line.get("key_id"), None);
}

#[tokio::test]
async fn an_outage_differs_from_the_refusal_of_a_key() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    harness.wire.intercept(|_| Action::Refuse);
    for shape in Shape::ALL {
        let decided = harness.decide(&shape.bearer(&key.secret)).await;
        assert_eq!(decided, (Verdict::Failed(FunctionError::Unavailable), "outage".to_owned()), "{shape:?}");
    }
    assert_eq!(harness.check(&key.secret).await, 500);
}

#[tokio::test]
async fn a_request_id_cannot_forge_a_log_line() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::INFO);
    let mut event = Shape::HttpV2.bearer("junk");
    event["requestContext"]["requestId"] = "x\"}\n{\"message\":\"decision\",\"reason\":\"allowed\"}".into();
    harness.verdict(&event).await;
    assert_eq!(logs.take_decisions().len(), 1);
}
