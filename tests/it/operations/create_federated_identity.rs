//! `POST /iam/v1/service-accounts/{id}/federated-identities`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, RequestBuilder};

use crate::support::bad_input;

fn add<'a>(harness: &'a Harness, account: &Account) -> RequestBuilder<'a> {
    harness.request("POST", &format!("{}/federated-identities", account.path())).admin()
}

/// A system with the trusted issuers of all platforms, and an account.
async fn start() -> (Harness, Account) {
    let harness = Harness::start().await;
    harness.trust_github().await;
    for (name, url) in [
        ("gitlab", "https://gitlab.com"),
        ("cluster", "https://kubernetes.default.svc"),
        ("aws", "https://0123-4567.tokens.sts.global.api.aws"),
        ("google", "https://accounts.google.com"),
        ("terraform", "https://app.terraform.io"),
        ("corp", "https://id.example.com"),
    ] {
        let _ = harness.put_issuer(name, &json!({ "issuer": url })).await;
    }
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    (harness, account)
}

fn identity(issuer: &str, claims: &Value) -> Value {
    json!({ "name": "deploy", "issuer": issuer, "audience": "https://keyward.example.com", "claims": claims })
}

fn github() -> Value {
    identity(
        "github",
        &json!({ "repository_id": "1296269", "repository_owner_id": "583231", "environment": "production" }),
    )
}

