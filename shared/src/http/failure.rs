//! Errors of requests, and their problem details (RFC 9457). The cause of an internal
//! error is only logged.

use std::fmt::Display;

use http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};

use super::reply;
use crate::api::{FieldError, Problem, ProblemCode, RoleUse};
use crate::config::variable;
use crate::domain::{BuiltInRole, EntropyError, MAX_GRANTS, redact_credentials};
use crate::keyring::{KeyringError, SecretKind};
use crate::store::{MAX_APIS, MAX_ISSUERS, RoleUsers, StoreError};

/// Why a request failed.
#[derive(Debug)]
pub enum Failure {
    /// A header or query parameter is malformed. Contains the detail for the client.
    MalformedRequest(String),
    /// The body is not JSON. Contains the detail for the client.
    MalformedJson(String),
    /// An id in the path is malformed. Contains the detail for the client.
    MalformedId(String),
    /// The authorizer's context does not contain a caller.
    Unauthenticated,
    /// The caller is not an admin.
    NotPermitted,
    RouteNotFound,
    /// Built-in roles cannot be changed or deleted.
    RoleBuiltIn(BuiltInRole),
    /// The body is too large. Contains the limit in bytes.
    BodyTooLarge(usize),
    /// The body's `Content-Type` is not JSON.
    UnsupportedMediaType,
    /// Fields of the body are invalid.
    InvalidFields(Vec<FieldError>),
    /// The store refused the change, or failed.
    Store(StoreError),
    /// The keyring cannot provide a pepper.
    Keyring(KeyringError),
    /// An internal error. Contains the cause for the log.
    Internal(String),
}

impl Failure {
    /// The error of one field. `detail` completes a sentence that starts with the field's
    /// name.
    pub fn invalid_field(pointer: &str, detail: impl ToString) -> Self {
        Self::InvalidFields(vec![FieldError { pointer: pointer.to_owned(), detail: detail.to_string() }])
    }

    /// The error of a query parameter. `problem` completes a sentence that starts with the
    /// parameter's name.
    pub fn invalid_parameter(name: &str, problem: impl Display) -> Self {
        Self::MalformedRequest(format!("In the query, `{name}` {problem}."))
    }

