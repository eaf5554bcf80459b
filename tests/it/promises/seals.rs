//! Seals: write access to the table is not enough to make or change a federated identity or a
//! trusted issuer.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tests::{Harness, Item};

use crate::support::items::map_at;
use tests::workload::{Identity, SigningKey, add_identity, exchange_jwt, jwks, jwt, reason, start, token};

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// The reason for the outcome of an exchange while `change` applies to the item of the account.
async fn with_account(harness: &Harness, identity: &Identity, change: impl FnOnce(&mut Item)) -> String {
    let original = harness.table.account(&identity.account.id).await;
    let mut altered = original.clone();
    change(&mut altered);
    assert_ne!(altered, original);
    harness.table.put(altered).await;
    let (_, reason) = reason(exchange_jwt(harness, identity, &jwt(harness))).await;
    harness.table.put(original).await;
    reason
}

#[tokio::test]
async fn an_identity_that_was_altered_in_the_table_is_refused() {
    let (harness, identity) = start().await;
    for (name, value) in [
        ("audience", text("https://other.example.com")),
        ("claims", text(r#"{"sub":["system:serviceaccount:batch:nightly","x"]}"#)),
        ("claims", text(r#"{"repository_id":["1"]}"#)),
        ("issuer", text("other")),
        ("role", text("ServiceAccountAdmin")),
        ("expiresAt", AttributeValue::N("4000000000".to_owned())),
        ("singleUse", AttributeValue::Bool(true)),
        ("maxAge", AttributeValue::N("86400".to_owned())),
    ] {
        let change =
            |item: &mut Item| drop(map_at(item, &["keys", &identity.id]).insert(name.to_owned(), value));
        assert_eq!(with_account(&harness, &identity, change).await, "seal", "{name}");
    }
    for name in ["verifier", "seal"] {
        let change = |item: &mut Item| {
            let value = AttributeValue::B(Blob::new([7; 32]));
            map_at(item, &["verifiers", &identity.id]).insert(name.to_owned(), value);
        };
        assert_eq!(with_account(&harness, &identity, change).await, "seal", "{name}");
    }
    let unknown_pepper = |item: &mut Item| {
        map_at(item, &["verifiers", &identity.id]).insert("pepper".to_owned(), text("v7"));
    };
    assert_eq!(with_account(&harness, &identity, unknown_pepper).await, "seal");
    for (map, name) in
        [("verifiers", "seal"), ("verifiers", "verifier"), ("keys", "audience"), ("keys", "claims")]
    {
        let change = |item: &mut Item| drop(map_at(item, &[map, &identity.id]).remove(name));
        assert_eq!(with_account(&harness, &identity, change).await, "outage", "without `{name}`");
    }
    let _ = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
}

#[tokio::test]
async fn an_identity_that_was_copied_to_another_id_or_account_is_refused() {
    let (harness, identity) = start().await;
    let other = harness.create_account("Other", "ServiceAccountAdmin").await;
    let own = add_identity(&harness, &other, &json!({ "audience": "https://other.example.com" })).await;
    let mut source = harness.table.account(&identity.account.id).await;
    for (account, id) in
        [(&identity.account, "fid_AAAAAAAAAAAAAAAA"), (&other, identity.id.as_str()), (&other, &own.id)]
    {
        let original = harness.table.account(&account.id).await;
        let mut target = original.clone();
        for map in ["keys", "verifiers"] {
            let entry = map_at(&mut source, &[map])[&identity.id].clone();
            map_at(&mut target, &[map]).insert(id.to_owned(), entry);
        }
        harness.table.put(target).await;
        let copy = Identity { account: account.clone(), id: id.to_owned() };
        let (_, reason) = reason(exchange_jwt(&harness, &copy, &jwt(&harness))).await;
        assert_eq!(reason, "seal", "{} {id}", account.id);
        harness.table.put(original).await;
    }
}

#[tokio::test]
async fn an_issuer_that_was_altered_in_the_table_is_refused() {
    let (harness, identity) = start().await;
    let stranger = SigningKey::es256();
    let original = harness.table.get("ISSUERS", "test").await.unwrap();
    let algorithms = AttributeValue::L(vec![text("ES256")]);
    for (name, value) in [
        ("jwks", text(&jwks([&stranger]).to_string())),
        ("issuer", text("https://other.example.com")),
        ("algorithms", algorithms),
        ("id", text("iss_AAAAAAAAAAAAAAAA")),
        ("seal", AttributeValue::B(Blob::new([7; 32]))),
        ("pepper", text("v7")),
    ] {
        let mut altered = original.clone();
        altered.insert(name.to_owned(), value);
        harness.table.put(altered).await;
        let (_, reason) = reason(exchange_jwt(&harness, &identity, &jwt(&harness))).await;
        assert_eq!(reason, "seal", "{name}");
    }
    // A URL of keys instead of the inline keys.
    let mut altered = original.clone();
    altered.remove("jwks");
    altered.insert("jwksUri".to_owned(), text("https://attacker.example.com/keys"));
    harness.table.put(altered).await;
    let (_, refused) = reason(exchange_jwt(&harness, &identity, &jwt(&harness))).await;
    assert_eq!(refused, "seal");
    // Another issuer's item under this name.
    let other =
        json!({ "issuer": "https://other.example.com", "jwks": jwks([&stranger]), "algorithms": ["ES256"] });
    let _ = harness.put_issuer("other", &other).await;
    let mut copied = harness.table.get("ISSUERS", "other").await.unwrap();
    copied.insert("sk".to_owned(), text("test"));
    harness.table.put(copied).await;
    let (_, refused) = reason(exchange_jwt(&harness, &identity, &jwt(&harness))).await;
    assert_eq!(refused, "seal");
    harness.table.put(original).await;
    let _ = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
}
