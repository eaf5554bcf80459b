//! `POST /iam/v1/roles/explain`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Key, RequestBuilder, Shape, Verdict};

const PATH: &str = "/iam/v1/roles/explain";

fn ask<'a>(harness: &'a Harness, body: &Value) -> RequestBuilder<'a> {
    harness.request("POST", PATH).admin().json(body)
}

/// The answer to a question about `GET /organizations/42`, if it does not say
/// otherwise.
async fn explain(harness: &Harness, mut body: Value) -> Value {
    for (name, usual) in [("method", "GET"), ("path", "/organizations/42")] {
        if body.get(name).is_none() {
            body[name] = usual.into();
        }
    }
    ask(harness, &body).send().await.expect(200).json()
}

fn of_key(key: &Key) -> Value {
    json!({ "serviceAccountId": key.account, "keyId": key.id })
}

/// An account with the role of a Writer and a key with the custom role.
async fn narrow_key(harness: &Harness, more: Value) -> (Account, Key) {
    harness.put_role("Auditor", &["GET /organizations/{id}", "GET /reports"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let mut body = json!({ "name": "k", "role": "Auditor" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let key = harness.issue_key_with(&account, &body).await;
    (account, key)
}

#[tokio::test]
async fn tells_what_decides_of_a_role_an_account_and_a_key_200() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness, json!({})).await;
    let (of_account, of_key) = (json!({ "serviceAccountId": account.id }), of_key(&key));
    let mut answers = Vec::new();
    let cases = [
        json!({ "role": "ServiceAccountReader" }),
        json!({ "role": "ServiceAccountReader", "method": "POST" }),
        json!({ "role": "Auditor", "path": "/reports" }),
        of_account.clone(),
        of_key.clone(),
        // The account's role alone refuses, the key's alone, and both.
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
            body.as_object_mut().unwrap().extend(of_key.as_object().unwrap().clone());
        }
        let shown = body.as_object().unwrap().clone();
        answers.push(json!({ "question": shown, "answer": explain(&harness, body).await }));
    }
    answers.push(json!({ "question": of_account, "answer": explain(&harness, of_account.clone()).await }));
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn is_answered_like_any_other_200() {
    let harness = Harness::start().await;
    let body = json!({ "role": "ServiceAccountReader", "method": "GET", "path": "/teams" });
    assert_json_snapshot!(ask(&harness, &body).send().await.snapshot());
}

/// The answer agrees with the authorizer's decision and with the reason in its
/// log, whatever state the key is in.
#[tokio::test]
async fn says_what_the_authorizer_does() {
    let harness = Harness::start().await;
    let (account, narrow) = narrow_key(&harness, json!({ "allowedCidrs": ["192.0.2.0/24"] })).await;
    let plain = harness.issue_key(&account).await;
    let short = harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 1 })).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let rotated = harness.issue_key(&account).await;
    let rotate = harness.request("POST", &format!("{}/rotation", rotated.path())).admin();
    let _ = rotate.json(&json!({ "graceSeconds": 3600 })).send().await.expect(201);
    let whoami = harness.request("GET", "/iam/v1/whoami").bearer(&rotated.secret).send().await;
    let told = whoami.expect(200).json();
    assert!(told["summary"].as_str().unwrap().contains("from `retiresAt` on"), "{told}");
    let off = harness.create_account("Off", "ServiceAccountReader").await;
    let disabled = harness.issue_key(&off).await;
    let disable = harness.request("PATCH", &off.path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
    let lost = harness.create_account("Lost", "ServiceAccountReader").await;
    let lost = harness.issue_key(&lost).await;
    harness
        .table
        .tamper(&lost.account, |item| {
            item.insert("role".to_owned(), aws_sdk_dynamodb::types::AttributeValue::S("Gone".to_owned()));
        })
        .await;
    harness.clock.advance_days(1);
    let mut reasons = std::collections::BTreeSet::new();
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
    for key in [&narrow, &plain, &short, &revoked, &rotated, &disabled, &lost] {
        for (source, path, method) in ["192.0.2.7", "198.51.100.1", "2001:db8::1", "::ffff:192.0.2.7"]
            .into_iter()
            .flat_map(|source| paths.map(|path| (source, path)))
            .flat_map(|(source, path)| ["GET", "POST"].map(|method| (source, path, method)))
        {
            let mut event = Shape::HttpV2.event(method, path, &format!("Bearer {}", key.secret));
            Shape::HttpV2.set_source(&mut event, source);
            // An instance looks up only a few retired keys in a second.
            harness.clock.advance_seconds(1);
            let (verdict, reason) = harness.decide(&event).await;
            let mut body = of_key(key);
            for (name, value) in [("method", method), ("path", path), ("sourceAddress", source)] {
                body[name] = value.into();
            }
            let told = explain(&harness, body).await;
            assert_eq!(told["reason"], reason.as_str(), "{method} {path} from {source}: {told}");
            assert_eq!(told["allowed"], verdict == Verdict::Allow, "{told}");
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
async fn decides_on_the_routed_path_which_has_no_base_path_200() {
    let harness = Harness::builder().variable("KEYWARD_BASE_PATHS", "/shop").start().await;
    let at = async |path: &str| {
        let told = explain(&harness, json!({ "role": "ServiceAccountReader", "path": path })).await;
        told["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(at("/organizations/42").await, "allowed");
    assert_eq!(at("/shop/organizations/42").await, "role");
}

#[tokio::test]
async fn without_an_address_it_takes_one_that_is_permitted_and_says_which_200() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness, json!({ "allowedCidrs": ["192.0.2.0/24", "2001:db8::/32"] })).await;
    let told = explain(&harness, of_key(&key)).await;
    assert_eq!(told["allowed"], true);
    assert_eq!(told["allowedCidrs"], json!(["192.0.2.0/24", "2001:db8::/32"]));
}

#[tokio::test]
async fn tells_of_keys_and_accounts_that_are_no_more_200() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness, json!({})).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    assert_eq!(explain(&harness, of_key(&revoked)).await["reason"], "revoked");
    let rotated = harness.issue_key(&account).await;
    let rotation = harness.request("POST", &format!("{}/rotation", rotated.path())).admin();
    let _ = rotation.json(&json!({ "graceSeconds": 60 })).send().await.expect(201);
    assert_eq!(explain(&harness, of_key(&rotated)).await["allowed"], true);
    harness.clock.advance_seconds(60);
    let told = explain(&harness, of_key(&rotated)).await;
    assert_eq!((&told["allowed"], &told["reason"]), (&json!(false), &json!("retired")));
    // A key that went with its account is as unknown as the account.
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    let mut body = of_key(&key);
    body["method"] = "GET".into();
    body["path"] = "/organizations/42".into();
    let errors = harness.refuse(ask(&harness, &body), 422, "invalid_fields").await.errors();
    assert_eq!(errors[0]["pointer"], "/serviceAccountId");
}

#[tokio::test]
async fn a_missing_role_is_told_as_missing_200() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness, json!({})).await;
    harness.table.delete("ROLE#Auditor", "ROLE").await;
    assert_json_snapshot!(explain(&harness, of_key(&key)).await);
}