    /// The kind of problem, which determines the status and the title.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::MalformedRequest(_) => ProblemCode::MalformedRequest,
            Self::MalformedJson(_) => ProblemCode::MalformedJson,
            Self::MalformedId(_) => ProblemCode::MalformedId,
            Self::Unauthenticated => ProblemCode::Unauthenticated,
            Self::NotPermitted => ProblemCode::NotPermitted,
            Self::RouteNotFound => ProblemCode::RouteNotFound,
            Self::RoleBuiltIn(_) => ProblemCode::RoleBuiltIn,
            Self::BodyTooLarge(_) => ProblemCode::BodyTooLarge,
            Self::UnsupportedMediaType => ProblemCode::UnsupportedMediaType,
            Self::InvalidFields(_) => ProblemCode::InvalidFields,
            Self::Store(error) => match error {
                StoreError::AccountNotFound(_) => ProblemCode::ServiceAccountNotFound,
                StoreError::KeyNotFound(..) => ProblemCode::KeyNotFound,
                StoreError::IdentityNotFound(..) => ProblemCode::FederatedIdentityNotFound,
                StoreError::IssuerNotFound(_) => ProblemCode::IssuerNotFound,
                StoreError::IssuerUrlChanged(..) => ProblemCode::IssuerChanged,
                StoreError::IssuerLimit => ProblemCode::IssuerLimitReached,
                StoreError::ApiNotFound(_) => ProblemCode::ApiNotFound,
                StoreError::ApiLimit => ProblemCode::ApiLimitReached,
                StoreError::NameTaken => ProblemCode::NameTaken,
                StoreError::Stale => ProblemCode::PreconditionFailed,
                StoreError::Disabled => ProblemCode::ServiceAccountDisabled,
                StoreError::KeyLimit { .. } => ProblemCode::KeyLimitReached,
                StoreError::GrantLimit => ProblemCode::GrantLimitReached,
                StoreError::KeyRevoked(_) => ProblemCode::KeyRevoked,
                StoreError::KeyExpired(_) => ProblemCode::KeyExpired,
                StoreError::AlreadyRotated { .. } => ProblemCode::KeyAlreadyRotated,
                StoreError::UnknownRole(_) | StoreError::UnknownIssuer(_) => ProblemCode::InvalidFields,
                StoreError::RoleNotFound(_) => ProblemCode::RoleNotFound,
                StoreError::RoleInUse(..) => ProblemCode::RoleInUse,
                StoreError::RoleCheckIncomplete { .. } => ProblemCode::RoleCheckIncomplete,
                StoreError::AlreadyIssued(_) => ProblemCode::KeyAlreadyIssued,
                StoreError::CreatedAndDeleted(_) => ProblemCode::ServiceAccountDeleted,
                StoreError::CreatedAndEnded(_) => ProblemCode::FederatedIdentityEnded,
                StoreError::IdempotencyKeyReused => ProblemCode::IdempotencyKeyReused,
                StoreError::Contention => ProblemCode::ConcurrentChanges,
                StoreError::Throttled(_) => ProblemCode::Throttled,
                StoreError::Unavailable(_) => ProblemCode::DependencyUnavailable,
                StoreError::BuildMissing(_) | StoreError::Corrupt { .. } | StoreError::Entropy(_) => {
                    ProblemCode::InternalError
                }
            },
            Self::Keyring(KeyringError::Unavailable(..)) => ProblemCode::DependencyUnavailable,
            Self::Keyring(KeyringError::Malformed(..) | KeyringError::UnknownVersion(..))
            | Self::Internal(_) => ProblemCode::InternalError,
        }
    }

    /// The cause of an internal error, for the log. Responses never contain it.
    pub fn cause(&self) -> Option<String> {
        let is_internal = matches!(
            self.code(),
            ProblemCode::Throttled | ProblemCode::InternalError | ProblemCode::DependencyUnavailable
        );
        let cause = if let Self::Store(error) = self {
            error.to_string()
        } else if let Self::Keyring(error) = self {
            let variable = match error.secret() {
                SecretKind::Pepper => variable::PEPPER_SECRET,
                SecretKind::TokenKey => variable::TOKEN_KEY_SECRET,
            };
            format!("{error} (see {variable})")
        } else if let Self::Internal(cause) = self {
            cause.clone()
        } else {
            return None;
        };
        is_internal.then_some(cause)
    }

    /// The problem's detail: what happened and what to do.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest(detail) | Self::MalformedJson(detail) | Self::MalformedId(detail) => {
                detail.clone()
            }
            Self::Unauthenticated => "Sign in and send the access token as a Bearer token.".to_owned(),
            Self::NotPermitted => {
                "Only admins can use this operation. A service account's key cannot, whatever its role."
                    .to_owned()
            }
            Self::RouteNotFound => "See the API description for its routes.".to_owned(),
            Self::RoleBuiltIn(role) => format!(
                "{} is a built-in role. It cannot be changed or deleted, and no other role can have its name, even in \
                 another case. Choose another name.",
                role.name()
            ),
            Self::BodyTooLarge(limit) => format!("Send at most {limit} bytes."),
            Self::UnsupportedMediaType => "Send JSON, with `Content-Type: application/json`.".to_owned(),
            Self::InvalidFields(_) => INVALID_FIELDS.to_owned(),
            Self::Store(error) => store_detail(error),
            Self::Keyring(KeyringError::Unavailable(..)) => TRY_AGAIN.to_owned(),
            Self::Keyring(KeyringError::Malformed(..) | KeyringError::UnknownVersion(..))
            | Self::Internal(_) => INTERNAL.to_owned(),
        }
    }

    /// The errors of fields.
    fn errors(&self) -> Vec<FieldError> {
        let errors = if let Self::InvalidFields(errors) = self {
            errors.clone()
        } else if let Self::Store(error @ StoreError::UnknownRole(_)) = self {
            let detail = format!("{error}: see `GET /iam/v1/roles`");
            vec![FieldError { pointer: "/role".to_owned(), detail }]
        } else if let Self::Store(error @ StoreError::UnknownIssuer(_)) = self {
            let detail = format!("{error}: see `GET /iam/v1/issuers`");
            vec![FieldError { pointer: "/issuer".to_owned(), detail }]
        } else {
            Vec::new()
        };
        errors.into_iter().map(FieldError::redacted).collect()
    }

    /// The response.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let code = self.code();
        let problem = Problem {
            r#type: format!("urn:keyward:problem:{}", code.name()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            // A parser's message can quote a credential that the client sent.
            detail: redact_credentials(&self.detail()).into_owned(),
            code,
            request_id: request_id.to_owned(),
            errors: self.errors(),
            used_by: if let Self::Store(StoreError::RoleInUse(_, users)) = &self {
                users.first.iter().map(RoleUse::from).collect()
            } else {
                Vec::new()
            },
            next_cursor: if let Self::Store(StoreError::RoleCheckIncomplete { next, .. }) = &self {
                Some(next.to_string())
            } else {
                None
            },
        };
        let mut response = reply::json(code.status(), "application/problem+json", &problem);
        let headers = response.headers_mut();
        if matches!(code.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

const INVALID_FIELDS: &str = "Nothing was changed. See `errors` for the fields to correct.";
const INTERNAL: &str = "Report the requestId to the operators of this deployment.";
const TRY_AGAIN: &str =
    "The change may or may not have been made. Try again, with the same Idempotency-Key if you sent one.";

fn store_detail(error: &StoreError) -> String {
    match error {
        StoreError::AccountNotFound(id) => {
            format!("Service account {id} does not exist. It may have been deleted.")
        }
        StoreError::KeyNotFound(_, id) => {
            format!("This service account has no key {id}. The key never existed, or its record has expired.")
        }
        StoreError::IdentityNotFound(_, id) => format!(
            "This service account has no federated identity {id}. The identity never existed, or its record has \
             expired."
        ),
        StoreError::IssuerNotFound(name) => format!(
            "No trusted issuer is named {name}. Names are case-sensitive. List the issuers with `GET /iam/v1/issuers`."
        ),
        StoreError::IssuerUrlChanged(name, url) => format!(
            "{name} is the name of the issuer {url}, and the issuer of a name never changes, even after its deletion. \
             Choose another name."
        ),
        StoreError::IssuerLimit => {
            format!(
                "The deployment has {MAX_ISSUERS} trusted issuers, which is the limit. Delete one that is no longer needed."
            )
        }
        StoreError::ApiNotFound(name) => {
            format!("No protected API is named {name}. List the APIs with `GET /iam/v1/apis`.")
        }
        StoreError::ApiLimit => format!(
            "The deployment has {MAX_APIS} protected APIs, which is the limit. Delete one that is no longer needed."
        ),
        StoreError::GrantLimit => format!(
            "The service account has {MAX_GRANTS} keys and federated identities, which is the limit. Revoke a key or \
             delete a federated identity that is no longer needed."
        ),
        StoreError::CreatedAndEnded(id) => format!(
            "An earlier request with this Idempotency-Key added federated identity {id}, which has ended since. Use a \
             new Idempotency-Key to add another one."
        ),
        StoreError::RoleNotFound(name) => format!(
            "Role {name} does not exist. Role names are case-sensitive. List the roles with `GET /iam/v1/roles`."
        ),
        StoreError::RoleInUse(_, users) => role_in_use(users),
        StoreError::RoleCheckIncomplete { checked, .. } => format!(
            "The role was not deleted. {checked} service accounts were checked in time, and neither they nor their \
             keys and federated identities have the role. Repeat the request with the query parameter `cursor` set to `nextCursor` to check the \
             rest. The request that reaches the last account deletes the role."
        ),
        StoreError::NameTaken => {
            "Another service account has this name (case is ignored). Choose another name.".to_owned()
        }
        StoreError::Disabled => "Enable the service account first, then issue the key.".to_owned(),
        StoreError::KeyLimit { most, is_rotation: false } => {
            format!(
                "The service account has {most} live keys, which is the limit. Revoke a key that is no longer needed."
            )
        }
        StoreError::KeyLimit { most, is_rotation: true } => format!(
            "The service account has {most} live keys, which is the limit. During the grace period it would have one \
             more. Revoke a key that is no longer needed, or rotate with `graceSeconds` 0, which ends the old key at \
             once."
        ),
        StoreError::KeyRevoked(id) => {
            format!("Key {id} was revoked and cannot be rotated. Issue a new key if you need one.")
        }
        StoreError::KeyExpired(id) => {
            format!("Key {id} has expired and cannot be rotated. Issue a new key.")
        }
        StoreError::AlreadyRotated { key, replaced_by } => format!(
            "Key {key} was already rotated, and key {replaced_by} replaces it. Rotate that key instead."
        ),
        StoreError::AlreadyIssued(id) => format!(
            "An earlier request with this Idempotency-Key issued key {id}. The secret is shown only once. If you did not \
             receive it, revoke the key and issue another one with a new Idempotency-Key."
        ),
        StoreError::CreatedAndDeleted(id) => format!(
            "An earlier request with this Idempotency-Key created service account {id}, which has been deleted since. \
             Use a new Idempotency-Key to create another account."
        ),
        StoreError::Contention => "Nothing was changed. Wait a moment and try again.".to_owned(),
        StoreError::Stale => {
            "The If-Match or If-None-Match precondition failed. Fetch the resource again and retry."
                .to_owned()
        }
        StoreError::UnknownRole(_) | StoreError::UnknownIssuer(_) => INVALID_FIELDS.to_owned(),
        StoreError::IdempotencyKeyReused => {
            "Nothing was changed. Use a new Idempotency-Key for each new request.".to_owned()
        }
        StoreError::Throttled(_) | StoreError::Unavailable(_) => TRY_AGAIN.to_owned(),
        StoreError::BuildMissing(_) | StoreError::Corrupt { .. } | StoreError::Entropy(_) => {
            INTERNAL.to_owned()
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(error)
    }
}

impl From<EntropyError> for Failure {
    fn from(error: EntropyError) -> Self {
        Self::Store(error.into())
    }
}

fn role_in_use(users: &RoleUsers) -> String {
    let who = match users.count {
        count if users.stopped_at.is_some() => format!(
            "At least {count} service accounts, keys and federated identities have the role, and not all were checked: see `usedBy` for the first {}.",
            users.first.len()
        ),
        1 => "One service account, key or federated identity has the role: see `usedBy`.".to_owned(),
        count if count == users.first.len() => {
            format!("{count} service accounts, keys and federated identities have the role: see `usedBy`.")
        }
        count => format!(
            "{count} service accounts, keys and federated identities have the role: see `usedBy` for the first {}.",
            users.first.len()
        ),
    };
    format!(
        "{who} Give the accounts another role, revoke the keys and delete the federated identities before you delete \
         the role."
    )
}
