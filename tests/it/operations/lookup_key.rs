//! `POST /iam/v1/keys/lookup`

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use proptest::prelude::*;
use serde_json::json;
use shared::domain::{ApiKey, FindKeyError};
use tests::{Account, Action, Harness, Reply, RequestBuilder, SeededEntropy, Shape};

use crate::support::keys::{environment, foreign, forged, parsed};
use crate::support::routes;

const PATH: &str = "/iam/v1/keys/lookup";

fn lookup<'a>(harness: &'a Harness, text: &str) -> RequestBuilder<'a> {
    harness.request("POST", PATH).admin().json(&json!({ "key": text }))
}

/// The answer about a key, which changes nothing and says nothing of its secret.
async fn found(harness: &Harness, text: &str) -> Reply {
    let before = harness.table.dump().await;
    let reply = lookup(harness, text).send().await.expect(200);
    assert_eq!(before, harness.table.dump().await, "a lookup is a read");
    assert!(!reply.text.contains("kwsa_"), "{reply:?}");
    reply
}

async fn disable(harness: &Harness, account: &Account) {
    let patch = harness.request("PATCH", &account.path()).admin().json(&json!({ "enabled": false }));
    let _ = patch.send().await.expect(200);
}

#[tokio::test]
async fn tells_whose_a_living_key_is_200() {
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
async fn says_why_a_key_is_dead_in_the_words_of_the_authorizer_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let one_day = json!({ "name": "short", "expiresInDays": 1 });
    let [expired, pruned] =
        [harness.issue_key_with(&account, &one_day).await, harness.issue_key_with(&account, &one_day).await];
    let [living, revoked] = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    let _ = harness.revoke(&revoked).await.expect(204);
    let (closed, gone) = (
        harness.create_account("Closed", "ServiceAccountReader").await,
        harness.create_account("Gone", "ServiceAccountReader").await,
    );
    let [disabled, retired] = [harness.issue_key(&closed).await, harness.issue_key(&gone).await];
    disable(&harness, &closed).await;
    let _ = harness.request("DELETE", &gone.path()).admin().send().await.expect(204);
    harness.clock.advance_days(1);
    // Another issue moves the expired keys to their records; one is put back.
    let before = harness.table.get(&format!("ACCOUNT#{}", account.id), "ACCOUNT").await.unwrap();
    harness.issue_key(&account).await;
    let entry = |map: &str| before[map].as_m().unwrap()[&expired.id].clone();
    let put_back = ["keys", "verifiers"].map(|map| (map, entry(map)));
    harness
        .table
        .tamper(&account.id, |item| {
            for (map, entry) in put_back {
                let Some(AttributeValue::M(map)) = item.get_mut(map) else { panic!("no {map}") };
                map.insert(expired.id.clone(), entry);
            }
        })
        .await;

    let mut answers = Vec::new();
    for (name, text, authorizer) in [
        ("living", living.secret.clone(), "allowed"),
        ("revoked", revoked.secret.clone(), "revoked"),
        ("expired", expired.secret.clone(), "expired"),
        ("expired and moved to its record", pruned.secret.clone(), "expired"),
        ("disabled", disabled.secret.clone(), "disabled"),
        ("wrong secret", forged(&living, 9), "wrong_secret"),
        ("wrong secret of a disabled account", forged(&disabled, 9), "wrong_secret"),
        ("wrong secret of a revoked key", forged(&revoked, 9), "wrong_secret"),
        ("deleted account", retired.secret.clone(), "retired"),
        ("wrong secret of a deleted account", forged(&retired, 9), "wrong_secret"),
    ] {
        let reply = found(&harness, &text).await.json();
        let (_, reason) = harness.decide(&Shape::HttpV2.bearer(&text)).await;
        assert_eq!(reason, authorizer, "{name}");
        assert_eq!(reply["alive"], reason == "allowed", "{name}");
        match authorizer {
            "allowed" => assert_eq!(reply.get("reason"), None, "{name}"),
            _ => assert_eq!(reply["reason"], reason, "{name}"),
        }
        answers.push(json!({ name: reply }));
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn knows_a_key_whose_record_holds_its_end_alone_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let _ = harness.revoke(&key).await.expect(204);
    // As the operating guide's commands for an emergency leave it.
    let mut record = harness.table.get(&format!("RETIRED#{}", key.account), &key.id).await.unwrap();
    record.retain(|name, _| ["pk", "sk", "reason", "retiredAt", "retiredBy", "ttl"].contains(&name.as_str()));
    harness.table.put(record).await;
    assert_json_snapshot!(found(&harness, &key.secret).await.snapshot());
}

#[tokio::test]
async fn a_verifier_whose_pepper_there_is_not_proves_nothing_200() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    harness.system.set_secret(json!({ "current": "v7", "v7": "another-".repeat(8) }).to_string());
    harness.clock.advance_seconds(3600);
    // A function that starts now.
    let event = tests::Event {
        route: format!("POST {PATH}"),
        parameters: json!({}),
        body: Some(json!({ "key": key.secret })),
        context: Some(routes::admin_context()),
    };
    let reply = harness.invoke("IssueKey", &event).await.expect(200).json();
    let told = (&reply["alive"], &reply["reason"], &reply["secretMatches"]);
    assert_eq!(told, (&json!(false), &json!("wrong_secret"), &json!(false)));
}

