//! Checks the keys and tokens of service accounts, for the functions that accept them.
//!
//! A key costs one consistent read, of its account. So does a token of a key. A token of a
//! federated identity costs another read, of the identity's issuer, at the same time. A token
//! whose outer tag is wrong costs no read.

mod not_live;
mod retired_records;

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::{ConfigError, Setup};
use crate::domain::{
    AccountId, ApiKey, BoundRequest, Clock, GrantBinding, GrantId, IdentityId, IssuerName, KeyEnd, KeyId,
    RoleName, SealedToken, Token, TokenClaims, TokenGrant, Verifier,
};
use crate::keyring::{Keyring, KeyringError, TokenKeyring};
use crate::policy::{
    Allowed, Api, Grant, GrantRoles, Reason, Refusal, Role, Source, Target, check_identity_use, check_use,
    decide,
};
use crate::store::{CredentialLookup, Roles, Store, StoreError, StoredIdentity, StoredKey};

pub use not_live::NotLive;
use retired_records::RetiredRecords;

/// Checks keys and tokens.
pub struct Authentication {
    store: Store,
    keyring: Keyring,
    token_keyring: TokenKeyring,
    clock: Arc<dyn Clock>,
    retired_records: RetiredRecords,
}

/// A valid credential, and what a decision needs of its account.
#[derive(Debug)]
pub struct Authenticated {
    pub account: AccountId,
    pub account_name: String,
    /// The account's role.
    pub role: RoleName,
    pub grant: TokenGrant,
    /// The own role of the key or federated identity, if it has one.
    pub grant_role: Option<RoleName>,
    /// The first second in which the key or federated identity is refused, if it ends.
    pub grant_ends_at: Option<Timestamp>,
    /// What the grant's tokens are bound to.
    pub binding: GrantBinding,
    /// What the token says. `None` if the credential is a key.
    pub token: Option<TokenClaims>,
}

/// A request, as in the ARN that API Gateway invokes.
#[derive(Clone, Copy, Debug)]
pub struct InvokedRequest<'a> {
    /// The API's id in API Gateway.
    pub api: &'a str,
    pub method: &'a str,
    pub path: &'a str,
}

/// Why a credential is not accepted.
#[derive(Debug)]
pub struct Rejected {
    pub cause: Rejection,
    /// Whether the account is known to exist.
    pub account_exists: bool,
    /// Whether the credential is a key with the correct secret, or a token of a grant that the
    /// account has.
    pub is_genuine: bool,
}

/// The cause of a [`Rejected`].
#[derive(Debug)]
pub enum Rejection {
    Refused(Reason),
    /// The account does not exist, or has no such grant.
    NotLive(EndedCredential),
    /// The verifier or token names a version of a secret that does not exist, so the
    /// credential cannot be checked. The cause, for the log.
    Unverifiable(String),
    /// A dependency failed, so there is no decision. The cause, for the log.
    Outage(String),
}

/// A credential whose grant is not live.
#[derive(Debug)]
pub enum EndedCredential {
    Key(ApiKey),
    /// A token whose outer tag is right.
    Token(Box<Token>),
}

impl Rejected {
    /// A refusal of a credential about which nothing is known.
    fn unknown(cause: impl Into<Rejection>) -> Self {
        Self { cause: cause.into(), account_exists: false, is_genuine: false }
    }

    /// A refusal of a credential that names an existing account, but is not genuine.
    fn unverified(cause: impl Into<Rejection>) -> Self {
        Self { cause: cause.into(), account_exists: true, is_genuine: false }
    }

    /// A refusal of a credential whose grant is not live.
    fn not_live(credential: EndedCredential, account_exists: bool) -> Self {
        Self { cause: Rejection::NotLive(credential), account_exists, is_genuine: false }
    }

    /// A refusal of a genuine credential.
    fn genuine(reason: Reason) -> Self {
        Self { cause: reason.into(), account_exists: true, is_genuine: true }
    }
}

impl From<Token> for EndedCredential {
    fn from(token: Token) -> Self {
        Self::Token(Box::new(token))
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::Outage(error.to_string())
    }
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Self {
        Self::unknown(error)
    }
}

impl From<KeyringError> for Rejection {
    fn from(error: KeyringError) -> Self {
        match error {
            // The secret was read and does not have this version. A retry would not
            // help: the table or the secret was changed by hand, or the token is forged or
            // from before two rotations.
            KeyringError::UnknownVersion(..) => Self::Unverifiable(error.to_string()),
            KeyringError::Unavailable(..) | KeyringError::Malformed(..) => Self::Outage(error.to_string()),
        }
    }
}

