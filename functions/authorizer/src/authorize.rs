//! The decision: who calls, and whether they are allowed to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::config::{ConfigError, Setup};
use shared::domain::{
    AccountId, ApiKey, Clock, Environment, KeyId, PrincipalType, RoleName, Verifier, context,
};
use shared::keyring::{Keyring, KeyringError};
use shared::policy::{
    Api, Grant, PathPrefix, Permission, Reason, Refusal, Role, Source, Target, check_use, decide,
};
use shared::store::{Credential as StoredCredential, CredentialLookup, Roles, Store, StoreError};
use shared::time_limit::TimeLimit;

use crate::activity::Activity;
use crate::admin_token::{AdminTokens, TokenError, TokenUse};
use crate::answer::{Answer, ClientOutcome, Context, FunctionError};
use crate::credential::{self, Credential};
use crate::event::{self, Event, Shape};
use crate::follow_up::{FollowUp, RequestLine};
use crate::retired_keys::RetiredKeys;

/// The time limit of a decision. API Gateway itself waits for up to 10 s.
const TIME_LIMIT: Duration = Duration::from_millis(2800);

/// The authorizer of one kind of API.
pub struct Authorizer {
    pub(crate) api: Api,
    pub(crate) store: Store,
    pub(crate) activity: Activity,
    /// Whether the log and the activity contain source addresses.
    pub(crate) records_addresses: bool,
    pub(crate) keyring: Keyring,
    admin_tokens: AdminTokens,
    time_limit: TimeLimit,
    pub(crate) clock: Arc<dyn Clock>,
    environment: Environment,
    /// `None` for the IAM API, where roles permit a key nothing.
    roles: Option<Roles>,
    base_paths: Vec<PathPrefix>,
    pub(crate) retired_keys: RetiredKeys,
}

/// A decision: the answer to API Gateway, and the work after it.
pub struct Decision {
    /// The answer to API Gateway.
    pub answer: Result<Answer, FunctionError>,
    /// The work to do after the answer is sent.
    pub follow_up: FollowUp,
}

/// Why a request is not allowed.
pub(crate) enum Denial {
    /// The credential or the policy refuses the request.
    Refused(Refused),
    /// The account does not exist, or has no such live key.
    NotLive(ApiKey),
    /// The verifier names a pepper version that the secret does not have, so the
    /// key cannot be checked. The cause, for the log.
    Unverifiable(String),
    /// A dependency failed, so there is no decision. The cause, for the log.
    Outage(String),
}

impl Denial {
    /// The answer to API Gateway. All invalid credentials get the same answer.
    /// `is_verified` is whether the request has a key with the correct secret.
    fn answer(&self, event: &Event<'_>, is_verified: bool) -> Result<Answer, FunctionError> {
        let outcome = match self {
            Self::Refused(refused) => ClientOutcome::from(refused.reason),
            Self::NotLive(_) | Self::Unverifiable(_) => ClientOutcome::Unauthorized,
            Self::Outage(_) => ClientOutcome::Failed,
        };
        match outcome {
            // Whether an HTTP API with payload format 2.0 turns this error into 401
            // is not documented. There, an invalid credential gets a Deny.
            ClientOutcome::Unauthorized if event.shape != Shape::HttpV2 => Err(FunctionError::Unauthorized),
            ClientOutcome::Unauthorized => Ok(Answer::deny(&event.arn, None)),
            ClientOutcome::Forbidden => {
                let context = self.refused().filter(|_| is_verified && can_say_why(event.shape));
                Ok(Answer::deny(&event.arn, context.map(Refused::context)))
            }
            ClientOutcome::Failed | ClientOutcome::Allowed => Err(FunctionError::Unavailable),
        }
    }

    fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::NotLive(_) | Self::Unverifiable(_) | Self::Outage(_) => None,
        }
    }
}

/// The reason for a refusal, and its details.
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    /// The part of a valid key's scope that refused the request, if one did.
    pub(crate) scope: Option<Scope>,
    /// The narrowest permission that would cover the request, if a role refused it.
    pub(crate) missing_permission: Option<Permission>,
}

impl Refused {
    /// The context that explains the refusal to the client of a REST API.
    fn context(&self) -> Context {
        let context = Context::new().with(context::REASON, self.reason.name());
        match &self.missing_permission {
            Some(missing) => context.with(context::MISSING_PERMISSION, missing.to_string()),
            None => context,
        }
    }
}

