//! Tokens that are made with the domain API, and the federated identities and issuers that
//! they need.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::domain::{
    AccountId, BoundRequest, Clock as _, Entropy, Environment, GrantBinding, IssuerName, RoleName,
    TokenClaims, TokenGrant, TokenId, Verifier,
};
use shared::store::{StoredIdentity, StoredKey};

use crate::{API_ID, Account, Harness, Item, Key, SeededEntropy};

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

    /// A token that works only for this request to the API of the tests' events.
    pub async fn request_token(&self, harness: &Harness, method: &str, path: &str) -> String {
        let request = Some(BoundRequest::new(API_ID, method, path));
        let claims = TokenClaims { request, lifetime_seconds: 60, ..self.claims(harness) };
        seal(harness, &claims).await
    }

    /// What the grant's tokens are bound to, as the table has it.
    pub async fn binding(&self, harness: &Harness) -> GrantBinding {
        self.binding_with(harness, |verifier| verifier).await
    }

    /// The same with another verifier.
    pub async fn binding_with(
        &self,
        harness: &Harness,
        change: impl FnOnce(Verifier) -> Verifier,
    ) -> GrantBinding {
        let store = harness.system.setup_for("Authorizer").unwrap().store().unwrap();
        match &self.grant {
            TokenGrant::Key(id) => {
                let found = store.find_key_credential(self.account, *id).await.unwrap().unwrap();
                let StoredKey { spec, verifier, .. } = found.grant.unwrap();
                GrantBinding::of_key(change(verifier.verifier), &spec)
            }
            TokenGrant::Identity(id, issuer) => {
                let found = store.find_identity_credential(self.account, *id).await.unwrap().unwrap();
                let StoredIdentity { role, expires_at, verifier, .. } = found.grant.unwrap();
                let issuer = store.find_issuer_registration(issuer).await.unwrap().unwrap();
                GrantBinding::of_identity(change(verifier), issuer.id, role, expires_at)
            }
        }
    }
}

/// The token with these claims, as this deployment makes it.
pub async fn seal(harness: &Harness, claims: &TokenClaims) -> String {
    let parent = Parent { account: claims.account, grant: claims.grant.clone() };
    let keyring = harness.system.setup_for("Authorizer").unwrap().token_keyring().unwrap();
    let (version, key) = keyring.current().await.unwrap();
    let binding = parent.binding(harness).await;
    let environment = Environment::parse("local").unwrap();
    let token = claims.seal(&environment, (&version, &key), &binding).unwrap();
    token.expose().to_owned()
}

/// A map of an account's grants.
fn grants<'a>(account: &'a mut Item, name: &str) -> &'a mut Item {
    let Some(AttributeValue::M(map)) = account.get_mut(name) else { panic!("{name} is not a map") };
    map
}

/// Registers an issuer.
pub async fn register_issuer(harness: &Harness, name: &str) {
    let _ = harness.put_issuer(name, &json!({ "issuer": "https://issuer.example.com" })).await;
}

/// Ends an issuer.
pub async fn end_issuer(harness: &Harness, name: &str) {
    let path = format!("/iam/v1/issuers/{name}");
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
}

/// Adds a federated identity to an account, with this issuer and own role.
pub async fn add_identity(harness: &Harness, account: &Account, issuer: &str, role: Option<&str>) -> Parent {
    let mut body = json!({
        "name": "workload", "issuer": issuer, "audience": "keyward", "claims": { "sub": "workload" },
    });
    if let Some(role) = role {
        body["role"] = role.into();
    }
    let id = harness.add_identity(account, &body).await["id"].as_str().unwrap().parse().unwrap();
    let issuer = IssuerName::parse(issuer).unwrap();
    Parent { account: account.id.parse().unwrap(), grant: TokenGrant::Identity(id, issuer) }
}

/// Adds a federated identity that expires at this instant. Its seal does not cover the expiry,
/// but the authorizer does not check seals.
pub async fn add_identity_until(
    harness: &Harness,
    account: &Account,
    issuer: &str,
    role: Option<&str>,
    expires_at: Option<Timestamp>,
) -> Parent {
    let identity = add_identity(harness, account, issuer, role).await;
    let Some(expires_at) = expires_at else { return identity };
    let at = AttributeValue::N(expires_at.as_second().to_string());
    let change = |item: &mut Item| {
        let Some(AttributeValue::M(entry)) = grants(item, "keys").get_mut(&identity.grant.to_string()) else {
            panic!("the identity is not a map")
        };
        entry.insert("expiresAt".to_owned(), at);
    };
    harness.table.tamper(&account.id, change).await;
    identity
}

/// Ends a federated identity.
pub async fn end_identity(harness: &Harness, identity: &Parent) {
    let path =
        format!("/iam/v1/service-accounts/{}/federated-identities/{}", identity.account, identity.grant);
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
}

/// Seconds after `at`.
pub fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}
