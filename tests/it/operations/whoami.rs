//! `GET /iam/v1/whoami`

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Map, Value, json};
use shared::domain::{RoleName, TokenClaims};
use tests::tokens::{Parent, add_identity, register_issuer, seal};
use tests::{Event, Harness, Key, Reply, Shape, Verdict};

use crate::support::{changes, naive};

const PATH: &str = "/iam/v1/whoami";

async fn whoami(harness: &Harness, credential: &str) -> Reply {
    harness.request("GET", PATH).bearer(credential).send().await
}

/// The response of the function to a request with this query, after the authorizer has allowed
/// this key.
async fn invoke(harness: &Harness, account: &str, key: &str, query: &str) -> Reply {
    let context = json!({
        "principalType": "serviceAccount", "principalId": account, "principalName": "Batch",
        "keyId": key, "role": "ServiceAccountReader", "environment": "local",
    });
    let route = format!("GET {PATH}?{query}");
    harness
        .invoke("Whoami", &Event { route, parameters: json!({}), body: None, context: Some(context) })
        .await
}

#[tokio::test]
async fn shows_an_admin_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn shows_a_key_with_its_permissions_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    assert_json_snapshot!(whoami(&harness, &key.secret).await.snapshot());
}

#[tokio::test]
async fn shows_both_roles_of_a_key_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports/{id}", "ANY /audits/{proxy+}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountAdmin").await;
    let body =
        json!({ "name": "k", "role": "Auditor", "allowedCidrs": ["127.0.0.1/32"], "expiresInDays": 1 });
    let key = harness.issue_key_with(&account, &body).await;
    assert_json_snapshot!(whoami(&harness, &key.secret).await.snapshot());
}

/// The response to a token, without what differs between runs.
async fn shown_to(harness: &Harness, token: &str) -> Value {
    let mut shown = whoami(harness, token).await.expect(200).json();
    assert!(shown["token"]["id"].as_str().unwrap().starts_with("tok_"), "{shown}");
    shown["token"]["id"] = "[token id]".into();
    for actor in shown["token"]["actors"].as_array_mut().unwrap() {
        *actor = "[token id]".into();
    }
    if shown.get("identityId").is_some() {
        shown["identityId"] = "[identity id]".into();
    }
    shown
}

#[tokio::test]
async fn shows_a_token_with_the_roles_that_narrow_it_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports/{id}", "ANY /audits/{proxy+}"]).await;
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountAdmin").await;
    assert_json_snapshot!(
        "token_of_a_key_200",
        shown_to(&harness, &Parent::key(&key).token(&harness).await).await
    );
    register_issuer(&harness, "platform").await;
    let identity = add_identity(&harness, &account, "platform", Some("ServiceAccountReader")).await;
    let roles = ["Auditor", "Missing"].map(|name| RoleName::parse(name).unwrap()).into();
    let parents = vec![identity.claims(&harness).id];
    let token = seal(&harness, &TokenClaims { roles, parents, ..identity.claims(&harness) }).await;
    assert_json_snapshot!("token_of_an_identity_200", shown_to(&harness, &token).await);
    let asked = ask(&harness, &token, "method=GET&path=/teams/7").await.expect(200).json();
    assert_json_snapshot!("check_of_a_token_200", asked["check"]);
    harness.clock.advance_seconds(900);
    assert_eq!(whoami(&harness, &token).await.status, 403);
}

/// The response to a question about a request. `query` is the query string.
async fn ask(harness: &Harness, credential: &str, query: &str) -> Reply {
    harness.request("GET", PATH).query(query).bearer(credential).send().await
}

#[tokio::test]
async fn tells_a_reader_why_it_cannot_create_an_organization_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    assert_json_snapshot!(ask(&harness, &key.secret, "method=POST&path=/organizations").await.snapshot());
}

