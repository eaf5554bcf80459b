//! `GET /iam/v1/whoami`: returns who the caller is and what it can do, and whether a
//! request would be allowed. This is the only operation of the IAM API that a key or token of
//! a service account can call.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use shared::api::{CredentialDetails, TokenDetails, TokenRole, WhoamiResponse, permissions};
use shared::config::{ConfigError, Setup};
use shared::domain::{
    Account, Caller, Clock, Environment, GrantId, PrincipalType, RoleName, ServiceAccountCaller, TokenCaller,
};
use shared::http::{Failure, Operation, Reply, Request, query_parameter};
use shared::policy::{
    AmbiguousPath, ConsultedRole, ConsultedRoles, ExplainedDecision, Method, RESERVED_PREFIX, Reason, Source,
    Target, check_identity_use, check_path_form, check_use,
};
use shared::store::{Roles, Store, StoreError};
use utoipa::IntoParams;

pub struct Whoami {
    store: Store,
    roles: Roles,
    environment: Environment,
    clock: Arc<dyn Clock>,
}

/// The request that the caller asks about, if it asks about one.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhoamiQuery {
    /// The HTTP method of a request, in upper case: `GET`, `HEAD`, `OPTIONS`,
    /// `POST`, `PUT`, `PATCH` or `DELETE`. The response then says in `check`
    /// whether the request would be allowed. Requires `path`.
    #[param(example = "POST")]
    method: Option<String>,
    /// The path of that request as the API routes it, beginning with `/`,
    /// without the stage, the base path of a custom domain, or the query. In a
    /// URL, write `%` as `%25`. Requires `method`.
    #[param(example = "/organizations")]
    path: Option<String>,
}

/// The request that a caller asks about. If the path is ambiguous, the request would be
/// refused.
type Question<'a> = Result<Target<'a>, AmbiguousPath>;

impl WhoamiQuery {
    fn validate(&self) -> Result<Option<Question<'_>>, Failure> {
        let method = query_parameter("method", self.method.as_deref(), Method::parse)?;
        if let Some(path) = &self.path {
            check_path_form(path).map_err(|error| Failure::invalid_parameter("path", error))?;
        }
        match (method, &self.path) {
            (None, None) => Ok(None),
            (Some(method), Some(path)) => Ok(Some(Target::parse(method.name(), path))),
            (Some(_), None) => Err(Failure::invalid_parameter("method", "requires `path`")),
            (None, Some(_)) => Err(Failure::invalid_parameter("path", "requires `method`")),
        }
    }
}

impl Operation for Whoami {
    type Caller = Caller;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.store()?;
        let roles = Roles::new(store.clone(), setup.built_in_roles()?);
        Ok(Self { store, roles, environment: setup.environment()?, clock: Arc::clone(&setup.clock) })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, caller: Caller, request: &Request) -> Result<Reply, Failure> {
        whoami(self, caller, request).await
    }
}

/// Get the caller
///
/// Returns who the caller is and what it can do. This is the only operation that
/// accepts a service account's key or token. Any valid key or token can call it,
/// whatever its roles, so use it to check that a key or token works.
///
/// With `method` and `path`, the response also says whether that request would be
/// allowed, and if not, why and which permission is missing. The authorizer's own
/// code decides, from the current roles. The request is assumed to come from a
/// network that the key permits.
#[utoipa::path(
    get,
    path = "/iam/v1/whoami",
    operation_id = "whoami",
    tag = "Caller",
    params(WhoamiQuery),
    responses(
        (status = 200, description = "The caller, and the decision on the request in the query.", body = WhoamiResponse),
        (status = 400, description = "malformed_request"),
        (status = 403, description = "The authorizer refused the credential (`message`: `Forbidden`): the key or token is invalid, has ended, or cannot be used from this address."),
        (status = 404, description = "service_account_not_found, key_not_found, federated_identity_not_found"),
    )
)]
pub async fn whoami(function: &Whoami, caller: Caller, request: &Request) -> Result<Reply, Failure> {
    let query: WhoamiQuery = request.query()?;
    let question = query.validate()?;
    let environment = function.environment.as_str().to_owned();
    let principal = match caller {
        Caller::Admin(actor) => WhoamiResponse {
            principal_type: PrincipalType::Admin,
            principal_id: actor.id,
            principal_name: actor.name,
            environment,
            // For this API, the authorizer accepts only tokens of an IAM client.
            summary: format!(
                "This token permits every operation below {RESERVED_PREFIX}, so you can manage accounts, keys and \
                 roles. Other APIs do not accept it: they need a token of another client."
            ),
            permissions: vec![format!("ANY {RESERVED_PREFIX}/{{proxy+}}")],
            check: question.map(|question| match question {
                Ok(target) => ExplainedDecision::for_iam_admin(&target).into(),
                Err(AmbiguousPath) => ExplainedDecision::from(Reason::AmbiguousPath).into(),
            }),
            credential: None,
        },
        Caller::ServiceAccount(caller) => describe(function, caller, environment, question).await?,
    };
    Ok(Reply::ok(&principal))
}

/// The key or federated identity that the caller uses.
struct UsedGrant {
    id: GrantId,
    role: Option<RoleName>,
    expires_at: Option<Timestamp>,
    /// When the grace period of a rotated key ends.
    retires_at: Option<Timestamp>,
    allowed_cidrs: Vec<String>,
    /// Whether the grant can be used now.
    usable: Result<(), Reason>,
}

