//! The decision: who calls, and whether they are allowed to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::authentication::{
    Authenticated, Authentication, EndedCredential, InvokedRequest, Rejected, Rejection,
};
use shared::config::{ConfigError, Setup};
use shared::domain::{
    AccountId, Clock, Environment, GrantId, PrincipalType, RoleName, TokenClaims, TokenGrant, TokenId,
    context,
};
use shared::policy::{Api, Grant, PathPrefix, Permission, Reason, Refusal, Source, Target, decide};
use shared::store::{ActivityRecorder, Roles, StoreError};
use shared::time_limit::TimeLimit;

use crate::admin_token::{AdminTokens, TokenError, TokenUse};
use crate::answer::{Answer, ClientOutcome, Context, FunctionError};
use crate::credential::{self, Credential};
use crate::event::{self, Event, Shape};
use crate::follow_up::{FollowUp, RequestLine};

/// The time limit of a decision. API Gateway itself waits for up to 10 s.
const TIME_LIMIT: Duration = Duration::from_millis(2800);

/// The authorizer of one kind of API.
pub struct Authorizer {
    pub(crate) api: Api,
    pub(crate) activity: ActivityRecorder,
    /// Whether the log and the activity contain source addresses.
    pub(crate) records_addresses: bool,
    pub(crate) authentication: Authentication,
    admin_tokens: AdminTokens,
    time_limit: TimeLimit,
    pub(crate) clock: Arc<dyn Clock>,
    environment: Environment,
    /// `None` for the IAM API, where roles permit a service account nothing.
    roles: Option<Roles>,
    base_paths: Vec<PathPrefix>,
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
    /// The account does not exist, or has no such live grant.
    NotLive(EndedCredential),
    /// The verifier or token names a version of a secret that does not exist, so the
    /// credential cannot be checked. The cause, for the log.
    Unverifiable(String),
    /// A dependency failed, so there is no decision. The cause, for the log.
    Outage(String),
}

impl Denial {
    /// The answer to API Gateway. All invalid credentials get the same answer.
    /// `is_verified` is whether the request has a genuine key or token.
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
    /// The part of a valid credential's scope that refused the request, if one did.
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
            Refusal::GrantRole(missing) => (Some(Scope::KeyRole), Some(missing)),
            Refusal::TokenRole(missing) => (Some(Scope::TokenRole), Some(missing)),
        };
        Self { reason, scope, missing_permission }
    }
}

/// The part of a valid credential's scope that refused a request: `refused_by` in the
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The account's role.
    AccountRole,
    /// The own role of the key or federated identity. The account's role permits the request.
    KeyRole,
    /// A role that narrows the token. The roles of the account and the grant permit the request.
    TokenRole,
    /// The networks from which the key can be used.
    Network,
}

impl Scope {
    /// The name in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AccountRole => "account_role",
            Self::KeyRole => "key_role",
            Self::TokenRole => "token_role",
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

impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused(reason) => reason.into(),
            Rejection::NotLive(credential) => Self::NotLive(credential),
            Rejection::Unverifiable(cause) => Self::Unverifiable(cause),
            Rejection::Outage(cause) => Self::Outage(cause),
        }
    }
}

/// The caller of a request, as far as it is known.
#[derive(Default)]
pub(crate) struct Subject {
    pub(crate) principal: Option<String>,
    /// The ids in the presented key or token.
    pub(crate) grant: Option<(AccountId, GrantId)>,
    /// The id of the presented token.
    pub(crate) token: Option<TokenId>,
    /// Whether the account of `grant` exists.
    pub(crate) account_exists: bool,
    /// Whether the key or token is genuine.
    pub(crate) is_verified: bool,
}

impl Subject {
    /// Sets the ids in the presented key or token.
    fn name(&mut self, account: AccountId, grant: GrantId) {
        self.principal = Some(account.to_string());
        self.grant = Some((account, grant));
    }