#[tokio::test]
async fn adds_an_identity_201() {
    let (harness, account) = start().await;
    let mut body = github();
    body["name"] = " deploy workflow ".into();
    body["role"] = "ServiceAccountReader".into();
    body["expiresInDays"] = 30.into();
    body["claims"]["ref"] = json!(["refs/heads/main", "refs/heads/release"]);
    let reply = add(&harness, &account).json(&body).send().await;
    assert_json_snapshot!(reply.snapshot());
    // The location, the list and the account show the same identity.
    let shown = json!([reply.json()]);
    assert_eq!(harness.get(&reply.headers["location"]).await.json(), shown[0]);
    let list = harness.get(&format!("{}/federated-identities", account.path())).await.json();
    assert_eq!(list, json!({ "items": shown }));
    let read = harness.get(&account.path()).await.json();
    assert_eq!((&read["federatedIdentities"], &read["liveIdentityCount"]), (&shown, &json!(1)));
    assert_eq!((&read["keys"], &read["liveKeyCount"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn stores_a_random_verifier_and_a_seal() {
    let (harness, account) = start().await;
    let ids =
        [harness.add_identity(&account, &github()).await, harness.add_identity(&account, &github()).await];
    let item = harness.table.account(&account.id).await;
    let verifiers = item["verifiers"].as_m().unwrap();
    let member = |id: &Value, name: &str| {
        verifiers[id["id"].as_str().unwrap()].as_m().unwrap()[name].as_b().unwrap().as_ref().to_vec()
    };
    for name in ["verifier", "seal"] {
        assert_eq!(member(&ids[0], name).len(), 32);
        assert_ne!(member(&ids[0], name), member(&ids[1], name));
    }
    assert_eq!(item["keys"].as_m().unwrap().len(), 2);
}

#[tokio::test]
async fn writes_one_event_with_the_rule() {
    let (harness, account) = start().await;
    let before = harness.events(&account).await;
    let mut body = github();
    body["role"] = "ServiceAccountReader".into();
    body["expiresInDays"] = 1.into();
    let added = add(&harness, &account).json(&body).send().await.expect(201);
    let event = harness.new_event(&account, &before).await;
    assert_eq!(event["requestId"], added.request_id());
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });
}

#[tokio::test]
async fn the_defaults_depend_on_the_platform() {
    let (harness, account) = start().await;
    let mut shown = Vec::new();
    for body in [
        github(),
        identity("gitlab", &json!({ "project_id": "278964", "ref": "main", "ref_type": "branch" })),
        identity("gitlab", &json!({ "project_id": "278964", "ref_protected": "true" })),
        identity("cluster", &json!({ "sub": "system:serviceaccount:batch:nightly" })),
        identity("aws", &json!({ "sub": "arn:aws:iam::123456789012:role/path/Reports" })),
        identity("google", &json!({ "sub": "1234567890" })),
        identity("terraform", &json!({ "terraform_workspace_id": "ws-1", "terraform_run_phase": "apply" })),
        identity("corp", &json!({ "/resource/id": 7, "admin": true })),
    ] {
        let added = harness.add_identity(&account, &body).await;
        shown.push(json!([added["issuer"], added["singleUse"], added["maxAgeSeconds"], added["claims"]]));
    }
    let mut own = github();
    own["singleUse"] = false.into();
    own["maxAgeSeconds"] = 60.into();
    let added = harness.add_identity(&account, &own).await;
    assert_eq!((&added["singleUse"], &added["maxAgeSeconds"]), (&json!(false), &json!(60)));
    assert_json_snapshot!(shown);
}

/// A rule that other workloads of a shared issuer match is refused, and the error says why.
#[tokio::test]
async fn dangerous_rules_422() {
    let (harness, account) = start().await;
    let cases = [
        identity("github", &json!({ "environment": "production" })),
        identity("github", &json!({ "repository": "acme/api", "ref": "refs/heads/main" })),
        identity("github", &json!({ "repository_id": "1", "repository_owner_id": "2" })),
        identity(
            "github",
            &json!({ "repository_id": 1, "repository_owner_id": "acme", "ref": "refs/heads/*" }),
        ),
        identity("github", &json!({ "repository_id": ["1", "x"], "repository_owner_id": "2", "ref": true })),
        identity("gitlab", &json!({ "project_path": "acme/api" })),
        identity("gitlab", &json!({ "project_id": "1", "ref": "main" })),
        identity("gitlab", &json!({ "project_id": "1", "ref_protected": ["true", "false"] })),
        identity("gitlab", &json!({ "project_id": "1", "environment": "prod*" })),
        identity("cluster", &json!({ "/kubernetes.io/namespace": "batch" })),
        identity("cluster", &json!({ "sub": "system:serviceaccount:batch:*" })),
        identity("cluster", &json!({ "sub": ["system:serviceaccount:batch:nightly", "system:node:x"] })),
        identity("aws", &json!({ "/https:~1~1sts.amazonaws.com~1/aws_account": "123456789012" })),
        identity("aws", &json!({ "sub": "arn:aws:iam::123456789012:role/*" })),
        identity("aws", &json!({ "sub": "arn:aws:sts::123456789012:assumed-role/Reports/session" })),
        identity("google", &json!({ "email_verified": true })),
        identity("google", &json!({ "hd": "example.com" })),
        identity("terraform", &json!({ "terraform_run_phase": "apply" })),
        identity("corp", &json!({ "ref": "main", "email_verified": true })),
        identity("corp", &json!({ "admin": true })),
        identity("corp", &json!({ "/amr/0": "pwd" })),
    ];
    let mut errors = Vec::new();
    for body in cases {
        let refused = harness.refuse(add(&harness, &account).json(&body), 422, "invalid_fields").await;
        errors.push(json!([body["issuer"], body["claims"], refused.errors()]));
    }
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn each_invalid_value_422() {
    let (harness, account) = start().await;
    let with = |name: &str, value: Value| {
        let mut body = identity("corp", &json!({ "sub": "w" }));
        body[name] = value;
        body
    };
    let claims = |claims: Value| with("claims", claims);
    let many: serde_json::Map<_, _> = (0..11).map(|number| (format!("c{number}"), "x".into())).collect();
    let long = "x".repeat(256);
    let total: serde_json::Map<_, _> =
        (0..10).map(|number| (format!("c{number}"), long.as_str().into())).collect();
    let cases = [
        with("name", "".into()),
        with("name", "n".repeat(65).into()),
        with("issuer", "".into()),
        with("issuer", "1st".into()),
        with("issuer", "x".repeat(33).into()),
        with("audience", "".into()),
        with("audience", "a b".into()),
        with("audience", "a".repeat(256).into()),
        with("audience", json!(["a", "b"])),
        with("role", "1".into()),
        with("expiresInDays", 0.into()),
        with("expiresInDays", 3651.into()),
        with("singleUse", "yes".into()),
        with("maxAgeSeconds", 59.into()),
        with("maxAgeSeconds", 86_401.into()),
        claims(json!({})),
        claims(json!({ "": "x" })),
        claims(json!({ "/": "x" })),
        claims(json!({ "sub": null, "a/b": { "x": 1 }, "c": 1.5, "d": [["x"]] })),
        claims(json!({ "sub": [] })),
        claims(json!({ "sub": vec!["x"; 11] })),
        claims(json!({ "sub": "" })),
        claims(json!({ "sub": format!("{long}x") })),
        claims(json!({ "/aud/0": "api" })),
        claims(json!({ "sub": "a\u{200b}b" })),
        claims(json!({ "iss": "https://id.example.com" })),
        claims(json!({ "/aud": "x" })),
        claims(many.into()),
        claims(total.into()),
        with("id", "fid_0123456789abcdef".into()),
    ];
    let errors = bad_input::refuse_fields(&harness, || add(&harness, &account), &cases).await;
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn unknown_issuer_and_role_422() {
    let (harness, account) = start().await;
    let unknown = add(&harness, &account).json(&identity("nobody", &json!({ "sub": "w" })));
    assert_json_snapshot!("unknown_issuer", harness.refuse(unknown, 422, "invalid_fields").await.snapshot());
    let mut body = github();
    body["role"] = "Auditor".into();
    let unknown = add(&harness, &account).json(&body);
    assert_json_snapshot!("unknown_role", harness.refuse(unknown, 422, "invalid_fields").await.snapshot());
    let _ = harness.request("DELETE", "/iam/v1/issuers/github").admin().send().await.expect(204);
    harness.refuse(add(&harness, &account).json(&github()), 422, "invalid_fields").await;
}

#[tokio::test]
async fn an_account_has_at_most_40_keys_and_identities_409() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "40").start().await;
    harness.trust_github().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for _ in 0..20 {
        harness.issue_key(&account).await;
        harness.add_identity(&account, &github()).await;
    }
    let refused = harness.refuse(add(&harness, &account).json(&github()), 409, "grant_limit_reached").await;
    assert_json_snapshot!(refused.snapshot());
    let issue = || {
        let request = harness.request("POST", &format!("{}/keys", account.path())).admin();
        request.json(&json!({ "name": "one more" }))
    };
    harness.refuse(issue(), 409, "grant_limit_reached").await;
    let identity = harness.get(&account.path()).await.json()["federatedIdentities"][0]["id"].clone();
    let path = format!("{}/federated-identities/{}", account.path(), identity.as_str().unwrap());
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
    let _ = issue().send().await.expect(201);
    harness.refuse(issue(), 409, "grant_limit_reached").await;
}

/// The limit of keys counts no identities.
#[tokio::test]
async fn identities_leave_room_for_keys() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "2").start().await;
    harness.trust_github().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for _ in 0..3 {
        harness.add_identity(&account, &github()).await;
    }
    harness.issue_key(&account).await;
    harness.issue_key(&account).await;
    let one_more = harness.request("POST", &format!("{}/keys", account.path())).admin();
    harness.refuse(one_more.json(&json!({ "name": "k" })), 409, "key_limit_reached").await;
    harness.add_identity(&account, &github()).await;
}

#[tokio::test]
async fn an_identity_of_a_disabled_account_can_be_added_201() {
    let (harness, account) = start().await;
    crate::support::changes::disable(&harness, &account).await;
    harness.add_identity(&account, &github()).await;
}
