//! `POST /iam/v1/service-accounts/{id}/federated-identities`: adds a federated identity.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use shared::activity::GrantActivity;
use shared::api::{self, CreateFederatedIdentityRequest};
use shared::domain::{
    AGE_SECONDS, Audience, ClaimValue, FederatedIdentity, Fingerprint, IdentityName, IdentitySpec,
    InvalidText, IssuerName, IssuerUrl, Platform, RequiredClaims, RoleName, Seal, SealEntry, SealedVerifier,
    Verifier, check_rule, contains_credential,
};
use shared::http::{Admin, Failure, Fields, Reply, Request};
use shared::store::{NewIdentity, StoreError};

use crate::IssueKey;

/// The maximum lifetime of an identity, in days.
const MAX_LIFETIME_DAYS: u32 = 3650;

/// A request whose fields are valid, each for itself.
struct ValidRequest {
    name: IdentityName,
    issuer: IssuerName,
    audience: Audience,
    claims: RequiredClaims,
    role: Option<RoleName>,
    lifetime_days: Option<u32>,
    single_use: Option<bool>,
    max_age_seconds: Option<u32>,
    fingerprint: Fingerprint,
}

/// Add a federated identity
///
/// Lets the workloads of a trusted issuer that match a rule act as a service account, without
/// a key. A workload exchanges its own token (a JWT) for a token of this account at
/// `POST /iam/v1/token`.
///
/// The rule must identify the workload: see `claims`. It cannot be changed later. To change
/// it, add another identity and delete this one.
///
/// A service account has at most 40 keys and federated identities. A retry with the same
/// `Idempotency-Key` never adds a second identity: the response has the first one.
#[utoipa::path(
    post,
    path = "/iam/v1/service-accounts/{id}/federated-identities",
    operation_id = "createFederatedIdentity",
    tag = "Federated identities",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = CreateFederatedIdentityRequest,
    responses(
        (status = 201, description = "The federated identity.", body = api::FederatedIdentity, headers(("Location" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 404, description = "service_account_not_found"),
        (status = 409, description = "grant_limit_reached, federated_identity_ended, concurrent_changes"),
        (status = 422, description = "invalid_fields, idempotency_key_reused"),
    )
)]
pub async fn create_federated_identity(
    function: &IssueKey,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let account = request.account_id()?;
    request.has_no_condition()?;
    let change = request.change_request(actor)?;
    let valid = validate(request.json()?)?;
    let issuer = function.store.find_issuer(&valid.issuer).await?;
    let issuer = issuer.ok_or_else(|| StoreError::UnknownIssuer(valid.issuer.clone()))?;
    check_claims(&issuer.url, &valid.claims)?;
    let now = function.clock.now();
    let platform = Platform::of(&issuer.url);
    let identity = FederatedIdentity {
        id: change.new_identity_id(account, &*function.entropy)?,
        name: valid.name,
        spec: IdentitySpec {
            issuer: valid.issuer,
            audience: valid.audience,
            claims: valid.claims,
            role: valid.role,
            expires_at: valid.lifetime_days.map(|days| after_days(now, days)).transpose()?,
            single_use: valid.single_use.unwrap_or_else(|| platform.single_use()),
            max_age_seconds: valid.max_age_seconds.unwrap_or_else(|| platform.max_age_seconds()),
        },
        created_at: now,
        created_by: change.actor.clone(),
        fingerprint: valid.fingerprint,
    };
    let (version, pepper) = function.keyring.current().await?;
    let verifier = Verifier::generate(&*function.entropy)?;
    let seal = Seal::of_identity(&pepper, account, identity.id, &verifier, &identity.spec);
    let verifier = SealedVerifier { verifier, seal: SealEntry { seal, pepper: version } };
    let stored = function.store.add_identity(account, &NewIdentity { identity, verifier }, &change).await?;
    let trusted = HashSet::from([stored.spec.issuer.clone()]);
    let body =
        api::FederatedIdentity::new(&stored, &trusted, &GrantActivity::default(), function.clock.now());
    let location = format!("/iam/v1/service-accounts/{account}/federated-identities/{}", stored.id);
    Ok(Reply::created(&location, &body))
}

