//! What has keys in hand. The answers that make one are the one place where a
//! key's secret ever leaves the system:
//!
//! - `POST /iam/v1/service-accounts/{id}/keys` issues one;
//! - `POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation` issues a
//!   successor of one ([`rotate_key`]);
//! - `POST /iam/v1/keys/lookup` tells whose one is ([`lookup`]).

pub mod lookup;
pub mod rotate_key;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::config::{ConfigError, Setup};
use shared::domain::{
    AccountId, Actor, AllowedCidrs, ApiKey, Clock, DisplayedKey, Entropy, Environment, Fingerprint,
    InvalidCidrs, KeyId, KeyName, KeySpec, KeyUsage, LiveKey, Pepper, PepperVersion, RoleName, Verifier,
    VerifierEntry,
};
use shared::http::representation::Key;
use shared::http::{Admin, Failure, Fields, Operation, Problem, Reply, Request, parameter};
use shared::keyring::Keyring;
use shared::store::{NewKey, Store};
use utoipa::ToSchema;

/// The lifetime of a key, in days, if the caller does not say (and the
/// deployment does not cap it below).
const DEFAULT_LIFETIME_DAYS: u32 = 90;

/// The function.
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
            "POST /iam/v1/service-accounts/{id}/keys" => issue_key(self, admin, request).await,
            "POST /iam/v1/keys/lookup" => lookup::lookup_key(self, request).await,
            "POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation" => {
                rotate_key::rotate_key(self, admin, request).await
            }
            _ => Err(Failure::RouteNotFound),
        }
    }
}

/// A key in the making: its secret, and the pepper of its verifier.
struct Draft {
    key: ApiKey,
    displayed: DisplayedKey,
    version: PepperVersion,
    pepper: Pepper,
}

impl Draft {
    async fn begin(function: &IssueKey, account: AccountId, id: KeyId) -> Result<Self, Failure> {
        let key = ApiKey::generate(account, id, &*function.entropy)?;
        let displayed = key.display(&function.environment);
        let (version, pepper) = function.keyring.current().await?;
        Ok(Self { key, displayed, version, pepper })
    }

    /// The key with all that is to be stored of it.
    fn finish(
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

/// What a new key is to be.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IssueKeyRequest {
    /// What people call it.
    #[schema(min_length = 1, max_length = 64, example = "batch server 1")]
    name: String,
    /// After so many days it expires: at most what the deployment allows and,
    /// if not said, 90 or that, whichever is less.
    #[schema(minimum = 1, maximum = 3650, required = false, value_type = u32)]
    expires_in_days: Option<u32>,
    /// A role of the key's own: then both it and the account's must permit, so
    /// that a key is never wider than its account.
    #[schema(max_length = 64, required = false, value_type = String)]
    role: Option<String>,
    /// The networks that it may be used from (at most 10, in CIDR notation).
    /// None: from anywhere.
    #[serde(default)]
    #[schema(max_items = 10, example = json!(["203.0.113.0/24"]))]
    allowed_cidrs: Vec<String>,
}

/// A key just issued: the only answer that holds its secret.
#[derive(Serialize, ToSchema)]
pub struct IssuedKey<'a> {
    /// The key, as it will always be shown.
    #[serde(flatten)]
    key: Key,
    /// The whole key, to be sent as `Authorization: Bearer <secret>`. It is
    /// shown here and never again.
    #[schema(example = "kwsa_prod_…")]
    secret: &'a str,
}

/// What was made of a request.
struct Wanted {
    name: KeyName,
    lifetime_days: u32,
    role: Option<RoleName>,
    cidrs: AllowedCidrs,
    fingerprint: Fingerprint,
}

/// Issue a key
///
/// The answer shows the secret once. A retry under the same `Idempotency-Key`
/// never issues a second key and never shows the secret again: it answers 409
/// with the key's id.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    post,
    path = "/iam/v1/service-accounts/{id}/keys",
    operation_id = "issueKey",
    tag = "Keys",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Your name for this attempt: 1–255 visible characters"),
    ),
    request_body = IssueKeyRequest,
    responses(
        (status = 201, description = "Issued", body = IssuedKey),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem),
    )
)]
pub async fn issue_key(
    function: &IssueKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    request.has_no_condition()?;
    let origin = request.origin(actor)?;
    let wanted = wanted(request.json()?, function.max_lifetime_days)?;
    let id = origin.new_key_id(account, &*function.entropy)?;
    let draft = Draft::begin(function, account, id).await?;
    let now = function.clock.now();
    let spec = KeySpec {
        expires_at: after_days(now, wanted.lifetime_days)?,
        role: wanted.role,
        cidrs: wanted.cidrs,
    };
    let new = draft.finish(wanted.name, spec, wanted.fingerprint, now, origin.actor.clone());
    function.store.issue_key(account, &new, function.max_keys, &origin).await?;
    let body = IssuedKey {
        key: Key::of(&new.key, &KeyUsage::default(), function.clock.now()),
        secret: draft.displayed.expose(),
    };
    Ok(Reply::created(&format!("/iam/v1/service-accounts/{account}"), &body))
}

fn after_days(now: Timestamp, days: u32) -> Result<Timestamp, Failure> {
    let lifetime = SignedDuration::from_hours(24 * i64::from(days));
    now.checked_add(lifetime).map_err(|error| Failure::Internal(error.to_string()))
}

fn wanted(body: IssueKeyRequest, max_lifetime_days: u32) -> Result<Wanted, Failure> {
    let fingerprint = Fingerprint::of(&body);
    let mut fields = Fields::default();
    let name = fields.check("/name", KeyName::parse(&body.name));
    let lifetime_days = body.expires_in_days.unwrap_or(DEFAULT_LIFETIME_DAYS.min(max_lifetime_days));
    if !(1..=max_lifetime_days).contains(&lifetime_days) {
        fields.refuse("/expiresInDays", format!("must be from 1 to {max_lifetime_days} days"));
    }
    let role = body.role.and_then(|role| fields.check("/role", RoleName::parse(&role)));
    let cidrs = AllowedCidrs::parse(&body.allowed_cidrs)
        .map_err(|error| match error {
            InvalidCidrs::TooMany => fields.refuse("/allowedCidrs", error),
            InvalidCidrs::NotANetwork(at) => fields.refuse(&format!("/allowedCidrs/{at}"), error),
        })
        .ok();
    let wanted =
        name.zip(cidrs).map(|(name, cidrs)| Wanted { name, lifetime_days, role, cidrs, fingerprint });
    fields.finish(wanted)
}