#[tokio::test]
async fn checks_requests_of_a_key_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /organizations/{id}", "POST /reports"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let body = json!({ "name": "k", "role": "Auditor", "allowedCidrs": ["127.0.0.1/32"] });
    let key = harness.issue_key_with(&account, &body).await;
    let mut answers = Map::new();
    for query in [
        "method=GET&path=/organizations/42",
        // Refused by the key's role, by the account's role, and by both.
        "method=POST&path=/organizations",
        "method=POST&path=/reports",
        "method=DELETE&path=/orders/7",
        "method=GET&path=/organizations/a%2520b/members",
        "method=GET&path=/iam/v1/whoami",
        "method=GET&path=/iam/v1/service-accounts",
        "method=GET&path=/organizations/%252e%252e/teams",
        "method=GET&path=/organizations//42",
    ] {
        let answer = ask(&harness, &key.secret, query).await.expect(200).json();
        answers.insert(query.to_owned(), answer["check"].clone());
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn checks_requests_of_an_admin_200() {
    let harness = Harness::start().await;
    let mut answers = Map::new();
    for query in [
        "method=DELETE&path=/iam/v1/roles/Auditor",
        "method=GET&path=/IAM/v1/roles",
        "method=GET&path=/organizations",
        "method=GET&path=/organizations/..",
    ] {
        let answer = harness.get(&format!("{PATH}?{query}")).await.json();
        answers.insert(query.to_owned(), answer["check"].clone());
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn checks_a_request_with_a_deleted_role_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key_of("Batch").await;
    harness.table.set(&key.account, "role", AttributeValue::S("Deleted".to_owned())).await;
    let shown = ask(&harness, &key.secret, "method=GET&path=/teams").await.expect(200).json();
    assert_json_snapshot!(shown["check"]);
}

/// The check includes a change between the authorizer's decision and the function's reads.
#[tokio::test]
async fn checks_a_request_with_a_key_that_ended_after_the_check_200() {
    let harness = Harness::start().await;
    let (account, disabled) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 1 })).await;
    let check = async |key: &Key| {
        let reply = invoke(&harness, &account.id, &key.id, "method=GET&path=/teams").await;
        reply.expect(200).json()["check"].clone()
    };
    assert_eq!(check(&short).await["reason"], "allowed");
    harness.clock.advance_days(1);
    assert_eq!(check(&short).await["reason"], "expired");
    assert_eq!(check(&disabled).await["reason"], "allowed");
    changes::disable(&harness, &account).await;
    assert_eq!(check(&disabled).await["reason"], "disabled");
}

/// A key of a Writer account, one with a role of its own, and one of an account with a custom
/// role.
async fn keys_with_different_roles(harness: &Harness) -> [Key; 3] {
    harness.put_role("Mixed", &["GET /reports/{id}", "ANY /teams", "PUT /teams/{id}/{proxy+}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let custom = harness.create_account("Custom", "Mixed").await;
    [
        harness.issue_key(&account).await,
        harness.issue_key_with(&account, &json!({ "name": "k", "role": "Mixed" })).await,
        harness.issue_key(&custom).await,
    ]
}

/// The check and the authorizer agree about every request. For a refused request, both name
/// the same missing permission.
#[tokio::test]
async fn checks_agree_with_the_authorizer() {
    let harness = Harness::start().await;
    let keys = keys_with_different_roles(&harness).await;
    let mut reasons = BTreeSet::new();
    for key in keys {
        for path in ["/reports/7", "/teams", "/teams/7/a%20b", "/teams/", "/teams//7", "/", "/iam/v1/roles"] {
            for method in ["GET", "PUT"] {
                let query = format!("method={method}&path={}", path.replace('%', "%25"));
                let check = ask(&harness, &key.secret, &query).await.expect(200).json()["check"].clone();
                let event = Shape::RestToken.request(method, path, &key.secret);
                let (verdict, reason) = harness.decide(&event).await;
                assert_eq!(check["allowed"], verdict == Verdict::Allow, "{method} {path}: {check}");
                assert_eq!(check["reason"], reason.as_str(), "{method} {path}");
                let response = serde_json::to_value(harness.authorize(&event).await.unwrap()).unwrap();
                let missing = response["context"].get("missingPermission");
                assert_eq!(check.get("missingPermission"), missing, "{method} {path}");
                reasons.insert((reason, missing.is_some()));
            }
        }
    }
    let reasons: Vec<_> = reasons.iter().map(|(reason, missing)| (reason.as_str(), *missing)).collect();
    assert_eq!(reasons, [("allowed", false), ("ambiguous_path", false), ("reserved", false), ("role", true)]);
}

#[tokio::test]
async fn no_response_quotes_a_credential_in_the_path_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let query = format!("method=PUT&path=/keys/{}", key.secret);
    let reply = ask(&harness, &key.secret, &query).await.expect(200);
    assert!(!reply.text.contains(&key.secret), "{}", reply.text);
    assert_eq!(reply.json()["check"]["missingPermission"], "PUT /keys/{name}");
}

#[tokio::test]
async fn each_invalid_parameter_400() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let mut answers = Map::new();
    for query in [
        "method=POST",
        "path=/organizations",
        "method=post&path=/organizations",
        "method=ANY&path=/organizations",
        "method=&path=/organizations",
        "method=GET&path=",
        "method=GET&path=organizations",
        "method=GET&path=https://example.com/organizations",
        "method=GET&path=/organizations%3Fx=1",
        "method=GET&path=/organizations%23top",
        "method=GET&method=POST&path=/organizations",
        "method=GET&path=/organizations&verbose=1",
        "verbose=1",
    ] {
        let refused = harness.request("GET", PATH).query(query).admin();
        let reply = harness.refuse(refused, 400, "malformed_request").await;
        answers.insert(query.to_owned(), reply.json()["detail"].clone());
        assert_eq!(ask(&harness, &key.secret, query).await.status, 400, "{query}");
    }
    assert_json_snapshot!(answers);
    assert_json_snapshot!("whole_response_400", ask(&harness, &key.secret, "method=POST").await.snapshot());
}