/// Whether the API can put the context of a refusal into its response. HTTP APIs cannot.
fn can_say_why(shape: Shape) -> bool {
    match shape {
        Shape::Rest | Shape::Token => true,
        Shape::HttpV1 | Shape::HttpV2 => false,
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        let scope = (reason == Reason::Network).then_some(Scope::Network);
        Self { reason, scope, missing_permission: None }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let reason = Reason::from(&refusal);
        let (scope, missing_permission) = match refusal {
            Refusal::Reserved => (None, None),
            Refusal::Role(missing) => (Some(Scope::AccountRole), Some(missing)),
            Refusal::KeyRole(missing) => (Some(Scope::KeyRole), Some(missing)),
        };
        Self { reason, scope, missing_permission }
    }
}

/// The part of a valid key's scope that refused a request: `refused_by` in the
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The account's role.
    AccountRole,
    /// The key's own role. The account's role permits the request.
    KeyRole,
    /// The networks from which the key can be used.
    Network,
}

impl Scope {
    /// The name in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AccountRole => "account_role",
            Self::KeyRole => "key_role",
            Self::Network => "network",
        }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<StoreError> for Denial {
    fn from(error: StoreError) -> Self {
        Self::Outage(error.to_string())
    }
}

impl From<KeyringError> for Denial {
    fn from(error: KeyringError) -> Self {
        match error {
            // The secret was read and does not have this version. A retry would not
            // help: the table or the secret was changed by hand.
            KeyringError::UnknownVersion(..) => Self::Unverifiable(error.to_string()),
            KeyringError::Unavailable(..) | KeyringError::Malformed(..) => Self::Outage(error.to_string()),
        }
    }
}

/// The caller of a request, as far as it is known.
#[derive(Default)]
pub(crate) struct Subject {
    pub(crate) principal: Option<String>,
    /// The ids in the presented key.
    pub(crate) key: Option<(AccountId, KeyId)>,
    /// Whether the account of `key` exists.
    pub(crate) account_exists: bool,
    /// Whether `key` is a key of the account and has the correct secret.
    pub(crate) is_verified: bool,
}

/// A valid key, and what the decision needs of its account.
struct ValidKey {
    account_name: String,
    role: RoleName,
    key_role: Option<RoleName>,
}

