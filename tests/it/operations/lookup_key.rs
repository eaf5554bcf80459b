//! `POST /iam/v1/keys/lookup`

use insta::assert_json_snapshot;
use proptest::prelude::*;
use serde_json::json;
use shared::domain::{ApiKey, FindCredentialError, PastedCredential};
use tests::tokens::{self, Parent};
use tests::{Action, Event, Harness, Item, Key, Reply, RequestBuilder, SeededEntropy};

use crate::support::faults::inject;
use crate::support::items::map_at;
use crate::support::keys::{environment, foreign, forged, generate_key, parsed};
use crate::support::{changes, decide, routes};

const PATH: &str = "/iam/v1/keys/lookup";

fn lookup<'a>(harness: &'a Harness, text: &str) -> RequestBuilder<'a> {
    harness.request("POST", PATH).admin().json(&json!({ "key": text }))
}

/// The response to the lookup of a known key. Checks that the lookup changes nothing and the
/// response contains no key.
async fn found(harness: &Harness, text: &str) -> Reply {
    let before = harness.table.dump().await;
    let reply = lookup(harness, text).send().await.expect(200);
    assert_eq!(before, harness.table.dump().await, "a lookup changes nothing");
    assert!(!reply.text.contains("kwsa_"), "{reply:?}");
    reply
}

/// The response of a function that has just started.
async fn lookup_after_start(harness: &Harness, key: &Key) -> Reply {
    let event = Event {
        route: format!("POST {PATH}"),
        parameters: json!({}),
        body: Some(json!({ "key": key.secret })),
        context: Some(routes::admin_context()),
    };
    harness.invoke("IssueKey", &event).await
}

#[tokio::test]
async fn returns_the_account_of_a_live_key_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let body = json!({
        "name": "server 1", "expiresInDays": 30, "role": "ServiceAccountReader",
        "allowedCidrs": ["203.0.113.0/24"],
    });
    let key = harness.issue_key_with(&account, &body).await;
    harness.issue_key(&account).await;
    let reply = found(&harness, &key.secret).await;
    assert_json_snapshot!(reply.snapshot());
    let shown = harness.get(&account.path()).await.json();
    assert_eq!(reply.json()["key"], shown["keys"][0]);
    assert_eq!(reply.json()["serviceAccount"]["id"], shown["id"]);
}

#[tokio::test]
async fn shows_the_reason_for_which_the_authorizer_refuses_a_key_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let one_day = json!({ "name": "short", "expiresInDays": 1 });
    let expired = harness.issue_key_with(&account, &one_day).await;
    let moved = harness.issue_key_with(&account, &one_day).await;
    let live = harness.issue_key(&account).await;
    let revoked = harness.issue_key(&account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let (disabled_account, disabled) = harness.account_with_key("Closed", "ServiceAccountReader").await;
    let (deleted_account, retired) = harness.account_with_key("Gone", "ServiceAccountReader").await;
    changes::disable(&harness, &disabled_account).await;
    changes::delete(&harness, &deleted_account).await;
    harness.clock.advance_days(1);
    // Issuing a key moves the expired keys to the retired keys. The test puts one back.
    let before = harness.table.account(&account.id).await;
    harness.issue_key(&account).await;
    let put_back = |item: &mut Item| {
        for map in ["keys", "verifiers"] {
            let entry = before[map].as_m().unwrap()[&expired.id].clone();
            map_at(item, &[map]).insert(expired.id.clone(), entry);
        }
    };
    harness.table.tamper(&account.id, put_back).await;

    let mut responses = Vec::new();
    for (name, text, expected) in [
        ("live", live.secret.clone(), "allowed"),
        ("revoked", revoked.secret.clone(), "revoked"),
        ("expired", expired.secret.clone(), "expired"),
        ("expired and moved to the retired keys", moved.secret.clone(), "expired"),
        ("disabled", disabled.secret.clone(), "disabled"),
        ("wrong secret", forged(&live, 9), "wrong_secret"),
        ("wrong secret of a disabled account", forged(&disabled, 9), "wrong_secret"),
        ("wrong secret of a revoked key", forged(&revoked, 9), "wrong_secret"),
        ("deleted account", retired.secret.clone(), "retired"),
        ("wrong secret of a deleted account", forged(&retired, 9), "wrong_secret"),
    ] {
        let reply = found(&harness, &text).await.json();
        let (_, reason) = decide(&harness, &text).await;
        assert_eq!(reason, expected, "{name}");
        assert_eq!(reply["alive"], reason == "allowed", "{name}");
        match expected {
            "allowed" => assert_eq!(reply.get("reason"), None, "{name}"),
            _ => assert_eq!(reply["reason"], reason, "{name}"),
        }
        responses.push(json!({ name: reply }));
    }
    assert_json_snapshot!(responses);
}

#[tokio::test]
async fn returns_a_key_that_was_revoked_with_aws_credentials_only_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let _ = harness.revoke(&key).await.expect(204);
    // The emergency commands of the operating guide store only these attributes.
    let mut record = harness.table.retired_key(&key).await.unwrap();
    record.retain(|name, _| ["pk", "sk", "reason", "retiredAt", "retiredBy", "ttl"].contains(&name.as_str()));
    harness.table.put(record).await;
    assert_json_snapshot!(found(&harness, &key.secret).await.snapshot());
}