#[tokio::test]
async fn a_deleted_role_of_the_account_permits_nothing_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key_of("Batch").await;
    harness.table.set(&key.account, "role", AttributeValue::S("Deleted".to_owned())).await;
    let shown = whoami(&harness, &key.secret).await.expect(200).json();
    assert_eq!((&shown["role"], &shown["permissions"]), (&json!("Deleted"), &json!([])));
    assert!(shown["summary"].as_str().unwrap().contains("Role Deleted does not exist"), "{shown}");
}

#[tokio::test]
async fn a_deleted_role_of_the_key_permits_nothing_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports/{id}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountAdmin").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "k", "role": "Auditor" })).await;
    harness.table.delete("ROLE#Auditor", "ROLE").await;
    let shown = whoami(&harness, &key.secret).await.expect(200).json();
    assert_eq!((&shown["keyRole"], &shown["keyPermissions"]), (&json!("Auditor"), &json!([])));
    assert!(shown["summary"].as_str().unwrap().contains("Role Auditor does not exist"), "{shown}");
    assert_eq!(harness.check(&key.secret).await, 403);
}

/// A client can predict the authorizer's decisions from the permissions in the response.
#[tokio::test]
async fn the_shown_permissions_are_those_that_the_authorizer_enforces() {
    let harness = Harness::start().await;
    let keys = keys_with_different_roles(&harness).await;
    for key in keys {
        let shown = whoami(&harness, &key.secret).await.expect(200).json();
        let covers = |list: &str, method: &str, path: &str| {
            let list = shown[list].as_array();
            list.is_none_or(|list| {
                list.iter().any(|text| naive::covers(text.as_str().unwrap(), method, path))
            })
        };
        for path in ["/reports/7", "/reports", "/teams", "/teams/7", "/teams/7/storage", "/teams/7/a/b", "/x"]
        {
            for method in ["GET", "PUT", "DELETE"] {
                let expected = covers("permissions", method, path) && covers("keyPermissions", method, path);
                let status = harness.request(method, path).bearer(&key.secret).send().await.status;
                assert_eq!(status == 200, expected, "{method} {path} of {shown}");
            }
        }
    }
}

#[tokio::test]
async fn revoked_expired_and_disabled_keys_403() {
    let harness = Harness::start().await;
    let (account, revoked) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let expired = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 1 })).await;
    let disabled = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    harness.clock.advance_days(1);
    assert_eq!(whoami(&harness, &disabled.secret).await.status, 200);
    changes::disable(&harness, &account).await;
    for key in [revoked, expired, disabled] {
        assert_eq!(whoami(&harness, &key.secret).await.status, 403);
    }
}

#[tokio::test]
async fn a_key_or_account_that_was_deleted_after_the_check_404() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    assert_eq!(invoke(&harness, &key.account, &key.id, "").await.status, 200);
    let unknown_key = invoke(&harness, &key.account, "key_0000000000000000", "").await;
    assert_json_snapshot!((unknown_key.status, unknown_key.json()));
    let deleted = invoke(&harness, "sa_0000000000000000", &key.id, "").await;
    assert_eq!((deleted.status, deleted.code().as_str()), (404, "service_account_not_found"));
}