impl Authentication {
    /// Checks credentials with reads of `store`. This calls nothing yet.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn new(setup: &Setup, store: Store) -> Result<Self, ConfigError> {
        Ok(Self {
            store,
            keyring: setup.keyring()?,
            token_keyring: setup.token_keyring()?,
            clock: Arc::clone(&setup.clock),
            retired_records: RetiredRecords::default(),
        })
    }

    /// Reads the secrets and opens the connection to the table, so that the first event does
    /// not wait for them.
    pub async fn warm(&self) {
        tokio::join!(self.store.warm(), self.keyring.warm(), self.token_keyring.warm());
    }

    /// Checks that `key` can be used now and from `source`. This takes one consistent read.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub async fn check_key(&self, key: ApiKey, source: Source) -> Result<Authenticated, Rejected> {
        let (account, id) = (key.account, key.id);
        let (found, ()) = tokio::join!(self.store.find_key_credential(account, id), self.keyring.renew());
        let found = found?;
        let account_exists = found.is_some();
        let Some(CredentialLookup { account_name, role, enabled, grant: Some(stored) }) = found else {
            return Err(Rejected::not_live(EndedCredential::Key(key), account_exists));
        };
        let pepper = self.keyring.get(&stored.verifier.pepper).await.map_err(Rejected::unverified)?;
        // The secret is checked first, so that neither a client without it nor the log
        // learns anything about the key's state.
        if !Verifier::compute(&pepper, &key, &stored.spec).matches(&stored.verifier.verifier) {
            return Err(Rejected::unverified(Reason::WrongSecret));
        }
        let grant_ends_at = self.check_key_use(&stored, enabled, source)?;
        Ok(Authenticated {
            account,
            account_name,
            role,
            grant: TokenGrant::Key(id),
            binding: GrantBinding::of_key(stored.verifier.verifier, &stored.spec),
            grant_role: stored.spec.role,
            grant_ends_at,
            token: None,
        })
    }

    /// Checks that `token` can be used now, from `source` and for `request`. Without `request`,
    /// this refuses all request tokens. A genuine token takes one consistent read and, if its
    /// grant is a federated identity, a second one at the same time.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub async fn check_token(
        &self,
        token: SealedToken,
        source: Source,
        request: Option<InvokedRequest<'_>>,
    ) -> Result<Authenticated, Rejected> {
        let key = self.token_keyring.get(token.key_version()).await.map_err(Rejected::unknown)?;
        let token = token.open(&key).ok_or_else(|| Rejected::unknown(Reason::WrongSecret))?;
        if self.clock.now() >= token.claims().expires_at() {
            return Err(Rejected::unknown(Reason::Expired));
        }
        let source = match &token.claims().request {
            None => source,
            Some(bound)
                if request.is_some_and(|InvokedRequest { api, method, path }| {
                    BoundRequest::new(api, method, path) == *bound
                }) =>
            {
                Source::Permitted
            }
            Some(_) => return Err(Rejected::unknown(Reason::Request)),
        };
        match token.claims().grant.clone() {
            TokenGrant::Key(key) => self.check_token_of_key(token, key, source).await,
            TokenGrant::Identity(identity, issuer) => {
                self.check_token_of_identity(token, identity, issuer).await
            }
        }
    }

    async fn check_token_of_key(
        &self,
        token: Token,
        key: KeyId,
        source: Source,
    ) -> Result<Authenticated, Rejected> {
        let account = token.claims().account;
        let (found, ()) =
            tokio::join!(self.store.find_key_credential(account, key), self.token_keyring.renew());
        let found = found?;
        let account_exists = found.is_some();
        let Some(CredentialLookup { account_name, role, enabled, grant: Some(stored) }) = found else {
            return Err(Rejected::not_live(token.into(), account_exists));
        };
        let binding = GrantBinding::of_key(stored.verifier.verifier.clone(), &stored.spec);
        if !token.matches(&binding) {
            return Err(Rejected::unverified(Reason::WrongSecret));
        }
        let grant_ends_at = self.check_key_use(&stored, enabled, source)?;
        Ok(Authenticated {
            account,
            account_name,
            role,
            grant: TokenGrant::Key(key),
            grant_role: stored.spec.role,
            grant_ends_at,
            binding,
            token: Some(token.into_claims()),
        })
    }

    async fn check_token_of_identity(
        &self,
        token: Token,
        identity: IdentityId,
        issuer: IssuerName,
    ) -> Result<Authenticated, Rejected> {
        let account = token.claims().account;
        let (found, registration, ()) = tokio::join!(
            self.store.find_identity_credential(account, identity),
            self.store.find_issuer_registration(&issuer),
            self.token_keyring.renew()
        );
        let found = found?;
        let account_exists = found.is_some();
        let Some(CredentialLookup { account_name, role, enabled, grant: Some(stored) }) = found else {
            return Err(Rejected::not_live(token.into(), account_exists));
        };
        let StoredIdentity { issuer: own_issuer, role: grant_role, expires_at, verifier } = stored;
        // An identity never changes, so the token is not from this identity.
        if own_issuer != issuer {
            return Err(Rejected::unverified(Reason::WrongSecret));
        }
        let Some(registration) = registration? else {
            return Err(Rejected::genuine(Reason::Issuer));
        };
        let binding = GrantBinding::of_identity(verifier, registration.id, grant_role.clone(), expires_at);
        if !token.matches(&binding) {
            // The token is older than the registration, so it has the id of an earlier one.
            let is_older = token.claims().issued_at <= registration.created_at;
            return Err(if is_older {
                Rejected::genuine(Reason::Issuer)
            } else {
                Rejected::unverified(Reason::WrongSecret)
            });
        }
        check_identity_use(expires_at, enabled, self.clock.now()).map_err(Rejected::genuine)?;
        Ok(Authenticated {
            account,
            account_name,
            role,
            grant: TokenGrant::Identity(identity, issuer),
            grant_role,
            grant_ends_at: expires_at,
            binding,
            token: Some(token.into_claims()),
        })
    }

    /// Checks that a key can be used, and returns when it ends.
    fn check_key_use(
        &self,
        key: &StoredKey,
        enabled: bool,
        source: Source,
    ) -> Result<Option<Timestamp>, Rejected> {
        let rotation = key.rotation.as_ref();
        check_use(&key.spec, rotation, enabled, self.clock.now(), source).map_err(Rejected::genuine)?;
        let end = KeyEnd::new(key.spec.expires_at, rotation.map(|rotation| rotation.retires_at));
        Ok(Some(end.at))
    }
}

