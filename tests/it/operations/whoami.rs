//! `GET /iam/v1/whoami`

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Event, Harness, Reply};

use crate::support::{changes, naive};

const PATH: &str = "/iam/v1/whoami";

async fn whoami(harness: &Harness, credential: &str) -> Reply {
    harness.request("GET", PATH).bearer(credential).send().await
}

/// The response of the function after the authorizer has allowed this key.
async fn invoke(harness: &Harness, account: &str, key: &str) -> Reply {
    let context = json!({
        "principalType": "serviceAccount", "principalId": account, "principalName": "Batch",
        "keyId": key, "role": "ServiceAccountReader", "environment": "local",
    });
    let route = format!("GET {PATH}");
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
    harness.put_role("Mixed", &["GET /reports/{id}", "ANY /teams", "PUT /teams/{id}/{proxy+}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let custom = harness.create_account("Custom", "Mixed").await;
    let keys = [
        harness.issue_key(&account).await,
        harness.issue_key_with(&account, &json!({ "name": "k", "role": "Mixed" })).await,
        harness.issue_key(&custom).await,
    ];
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
    assert_eq!(invoke(&harness, &key.account, &key.id).await.status, 200);
    let unknown_key = invoke(&harness, &key.account, "key_0000000000000000").await;
    assert_json_snapshot!((unknown_key.status, unknown_key.json()));
    let deleted = invoke(&harness, "sa_0000000000000000", &key.id).await;
    assert_eq!((deleted.status, deleted.code().as_str()), (404, "service_account_not_found"));
}
