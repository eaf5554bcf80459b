//! What a credential permits: the answers to direct invocations that ask for it.

use serde_json::{Value, json};
use shared::api::PermissionsAnswer;
use shared::domain::Clock as _;
use shared::policy::Permission;
use tests::{Harness, Logs};
use tracing::level_filters::LevelFilter;

use tests::workload::{
    KEY_TYPE, exchange, exchange_jwt, invoke_directly, jwt, put_inline_issuer, start, start_with, token,
};

/// The answer about this key or token.
async fn ask(harness: &Harness, credential: &str, source: Option<&str>) -> Value {
    let event = json!({ "keyward": "permissions", "credential": credential, "source": source });
    invoke_directly(harness, &event).await
}

#[tokio::test]
async fn every_role_that_must_permit_a_request_is_returned_once() {
    let harness = Harness::start().await;
    put_inline_issuer(&harness).await;
    harness.put_role("orgs.read", &["GET /organizations/{proxy+}", "GET /organizations"]).await;
    harness.put_role("teams.read", &["GET /teams/{proxy+}"]).await;
    let account = harness.create_account("Batch", "orgs.read").await;
    let body = json!({ "name": "k", "role": "teams.read" });
    let key = harness.issue_key_with(&account, &body).await;
    let roles = json!([
        { "name": "orgs.read", "permissions": ["GET /organizations", "GET /organizations/{proxy+}"] },
        { "name": "teams.read", "permissions": ["GET /teams/{proxy+}"] },
    ]);
    let permitted = |roles: &Value, expires_at: &str| {
        json!({ "permitted": {
            "account": account.id, "grant": key.id, "name": "Batch", "roles": roles, "expiresAt": expires_at,
        } })
    };
    let in_90_days = ask(&harness, &key.secret, None).await;
    let expires_at = in_90_days["permitted"]["expiresAt"].as_str().unwrap();
    assert_eq!(in_90_days, permitted(&roles, expires_at));
    let shared: PermissionsAnswer = serde_json::from_value(in_90_days.clone()).unwrap();
    assert_eq!(serde_json::to_value(shared).unwrap(), in_90_days, "the invoker reads the same answer");

    // A role of the token that the key or account has already, one that exists no more, and
    // the token's own expiry.
    harness.put_role("gone", &["GET /teams"]).await;
    let of_key = exchange(&harness, KEY_TYPE, &key.secret, &[("scope", "orgs.read")]).await;
    let of_key = token(&of_key);
    let narrow = token(&exchange(&harness, tests::workload::TOKEN_TYPE, &of_key, &[("scope", "gone")]).await);
    let _ = harness.request("DELETE", "/iam/v1/roles/gone").admin().send().await.expect(204);
    let expiry = format!("{:.0}", tests::tokens::after(harness.clock.now(), 900));
    let mut all = roles.clone();
    all.as_array_mut().unwrap().push(json!({ "name": "gone", "permissions": [] }));
    assert_eq!(ask(&harness, &of_key, None).await["permitted"]["roles"], roles);
    let answer = ask(&harness, &narrow, None).await;
    assert_eq!(answer["permitted"]["roles"], all);
    assert!(answer["permitted"]["expiresAt"].as_str().unwrap() <= expiry.as_str(), "{answer} {expiry}");
}

#[tokio::test]
async fn a_built_in_role_of_a_federated_identity_is_returned_with_its_permissions() {
    let (harness, identity) = start().await;
    let of_identity = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    let answer = ask(&harness, &of_identity, Some("192.0.2.1")).await;
    assert_eq!(answer["permitted"]["grant"], identity.id.as_str(), "{answer}");
    let [role] = answer["permitted"]["roles"].as_array().unwrap().as_slice() else {
        panic!("one role: {answer}")
    };
    assert_eq!(role["name"], "ServiceAccountReader");
    let permissions = role["permissions"].as_array().unwrap();
    assert!(
        !permissions.is_empty()
            && permissions.iter().all(|one| Permission::parse(one.as_str().unwrap()).is_ok())
    );
}

#[tokio::test]
async fn a_credential_that_the_authorizer_refuses_is_refused() {
    let (harness, identity) = start_with(&json!({})).await;
    let body = json!({ "name": "k", "allowedCidrs": ["203.0.113.0/24"] });
    let key = harness.issue_key_with(&identity.account, &body).await;
    let refused = |reason: &str| json!({ "refused": { "reason": reason } });
    assert!(ask(&harness, &key.secret, Some("203.0.113.9")).await.get("permitted").is_some());
    assert_eq!(ask(&harness, &key.secret, Some("192.0.2.1")).await, refused("network"));
    assert_eq!(ask(&harness, &key.secret, None).await, refused("network"));
    assert_eq!(ask(&harness, &jwt(&harness), None).await, refused("malformed"));
    let logs = Logs::capture(LevelFilter::INFO);
    let _ = harness.revoke(&key).await.expect(204);
    logs.take_lines();
    assert_eq!(ask(&harness, &key.secret, Some("203.0.113.9")).await, refused("unknown"));
    let [line] = <[Value; 1]>::try_from(logs.take_lines()).expect("exactly one line");
    assert_eq!((&line["grant_type"], &line["reason"]), (&"permissions".into(), &"revoked".into()), "{line}");
    assert!(!line.to_string().contains(&key.secret), "{line}");
}