#[tokio::test]
async fn finds_the_key_whatever_stands_around_it_200() {
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
        // The same one twice, and what is no key beside it.
        format!("{key_text} {key_text}"),
        format!("kwsa_prod_… {key_text} kwsa_"),
        format!("kwsa_{key_text}"),
        // One of another environment beside it, which cannot be meant here.
        format!("PROD={key_text}\nSTAGE={stage}\n"),
        format!("STAGE={stage}\nPROD={key_text}\n"),
        format!("€{key_text}€"),
    ] {
        let reply = found(&harness, &text).await.json();
        assert_eq!((&reply["keyId"], &reply["alive"]), (&json!(key.id), &json!(true)), "{text}");
    }
}

#[tokio::test]
async fn says_what_is_wrong_with_a_text_and_quotes_none_of_it_422() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let other = harness.reader_key_of("other").await;
    let whole = &key.secret;
    let mut answers = Vec::new();
    for (name, text) in [
        ("nothing", String::new()),
        ("another vendor's", "ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
        ("an id", key.id.clone()),
        ("upper case", whole.to_uppercase()),
        ("a letter mistyped", format!("{}{}", &whole[..60], whole[60..].replacen(&whole[60..61], "~", 1))),
        ("cut off", whole[..whole.len() - 1].to_owned()),
        ("a letter more", format!("{whole}x")),
        ("a placeholder", "kwsa_prod_xxxxxxxxxxxxxxxx_xxxxxxxxxxxxxxxx_xxx".to_owned()),
        ("its environment exchanged", whole.replacen("_local_", "_prod_", 1)),
        ("another environment's", foreign(&key, "stage")),
        (
            "two of others, and a broken one",
            format!("kwsa_ {} {}", foreign(&key, "stage"), foreign(&other, "prod")),
        ),
        ("two", format!("{whole}\n{}", other.secret)),
    ] {
        let refused = harness.refuse(lookup(&harness, &text), 422, "invalid_fields").await;
        for secret in [whole, &other.secret] {
            assert!(!refused.text.contains(&secret[secret.len() - 49..secret.len() - 10]), "{name}");
        }
        answers.push(json!({ name: refused.errors() }));
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn a_key_in_the_wrong_place_of_the_body_is_quoted_nowhere_422() {
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
            json!([{ "pointer": "/key", "detail": "must be a string, and the only member of the body" }]);
        assert_eq!(refused.errors(), expected);
    }
    for body in [format!("{{\"key\": {text}}}"), format!("{{\"key\": \"{text}\"}} {text}"), text.to_owned()] {
        let request = harness.request("POST", PATH).admin().text("application/json", &body);
        let refused = harness.refuse(request, 400, "malformed_json").await;
        assert!(!refused.text.contains(secret), "{refused:?}");
    }
    let long = format!("{{\"key\": \"{text}{}\"}}", " ".repeat(33 * 1024));
    let request = harness.request("POST", PATH).admin().text("application/json", &long);
    harness.refuse(request, 413, "body_too_large").await;
    let request = harness.request("POST", PATH).admin().text("text/plain", text);
    harness.refuse(request, 415, "unsupported_media_type").await;
}

#[tokio::test]
async fn knows_no_other_key_404() {
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
async fn an_outage_of_the_keyring_is_no_answer_503() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    harness.clock.advance_seconds(3600);
    harness
        .wire
        .intercept(|call| if call.operation == "GetSecretValue" { Action::Refuse } else { Action::Pass });
    let event = tests::Event {
        route: format!("POST {PATH}"),
        parameters: json!({}),
        body: Some(json!({ "key": key.secret })),
        context: Some(routes::admin_context()),
    };
    let reply = harness.invoke("IssueKey", &event).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "dependency_unavailable"));
    assert!(!reply.text.contains("kwsa_"));
}

