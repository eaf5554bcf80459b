//! Issues, rotates and looks up keys, and adds federated identities. Only the responses to
//! `issueKey` and `rotateKey` contain a key's secret. Each operation has its own module.

pub mod create_federated_identity;
pub mod issue_key;
pub mod lookup_key;
pub mod rotate_key;

use std::sync::Arc;

use jiff::Timestamp;
use shared::config::{ConfigError, Setup};
use shared::domain::{
    AccountId, Actor, ApiKey, Clock, DisplayedKey, Entropy, Environment, Fingerprint, KeyId, KeyName,
    KeySpec, LiveKey, Pepper, SecretVersion, Verifier, VerifierEntry,
};
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::keyring::Keyring;
use shared::store::{NewKey, Store};

pub struct IssueKey {
    store: Store,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    environment: Environment,
    max_lifetime_days: u32,
    max_keys: usize,
}

impl Operation for IssueKey {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self {
            store: setup.store()?,
            keyring: setup.keyring()?,
            clock: Arc::clone(&setup.clock),
            entropy: Arc::clone(&setup.entropy),
            environment: setup.environment()?,
            max_lifetime_days: setup.max_key_lifetime_days()?,
            max_keys: setup.max_keys_per_account()?,
        })
    }

    async fn warm(&self) {
        tokio::join!(self.store.warm(), self.keyring.warm());
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "POST /iam/v1/service-accounts/{id}/keys" => issue_key::issue_key(self, admin, request).await,
            "POST /iam/v1/service-accounts/{id}/federated-identities" => {
                create_federated_identity::create_federated_identity(self, admin, request).await
            }
            "POST /iam/v1/keys/lookup" => lookup_key::lookup_key(self, request).await,
            "POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation" => {
                rotate_key::rotate_key(self, admin, request).await
            }
            _ => Err(Failure::RouteNotFound),
        }
    }
}

/// A generated key that is not stored yet, with the pepper for its verifier.
struct GeneratedKey {
    key: ApiKey,
    displayed: DisplayedKey,
    version: SecretVersion,
    pepper: Pepper,
}

impl GeneratedKey {
    async fn generate(function: &IssueKey, account: AccountId, id: KeyId) -> Result<Self, Failure> {
        let key = ApiKey::generate(account, id, &*function.entropy)?;
        let displayed = key.display(&function.environment);
        let (version, pepper) = function.keyring.current().await?;
        Ok(Self { key, displayed, version, pepper })
    }

    /// The key and its verifier, for the store.
    fn to_new_key(
        &self,
        name: KeyName,
        spec: KeySpec,
        fingerprint: Fingerprint,
        created_at: Timestamp,
        created_by: Actor,
    ) -> NewKey {
        let verifier = Verifier::compute(&self.pepper, &self.key, &spec);
        let key = LiveKey {
            id: self.key.id,
            name,
            hint: self.displayed.hint(),
            spec,
            created_at,
            created_by,
            fingerprint,
            rotation: None,
        };
        NewKey { key, verifier: VerifierEntry { verifier, pepper: self.version.clone() } }
    }
}
