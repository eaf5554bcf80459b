//! Why a request was not done, and the problem details (RFC 9457) that a client
//! gets. The cause of an error on our side goes to the log only.

use http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};

use super::reply;
use crate::api::{FieldError, Problem, ProblemCode, RoleUse};
use crate::config::variable;
use crate::domain::{BuiltInRole, EntropyError};
use crate::keyring::KeyringError;
use crate::store::{RoleUsers, StoreError};

/// Why a request was not done.
#[derive(Debug)]
pub enum Failure {
    /// A header or query parameter is malformed. Says which one, and what to do.
    MalformedRequest(String),
    /// The body is not JSON. Says where, and why.
    MalformedJson(String),
    /// An id in the path is malformed. Says how it must look.
    MalformedId(String),
    /// The authorizer's context names no caller.
    Unauthenticated,
    /// The caller is not an admin.
    NotPermitted,
    RouteNotFound,
    /// A built-in role cannot be put or deleted.
    RoleBuiltIn(BuiltInRole),
    /// The body is longer than this number of bytes.
    BodyTooLarge(usize),
    /// The body's `Content-Type` is not JSON.
    UnsupportedMediaType,
    /// Fields of the body are not acceptable.
    InvalidFields(Vec<FieldError>),
    /// The store refused the change, or failed.
    Store(StoreError),
    /// The keyring has no pepper to offer.
    Keyring(KeyringError),
    /// Something is wrong on our side. The cause, for the log.
    Internal(String),
}

impl Failure {
    /// One field is not acceptable.
    #[must_use]
    pub fn invalid_field(pointer: &str, detail: impl ToString) -> Self {
        Self::InvalidFields(vec![FieldError { pointer: pointer.to_owned(), detail: detail.to_string() }])
    }