#[tokio::test]
async fn refuses_malformed_bodies() {
    let harness = Harness::start().await;
    let before = harness.table.dump().await;
    for media_type in ["text/plain", "", "application/xml"] {
        let request = harness.request("POST", PATH).admin().text(media_type, "{\"key\": \"x\"}");
        harness.refuse(request, 415, "unsupported_media_type").await;
    }
    for no_json in ["", " ", "{'key': 1}", "{\"key\": NaN}", "\u{feff}{}", "nul", r#"{"key":"\ud800"}"#] {
        let request = harness.request("POST", PATH).admin().text("application/json", no_json);
        harness.refuse(request, 400, "malformed_json").await;
    }
    assert_eq!(before, harness.table.dump().await);
}

proptest! {
    /// Total: any text is one key or an error, in time that its length bounds.
    #[test]
    fn any_text_is_one_key_or_an_error(text in any::<String>(), parts in prop::collection::vec("(kwsa_)?[a-z0-9_]{0,30}", 0..40)) {
        let here = environment("prod");
        for text in [&text, &parts.concat(), &parts.join(" ")] {
            let error = ApiKey::find_in(text, &here).unwrap_err();
            prop_assert_eq!(error == FindKeyError::NoKey, !text.contains("kwsa_"));
        }
    }

    /// A key is found between any two texts whose ends are no part of one.
    #[test]
    fn a_key_is_found_in_any_text(before in any::<String>(), after in "([^0-9A-Za-z_].*)?", seed in any::<u64>()) {
        let here = environment("prod");
        let entropy = SeededEntropy::new(seed);
        let account = shared::domain::AccountId::generate(&entropy).unwrap();
        let id = shared::domain::KeyId::generate(&entropy).unwrap();
        let key = ApiKey::generate(account, id, &entropy).unwrap();
        let text = format!("{before}{}{after}", key.display(&here).expose());
        let found = ApiKey::find_in(&text, &here).unwrap();
        prop_assert_eq!((found.account, found.id), (account, id));
    }
}

#[test]
fn a_long_text_of_beginnings_is_read_in_no_time() {
    let text = "kwsa_".repeat(16 * 1024 / 5);
    assert_eq!(ApiKey::find_in(&text, &environment("prod")).unwrap_err(), FindKeyError::Incomplete);
}

#[test]
fn the_request_shows_nothing_of_itself() {
    let request: shared::api::LookupKeyRequest =
        serde_json::from_value::<_>(json!({ "key": "kwsa_canary" })).unwrap();
    assert_eq!(format!("{request:?}"), "LookupKeyRequest { key: SecretBox<str>([REDACTED]) }");
}