impl EndedCredential {
    /// The account and the grant that the credential names.
    pub fn names(&self) -> (AccountId, GrantId) {
        match self {
            Self::Key(key) => (key.account, key.id.into()),
            Self::Token(token) => (token.claims().account, token.claims().grant.id()),
        }
    }
}

/// The roles that must all permit a request.
#[derive(Debug)]
pub struct RequiredRoles {
    account: Arc<Role>,
    grant: Option<Arc<Role>>,
    token: Vec<Arc<Role>>,
}

impl RequiredRoles {
    /// All roles, each once.
    pub fn all(&self) -> Vec<&Role> {
        let mut roles: Vec<&Role> = vec![&self.account];
        for role in self.grant.iter().chain(&self.token) {
            if roles.iter().all(|known| known.name != role.name) {
                roles.push(role);
            }
        }
        roles
    }

    /// Decides whether all roles permit `target` at this kind of API.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub fn decide(&self, api: Api, target: &Target<'_>) -> Result<Allowed<'_>, Refusal> {
        let roles = GrantRoles { account: &self.account, grant: self.grant.as_deref(), token: &self.token };
        decide(api, Grant::ServiceAccount(roles), target)
    }
}

impl Authenticated {
    /// The first second in which the credential is refused, because the token or its grant ends.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let expires_at = self.token.as_ref().map(TokenClaims::expires_at);
        self.grant_ends_at.into_iter().chain(expires_at).min()
    }

    /// The roles that narrow the token. Empty for a key.
    pub fn token_roles(&self) -> &[RoleName] {
        self.token.as_ref().map_or(&[], |token| &token.roles)
    }

    /// Reads the roles that must permit a request, each once and all at the same time. A
    /// missing role permits nothing.
    pub async fn find_roles(&self, roles: &Roles) -> Result<RequiredRoles, StoreError> {
        if self.grant_role.is_none() && self.token_roles().is_empty() {
            let account = roles.get(&self.role).await?;
            return Ok(RequiredRoles { account, grant: None, token: Vec::new() });
        }
        let mut names = vec![&self.role];
        for name in self.grant_role.iter().chain(self.token_roles()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let found = futures::future::try_join_all(names.iter().map(|name| roles.get(name))).await?;
        // Every name is in `names`.
        let get = |name: &RoleName| {
            let found = found.iter().find(|role| role.name == *name);
            found.map_or_else(|| Arc::new(Role::empty(name.clone())), Arc::clone)
        };
        Ok(RequiredRoles {
            account: get(&self.role),
            grant: self.grant_role.as_ref().map(get),
            token: self.token_roles().iter().map(get).collect(),
        })
    }
}
