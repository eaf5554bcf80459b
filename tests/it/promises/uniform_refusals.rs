//! Clients get the same response for every bad credential, whatever is wrong with it.

use serde_json::{Value, json};
use shared::domain::ApiKey;
use tests::{Harness, Shape};

use crate::support::changes;
use crate::support::keys::{environment, foreign, parsed};

/// A bad credential of each kind, with the reason that the authorizer logs.
async fn bad_credentials(harness: &Harness) -> Vec<(&'static str, String)> {
    let (account, valid) = harness.account_with_key("batch", "ServiceAccountReader").await;

    let mut unknown_account = parsed(&valid);
    unknown_account.account = "sa_0000000000000000".parse().unwrap();
    let mut unknown_key = parsed(&valid);
    unknown_key.id = "key_0000000000000000".parse().unwrap();
    let mut wrong_secret = parsed(&valid);
    wrong_secret.secret = parsed(&harness.issue_key(&account).await).secret;

    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let mut revoked_wrong_secret = parsed(&revoked);
    revoked_wrong_secret.secret = parsed(&valid).secret;
    let (disabled_account, disabled) = harness.account_with_key("disabled", "ServiceAccountReader").await;
    changes::disable(harness, &disabled_account).await;
    let (deleted_account, deleted) = harness.account_with_key("deleted", "ServiceAccountReader").await;
    changes::delete(harness, &deleted_account).await;
    let expired = harness.issue_key_with(&account, &json!({ "name": "expired", "expiresInDays": 1 })).await;
    let mut malformed = valid.secret.clone();
    malformed.pop();
    let token = harness.system.facts().admin_api_token.clone();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged_token = format!("{signed}.{}", "A".repeat(342));
    // The short-lived key and the token expire.
    harness.clock.advance_days(1);

    let text = |key: ApiKey| key.display(&environment("local")).expose().to_owned();
    vec![
        ("unknown", text(unknown_account)),
        ("unknown", text(unknown_key)),
        ("wrong_secret", text(wrong_secret)),
        ("wrong_secret", text(revoked_wrong_secret)),
        ("foreign_environment", foreign(&valid, "prod")),
        ("revoked", revoked.secret),
        ("disabled", disabled.secret),
        ("retired", deleted.secret),
        ("expired", expired.secret),
        ("malformed", malformed),
        ("malformed", "junk".to_owned()),
        ("expired", token),
        ("wrong_secret", forged_token),
    ]
}

#[tokio::test]
async fn authorizer_responds_alike_to_every_bad_credential() {
    let harness = Harness::start().await;
    let credentials = bad_credentials(&harness).await;
    for shape in Shape::ALL {
        let mut responses = Vec::new();
        for (reason, credential) in &credentials {
            let event = shape.bearer(credential);
            // An instance looks up only a few retired keys per second.
            harness.clock.advance_seconds(1);
            assert_eq!(harness.decide(&event).await.1, *reason, "the test made another kind of credential");
            responses.push(match harness.authorize(&event).await {
                Ok(response) => serde_json::to_value(response).unwrap(),
                Err(error) => json!({ "error": error.to_string() }),
            });
        }
        assert!(responses.iter().all(|response| *response == responses[0]), "{shape:?} {responses:#?}");
        assert!(responses[0].get("context").is_none());
    }
}

#[tokio::test]
async fn api_responds_alike_to_every_bad_credential() {
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
        let mut responses: Vec<Value> = Vec::new();
        for (reason, credential) in &credentials {
            let reply = harness.request(method, path).bearer(credential).send().await;
            let content_length = reply.headers["content-length"].clone();
            let mut response = reply.snapshot();
            response["headers"]["content-length"] = content_length.into();
            assert_eq!(response["status"], 403, "{reason}");
            responses.push(response);
        }
        assert!(responses.iter().all(|response| *response == responses[0]), "{method} {path} {responses:#?}");
    }
}