    /// The kind of problem. It decides the status and the title too.
    #[must_use]
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
            Self::InvalidFields(_) | Self::Store(StoreError::UnknownRole(_)) => ProblemCode::InvalidFields,
            Self::Store(error) => match error {
                StoreError::AccountNotFound(_) => ProblemCode::ServiceAccountNotFound,
                StoreError::KeyNotFound(..) => ProblemCode::KeyNotFound,
                StoreError::NameTaken => ProblemCode::NameTaken,
                StoreError::Stale => ProblemCode::PreconditionFailed,
                StoreError::Disabled => ProblemCode::ServiceAccountDisabled,
                StoreError::KeyLimit { .. } => ProblemCode::KeyLimitReached,
                StoreError::KeyRevoked(_) => ProblemCode::KeyRevoked,
                StoreError::KeyExpired(_) => ProblemCode::KeyExpired,
                StoreError::AlreadyRotated { .. } => ProblemCode::KeyAlreadyRotated,
                StoreError::UnknownRole(_) => ProblemCode::InvalidFields,
                StoreError::RoleNotFound(_) => ProblemCode::RoleNotFound,
                StoreError::RoleInUse(..) => ProblemCode::RoleInUse,
                StoreError::RoleCheckIncomplete { .. } => ProblemCode::RoleCheckIncomplete,
                StoreError::AlreadyIssued(_) => ProblemCode::KeyAlreadyIssued,
                StoreError::CreatedAndDeleted(_) => ProblemCode::ServiceAccountDeleted,
                StoreError::IdempotencyKeyReused => ProblemCode::IdempotencyKeyReused,
                StoreError::Contention => ProblemCode::ConcurrentChanges,
                StoreError::Throttled(_) => ProblemCode::Throttled,
                StoreError::Unavailable(_) => ProblemCode::DependencyUnavailable,
                StoreError::Corrupt { .. } | StoreError::Entropy(_) => ProblemCode::InternalError,
            },
            Self::Keyring(KeyringError::Unavailable(_)) => ProblemCode::DependencyUnavailable,
            Self::Keyring(KeyringError::Malformed(_) | KeyringError::UnknownVersion(_))
            | Self::Internal(_) => ProblemCode::InternalError,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.code().status()
    }

    /// What went wrong on our side, for the log. A client is never told.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        if !matches!(
            self.code(),
            ProblemCode::Throttled | ProblemCode::InternalError | ProblemCode::DependencyUnavailable
        ) {
            return None;
        }
        Some(if let Self::Store(error) = self {
            error.to_string()
        } else if let Self::Keyring(error) = self {
            format!("{error} (see {})", variable::PEPPER_SECRET)
        } else if let Self::Internal(cause) = self {
            cause.clone()
        } else {
            self.code().title().to_owned()
        })
    }

    /// What happened here, and what to do about it.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest(detail) | Self::MalformedJson(detail) | Self::MalformedId(detail) => {
                detail.clone()
            }
            Self::Unauthenticated => "Sign in and send the access token as a Bearer token.".to_owned(),
            Self::NotPermitted => {
                "Only admin users may do this. A service account's key never can, whatever its role."
                    .to_owned()
            }
            Self::RouteNotFound => "See the API's description for its routes.".to_owned(),
            Self::RoleBuiltIn(role) => format!(
                "{} is a built-in role of every deployment: it cannot be changed or deleted, and no other role may \
                 have its name, whatever the case. Choose another name.",
                role.name()
            ),
            Self::BodyTooLarge(most) => format!("Send at most {most} bytes."),
            Self::UnsupportedMediaType => "Send JSON, with `Content-Type: application/json`.".to_owned(),
            Self::InvalidFields(_) => INVALID_FIELDS.to_owned(),
            Self::Store(error) => store_detail(error),
            Self::Keyring(KeyringError::Unavailable(_)) => TRY_AGAIN.to_owned(),
            Self::Keyring(KeyringError::Malformed(_) | KeyringError::UnknownVersion(_))
            | Self::Internal(_) => INTERNAL.to_owned(),
        }
    }

    /// What is wrong with which field.
    fn errors(&self) -> Vec<FieldError> {
        let errors = if let Self::InvalidFields(errors) = self {
            errors.clone()
        } else if let Self::Store(error @ StoreError::UnknownRole(_)) = self {
            let detail = format!("{error}: see `GET /iam/v1/roles`");
            vec![FieldError { pointer: "/role".to_owned(), detail }]
        } else {
            Vec::new()
        };
        errors.into_iter().map(FieldError::redacted).collect()
    }

    /// The response.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let code = self.code();
        let problem = Problem {
            r#type: format!("urn:keyward:problem:{}", code.name()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            detail: self.detail(),
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

const INVALID_FIELDS: &str = "Nothing was changed. See `errors` for each field.";
const INTERNAL: &str = "Give the requestId to whoever runs this deployment.";
const TRY_AGAIN: &str =
    "Whether a change was made is not known. Try again, with the same Idempotency-Key if you sent one.";

fn store_detail(error: &StoreError) -> String {
    match error {
        StoreError::AccountNotFound(id) => {
            format!("There is no service account {id} here. It may have been deleted.")
        }
        StoreError::KeyNotFound(_, id) => format!(
            "This service account has no key {id}. It never had, or the key's record is too old to be kept."
        ),
        StoreError::RoleNotFound(name) => format!(
            "There is no role {name} here. Names of roles are case-sensitive: see `GET /iam/v1/roles`."
        ),
        StoreError::RoleInUse(_, users) => role_in_use(users),
        StoreError::RoleCheckIncomplete { checked, .. } => format!(
            "The role was not deleted. {checked} service accounts were checked in time, and neither they nor their \
             keys have it. Repeat the request with the query parameter `cursor` set to `nextCursor` to check the \
             rest. The request that reaches the last account deletes the role."
        ),
        StoreError::NameTaken => {
            "Another service account has this name (case does not count). Choose another one.".to_owned()
        }
        StoreError::Disabled => "Enable the service account first, then issue the key.".to_owned(),
        StoreError::KeyLimit { most, is_rotation: false } => {
            format!("It has {most} live keys, as many as it may. Revoke one that is no longer needed.")
        }
        StoreError::KeyLimit { most, is_rotation: true } => format!(
            "It has {most} live keys, as many as it may, and during the grace it would have one more. Revoke one \
             that is no longer needed, or rotate with `graceSeconds` 0, which stops the old key at once."
        ),
        StoreError::KeyRevoked(id) => {
            format!("Key {id} was revoked: nothing replaces it. Issue another one if one is needed.")
        }
        StoreError::KeyExpired(id) => {
            format!("Key {id} has expired: it is too late to rotate it. Issue another one.")
        }
        StoreError::AlreadyRotated { key, replaced_by } => format!(
            "Key {key} was rotated before, and key {replaced_by} replaces it. Rotate that one if another is needed."
        ),
        StoreError::AlreadyIssued(id) => format!(
            "This request has issued key {id} before. Its secret is shown once and never again: if you did not \
             receive it, revoke that key and issue another one under a new Idempotency-Key."
        ),
        StoreError::CreatedAndDeleted(id) => format!(
            "This request has created service account {id} before, and it has been deleted since. Use a new \
             Idempotency-Key to create another one."
        ),
        StoreError::Contention => "Nothing was changed. Wait a moment and try again.".to_owned(),
        StoreError::Stale => {
            "It is not as your If-Match or If-None-Match says. Read it again, and decide anew.".to_owned()
        }
        StoreError::UnknownRole(_) => INVALID_FIELDS.to_owned(),
        StoreError::IdempotencyKeyReused => {
            "Nothing was changed. Use one Idempotency-Key for one request, and a new one for another."
                .to_owned()
        }
        StoreError::Throttled(_) | StoreError::Unavailable(_) => TRY_AGAIN.to_owned(),
        StoreError::Corrupt { .. } | StoreError::Entropy(_) => INTERNAL.to_owned(),
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
            "At least {count} service accounts and keys have it, and not all were checked: see `usedBy` for the first {}.",
            users.first.len()
        ),
        1 => "One service account or key has it: see `usedBy`.".to_owned(),
        count if count == users.first.len() => {
            format!("{count} service accounts and keys have it: see `usedBy`.")
        }
        count => format!(
            "{count} service accounts and keys have it: see `usedBy` for the first {}.",
            users.first.len()
        ),
    };
    format!("{who} Give the accounts another role, and revoke the keys, before you delete it.")
}
