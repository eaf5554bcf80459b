//! Text fields reject credentials, and log lines contain no credential.

use std::borrow::Cow;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::domain::{contains_credential, redact_credentials};
use tests::Harness;

use crate::support::changes;
use crate::support::keys::generated_key;

/// A JWT in the form of an issuer's access token.
const JWT: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl";

/// Texts about credentials, and texts that only look like one.
const HARMLESS: [&str; 16] = [
    "",
    "rotate kwsa_ keys",
    "keys begin with kwsa_prod_, tokens with kwst_prod_",
    "kwsa_production1_AAAAAAAAAAAAAAAA_BBBBBBBBBBBBBBBB",
    "sa_AAAAAAAAAAAAAAAA and key_BBBBBBBBBBBBBBBB",
    "kwst_ tokens live for 15 minutes",
    "eyJ is how a JWT begins",
    "eyJhbGciOiJSUzI1NiJ9",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI0MiJ9",
    // `{"typ":"JWT"}`: the header has no `alg`.
    "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl",
    // The header starts with `{"a`, but is not JSON.
    "eyJhYWFhYWFh.b.c",
    "see keyward.example.com/teams/1.2.3-rc.4",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "Batch für München – nightly",
    "%E2%82%AC.%20.%5F",
    "kwsa%5Fprod%5FAAAAAAAAAAAAAAAA",
];

