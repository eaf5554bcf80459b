//! Why a request was not done: one error type, with a public face (problem
//! details, RFC 9457) and an inner cause that goes to the log alone.

use http::StatusCode;
use lambda_http::{Body, Response};

use super::reply;
use crate::config::variable;
use crate::domain::{AccountId, BuiltInRole, EntropyError, KeyId, RoleName, redact_credentials};
use crate::keyring::KeyringError;
use crate::store::{AccountCursor, RoleUser, RoleUsers, StoreError};

/// What is wrong with one field of a request's body.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Which field: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What to do about it.
    pub detail: String,
}

impl FieldError {
    /// Redacts the credentials in names and values that the client sent.
    fn redacted(self) -> Self {
        let redact = |text: &str| redact_credentials(text).into_owned();
        Self { pointer: redact(&self.pointer), detail: redact(&self.detail) }
    }
}

/// A service account that has a role, or a key whose own role it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleUse {
    /// The account.
    pub service_account_id: String,
    /// The account's name.
    pub service_account_name: String,
    /// The key, if it is the key's own role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub key_id: Option<String>,
}

/// Problem details (RFC 9457): the body of every refusal of a function.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI reference that names the kind of problem.
    pub r#type: String,
    /// The kind of problem in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do about it.
    pub detail: String,
    /// The kind of problem, for programs. It never changes its meaning.
    #[schema(schema_with = code_schema)]
    pub code: &'static str,
    /// The request's id, to be given to whoever runs this deployment.
    pub request_id: String,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// Who has the role that cannot be deleted: the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub used_by: Vec<RoleUse>,
    /// Where the check of the role's users continues: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub next_cursor: Option<String>,
}

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident $(($($member:ty),+))? => $status:ident, $code:literal, $title:literal;)*) => {
        /// Why a request was not done.
        #[derive(Clone, Debug)]
        pub enum Failure {
            $($(#[$doc])* $variant $(($($member),+))?,)*
        }

        impl Failure {
            /// Every code, for the API's description.
            pub const CODES: &'static [&'static str] = &[$($code,)*];

            fn face(&self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$variant { .. } => (StatusCode::$status, $code, $title),)*
                }
            }
        }
    };
}

failures! {
    /// A header or query parameter is not of its form: which, and what to do.
    MalformedRequest(String) => BAD_REQUEST, "malformed_request", "The request is malformed";
    /// The body is no JSON. Where, and why.
    MalformedJson(String) => BAD_REQUEST, "malformed_json", "The body is not JSON";
    /// An id in the path is not of its form.
    MalformedId(String) => BAD_REQUEST, "malformed_id", "The id is malformed";
    /// No authorizer has said who calls.
    Unauthenticated => UNAUTHORIZED, "unauthenticated", "Nobody is signed in";
    /// Only admin users may.
    NotPermitted => FORBIDDEN, "not_permitted", "Not permitted";
    /// No such route.
    RouteNotFound => NOT_FOUND, "route_not_found", "There is no such route";
    /// No such account.
    AccountNotFound(AccountId) => NOT_FOUND, "service_account_not_found", "There is no such service account";
    /// No such key.
    KeyNotFound(KeyId) => NOT_FOUND, "key_not_found", "There is no such key";
    /// No such role.
    RoleNotFound(RoleName) => NOT_FOUND, "role_not_found", "There is no such role";
    /// A built-in role cannot be put or deleted.
    RoleBuiltIn(BuiltInRole) => CONFLICT, "role_built_in", "The role is built in";
    /// Accounts or live keys have the role.
    RoleInUse(RoleUsers) => CONFLICT, "role_in_use", "The role is in use";
    /// No account that was checked uses the role, and more accounts remain. The
    /// number of accounts that were checked, and the last of them.
    RoleCheckIncomplete(usize, AccountCursor) => CONFLICT, "role_check_incomplete", "Not all service accounts were checked";
    /// Another account has the name.
    NameTaken => CONFLICT, "name_taken", "The name is taken";
    /// The account is disabled.
    Disabled => CONFLICT, "service_account_disabled", "The service account is disabled";
    /// The account has as many live keys as it may: so many, and whether it was
    /// to have one more for a rotation with a grace.
    KeyLimit(usize, bool) => CONFLICT, "key_limit_reached", "The service account has as many keys as it may";
    /// The key was revoked, and cannot be rotated.
    KeyRevoked(KeyId) => CONFLICT, "key_revoked", "The key was revoked";
    /// The key has expired, and cannot be rotated.
    KeyExpired(KeyId) => CONFLICT, "key_expired", "The key has expired";
    /// The key was rotated before: which one, and which one replaces it.
    AlreadyRotated(KeyId, KeyId) => CONFLICT, "key_already_rotated", "The key was rotated before";
    /// This very request has issued a key before.
    AlreadyIssued(KeyId) => CONFLICT, "key_already_issued", "The key was issued before";
    /// The account that this very request made has been deleted since.
    CreatedAndDeleted(AccountId) => CONFLICT, "service_account_deleted", "The service account was deleted";
    /// Others change the same account at the same time.
    Contention => CONFLICT, "concurrent_changes", "Too many changes at the same time";
    /// It is not as `If-Match` or `If-None-Match` says.
    Stale => PRECONDITION_FAILED, "precondition_failed", "It is not as the request requires";
    /// The body is longer than so many bytes.
    BodyTooLarge(usize) => PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large";
    /// The body is not JSON by its own account.
    UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The media type is not supported";
    /// Fields of the body are not acceptable.
    InvalidFields(Vec<FieldError>) => UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are not acceptable";
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused => UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The Idempotency-Key was used for another request";
    /// The table is throttled. The cause, for the log.
    Throttled(String) => TOO_MANY_REQUESTS, "throttled", "Too many requests";
    /// Something is wrong on our side. The cause, for the log.
    Internal(String) => INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side";
    /// Something we depend on is down. The cause, for the log.
    DependencyUnavailable(String) => SERVICE_UNAVAILABLE, "dependency_unavailable", "A dependency is unavailable";
}