    /// Sets what was learned about the credential from `checked`.
    fn learn(&mut self, checked: Result<Authenticated, Rejected>) -> Result<Authenticated, Denial> {
        match checked {
            Ok(valid) => {
                (self.account_exists, self.is_verified) = (true, true);
                Ok(valid)
            }
            Err(Rejected { cause, account_exists, is_genuine }) => {
                (self.account_exists, self.is_verified) = (account_exists, is_genuine);
                Err(cause.into())
            }
        }
    }
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
            activity: ActivityRecorder::new(store.clone()),
            records_addresses: setup.records_source_addresses()?,
            authentication: Authentication::new(setup, store)?,
            admin_tokens: AdminTokens::new(setup)?,
            time_limit: TimeLimit::new(TIME_LIMIT),
            clock: Arc::clone(&setup.clock),
            environment: setup.environment()?,
            roles,
            base_paths: setup.base_paths()?,
        })
    }

    /// Opens the connections and reads the secrets, so that the first event does not wait for
    /// them.
    pub async fn warm(&self) {
        self.authentication.warm().await;
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
        let source = event.source.map_or(Source::Unknown, Source::Address);
        match credential::read(&event.authorization, &self.environment)? {
            Credential::Key(key) => {
                subject.name(key.account, key.id.into());
                let valid = subject.learn(self.authentication.check_key(key, source).await)?;
                self.authorize_service_account(valid, &target, event).await
            }
            Credential::Token(token) => {
                let (account, grant) = token.named();
                subject.name(account, grant);
                subject.token = Some(token.named_id());
                let arn = &event.arn;
                let request = InvokedRequest { api: arn.api(), method: arn.method(), path: arn.path() };
                // Boxed, so that the decision on a key does not reserve space for it.
                let checked = Box::pin(self.authentication.check_token(*token, source, Some(request))).await;
                let valid = subject.learn(checked)?;
                self.authorize_service_account(valid, &target, event).await
            }
            Credential::AdminToken(token) => {
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

    /// Decides on a request with a valid key or token.
    async fn authorize_service_account(
        &self,
        valid: Authenticated,
        target: &Target<'_>,
        event: &Event<'_>,
    ) -> Result<Answer, Denial> {
        let roles = match &self.roles {
            Some(roles) => Some(valid.find_roles(roles).await?),
            None => None,
        };
        let allowed = match &roles {
            Some(roles) => roles.decide(self.api, target)?,
            None => decide(self.api, Grant::ServiceAccountWithoutRoles, target)?,
        };
        Ok(Answer::allow(allowed, &event.arn, self.context(valid)))
    }

    /// The context that describes a valid key or token to the backend.
    fn context(&self, valid: Authenticated) -> Context {
        let Authenticated { account, account_name, role, grant, grant_role, token, .. } = valid;
        let grant_id = match grant {
            TokenGrant::Key(_) => context::KEY_ID,
            TokenGrant::Identity(..) => context::IDENTITY_ID,
        };
        let mut context = Context::new()
            .with(context::PRINCIPAL_TYPE, PrincipalType::ServiceAccount.name())
            .with(context::PRINCIPAL_ID, account.to_string())
            .with(context::PRINCIPAL_NAME, account_name)
            .with(grant_id, grant.to_string());
        if let Some(token) = &token {
            context = context
                .with(context::TOKEN_ID, token.id.to_string())
                .with(context::TOKEN_EXPIRES_AT, token.expires_at().to_string());
            if !token.parents.is_empty() {
                context = context.with(context::ACTORS, joined(token.parents.iter()));
            }
        }
        context = context.with(context::ROLE, role.into_string());
        if let Some(role) = grant_role {
            context = context.with(context::KEY_ROLE, role.into_string());
        }
        if let Some(TokenClaims { roles, .. }) = token.filter(|token| !token.roles.is_empty()) {
            context = context.with(context::TOKEN_ROLES, joined(roles.iter().map(RoleName::as_str)));
        }
        context.with(context::ENVIRONMENT, self.environment.as_str().to_owned())
    }
}

/// The items, separated by spaces.
fn joined(items: impl Iterator<Item: ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}