#[tokio::test]
async fn a_key_with_an_unknown_pepper_version_has_the_wrong_secret_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    harness.system.secrets().set(json!({ "current": "v7", "v7": "another-".repeat(8) }).to_string());
    harness.clock.advance_seconds(3600);
    let reply = lookup_after_start(&harness, &key).await.expect(200).json();
    let state = (&reply["alive"], &reply["reason"], &reply["secretMatches"]);
    assert_eq!(state, (&json!(false), &json!("wrong_secret"), &json!(false)));
}

#[tokio::test]
async fn finds_a_key_within_other_text_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let other = harness.reader_key_of("other").await;
    let key_text = &key.secret;
    let stage = foreign(&other, "stage");
    for text in [
        key_text.clone(),
        format!(" \t{key_text}\r\n"),
        format!("Bearer {key_text}"),
        format!("Authorization: Bearer {key_text}"),
        format!("\"{key_text}\""),
        format!("'{key_text}',"),
        format!("KEYWARD_KEY={key_text}\n"),
        format!("export KEYWARD_KEY=\"{key_text}\" # the batch's\nOTHER=1\n"),
        format!("{{\"headers\": {{\"authorization\": \"Bearer {key_text}\"}}}}"),
        format!("\\n{key_text}\\n"),
        format!("https://example.com/?token={key_text}&x=1"),
        format!("Bearer%20{key_text}"),
        // The same key twice, and beside text that resembles a key.
        format!("{key_text} {key_text}"),
        format!("kwsa_prod_… {key_text} kwsa_"),
        format!("kwsa_{key_text}"),
        // Beside a key of another environment, which is ignored.
        format!("PROD={key_text}\nSTAGE={stage}\n"),
        format!("STAGE={stage}\nPROD={key_text}\n"),
        format!("€{key_text}€"),
    ] {
        let reply = found(&harness, &text).await.json();
        assert_eq!((&reply["keyId"], &reply["alive"]), (&json!(key.id), &json!(true)), "{text}");
    }
}

#[tokio::test]
async fn explains_what_is_wrong_with_a_text_without_quoting_it_422() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let other = harness.reader_key_of("other").await;
    let whole = &key.secret;
    let mut errors = Vec::new();
    for (name, text) in [
        ("empty", String::new()),
        ("another vendor's token", "ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
        ("a key id", key.id.clone()),
        ("upper case", whole.to_uppercase()),
        ("one wrong character", format!("{}{}", &whole[..60], whole[60..].replacen(&whole[60..61], "~", 1))),
        ("one character too short", whole[..whole.len() - 1].to_owned()),
        ("one character too long", format!("{whole}x")),
        ("a placeholder", "kwsa_prod_xxxxxxxxxxxxxxxx_xxxxxxxxxxxxxxxx_xxx".to_owned()),
        ("its environment changed", whole.replacen("_local_", "_prod_", 1)),
        ("a key of another environment", foreign(&key, "stage")),
        (
            "two keys of other environments and an incomplete key",
            format!("kwsa_ {} {}", foreign(&key, "stage"), foreign(&other, "prod")),
        ),
        ("two keys", format!("{whole}\n{}", other.secret)),
    ] {
        let refused = harness.refuse(lookup(&harness, &text), 422, "invalid_fields").await;
        for secret in [whole, &other.secret] {
            assert!(!refused.text.contains(&secret[secret.len() - 49..secret.len() - 10]), "{name}");
        }
        errors.push(json!({ name: refused.errors() }));
    }
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_not_quoted_400_422() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let secret = &key.secret[key.secret.len() - 49..];
    let text = key.secret.as_str();
    for body in [
        json!({ text: 1 }),
        json!({ "key": text, text: 1 }),
        json!({ "key": [text] }),
        json!({ "key": { text: text } }),
        json!({ "key": { "secret": text } }),
        json!([text]),
        json!(text),
        json!({ "key": 1 }),
        json!({ "key": null }),
        json!({}),
    ] {
        let request = harness.request("POST", PATH).admin().json(&body);
        let refused = harness.refuse(request, 422, "invalid_fields").await;
        assert!(!refused.text.contains(secret), "{refused:?}");
        let expected =
            json!([{ "pointer": "/key", "detail": "must be a string and the only field of the body" }]);
        assert_eq!(refused.errors(), expected);
    }
    for body in [format!("{{\"key\": {text}}}"), format!("{{\"key\": \"{text}\"}} {text}"), text.to_owned()] {
        let request = harness.request("POST", PATH).admin().text("application/json", &body);
        let refused = harness.refuse(request, 400, "malformed_json").await;
        assert!(!refused.text.contains(secret), "{refused:?}");
    }
}

#[tokio::test]
async fn unknown_key_404() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let known = parsed(&key);
    for (account, id) in [
        (known.account, "key_0000000000000000".parse().unwrap()),
        ("sa_0000000000000000".parse().unwrap(), known.id),
    ] {
        let unknown = ApiKey::generate(account, id, &SeededEntropy::new(3)).unwrap();
        let text = unknown.display(&environment("local")).expose().to_owned();
        harness.refuse(lookup(&harness, &text), 404, "key_not_found").await;
    }
}