impl Failure {
    /// One field is not acceptable.
    #[must_use]
    pub fn invalid_field(pointer: &str, detail: impl ToString) -> Self {
        Self::InvalidFields(vec![FieldError { pointer: pointer.to_owned(), detail: detail.to_string() }])
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.face().0
    }

    /// The code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.face().1
    }

    /// What went wrong within. It never leaves the log.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "all others are the caller's doing, and have no cause of ours"
        )]
        match self {
            Self::Throttled(cause) | Self::Internal(cause) | Self::DependencyUnavailable(cause) => {
                Some(cause)
            }
            _ => None,
        }
    }

    /// What happened here, and what to do about it.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest(detail) | Self::MalformedJson(detail) | Self::MalformedId(detail) => detail.clone(),
            Self::Unauthenticated => "Sign in and send the access token as a Bearer token.".to_owned(),
            Self::NotPermitted => {
                "Only admin users may do this. A service account's key never can, whatever its role.".to_owned()
            }
            Self::RouteNotFound => "See the API's description for its routes.".to_owned(),
            Self::AccountNotFound(id) => format!("There is no service account {id} here. It may have been deleted."),
            Self::KeyNotFound(id) => {
                format!("This service account has no key {id}. It never had, or the key's record is too old to be kept.")
            }
            Self::RoleNotFound(name) => {
                format!("There is no role {name} here. Names of roles are case-sensitive: see `GET /iam/v1/roles`.")
            }
            Self::RoleBuiltIn(role) => format!(
                "{} is a built-in role of every deployment: it cannot be changed or deleted, and no other role may \
                 have its name, whatever the case. Choose another name.",
                role.name()
            ),
            Self::RoleInUse(users) => in_use(users),
            Self::RoleCheckIncomplete(checked, _) => format!(
                "The role was not deleted. {checked} service accounts were checked in time, and neither they nor their \
                 keys have it. Repeat the request with the query parameter `cursor` set to `nextCursor` to check the \
                 rest. The request that reaches the last account deletes the role."
            ),
            Self::NameTaken => {
                "Another service account has this name (case does not count). Choose another one.".to_owned()
            }
            Self::Disabled => "Enable the service account first, then issue the key.".to_owned(),
            Self::KeyLimit(most, false) => {
                format!("It has {most} live keys, as many as it may. Revoke one that is no longer needed.")
            }
            Self::KeyLimit(most, true) => format!(
                "It has {most} live keys, as many as it may, and during the grace it would have one more. Revoke one \
                 that is no longer needed, or rotate with `graceSeconds` 0, which stops the old key at once."
            ),
            Self::KeyRevoked(id) => {
                format!("Key {id} was revoked: nothing replaces it. Issue another one if one is needed.")
            }
            Self::KeyExpired(id) => format!("Key {id} has expired: it is too late to rotate it. Issue another one."),
            Self::AlreadyRotated(id, by) => format!(
                "Key {id} was rotated before, and key {by} replaces it. Rotate that one if another is needed."
            ),
            Self::AlreadyIssued(id) => format!(
                "This request has issued key {id} before. Its secret is shown once and never again: if you did not \
                 receive it, revoke that key and issue another one under a new Idempotency-Key."
            ),
            Self::CreatedAndDeleted(id) => format!(
                "This request has created service account {id} before, and it has been deleted since. Use a new \
                 Idempotency-Key to create another one."
            ),
            Self::Contention => "Nothing was changed. Wait a moment and try again.".to_owned(),
            Self::Stale => {
                "It is not as your If-Match or If-None-Match says. Read it again, and decide anew.".to_owned()
            }
            Self::BodyTooLarge(most) => format!("Send at most {most} bytes."),
            Self::UnsupportedMediaType => "Send JSON, with `Content-Type: application/json`.".to_owned(),
            Self::InvalidFields(_) => "Nothing was changed. See `errors` for each field.".to_owned(),
            Self::IdempotencyKeyReused => {
                "Nothing was changed. Use one Idempotency-Key for one request, and a new one for another.".to_owned()
            }
            Self::Internal(_) => "Give the requestId to whoever runs this deployment.".to_owned(),
            Self::Throttled(_) | Self::DependencyUnavailable(_) => {
                "Whether a change was made is not known. Try again, with the same Idempotency-Key if you sent one."
                    .to_owned()
            }
        }
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let (status, code, title) = self.face();
        let detail = self.detail();
        let problem = Problem {
            r#type: format!("urn:keyward:problem:{code}"),
            title,
            status: status.as_u16(),
            detail,
            code,
            request_id: request_id.to_owned(),
            used_by: if let Self::RoleInUse(users) = &self {
                users.first.iter().map(role_use).collect()
            } else {
                Vec::new()
            },
            next_cursor: if let Self::RoleCheckIncomplete(_, next) = &self {
                Some(next.to_string())
            } else {
                None
            },
            errors: if let Self::InvalidFields(errors) = self {
                errors.into_iter().map(FieldError::redacted).collect()
            } else {
                Vec::new()
            },
        };
        let mut response = reply::json(status, "application/problem+json", &problem);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let cause = error.to_string();
        match error {
            StoreError::AccountNotFound(id) => Self::AccountNotFound(id),
            StoreError::KeyNotFound(_, id) => Self::KeyNotFound(id),
            StoreError::NameTaken => Self::NameTaken,
            StoreError::Stale => Self::Stale,
            StoreError::Disabled => Self::Disabled,
            StoreError::KeyLimit { most, is_rotation } => Self::KeyLimit(most, is_rotation),
            StoreError::KeyRevoked(id) => Self::KeyRevoked(id),
            StoreError::KeyExpired(id) => Self::KeyExpired(id),
            StoreError::AlreadyRotated { key, replaced_by } => Self::AlreadyRotated(key, replaced_by),
            StoreError::UnknownRole(_) => {
                Self::invalid_field("/role", format!("{cause}: see `GET /iam/v1/roles`"))
            }
            StoreError::RoleNotFound(name) => Self::RoleNotFound(name),
            StoreError::RoleInUse(_, users) => Self::RoleInUse(users),
            StoreError::RoleCheckIncomplete { checked, next } => Self::RoleCheckIncomplete(checked, next),
            StoreError::AlreadyIssued(id) => Self::AlreadyIssued(id),
            StoreError::CreatedAndDeleted(id) => Self::CreatedAndDeleted(id),
            StoreError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            StoreError::Contention => Self::Contention,
            StoreError::Throttled(_) => Self::Throttled(cause),
            StoreError::Unavailable(_) => Self::DependencyUnavailable(cause),
            StoreError::Corrupt { .. } | StoreError::Entropy(_) => Self::Internal(cause),
        }
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        let cause = format!("{error} (see {})", variable::PEPPER_SECRET);
        match error {
            KeyringError::Unavailable(_) => Self::DependencyUnavailable(cause),
            KeyringError::Malformed(_) | KeyringError::UnknownVersion(_) => Self::Internal(cause),
        }
    }
}

impl From<EntropyError> for Failure {
    fn from(error: EntropyError) -> Self {
        Self::Internal(error.to_string())
    }
}

fn in_use(users: &RoleUsers) -> String {
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

fn role_use(user: &RoleUser) -> RoleUse {
    RoleUse {
        service_account_id: user.account.to_string(),
        service_account_name: user.account_name.to_string(),
        key_id: user.key.map(|key| key.to_string()),
    }
}

fn code_schema() -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(Failure::CODES.iter().copied()))
        .description(Some("The kind of problem, for programs. A code never changes its meaning."))
        .build()
}
