//! `POST /iam/v1/roles/explain`

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Item, Key, RequestBuilder, Shape, Verdict};

use crate::support::changes;

const PATH: &str = "/iam/v1/roles/explain";

fn ask<'a>(harness: &'a Harness, body: &Value) -> RequestBuilder<'a> {
    harness.request("POST", PATH).admin().json(body)
}

/// Asks about `GET /organizations/42` if `body` has no method or path.
fn ask_with_defaults(harness: &Harness, mut body: Value) -> RequestBuilder<'_> {
    for (name, default) in [("method", "GET"), ("path", "/organizations/42")] {
        if body.get(name).is_none() {
            body[name] = default.into();
        }
    }
    ask(harness, &body)
}

/// The explanation of a decision. See [`ask_with_defaults`].
async fn explain(harness: &Harness, body: Value) -> Value {
    ask_with_defaults(harness, body).send().await.expect(200).json()
}

fn about(key: &Key) -> Value {
    json!({ "serviceAccountId": key.account, "keyId": key.id })
}

/// Creates an account with the role `ServiceAccountWriter`, and issues a key with a custom role
/// and these other members.
async fn narrow_key(harness: &Harness, members: Value) -> (Account, Key) {
    harness.put_role("Auditor", &["GET /organizations/{id}", "GET /reports"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let mut body = json!({ "name": "k", "role": "Auditor" });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let key = harness.issue_key_with(&account, &body).await;
    (account, key)
}

#[tokio::test]
async fn explains_decisions_for_roles_accounts_and_keys_200() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness, json!({})).await;
    let (about_account, about_key) = (json!({ "serviceAccountId": account.id }), about(&key));
    let mut answers = Vec::new();
    let cases = [
        json!({ "role": "ServiceAccountReader" }),
        json!({ "role": "ServiceAccountReader", "method": "POST" }),
        json!({ "role": "Auditor", "path": "/reports" }),
        about_account.clone(),
        about_key.clone(),
        // Refused by the account's role, by the key's role, and by both.
        json!({ "path": "/reports" }),
        json!({ "method": "POST" }),
        json!({ "path": "/elsewhere" }),
        json!({ "path": "/iam/v1/whoami" }),
        json!({ "path": "/iam/v1/roles" }),
        json!({ "path": "/organizations/..%2fteams" }),
        json!({ "path": "/organizations/42/" }),
    ];
    for mut body in cases {
        if body.get("role").is_none() {
            body.as_object_mut().unwrap().extend(about_key.as_object().unwrap().clone());
        }
        let shown = body.as_object().unwrap().clone();
        answers.push(json!({ "question": shown, "answer": explain(&harness, body).await }));
    }
    answers
        .push(json!({ "question": about_account, "answer": explain(&harness, about_account.clone()).await }));
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn whole_response_200() {
    let harness = Harness::start().await;
    let body = json!({ "role": "ServiceAccountReader", "method": "GET", "path": "/teams" });
    assert_json_snapshot!(ask(&harness, &body).send().await.snapshot());
}

/// Compares explanations with the authorizer's decisions and logged reasons, for keys in
/// every state.
#[tokio::test]
async fn explanations_agree_with_the_authorizer() {
    let harness = Harness::start().await;
    let (account, narrow) = narrow_key(&harness, json!({ "allowedCidrs": ["192.0.2.0/24"] })).await;
    let plain = harness.issue_key(&account).await;
    let short = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 1 })).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let rotated = harness.issue_key(&account).await;
    changes::rotate(&harness, &rotated, 3600).await;
    let whoami = harness.request("GET", "/iam/v1/whoami").bearer(&rotated.secret).send().await;
    let whoami = whoami.expect(200).json();
    assert!(whoami["summary"].as_str().unwrap().contains("from `retiresAt` on"), "{whoami}");
    let (disabled_account, disabled) = harness.account_with_key("Disabled", "ServiceAccountReader").await;
    changes::disable(&harness, &disabled_account).await;
    let unknown_role = harness.reader_key_of("Unknown role").await;
    harness.table.set(&unknown_role.account, "role", AttributeValue::S("Deleted".to_owned())).await;
    harness.clock.advance_days(1);
    let mut reasons = BTreeSet::new();
    let paths = [
        "/organizations/42",
        "/organizations/42/",
        "/organizations//42",
        "/organizations/%2e%2e",
        "/organizations/a%20b",
        "/reports",
        "/teams/7",
        "/",
        "/iam/v1/whoami",
        "/iam/v1/roles",
        "/IAM/v1/whoami",
        "/iam;x/v1",
    ];
    for key in [&narrow, &plain, &short, &revoked, &rotated, &disabled, &unknown_role] {
        for (source, path, method) in ["192.0.2.7", "198.51.100.1", "2001:db8::1", "::ffff:192.0.2.7"]
            .into_iter()
            .flat_map(|source| paths.map(|path| (source, path)))
            .flat_map(|(source, path)| ["GET", "POST"].map(|method| (source, path, method)))
        {
            let mut event = Shape::HttpV2.request(method, path, &key.secret);
            Shape::HttpV2.set_source(&mut event, source);
            // An instance of the authorizer looks up only a few retired keys per second.
            harness.clock.advance_seconds(1);
            let (verdict, reason) = harness.decide(&event).await;
            let mut body = about(key);
            for (name, value) in [("method", method), ("path", path), ("sourceAddress", source)] {
                body[name] = value.into();
            }
            let explanation = explain(&harness, body).await;
            assert_eq!(
                explanation["reason"],
                reason.as_str(),
                "{method} {path} from {source}: {explanation}"
            );
            assert_eq!(explanation["allowed"], verdict == Verdict::Allow, "{explanation}");
            reasons.insert(reason);
        }
    }
    let expected = [
        "allowed",
        "ambiguous_path",
        "disabled",
        "expired",
        "network",
        "reserved",
        "retired",
        "revoked",
        "role",
    ];
    assert_eq!(reasons.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_path_has_no_base_path_200() {
    let harness = Harness::builder().variable("KEYWARD_BASE_PATHS", "/shop").start().await;
    let reason = async |path: &str| {
        let body = json!({ "role": "ServiceAccountReader", "path": path });
        explain(&harness, body).await["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("/organizations/42").await, "allowed");
    assert_eq!(reason("/shop/organizations/42").await, "role");
}

#[tokio::test]
async fn without_a_source_address_all_networks_are_allowed_and_listed_200() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness, json!({ "allowedCidrs": ["192.0.2.0/24", "2001:db8::/32"] })).await;
    let explanation = explain(&harness, about(&key)).await;
    assert_eq!(explanation["allowed"], true);
    assert_eq!(explanation["allowedCidrs"], json!(["192.0.2.0/24", "2001:db8::/32"]));
}

#[tokio::test]
async fn explains_ended_keys_200_and_refuses_deleted_accounts_422() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness, json!({})).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    assert_eq!(explain(&harness, about(&revoked)).await["reason"], "revoked");
    let rotated = harness.issue_key(&account).await;
    changes::rotate(&harness, &rotated, 60).await;
    assert_eq!(explain(&harness, about(&rotated)).await["allowed"], true);
    harness.clock.advance_seconds(60);
    let explanation = explain(&harness, about(&rotated)).await;
    assert_eq!((&explanation["allowed"], &explanation["reason"]), (&json!(false), &json!("retired")));
    changes::delete(&harness, &account).await;
    let request = ask_with_defaults(&harness, about(&key));
    let errors = harness.refuse(request, 422, "invalid_fields").await.errors();
    assert_eq!(errors[0]["pointer"], "/serviceAccountId");
}