#[tokio::test]
async fn unavailable_keyring_503() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    harness.clock.advance_seconds(3600);
    inject(&harness, "GetSecretValue", Action::Refuse);
    let reply = lookup_after_start(&harness, &key).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "dependency_unavailable"));
    assert!(!reply.text.contains("kwsa_"));
}

proptest! {
    #[test]
    fn random_text_has_no_key(text in any::<String>(), parts in prop::collection::vec("(kws[at]_)?[a-z0-9_]{0,30}", 0..40)) {
        let here = environment("prod");
        for text in [&text, &parts.concat(), &parts.join(" ")] {
            let error = PastedCredential::find_in(text, &here).unwrap_err();
            let has_prefix = text.contains("kwsa_") || text.contains("kwst_");
            prop_assert_eq!(error == FindCredentialError::Nothing, !has_prefix);
        }
    }

    /// The text after the key must not start with a character of a key.
    #[test]
    fn finds_a_key_within_random_text(before in any::<String>(), after in "([^0-9A-Za-z_].*)?", seed in any::<u64>()) {
        let here = environment("prod");
        let key = generate_key(&SeededEntropy::new(seed));
        let text = format!("{before}{}{after}", key.display(&here).expose());
        let found = PastedCredential::find_in(&text, &here).unwrap();
        let PastedCredential::Key(found) = found else { return Err(TestCaseError::fail("a token")) };
        prop_assert_eq!((found.account, found.id), (key.account, key.id));
    }
}

#[test]
fn a_long_text_of_prefixes_has_no_key_and_no_token() {
    for prefix in ["kwsa_", "kwst_"] {
        let text = prefix.repeat(16 * 1024 / 5);
        let error = PastedCredential::find_in(&text, &environment("prod")).unwrap_err();
        assert_eq!(error, FindCredentialError::Incomplete);
    }
}

#[test]
fn debug_output_of_the_request_is_redacted() {
    let request: shared::api::LookupKeyRequest =
        serde_json::from_value::<_>(json!({ "key": "kwsa_canary" })).unwrap();
    assert_eq!(format!("{request:?}"), "LookupKeyRequest { key: SecretBox<str>([REDACTED]) }");
}

/// A token does not prove that it is genuine, so the response says only what its grant is.
#[tokio::test]
async fn returns_the_key_of_a_token_200() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let token = Parent::key(&key).token(&harness).await;
    let reply = found(&harness, &format!("Authorization: Bearer {token}")).await;
    assert!(!reply.text.contains("kwst_"), "{reply:?}");
    assert_json_snapshot!(reply.snapshot());
    // The reason is that of the token: its own expiry, or the end of its key.
    harness.clock.advance_seconds(899);
    assert_eq!(found(&harness, &token).await.json()["alive"], true);
    harness.clock.advance_seconds(1);
    assert_eq!(found(&harness, &token).await.json()["reason"], "expired");
    let token = Parent::key(&key).token(&harness).await;
    changes::disable(&harness, &account).await;
    assert_eq!(found(&harness, &token).await.json()["reason"], "disabled");
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(found(&harness, &token).await.json()["reason"], "revoked");
}

#[tokio::test]
async fn returns_the_federated_identity_of_a_token_200() {
    let harness = Harness::start().await;
    tokens::register_issuer(&harness, "corp").await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let identity = tokens::add_identity(&harness, &account, "corp", None).await;
    let token = identity.token(&harness).await;
    let reply = found(&harness, &token).await;
    assert_json_snapshot!(reply.snapshot());
    assert_eq!(
        reply.json()["federatedIdentity"],
        harness.get(&account.path()).await.json()["federatedIdentities"][0]
    );
    tokens::end_issuer(&harness, "corp").await;
    let reply = found(&harness, &token).await.json();
    assert_eq!((&reply["alive"], &reply["reason"]), (&json!(false), &json!("issuer")));
    tokens::end_identity(&harness, &identity).await;
    let reply = found(&harness, &token).await;
    assert_json_snapshot!("ended_identity", reply.snapshot());
    changes::delete(&harness, &account).await;
    let reply = found(&harness, &token).await.json();
    assert_eq!(
        (&reply["reason"], &reply["identityId"]),
        (&json!("revoked"), &json!(identity.grant.to_string()))
    );
}

/// Anyone can write a token that names an account and a grant.
#[tokio::test]
async fn a_token_of_an_unknown_grant_404() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    tokens::register_issuer(&harness, "corp").await;
    let identity = tokens::add_identity(&harness, &account, "corp", None).await;
    let of_key = Parent::key(&key).token(&harness).await;
    let of_identity = identity.token(&harness).await;
    for (token, code) in [(of_key, "key_not_found"), (of_identity, "federated_identity_not_found")] {
        harness.table.delete(&format!("ACCOUNT#{}", account.id), "ACCOUNT").await;
        harness.refuse(lookup(&harness, &token), 404, code).await;
    }
}
