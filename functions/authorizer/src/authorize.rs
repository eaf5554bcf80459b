//! The decision: who is it, and may they?

use std::sync::Arc;
use std::time::Duration;

use shared::config::{ConfigError, Setup};
use shared::domain::{AccountId, ApiKey, Clock, Environment, KeyId, PrincipalType, Verifier};
use shared::http::context;
use shared::keyring::{Keyring, KeyringError};
use shared::policy::{BasePaths, Grant, Reason, Refusal, Role, Source, Target, check_use, decide};
use shared::store::{Found, Roles, Store, StoreError};

use crate::admin_token::{AdminTokens, TokenError, Use};
use crate::answer::{Answer, Context, Failed};
use crate::credential::{self, Credential};
use crate::event::{self, Event, Shape};
use crate::face::Face;
use crate::usage::{Noted, Usage};

/// A decision takes no longer than this, whatever hangs. API Gateway itself
/// would wait for 10 s.
const TIME_LIMIT: Duration = Duration::from_millis(2800);

/// The authorizer.
pub struct Authorizer {
    store: Store,
    usage: Usage,
    keyring: Keyring,
    admin_tokens: AdminTokens,
    clock: Arc<dyn Clock>,
    environment: Environment,
    roles: Roles,
    base_paths: BasePaths,
}

/// Why a request may not pass.
#[derive(Debug)]
enum Denial {
    /// For this reason. Where it is a good key's scope: what of it.
    Refused(Reason, Option<Scope>),
    /// Its verifier names a pepper that there is not: nobody can tell whether
    /// the secret is right. The cause, for the log.
    Unverifiable(String),
    /// We could not find out. The cause, for the log.
    Outage(String),
}

/// What of a good key's scope refused a request: said in the log, in
/// `refused_by`, beside the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The role of its account.
    AccountRole,
    /// A role of its own. The account's would permit.
    KeyRole,
    /// The networks that it may be used from.
    Network,
}

impl Scope {
    /// Its name in the log.
    const fn name(self) -> &'static str {
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
            // The secret was read, and has no such version. Asking again later
            // would not help: the table or the secret was tampered with.
            KeyringError::UnknownVersion(_) => Self::Unverifiable(error.to_string()),
            KeyringError::Unavailable(_) | KeyringError::Malformed(_) => Self::Outage(error.to_string()),
        }
    }
}

/// Whom a decision was about, as far as it became known. For the log.
#[derive(Default)]
struct Subject {
    principal: Option<String>,
    key: Option<(AccountId, KeyId)>,
}

/// What is to be noted of a key that was decided so. Who presents a key after
/// its end, and knows its secret, is noted too.
fn noted(decided: &Result<Answer, Denial>) -> Option<Noted> {
    match decided {
        Ok(_) => Some(Noted::Use),
        Err(Denial::Refused(Reason::Revoked | Reason::Retired | Reason::Expired, _)) => {
            Some(Noted::Presentation)
        }
        Err(Denial::Refused(..) | Denial::Unverifiable(_) | Denial::Outage(_)) => None,
    }
}