fn after_days(now: Timestamp, days: u32) -> Result<Timestamp, Failure> {
    let lifetime = SignedDuration::from_hours(24 * i64::from(days));
    now.checked_add(lifetime).map_err(|error| Failure::Internal(error.to_string()))
}

fn validate(body: CreateFederatedIdentityRequest) -> Result<ValidRequest, Failure> {
    let fingerprint = Fingerprint::new(&body);
    let mut fields = Fields::default();
    let name = fields.check("/name", IdentityName::parse(&body.name));
    let issuer = fields.check("/issuer", IssuerName::parse(&body.issuer));
    let audience = if contains_credential(&body.audience) {
        fields.refuse("/audience", InvalidText::Credential);
        None
    } else {
        fields.check("/audience", Audience::parse(&body.audience))
    };
    let claims = claims(&mut fields, body.claims);
    let role = body.role.and_then(|role| fields.check("/role", RoleName::parse(&role)));
    if body.expires_in_days.is_some_and(|days| !(1..=MAX_LIFETIME_DAYS).contains(&days)) {
        fields.refuse("/expiresInDays", format!("must be from 1 to {MAX_LIFETIME_DAYS} days"));
    }
    if body.max_age_seconds.is_some_and(|seconds| !AGE_SECONDS.contains(&seconds)) {
        let (start, end) = (AGE_SECONDS.start(), AGE_SECONDS.end());
        fields.refuse("/maxAgeSeconds", format!("must be from {start} to {end} seconds"));
    }
    let valid =
        name.zip(issuer).zip(audience.zip(claims)).map(|((name, issuer), (audience, claims))| ValidRequest {
            name,
            issuer,
            audience,
            claims,
            role,
            lifetime_days: body.expires_in_days,
            single_use: body.single_use,
            max_age_seconds: body.max_age_seconds,
            fingerprint,
        });
    fields.finish(valid)
}

/// Reads the required claims: each has one value or an array of values.
fn claims(fields: &mut Fields, claims: BTreeMap<String, Value>) -> Option<RequiredClaims> {
    let mut read = BTreeMap::new();
    let mut is_complete = true;
    for (path, value) in claims {
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        let values: Option<Vec<_>> = values.into_iter().map(claim_value).collect();
        if let Some(values) = values {
            read.insert(path, values);
        } else {
            fields.refuse(
                &Fields::pointer(&["claims", &path]),
                "must be text, a whole number, true or false, or an array of these",
            );
            is_complete = false;
        }
    }
    if !is_complete {
        return None;
    }
    RequiredClaims::parse(read)
        .map_err(|(path, error)| {
            let pointer =
                path.map_or_else(|| "/claims".to_owned(), |path| Fields::pointer(&["claims", &path]));
            fields.refuse(&pointer, error);
        })
        .ok()
}

fn claim_value(value: Value) -> Option<ClaimValue> {
    match value {
        Value::Bool(value) => Some(ClaimValue::Boolean(value)),
        Value::Number(value) => value.as_i64().map(ClaimValue::Number),
        Value::String(value) => Some(ClaimValue::Text(value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Refuses claims that workloads of others could have too.
fn check_claims(issuer: &IssuerUrl, claims: &RequiredClaims) -> Result<(), Failure> {
    let mut fields = Fields::default();
    let is_safe = check_rule(issuer, claims).map_err(|problems| {
        for problem in problems {
            let path: Vec<_> = ["claims"].into_iter().chain(problem.claim).collect();
            fields.refuse(&Fields::pointer(&path), problem.detail);
        }
    });
    fields.finish(is_safe.ok())
}