impl UsedGrant {
    /// Finds a grant of `account`. The authorizer has just found the grant. If it is gone, it
    /// has ended since.
    fn find(account: &Account, id: GrantId, now: Timestamp) -> Result<Self, Failure> {
        match id {
            GrantId::Key(id) => {
                let key = account.keys.iter().find(|key| key.id == id);
                let key = key.ok_or(StoreError::KeyNotFound(account.id, id))?;
                let (spec, rotation) = (&key.spec, key.rotation.as_ref());
                Ok(Self {
                    id: id.into(),
                    role: spec.role.clone(),
                    expires_at: Some(spec.expires_at),
                    retires_at: rotation.map(|rotation| rotation.retires_at),
                    allowed_cidrs: spec.cidrs.iter().collect(),
                    usable: check_use(spec, rotation, account.enabled, now, Source::Permitted),
                })
            }
            GrantId::Identity(id) => {
                let identity = account.identities.iter().find(|identity| identity.id == id);
                let identity = identity.ok_or(StoreError::IdentityNotFound(account.id, id))?;
                let expires_at = identity.spec.expires_at;
                Ok(Self {
                    id: id.into(),
                    role: identity.spec.role.clone(),
                    expires_at,
                    retires_at: None,
                    allowed_cidrs: Vec::new(),
                    usable: check_identity_use(expires_at, account.enabled, now),
                })
            }
        }
    }
}

async fn describe(
    function: &Whoami,
    caller: ServiceAccountCaller,
    environment: String,
    question: Option<Question<'_>>,
) -> Result<WhoamiResponse, Failure> {
    let account = function.store.get_account(caller.account).await?;
    let grant = UsedGrant::find(&account, caller.grant, function.clock.now())?;
    let roles = find_roles(function, &account, &grant, caller.token.as_ref()).await?;
    // The authorizer's checks, in its order.
    let decide = |question: Question<'_>| match (question, grant.usable) {
        (Err(AmbiguousPath), _) => Reason::AmbiguousPath.into(),
        (Ok(_), Err(reason)) => reason.into(),
        (Ok(target), Ok(())) => ExplainedDecision::for_service_account(&target, &roles),
    };
    Ok(WhoamiResponse {
        principal_type: PrincipalType::ServiceAccount,
        principal_id: caller.account.to_string(),
        principal_name: account.name.to_string(),
        environment,
        summary: summary(&grant, &roles),
        permissions: permissions(&roles.account.role),
        check: question.map(|question| decide(question).into()),
        credential: Some(CredentialDetails {
            key_id: grant.id.key(),
            identity_id: grant.id.identity(),
            expires_at: grant.expires_at,
            retires_at: grant.retires_at,
            role: account.role.clone(),
            key_role: grant.role,
            key_permissions: roles.grant.as_ref().map(|(_, role)| permissions(&role.role)),
            allowed_cidrs: grant.allowed_cidrs,
            token: caller.token.map(|token| token_details(token, &roles)),
        }),
    })
}

fn token_details(token: TokenCaller, roles: &ConsultedRoles) -> TokenDetails {
    let roles = roles.token.iter().map(|consulted| TokenRole {
        role: consulted.role.name.clone(),
        permissions: permissions(&consulted.role),
    });
    TokenDetails { id: token.id, expires_at: token.expires_at, roles: roles.collect(), actors: token.parents }
}

/// Finds the roles that must permit a request of the caller.
async fn find_roles(
    function: &Whoami,
    account: &Account,
    grant: &UsedGrant,
    token: Option<&TokenCaller>,
) -> Result<ConsultedRoles, Failure> {
    let mut roles =
        ConsultedRoles { account: find_role(function, &account.role).await?, grant: None, token: Vec::new() };
    if let Some(name) = &grant.role {
        roles.grant = Some((grant.id.into(), find_role(function, name).await?));
    }
    for name in token.iter().flat_map(|token| &token.roles) {
        roles.token.push(find_role(function, name).await?);
    }
    Ok(roles)
}

async fn find_role(function: &Whoami, name: &RoleName) -> Result<ConsultedRole, Failure> {
    Ok(ConsultedRole::new(name, function.roles.find(name).await?))
}

/// Describes what the caller can do, for readers who do not know how roles work.
fn summary(grant: &UsedGrant, roles: &ConsultedRoles) -> String {
    let mut sentences = vec![if roles.grant.is_some() {
        "A request is allowed only if one of `permissions` and one of `keyPermissions` both cover its method and path."
            .to_owned()
    } else {
        "A request is allowed only if one of `permissions` covers its method and path.".to_owned()
    }];
    if !roles.token.is_empty() {
        sentences.push(
            "Each role of the token in `token` must have a permission that covers the request too."
                .to_owned(),
        );
    }
    sentences.push(
        "`ANY` stands for every method, `{name}` for exactly one segment of the path, and `{name+}` for one or \
         more segments at its end. Nothing else is permitted. Below /iam, only this operation is permitted."
            .to_owned(),
    );
    if !grant.allowed_cidrs.is_empty() {
        sentences.push("The request must come from one of the networks in `allowedCidrs`.".to_owned());
    }
    if grant.retires_at.is_some() {
        sentences.push("This key was rotated, and is refused from `retiresAt` on.".to_owned());
    }
    sentences.extend(
        roles
            .iter()
            .filter(|consulted| !consulted.exists)
            .map(|missing| format!("Role {} does not exist, so nothing is permitted.", missing.role.name)),
    );
    sentences.join(" ")
}
