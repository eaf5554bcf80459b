//! `GET /iam/v1/whoami`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Event, Harness};

const PATH: &str = "/iam/v1/whoami";

async fn whoami(harness: &Harness, credential: &str) -> tests::Reply {
    harness.request("GET", PATH).bearer(credential).send().await
}

/// What the function answers when the authorizer has let this key in.
async fn answer(harness: &Harness, account: &str, key: &str) -> tests::Reply {
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
async fn tells_an_admin_who_they_are_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn tells_a_key_what_it_may_do_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    assert_json_snapshot!(whoami(&harness, &key.secret).await.snapshot());
}

#[tokio::test]
async fn tells_a_narrowed_key_both_of_its_roles_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports/{id}", "ANY /audits/{proxy+}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountAdmin").await;
    let body =
        json!({ "name": "k", "role": "Auditor", "allowedCidrs": ["127.0.0.1/32"], "expiresInDays": 1 });
    let key = harness.issue_key_with(&account, &body).await;
    assert_json_snapshot!(whoami(&harness, &key.secret).await.snapshot());
}

#[tokio::test]
async fn a_role_that_is_gone_permits_nothing_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let gone = aws_sdk_dynamodb::types::AttributeValue::S("Gone".to_owned());
    harness.table.tamper(&account.id, |item| drop(item.insert("role".to_owned(), gone))).await;
    let told = whoami(&harness, &key.secret).await.expect(200).json();
    assert_eq!((&told["role"], &told["permissions"]), (&json!("Gone"), &json!([])));
    assert!(told["summary"].as_str().unwrap().contains("Role Gone does not exist"), "{told}");
}

#[tokio::test]
async fn a_role_of_the_keys_own_that_is_gone_permits_nothing_200() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports/{id}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountAdmin").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "k", "role": "Auditor" })).await;
    harness.table.delete("ROLE#Auditor", "ROLE").await;
    let told = whoami(&harness, &key.secret).await.expect(200).json();
    assert_eq!((&told["keyRole"], &told["keyPermissions"]), (&json!("Auditor"), &json!([])));
    assert!(told["summary"].as_str().unwrap().contains("Role Auditor does not exist"), "{told}");
    assert_eq!(harness.check(&key.secret).await, 403);
}

/// A reader of the answer who goes by its permissions alone decides as the
/// authorizer does.
#[tokio::test]
async fn what_it_lists_is_what_is_permitted() {
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
        let told = whoami(&harness, &key.secret).await.expect(200).json();
        let covers = |list: &str, method: &str, path: &str| {
            let list = told[list].as_array();
            list.is_none_or(|list| {
                list.iter().any(|text| crate::support::naive::covers(text.as_str().unwrap(), method, path))
            })
        };
        for path in ["/reports/7", "/reports", "/teams", "/teams/7", "/teams/7/storage", "/teams/7/a/b", "/x"]
        {
            for method in ["GET", "PUT", "DELETE"] {
                let expected = covers("permissions", method, path) && covers("keyPermissions", method, path);
                let status = harness.request(method, path).bearer(&key.secret).send().await.status;
                assert_eq!(status == 200, expected, "{method} {path} of {told}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_or_has_expired_or_is_disabled_is_told_nothing_403() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let revoked = harness.issue_key(&account).await;
    let expired = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 1 })).await;
    let disabled = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    harness.clock.advance_days(1);
    assert_eq!(whoami(&harness, &disabled.secret).await.status, 200);
    let disable = harness.request("PATCH", &account.path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
    for key in [revoked, expired, disabled] {
        assert_eq!(whoami(&harness, &key.secret).await.status, 403);
    }
}

#[tokio::test]
async fn a_key_that_went_after_it_was_let_in_is_not_found_404() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    assert_eq!(answer(&harness, &key.account, &key.id).await.status, 200);
    let problem = |reply: tests::Reply| -> (u16, Value) { (reply.status, reply.json()) };
    assert_json_snapshot!(problem(answer(&harness, &key.account, "key_0000000000000000").await));
    let gone = answer(&harness, "sa_0000000000000000", &key.id).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "service_account_not_found"));
}
