//! `GET /iam/v1/whoami`: returns who the caller is and what it can do, and whether a
//! request would be allowed. This is the only operation of the IAM API that a key can call.

use std::sync::Arc;

use serde::Deserialize;
use shared::api::{KeyDetails, WhoamiResponse, permissions};
use shared::config::{ConfigError, Setup};
use shared::domain::{Caller, Clock, Environment, KeyCaller, LiveKey, PrincipalType, RoleName};
use shared::http::{Failure, Operation, Reply, Request, query_parameter};
use shared::policy::{
    AmbiguousPath, ConsultedRole, ExplainedDecision, Method, RESERVED_PREFIX, Reason, Source, Target,
    check_path_form, check_use,
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
/// accepts a service account's key. Any valid key can call it, whatever its role,
/// so use it to check that a key works.
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
        (status = 404, description = "service_account_not_found, key_not_found"),
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
            key: None,
        },
        Caller::Key(caller) => describe_key(function, caller, environment, question).await?,
    };
    Ok(Reply::ok(&principal))
}

async fn describe_key(
    function: &Whoami,
    caller: KeyCaller,
    environment: String,
    question: Option<Question<'_>>,
) -> Result<WhoamiResponse, Failure> {
    let account = function.store.get_account(caller.account).await?;
    // The authorizer has just found the key. If it is gone, it has ended since.
    let key = account
        .keys
        .iter()
        .find(|key| key.id == caller.key)
        .ok_or(StoreError::KeyNotFound(caller.account, caller.key))?;
    let role = find_role(function, &account.role).await?;
    let key_role = match &key.spec.role {
        Some(name) => Some(find_role(function, name).await?),
        None => None,
    };
    let missing: Vec<_> = [&role].into_iter().chain(&key_role).filter(|role| !role.exists).collect();
    let usable =
        check_use(&key.spec, key.rotation.as_ref(), account.enabled, function.clock.now(), Source::Permitted);
    // The authorizer's checks, in its order.
    let decide = |question: Question<'_>| match (question, usable) {
        (Err(AmbiguousPath), _) => Reason::AmbiguousPath.into(),
        (Ok(_), Err(reason)) => reason.into(),
        (Ok(target), Ok(())) => ExplainedDecision::for_key(&target, &role, key_role.as_ref()),
    };
    Ok(WhoamiResponse {
        principal_type: PrincipalType::ServiceAccount,
        principal_id: caller.account.to_string(),
        principal_name: account.name.to_string(),
        environment,
        summary: summary(key, &missing),
        permissions: permissions(&role.role),
        check: question.map(|question| decide(question).into()),
        key: Some(KeyDetails {
            key_id: key.id,
            expires_at: key.spec.expires_at,
            retires_at: key.rotation.map(|rotation| rotation.retires_at),
            role: account.role.clone(),
            key_role: key.spec.role.clone(),
            key_permissions: key_role.as_ref().map(|role| permissions(&role.role)),
            allowed_cidrs: key.spec.cidrs.iter().collect(),
        }),
    })
}

async fn find_role(function: &Whoami, name: &RoleName) -> Result<ConsultedRole, Failure> {
    Ok(ConsultedRole::new(name, function.roles.find(name).await?))
}

/// Describes what `key` can do, for readers who do not know how roles work.
fn summary(key: &LiveKey, missing: &[&ConsultedRole]) -> String {
    let mut sentences = vec![if key.spec.role.is_some() {
        "A request is allowed only if one of `permissions` and one of `keyPermissions` both cover its method and path."
            .to_owned()
    } else {
        "A request is allowed only if one of `permissions` covers its method and path.".to_owned()
    }];
    sentences.push(
        "`ANY` stands for every method, `{name}` for exactly one segment of the path, and `{name+}` for one or \
         more segments at its end. Nothing else is permitted. Below /iam, only this operation is permitted."
            .to_owned(),
    );
    if !key.spec.cidrs.is_empty() {
        sentences.push("The request must come from one of the networks in `allowedCidrs`.".to_owned());
    }
    if key.rotation.is_some() {
        sentences.push("This key was rotated, and is refused from `retiresAt` on.".to_owned());
    }
    sentences.extend(
        missing
            .iter()
            .map(|missing| format!("Role {} does not exist, so nothing is permitted.", missing.role.name)),
    );
    sentences.join(" ")
}