#[tokio::test]
async fn a_deleted_role_is_shown_as_missing_200() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness, json!({})).await;
    harness.table.delete("ROLE#Auditor", "ROLE").await;
    assert_json_snapshot!(explain(&harness, about(&key)).await);
}

#[tokio::test]
async fn malformed_role_500() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness, json!({})).await;
    let malformed = AttributeValue::L(vec![AttributeValue::S("GET organizations".to_owned())]);
    let malform = |item: &mut Item| drop(item.insert("permissions".to_owned(), malformed));
    harness.table.tamper_role("Auditor", malform).await;
    for body in [about(&key), json!({ "role": "Auditor" })] {
        harness.refuse(ask_with_defaults(&harness, body), 500, "internal_error").await;
    }
    let whoami = harness.request("GET", "/iam/v1/whoami").bearer(&key.secret).send().await;
    assert!(whoami.status >= 400, "{whoami:?}");
}

#[tokio::test]
async fn changes_nothing_and_reads_no_verifier() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness, json!({})).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let before = harness.table.dump().await;
    harness.wire.take_calls();
    for body in [about(&key), about(&revoked), json!({ "serviceAccountId": account.id })] {
        explain(&harness, body).await;
    }
    for call in harness.wire.take_calls() {
        assert_eq!(call.operation, "GetItem");
        assert_eq!(call.body["ConsistentRead"], true, "{call:?}");
        let projection = call.body["ProjectionExpression"]
            .as_str()
            .expect("the request names the attributes that it reads");
        assert!(!projection.contains("verifier"), "{call:?}");
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness, json!({})).await;
    let account = account.id.as_str();
    let (unknown_account, unknown_key) = ("sa_0000000000000000", "key_0000000000000000");
    let get = |mut body: Value| {
        body["method"] = "GET".into();
        body["path"] = "/teams".into();
        body
    };
    let cases = [
        json!({}),
        json!({ "role": "Auditor" }),
        json!({ "role": "Auditor", "method": "GET" }),
        json!({ "role": "Auditor", "method": "get", "path": "/" }),
        json!({ "role": "Auditor", "method": "TRACE", "path": "/" }),
        json!({ "role": "Auditor", "method": "ANY", "path": "teams" }),
        json!({ "role": "Auditor", "method": "GET", "path": "" }),
        json!({ "role": "Auditor", "method": "GET", "path": "/teams?x=1" }),
        json!({ "role": "Auditor", "method": "GET", "path": "https://example.com/teams" }),
        json!({ "role": "Auditor", "method": 1, "path": "/" }),
        get(json!({})),
        get(json!({ "role": "1st" })),
        get(json!({ "role": "Unheard-of" })),
        get(json!({ "role": "Auditor", "serviceAccountId": account })),
        get(json!({ "role": "Auditor", "keyId": key.id })),
        get(json!({ "serviceAccountId": "x" })),
        get(json!({ "serviceAccountId": unknown_account })),
        get(json!({ "serviceAccountId": unknown_account, "keyId": key.id })),
        get(json!({ "serviceAccountId": account, "keyId": unknown_key })),
        get(json!({ "serviceAccountId": account, "keyId": account })),
        get(json!({ "serviceAccountId": account, "sourceAddress": "192.0.2.1" })),
        get(json!({ "serviceAccountId": account, "keyId": key.id, "sourceAddress": "192.0.2.0/24" })),
        get(json!({ "serviceAccountId": account, "key": "kwsa_local_secret" })),
    ];
    let mut answers = Vec::new();
    for body in cases {
        let errors = harness.refuse(ask(&harness, &body), 422, "invalid_fields").await.errors();
        answers.push(json!({ "question": body, "errors": errors }));
    }
    assert_json_snapshot!(answers);
}