#[tokio::test]
async fn a_role_that_is_not_well_formed_explains_nothing_500() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness, json!({})).await;
    let mut role = harness.table.get("ROLE#Auditor", "ROLE").await.unwrap();
    let one = aws_sdk_dynamodb::types::AttributeValue::S("GET organizations".to_owned());
    role.insert("permissions".to_owned(), aws_sdk_dynamodb::types::AttributeValue::L(vec![one]));
    harness.table.put(role).await;
    for who in [of_key(&key), json!({ "role": "Auditor" })] {
        let mut body = who;
        body["method"] = "GET".into();
        body["path"] = "/organizations/42".into();
        harness.refuse(ask(&harness, &body), 500, "internal_error").await;
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
    for body in [of_key(&key), of_key(&revoked), json!({ "serviceAccountId": account.id })] {
        explain(&harness, body).await;
    }
    for call in harness.wire.take_calls() {
        assert_eq!(call.operation, "GetItem");
        assert_eq!(call.body["ConsistentRead"], true, "{call:?}");
        let projection = call.body["ProjectionExpression"].as_str().expect("it names what it reads");
        assert!(!projection.contains("verifier"), "{call:?}");
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn refuses_each_unacceptable_value_422() {
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

#[tokio::test]
async fn refuses_malformed_bodies_400_413_415_422() {
    let harness = Harness::start().await;
    let good = json!({ "role": "ServiceAccountReader", "method": "GET", "path": "/teams" });
    let bare = || harness.request("POST", PATH).admin();
    let text = good.to_string();
    harness.refuse(bare().text("text/plain", &text), 415, "unsupported_media_type").await;
    let padded = format!("{text}{}", " ".repeat(32 * 1024));
    harness.refuse(bare().text("application/json", &padded), 413, "body_too_large").await;
    harness.refuse(bare().text("application/json", &text[..text.len() - 1]), 400, "malformed_json").await;
    harness.refuse(bare().json(&json!(["GET", "/teams"])), 422, "invalid_fields").await;
}
