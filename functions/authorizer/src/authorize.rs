//! The decision: who calls, and whether they are allowed to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::config::{ConfigError, Setup};
use shared::domain::{
    AccountId, ApiKey, Clock, Environment, KeyId, PrincipalType, RoleName, Verifier, context,
};
use shared::keyring::{Keyring, KeyringError};
use shared::policy::{Api, Grant, PathPrefix, Reason, Refusal, Role, Source, Target, check_use, decide};
use shared::store::{Credential as StoredCredential, CredentialLookup, Roles, Store, StoreError};
use shared::time_limit::TimeLimit;

use crate::admin_token::{AdminTokens, TokenError, TokenUse};
use crate::answer::{Answer, ClientOutcome, Context, FunctionError};
use crate::credential::{self, Credential};
use crate::event::{self, Event, Shape};
use crate::follow_up::{FollowUp, PerSecond, RequestLine};
use crate::usage::Usage;

/// The time limit of a decision. API Gateway itself waits for up to 10 s.
const TIME_LIMIT: Duration = Duration::from_millis(2800);

/// The authorizer of one kind of API.
pub struct Authorizer {
    pub(crate) api: Api,
    pub(crate) store: Store,
    pub(crate) usage: Usage,
    pub(crate) keyring: Keyring,
    admin_tokens: AdminTokens,
    time_limit: TimeLimit,
    pub(crate) clock: Arc<dyn Clock>,
    environment: Environment,
    /// `None` for the IAM API, where roles permit a key nothing.
    roles: Option<Roles>,
    base_paths: Vec<PathPrefix>,
    pub(crate) record_reads: PerSecond,
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
    /// The reason, and the part of a valid key's scope that refused the request,
    /// if one did.
    Refused(Reason, Option<Scope>),
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
    fn answer(&self, event: &Event<'_>) -> Result<Answer, FunctionError> {
        let outcome = match self {
            Self::Refused(reason, _) => ClientOutcome::from(*reason),
            Self::NotLive(_) | Self::Unverifiable(_) => ClientOutcome::Unauthorized,
            Self::Outage(_) => ClientOutcome::Failed,
        };
        match outcome {
            // Whether an HTTP API with payload format 2.0 turns this error into 401
            // is not documented. There, an invalid credential gets a Deny.
            ClientOutcome::Unauthorized if event.shape != Shape::HttpV2 => Err(FunctionError::Unauthorized),
            ClientOutcome::Unauthorized | ClientOutcome::Forbidden => Ok(Answer::deny(&event.arn)),
            ClientOutcome::Failed | ClientOutcome::Allowed => Err(FunctionError::Unavailable),
        }
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
        Self::Refused(reason, (reason == Reason::Network).then_some(Scope::Network))
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        let scope = match refusal {
            Refusal::Reserved => None,
            Refusal::Role => Some(Scope::AccountRole),
            Refusal::KeyRole => Some(Scope::KeyRole),
        };
        Self::Refused(refusal.into(), scope)
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
            KeyringError::UnknownVersion(_) => Self::Unverifiable(error.to_string()),
            KeyringError::Unavailable(_) | KeyringError::Malformed(_) => Self::Outage(error.to_string()),
        }
    }
}

/// The caller of a request, as far as it is known, for the log.
#[derive(Default)]
pub(crate) struct Subject {
    pub(crate) principal: Option<String>,
    pub(crate) key: Option<(AccountId, KeyId)>,
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
            usage: Usage::new(store.clone(), Arc::clone(&setup.clock)),
            store,
            keyring: setup.keyring()?,
            admin_tokens: AdminTokens::new(setup)?,
            time_limit: TimeLimit::new(TIME_LIMIT),
            clock: Arc::clone(&setup.clock),
            environment: setup.environment()?,
            roles,
            base_paths: setup.base_paths()?,
            record_reads: PerSecond::new(),
        })
    }

    /// Opens the connections and reads the keyring, so that the first event
    /// does not wait for them.
    pub async fn warm(&self) {
        tokio::join!(self.store.warm(), self.keyring.warm());
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
            Err(denial) => (denial.answer(&event), Err(denial)),
        };
        let is_mismatch = matches!(decided, Err(Denial::Refused(Reason::PathMismatch, _)));
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
                let valid = self.check_key(key, source).await?;
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
                        TokenError::Refused(reason) => Denial::Refused(reason, None),
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
    async fn check_key(&self, key: ApiKey, source: Source) -> Result<ValidKey, Denial> {
        let (found, ()) = tokio::join!(self.store.find_credential(&key), self.keyring.renew());
        let Some(CredentialLookup { account_name, role, enabled, credential: Some(credential) }) = found?
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
