//! From outside, every credential that is not good looks the same.

use serde_json::{Value, json};
use shared::domain::{ApiKey, Environment};
use tests::{Harness, Shape};

/// A credential of each kind that is not good, by the reason that the log gives.
async fn bad_credentials(harness: &Harness) -> Vec<(&'static str, String)> {
    let local = Environment::parse("local").unwrap();
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let good = harness.issue_key(&account).await;
    let parse = |text: &str| ApiKey::parse(text, &local).unwrap();

    let mut unknown_account = parse(&good.secret);
    unknown_account.account = "sa_0000000000000000".parse().unwrap();
    let mut unknown_key = parse(&good.secret);
    unknown_key.id = "key_0000000000000000".parse().unwrap();
    let mut wrong_secret = parse(&good.secret);
    wrong_secret.secret = parse(&harness.issue_key(&account).await.secret).secret;
    let foreign = parse(&good.secret).display(&Environment::parse("prod").unwrap()).expose().to_owned();

    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let mut revoked_wrong_secret = parse(&revoked.secret);
    revoked_wrong_secret.secret = parse(&good.secret).secret;
    let disabled_account = harness.create_account("disabled", "ServiceAccountReader").await;
    let disabled = harness.issue_key(&disabled_account).await;
    let patch = harness.request("PATCH", &disabled_account.path()).admin().json(&json!({ "enabled": false }));
    let _ = patch.send().await.expect(200);
    let deleted_account = harness.create_account("deleted", "ServiceAccountReader").await;
    let deleted = harness.issue_key(&deleted_account).await;
    let _ = harness.request("DELETE", &deleted_account.path()).admin().send().await.expect(204);
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    let mut malformed = good.secret.clone();
    malformed.pop();
    let token = harness.system.facts().admin_api_token.clone();
    let (signed, _) = token.rsplit_once('.').unwrap();
    harness.clock.advance_days(1);

    let text = |key: ApiKey| key.display(&local).expose().to_owned();
    vec![
        ("unknown", text(unknown_account)),
        ("unknown", text(unknown_key)),
        ("wrong_secret", text(wrong_secret)),
        ("wrong_secret", text(revoked_wrong_secret)),
        ("foreign_environment", foreign),
        ("revoked", revoked.secret),
        ("disabled", disabled.secret),
        ("retired", deleted.secret),
        ("expired", short.secret),
        ("malformed", malformed),
        ("malformed", "junk".to_owned()),
        ("expired", token.clone()),
        ("wrong_secret", format!("{signed}.{}", "A".repeat(342))),
    ]
}

#[tokio::test]
async fn the_authorizer_answers_each_bad_credential_alike() {
    let harness = Harness::start().await;
    let credentials = bad_credentials(&harness).await;
    for shape in Shape::ALL {
        let mut answers = Vec::new();
        for (reason, credential) in &credentials {
            let event = shape.bearer(credential);
            // An instance looks up only a few retired keys in a second.
            harness.clock.advance_seconds(1);
            assert_eq!(harness.decide(&event).await.1, *reason, "the case is what it is meant to be");
            answers.push(match harness.authorize(&event).await {
                Ok(answer) => serde_json::to_value(answer).unwrap(),
                Err(failed) => json!({ "error": failed.to_string() }),
            });
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{shape:?} {answers:#?}");
        assert!(answers[0].get("context").is_none());
    }
}

#[tokio::test]
async fn the_api_answers_each_bad_credential_alike() {
    let harness = Harness::start().await;
    let credentials = bad_credentials(&harness).await;
    for (method, path) in [
        ("GET", "/organizations/42"),
        ("POST", "/organizations"),
        ("GET", "/iam/v1/whoami"),
        ("GET", "/iam/v1/service-accounts"),
        ("POST", "/iam/v1/service-accounts"),
        ("DELETE", "/no/such/route"),
    ] {
        let mut replies: Vec<Value> = Vec::new();
        for (reason, credential) in &credentials {
            let reply = harness.request(method, path).bearer(credential).send().await;
            let lengths = reply.headers["content-length"].clone();
            let mut snapshot = reply.snapshot();
            snapshot["headers"]["content-length"] = lengths.into();
            assert_eq!(snapshot["status"], 403, "{reason}");
            replies.push(snapshot);
        }
        assert!(replies.iter().all(|reply| *reply == replies[0]), "{method} {path} {replies:#?}");
    }
}