impl Authorizer {
    /// Creates an authorizer. This calls nothing yet.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.fast_store()?;
        let api = setup.authorizes()?;
        let roles = match api {
            Api::Iam => None,
            Api::Business => Some(Roles::new(store.clone(), setup.built_in_roles()?)),
        };
        Ok(Self {
            api,
            activity: Activity::new(store.clone()),
            records_addresses: setup.records_source_addresses()?,
            store,
            keyring: setup.keyring()?,
            admin_tokens: AdminTokens::new(setup)?,
            time_limit: TimeLimit::new(TIME_LIMIT),
            clock: Arc::clone(&setup.clock),
            environment: setup.environment()?,
            roles,
            base_paths: setup.base_paths()?,
            retired_keys: RetiredKeys::default(),
        })
    }

    /// Opens the connections and reads the keyring, so that the first event
    /// does not wait for them.
    pub async fn warm(&self) {
        tokio::join!(self.store.warm(), self.keyring.warm());
    }

    /// Writes all pending activity. Takes at most 450 ms.
    pub async fn flush_activity(&self) {
        self.activity.flush().await;
    }

    /// Decides on an event, follows up, and returns the answer.
    ///
    /// # Errors
    /// The answer is a [`FunctionError`].
    pub async fn answer(
        &self,
        event: &(impl AsRef<[u8]> + ?Sized),
        invocation: &str,
    ) -> Result<Answer, FunctionError> {
        // Boxed, because the futures of SDK calls are large.
        let Decision { answer, follow_up } = Box::pin(self.decide(event, invocation)).await;
        Box::pin(self.follow_up(follow_up)).await;
        answer
    }

    /// Decides on an event. `invocation` identifies the event in the log if it has
    /// no request id.
    pub async fn decide(&self, event: &(impl AsRef<[u8]> + ?Sized), invocation: &str) -> Decision {
        let event = match event::read(event.as_ref()) {
            Ok(event) => event,
            Err(error) => {
                let follow_up = FollowUp {
                    request_id: invocation.to_owned(),
                    request: None,
                    subject: Subject::default(),
                    decided: Err(Denial::Outage(error.to_string())),
                };
                return Decision { answer: Err(FunctionError::MalformedEvent), follow_up };
            }
        };
        let mut subject = Subject::default();
        let deciding = self.time_limit.apply(pin!(self.authorize(&event, &mut subject))).await;
        let decided = deciding.unwrap_or_else(|| Err(Denial::Outage("it took too long".to_owned())));
        let (answer, decided) = match decided {
            Ok(answer) => (Ok(answer), Ok(())),
            Err(denial) => (denial.answer(&event, subject.is_verified), Err(denial)),
        };
        let is_mismatch =
            matches!(decided, Err(Denial::Refused(Refused { reason: Reason::PathMismatch, .. })));
        let follow_up = FollowUp {
            request_id: event.request_id.as_deref().unwrap_or(invocation).to_owned(),
            request: Some(RequestLine::new(&event, is_mismatch)),
            subject,
            decided,
        };
        Decision { answer, follow_up }
    }

    async fn authorize(&self, event: &Event<'_>, subject: &mut Subject) -> Result<Answer, Denial> {
        if !event.agrees_with_arn(&self.base_paths) {
            return Err(Reason::PathMismatch.into());
        }
        let target =
            Target::parse(event.arn.method(), event.arn.path()).map_err(|_| Reason::AmbiguousPath)?;
        if !event.arn.is_exact() {
            return Err(Reason::AmbiguousPath.into());
        }
        match credential::read(&event.authorization, &self.environment)? {
            Credential::Key(key) => {
                subject.principal = Some(key.account.to_string());
                subject.key = Some((key.account, key.id));
                let source = event.source.map_or(Source::Unknown, Source::Address);
                let (account, id) = (key.account, key.id);
                let valid = self.check_key(key, source, subject).await?;
                let roles = self.find_roles(&valid).await?;
                let grant = roles.as_ref().map_or(Grant::KeyWithoutRoles, |(role, key_role)| Grant::Key {
                    role,
                    key_role: key_role.as_deref(),
                });
                let allowed = decide(self.api, grant, &target)?;
                let mut context = Context::new()
                    .with(context::PRINCIPAL_TYPE, PrincipalType::ServiceAccount.name())
                    .with(context::PRINCIPAL_ID, account.to_string())
                    .with(context::PRINCIPAL_NAME, valid.account_name)
                    .with(context::KEY_ID, id.to_string())
                    .with(context::ROLE, valid.role.into_string());
                if let Some(role) = valid.key_role {
                    context = context.with(context::KEY_ROLE, role.into_string());
                }
                let context = context.with(context::ENVIRONMENT, self.environment.as_str().to_owned());
                Ok(Answer::allow(allowed, &event.arn, context))
            }
            Credential::Token(token) => {
                let (actor, token_use) =
                    Box::pin(self.admin_tokens.check(token)).await.map_err(|error| match error {
                        TokenError::Refused(reason) => reason.into(),
                        TokenError::Unavailable(error) => Denial::Outage(error.to_string()),
                    })?;
                subject.principal = Some(actor.id.clone());
                let grant = match token_use {
                    TokenUse::Iam => Grant::IamAdmin,
                    TokenUse::Api => Grant::ApiAdmin,
                };
                let context = Context::new()
                    .with(context::PRINCIPAL_TYPE, PrincipalType::Admin.name())
                    .with(context::PRINCIPAL_ID, actor.id)
                    .with(context::PRINCIPAL_NAME, actor.name);
                Ok(Answer::allow(decide(self.api, grant, &target)?, &event.arn, context))
            }
        }
    }

    /// Checks that `key` can be used now and from `source`. This takes one consistent read.
    /// Sets in `subject` whether the account exists and whether the key is verified.
    async fn check_key(
        &self,
        key: ApiKey,
        source: Source,
        subject: &mut Subject,
    ) -> Result<ValidKey, Denial> {
        let (found, ()) = tokio::join!(self.store.find_credential(&key), self.keyring.renew());
        let found = found?;
        subject.account_exists = found.is_some();
        let Some(CredentialLookup { account_name, role, enabled, credential: Some(credential) }) = found
        else {
            return Err(Denial::NotLive(key));
        };
        let StoredCredential { spec, rotation, verifier } = credential;
        let pepper = self.keyring.get(&verifier.pepper).await?;
        // The secret is checked first, so that neither a client without it nor the log
        // learns anything about the key's state.
        if !Verifier::compute(&pepper, &key, &spec).matches(&verifier.verifier) {
            return Err(Reason::WrongSecret.into());
        }
        subject.is_verified = true;
        check_use(&spec, rotation.as_ref(), enabled, self.clock.now(), source)?;
        Ok(ValidKey { account_name, role, key_role: spec.role })
    }

    /// The roles that must permit a key's request. A role that the account and
    /// the key share is read once.
    async fn find_roles(&self, key: &ValidKey) -> Result<Option<(Arc<Role>, Option<Arc<Role>>)>, Denial> {
        let Some(roles) = &self.roles else {
            return Ok(None);
        };
        Ok(Some(match &key.key_role {
            None => (roles.get(&key.role).await?, None),
            Some(same) if *same == key.role => {
                let role = roles.get(same).await?;
                (Arc::clone(&role), Some(role))
            }
            Some(other) => {
                let (role, key_role) = tokio::try_join!(roles.get(&key.role), roles.get(other))?;
                (role, Some(key_role))
            }
        }))
    }
}