/// Generates credentials of each kind.
fn credential() -> impl Strategy<Value = String> {
    prop_oneof![
        ("[a-z0-9]{1,12}", any::<u64>()).prop_map(|(label, seed)| generated_key(&label, seed)),
        // Keys with a wrong or truncated checksum.
        "kwsa_[a-z0-9]{1,12}_[0-9A-Za-z]{16}_[0-9A-Za-z]{16}_[0-9A-Za-z]{43,49}",
        "kwst_[a-z0-9]{1,12}_[0-9A-Za-z]{16}_[0-9A-Za-z]{16}_[0-9A-Za-z_.-]{20,200}",
        ("[A-Z0-9]{2,8}", "[0-9A-Za-z_-]{1,80}", "[0-9A-Za-z_-]{0,80}").prop_map(
            |(algorithm, payload, signature)| {
                let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#));
                format!("{header}.{payload}.{signature}")
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_credential_is_found_inside_other_text(
        before in "([ -~]{0,20}[ =/:\"?&_-])?", credential in credential(), after in "([ /\"&,;'?].{0,20})?",
    ) {
        let text = format!("{before}{credential}{after}");
        prop_assert!(contains_credential(&text));
        let redacted = redact_credentials(&text);
        prop_assert!(!redacted.contains(&credential));
        prop_assert!(redacted.contains("[redacted]"));
        prop_assert!(!contains_credential(&redacted));
        // The text after the credential is kept.
        prop_assert!(redacted.ends_with(&*redact_credentials(&after)));
    }

    #[test]
    fn a_key_in_a_path_is_found_with_escaped_underscores_and_an_uppercase_prefix(
        label in "[a-z0-9]{1,12}", seed: u64, lower: bool,
    ) {
        let key = generated_key(&label, seed);
        let path = format!("/teams/{}/x", key.replace('_', if lower { "%5f" } else { "%5F" }));
        prop_assert_eq!(redact_credentials(&path), "/teams/[redacted]/x");
        let uppercase = format!("/teams/{}", key.replacen("kwsa", "KWSA", 1));
        prop_assert_eq!(redact_credentials(&uppercase), "/teams/[redacted]");
    }

    /// Escapes all characters, or those that are not letters or digits, as some encoders
    /// do.
    #[test]
    fn a_percent_encoded_credential_is_found(credential in credential(), all: bool) {
        let escape = |byte: u8| {
            if all || !byte.is_ascii_alphanumeric() { format!("%{byte:02X}") } else { char::from(byte).into() }
        };
        let escaped: String = credential.bytes().map(escape).collect();
        prop_assert!(contains_credential(&escaped));
        let path = format!("/teams/{escaped}/x");
        prop_assert_eq!(redact_credentials(&path), "/teams/[redacted]/x");
    }

    #[test]
    fn redaction_changes_no_text_without_a_credential(text in ".{0,300}") {
        let redacted = redact_credentials(&text);
        prop_assert_eq!(contains_credential(&text), matches!(redacted, Cow::Owned(_)));
        if !contains_credential(&text) {
            prop_assert_eq!(&*redacted, text.as_str());
        }
    }

    #[test]
    fn a_truncated_key_is_found(label in "[a-z0-9]{1,12}", seed: u64, kept in 30_usize..49) {
        // The truncated key still contains most of its secret.
        let key = generated_key(&label, seed);
        let truncated = &key[..key.len() - 49 + kept];
        prop_assert!(contains_credential(truncated));
    }
}

#[test]
fn harmless_texts_are_accepted_and_unchanged() {
    for text in HARMLESS {
        assert!(!contains_credential(text), "{text}");
        assert!(matches!(redact_credentials(text), Cow::Borrowed(same) if same == text), "{text}");
    }
}

#[test]
fn all_credentials_in_a_line_are_redacted() {
    let (first, second) = (generated_key("prod", 1), generated_key("dev", 2));
    let line = format!("GET /x/{first}/y?a={second}&b=token_{JWT} and Bearer {JWT}.");
    assert_eq!(
        redact_credentials(&line),
        "GET /x/[redacted]/y?a=[redacted]&b=token_[redacted] and Bearer [redacted]"
    );
}

#[test]
fn redaction_is_fast_for_hostile_texts() {
    // Texts in which a JWT or a key could start at almost every position.
    for text in
        ["ey".repeat(16_000) + ".a.b", "kwsa_".repeat(6_400), "kwst_.".repeat(5_000), "%25".repeat(10_000)]
    {
        let started = std::time::Instant::now();
        for _ in 0..10 {
            let _ = redact_credentials(&text);
        }
        assert!(started.elapsed().as_secs() < 5, "{text:.10}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn text_fields_reject_credentials_and_responses_do_not_quote_them() {
    let harness = Harness::start().await;
    let (account, live) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let generated = generated_key("prod", 3);
    let mistyped = generated.replace(&generated[60..61], "x");
    let token = format!("kwst_prod_{}", "a1B2".repeat(12));
    for credential in [live.secret.as_str(), &generated_key("elsewhere", 4), &mistyped, &token, JWT] {
        let text = format!("use {credential} here");
        let (accounts, keys) = ("/iam/v1/service-accounts", format!("{}/keys", account.path()));
        let reviews = format!("{}/reviews", account.path());
        let account_with = |field: &str, value: Value| {
            let mut body = json!({ "name": "other", "role": "ServiceAccountReader" });
            body[field] = value;
            body
        };
        let role = |description: &str, permission: &str| json!({ "description": description, "permissions": [permission] });
        let cases = [
            ("POST", accounts, account_with("name", json!(text)), "/name"),
            ("POST", accounts, account_with("description", json!(text)), "/description"),
            ("POST", accounts, account_with("owner", json!(text)), "/owner"),
            ("POST", accounts, account_with("tags", json!({ "a": text })), "/tags/a"),
            ("PATCH", &account.path(), json!({ "name": text }), "/name"),
            ("PATCH", &account.path(), json!({ "description": text }), "/description"),
            ("PATCH", &account.path(), json!({ "owner": text }), "/owner"),
            ("PATCH", &account.path(), json!({ "tags": { "a": text } }), "/tags/a"),
            ("POST", &keys, json!({ "name": text }), "/name"),
            ("POST", &reviews, json!({ "decision": "keep", "note": text }), "/note"),
            ("PUT", "/iam/v1/roles/Auditor", role(&text, "GET /reports"), "/description"),
            ("PUT", "/iam/v1/roles/Auditor", role("", &format!("GET /x/{credential}")), "/permissions/0"),
        ];
        for (method, path, body, pointer) in cases {
            let request = harness.request(method, path).admin().json(&body);
            let refused = harness.refuse(request, 422, "invalid_fields").await;
            let expected = json!({
                "pointer": pointer, "detail": "must not contain a key or token (revoke it if it is real)",
            });
            assert_eq!(refused.errors()[0], expected, "{method} {path}");
            assert!(!refused.text.contains(credential), "{method} {path}");
        }
        // If the credential is the name of a JSON member, the pointer does not quote it.
        for body in [account_with("tags", json!({ credential: "a" })), account_with(credential, json!(1))] {
            let request = harness.request("POST", accounts).admin().json(&body);
            let refused = harness.refuse(request, 422, "invalid_fields").await;
            assert!(!refused.text.contains(credential), "{}", refused.text);
        }
        // An idempotency key is not stored: the key's id is derived from its hash.
        let request = harness.request("POST", &keys).admin().json(&json!({ "name": "k" }));
        let issued = request.idempotency_key(credential).send().await.expect(201);
        let path = format!("{keys}/{}", issued.json()["id"].as_str().unwrap());
        let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
        // Cursors and filters are not stored.
        for query in [format!("cursor={credential}"), format!("prefix={credential}")] {
            let _ = harness.request("GET", accounts).admin().query(&query).send().await;
        }
        let stored = format!("{:?}", harness.table.dump().await);
        assert!(!stored.contains(credential));
    }
    assert_eq!(harness.table.items("ACCOUNT#").await.len(), 1);
    assert_eq!(harness.table.items("ROLE#").await.len(), 0);
    let patch = json!({ "description": "rotate kwsa_ keys", "name": "batch of kwst_ tokens" });
    changes::update(&harness, &account, patch).await;
}

#[tokio::test]
async fn a_stored_credential_stays_readable_and_can_be_removed() {
    let harness = Harness::start().await;
    let (account, live) = harness.account_with_key("batch", "ServiceAccountReader").await;
    // The API rejects this text now, but older items can contain it.
    let text = generated_key("prod", 5);
    harness.table.set(&account.id, "description", AttributeValue::S(text.clone())).await;
    assert_eq!(harness.check(&live.secret).await, 200);
    assert_eq!(harness.get(&account.path()).await.json()["description"], text);
    changes::update(&harness, &account, json!({ "description": "corrected" })).await;
}
