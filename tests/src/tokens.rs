//! Tokens that are made with the domain API, and the federated identities and issuers that
//! they need, which are written to the table.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use shared::domain::{
    AccountId, BoundRequest, Clock as _, Entropy, Environment, IdentityId, IssuerId, IssuerName, RoleName,
    TokenClaims, TokenGrant, TokenId, Verifier,
};

use crate::{Account, Harness, Item, Key, SeededEntropy};

/// A random source that differs at each call.
pub fn entropy() -> impl Entropy {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
    SeededEntropy::new(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A grant of an account, from which tokens can be made.
#[derive(Clone, Debug)]
pub struct Parent {
    pub account: AccountId,
    pub grant: TokenGrant,
}

impl Parent {
    pub fn key(key: &Key) -> Self {
        Self { account: key.account.parse().unwrap(), grant: TokenGrant::Key(key.id.parse().unwrap()) }
    }

    /// The claims of a token that is made now and lives for 15 minutes.
    pub fn claims(&self, harness: &Harness) -> TokenClaims {
        TokenClaims {
            account: self.account,
            grant: self.grant.clone(),
            id: TokenId::generate(&entropy()).unwrap(),
            issued_at: Timestamp::from_second(harness.clock.now().as_second()).unwrap(),
            lifetime_seconds: 900,
            roles: Vec::new(),
            parents: Vec::new(),
            request: None,
        }
    }

    /// A token that is made now and lives for 15 minutes.
    pub async fn token(&self, harness: &Harness) -> String {
        seal(harness, &self.claims(harness)).await
    }

    /// A token that these roles narrow.
    pub async fn narrow_token(&self, harness: &Harness, roles: &[&str]) -> String {
        let roles = roles.iter().map(|name| RoleName::parse(name).unwrap()).collect();
        seal(harness, &TokenClaims { roles, ..self.claims(harness) }).await
    }

    /// A token that works only for this request.
    pub async fn request_token(&self, harness: &Harness, method: &str, path: &str) -> String {
        let request = Some(BoundRequest::new(method, path));
        let claims = TokenClaims { request, lifetime_seconds: 60, ..self.claims(harness) };
        seal(harness, &claims).await
    }

    /// The grant's stored verifier.
    pub async fn verifier(&self, harness: &Harness) -> Verifier {
        let item = harness.table.account(&self.account.to_string()).await;
        let entry = &item["verifiers"].as_m().unwrap()[&self.grant.to_string()];
        Verifier::from_bytes(entry.as_m().unwrap()["verifier"].as_b().unwrap().as_ref()).unwrap()
    }
}

/// The token with these claims, as this deployment makes it.
pub async fn seal(harness: &Harness, claims: &TokenClaims) -> String {
    let parent = Parent { account: claims.account, grant: claims.grant.clone() };
    let issuer = match claims.grant.issuer() {
        Some(name) => Some(issuer_id(harness, name).await),
        None => None,
    };
    let keyring = harness.system.setup_for("Authorizer").unwrap().token_keyring().unwrap();
    let (version, key) = keyring.current().await.unwrap();
    let verifier = parent.verifier(harness).await;
    let environment = Environment::parse("local").unwrap();
    let token = claims.seal(&environment, (&version, &key), &verifier, issuer).unwrap();
    token.expose().to_owned()
}

async fn issuer_id(harness: &Harness, name: &IssuerName) -> IssuerId {
    let item = harness.table.get("ISSUERS", name.as_str()).await.unwrap();
    item["id"].as_s().unwrap().parse().unwrap()
}

fn s(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn item<const N: usize>(members: [(&str, AttributeValue); N]) -> Item {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn admin() -> AttributeValue {
    AttributeValue::M(item([("id", s("admin")), ("name", s("admin@example.com"))]))
}

/// A map of an account's grants.
fn grants<'a>(account: &'a mut Item, name: &str) -> &'a mut Item {
    let Some(AttributeValue::M(map)) = account.get_mut(name) else { panic!("{name} is not a map") };
    map
}

/// Registers an issuer.
pub async fn register_issuer(harness: &Harness, name: &str) {
    let now = n(harness.clock.now().as_second());
    let issuer = item([
        ("pk", s("ISSUERS")),
        ("sk", s(name)),
        ("id", s(IssuerId::generate(&entropy()).unwrap())),
        ("issuer", s("https://issuer.example.com")),
        ("algorithms", AttributeValue::L(vec![s("RS256")])),
        ("version", n(1)),
        ("createdAt", now.clone()),
        ("createdBy", admin()),
        ("updatedAt", now),
        ("updatedBy", admin()),
        ("pepper", s("v1")),
        ("seal", AttributeValue::B(Blob::new([0; 32]))),
    ]);
    harness.table.put(issuer).await;
}

/// Ends an issuer. Its name stays.
pub async fn end_issuer(harness: &Harness, name: &str) {
    let now = n(harness.clock.now().as_second());
    let tombstone = item([
        ("pk", s("ISSUERS")),
        ("sk", s(name)),
        ("issuer", s("https://issuer.example.com")),
        ("version", n(2)),
        ("deletedAt", now),
        ("deletedBy", admin()),
    ]);
    harness.table.put(tombstone).await;
}

/// Adds a federated identity to an account, with this issuer and own role.
pub async fn add_identity(harness: &Harness, account: &Account, issuer: &str, role: Option<&str>) -> Parent {
    add_identity_until(harness, account, issuer, role, None).await
}

/// Adds a federated identity that expires.
pub async fn add_identity_until(
    harness: &Harness,
    account: &Account,
    issuer: &str,
    role: Option<&str>,
    expires_at: Option<Timestamp>,
) -> Parent {
    let id = IdentityId::generate(&entropy()).unwrap();
    let mut entry = item([
        ("name", s("workload")),
        ("issuer", s(issuer)),
        ("audience", s("keyward")),
        ("claims", s(r#"{"sub":["workload"]}"#)),
        ("singleUse", AttributeValue::Bool(false)),
        ("maxAge", n(3600)),
        ("createdAt", n(harness.clock.now().as_second())),
        ("createdBy", admin()),
        ("fingerprint", AttributeValue::B(Blob::new([0; 16]))),
    ]);
    entry.extend(role.map(|role| ("role".to_owned(), s(role))));
    entry.extend(expires_at.map(|at| ("expiresAt".to_owned(), n(at.as_second()))));
    let mut verifier = [0; 32];
    entropy().fill(&mut verifier).unwrap();
    let verifier = item([
        ("verifier", AttributeValue::B(Blob::new(verifier))),
        ("pepper", s("v1")),
        ("seal", AttributeValue::B(Blob::new([0; 32]))),
    ]);
    harness
        .table
        .tamper(&account.id, |account| {
            grants(account, "keys").insert(id.to_string(), AttributeValue::M(entry));
            grants(account, "verifiers").insert(id.to_string(), AttributeValue::M(verifier));
        })
        .await;
    let issuer = IssuerName::parse(issuer).unwrap();
    Parent { account: account.id.parse().unwrap(), grant: TokenGrant::Identity(id, issuer) }
}

/// Ends a federated identity, with its record.
pub async fn end_identity(harness: &Harness, identity: &Parent) {
    let (account, id) = (identity.account.to_string(), identity.grant.to_string());
    harness
        .table
        .tamper(&account, |account| {
            grants(account, "keys").remove(&id);
            grants(account, "verifiers").remove(&id);
        })
        .await;
    let record = item([
        ("pk", s(format!("RETIRED#{account}"))),
        ("sk", s(&id)),
        ("name", s("workload")),
        ("reason", s("revoked")),
        ("retiredAt", n(harness.clock.now().as_second())),
    ]);
    harness.table.put(record).await;
}

/// Seconds after `at`.
pub fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}