impl Authorizer {
    /// Makes it from its setup. Nothing is called yet.
    ///
    /// # Errors
    /// When a variable is missing or not acceptable.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.store()?;
        let roles = Roles::new(store.clone(), setup.built_in_roles()?);
        Ok(Self {
            usage: Usage::new(store.clone(), Arc::clone(&setup.clock)),
            store,
            keyring: setup.keyring()?,
            admin_tokens: AdminTokens::new(setup)?,
            clock: Arc::clone(&setup.clock),
            environment: setup.environment()?,
            roles,
            base_paths: setup.base_paths()?,
        })
    }

    /// Opens the connections and reads the keyring, so that the first event
    /// does not wait for them.
    pub async fn warm(&self) {
        tokio::join!(self.store.warm(), self.keyring.warm());
    }

    /// Answers an event, and logs one line about it. `invocation` names it where
    /// the event has no request id.
    ///
    /// # Errors
    /// [`Failed`]: those answers that are function errors.
    pub async fn answer(&self, event: &str, invocation: &str) -> Result<Answer, Failed> {
        let event = event::read(event).map_err(|error| {
            let reason = Reason::Outage.name();
            tracing::error!(request_id = invocation, reason, cause = %error, "decision");
            Failed::MalformedEvent
        })?;
        let request_id = event.request_id.as_deref().unwrap_or(invocation);
        let mut subject = Subject::default();
        let mut decided = Err(Denial::Outage("it took too long".to_owned()));
        let deciding = async {
            decided = self.authorize(&event, &mut subject).await;
            if let (Some((account, key)), Some(noted)) = (subject.key, noted(&decided)) {
                self.usage.note(account, key, noted).await;
            }
        };
        // A decision that was made stands, even where its noting is cut short.
        let _ = tokio::time::timeout(TIME_LIMIT, deciding).await;
        let key_id = subject.key.map(|(_, key)| key.to_string());
        let (principal, key_id) = (subject.principal.as_deref(), key_id.as_deref());
        let (reason, scope, cause, answer) = match decided {
            Ok(answer) => (Reason::Allowed, None, None, Some(answer)),
            Err(Denial::Refused(reason, scope)) => (reason, scope, None, None),
            Err(Denial::Unverifiable(cause)) => (Reason::WrongSecret, None, Some(cause), None),
            Err(Denial::Outage(cause)) => {
                let reason = Reason::Outage.name();
                tracing::error!(request_id, reason, principal, key_id, cause, "decision");
                return Err(Failed::Unavailable);
            }
        };
        let refused_by = scope.map(Scope::name);
        let name = reason.name();
        tracing::info!(request_id, reason = name, refused_by, principal, key_id, cause, "decision");
        match (answer, Face::of(reason)) {
            (Some(answer), Face::Allowed) => Ok(answer),
            // Whether an HTTP API with payload format 2.0 turns this message
            // into 401 is not documented: there a bad key is denied.
            (_, Face::Unauthorized) if event.shape != Shape::HttpV2 => Err(Failed::Unauthorized),
            (_, Face::Failed) => Err(Failed::Unavailable),
            (_, Face::Allowed | Face::Unauthorized | Face::Forbidden) => Ok(Answer::deny(&event.arn)),
        }
    }

    async fn authorize(&self, event: &Event<'_>, subject: &mut Subject) -> Result<Answer, Denial> {
        let no_base_paths = BasePaths::default();
        let base_paths = if event.may_have_base_path { &self.base_paths } else { &no_base_paths };
        let target =
            Target::parse(&event.method, &event.path, base_paths).map_err(|_| Reason::AmbiguousPath)?;
        if !event.arn.is_exact() {
            return Err(Reason::AmbiguousPath.into());
        }
        match credential::read(&event.authorization, &self.environment)? {
            Credential::Key(key) => {
                subject.principal = Some(key.account.to_string());
                subject.key = Some((key.account, key.id));
                let (context, role, key_role) =
                    self.check_key(&key, event.source.map_or(Source::Unknown, Source::Address)).await?;
                let grant = Grant::Key { role: &role, key_role: key_role.as_deref() };
                Ok(Answer::allow(decide(grant, &target)?, &event.arn, context))
            }
            Credential::Token(token) => {
                let (actor, token_use) =
                    self.admin_tokens.check(token).await.map_err(|error| match error {
                        TokenError::Refused(reason) => Denial::Refused(reason, None),
                        TokenError::Unavailable(error) => Denial::Outage(error.to_string()),
                    })?;
                subject.principal = Some(actor.id.clone());
                let grant = match token_use {
                    Use::Iam => Grant::IamAdmin,
                    Use::Api => Grant::ApiAdmin,
                };
                let context = Context::default()
                    .with(context::PRINCIPAL_TYPE, PrincipalType::Admin.name())
                    .with(context::PRINCIPAL_ID, &actor.id)
                    .with(context::PRINCIPAL_NAME, &actor.name);
                Ok(Answer::allow(decide(grant, &target)?, &event.arn, context))
            }
        }
    }

    /// Who presents `key`, if it is good here and now, and the role or roles
    /// that must permit.
    async fn check_key(
        &self,
        key: &ApiKey,
        source: Source,
    ) -> Result<(Context, Arc<Role>, Option<Arc<Role>>), Denial> {
        let (found, ()) = tokio::join!(self.store.find_credential(key), self.keyring.renew());
        let Some(Found { account_name, role, enabled, credential }) = found? else {
            return Err(self.why_unknown(key).await.into());
        };
        let Some(credential) = credential else {
            return Err(self.why_unknown(key).await.into());
        };
        let pepper = self.keyring.get(&credential.verifier.pepper).await?;
        let spec = credential.spec;
        // The secret first: who does not know it learns nothing, not even from
        // our log, about the key's state.
        if !Verifier::compute(&pepper, key, &spec).matches(&credential.verifier.verifier) {
            return Err(Reason::WrongSecret.into());
        }
        check_use(&spec, credential.rotation.as_ref(), enabled, self.clock.now(), source)?;
        let account_role = self.roles.get(&role).await?;
        let key_role = match &spec.role {
            Some(role) => Some(self.roles.get(role).await?),
            None => None,
        };
        let mut context = Context::default()
            .with(context::PRINCIPAL_TYPE, PrincipalType::ServiceAccount.name())
            .with(context::PRINCIPAL_ID, key.account)
            .with(context::PRINCIPAL_NAME, account_name)
            .with(context::KEY_ID, key.id)
            .with(context::ROLE, role);
        if let Some(role) = spec.role {
            context = context.with(context::KEY_ROLE, role);
        }
        Ok((context.with(context::ENVIRONMENT, self.environment.as_str()), account_role, key_role))
    }

    /// Why a key is not among its account's, for the log. A record counts only
    /// if the presented key matches it, and a failure here changes nothing: the
    /// key is refused all the same.
    async fn why_unknown(&self, key: &ApiKey) -> Reason {
        let Ok(Some(retired)) = self.store.find_retired(key).await else {
            return Reason::Unknown;
        };
        let Ok(pepper) = self.keyring.get(&retired.verifier.pepper).await else {
            return Reason::Unknown;
        };
        if !Verifier::compute(&pepper, key, &retired.spec).matches(&retired.verifier.verifier) {
            return Reason::WrongSecret;
        }
        retired.reason
    }
}
