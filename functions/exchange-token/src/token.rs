//! Makes tokens.

use jiff::Timestamp;
use shared::authentication::Authenticated;
use shared::domain::{
    AccountId, BoundRequest, DisplayedToken, GrantBinding, MAX_TOKEN_DEPTH, MAX_TOKEN_ROLES, RoleName,
    SecretVersion, TokenClaims, TokenGrant, TokenId, TokenKey,
};
use shared::policy::ExchangeReason;

use crate::ExchangeToken;
use crate::refusal::Refusal;

/// What a token is made from: a grant, or a token of that grant.
pub(crate) struct Parent {
    pub(crate) account: AccountId,
    pub(crate) grant: TokenGrant,
    /// What the grant's tokens are bound to.
    pub(crate) binding: GrantBinding,
    /// The first second in which the grant or the token is refused, if it ends.
    pub(crate) ends_at: Option<Timestamp>,
    /// The roles that narrow the token.
    pub(crate) roles: Vec<RoleName>,
    /// The token and the tokens that it was made from, oldest first.
    pub(crate) ancestors: Vec<TokenId>,
}

impl From<Authenticated> for Parent {
    fn from(credential: Authenticated) -> Self {
        let ends_at = credential.ends_at();
        let Authenticated { account, grant, binding, token, .. } = credential;
        let (roles, ancestors) = token.map_or_else(Default::default, |token| {
            let ancestors = token.parents.into_iter().chain([token.id]);
            (token.roles, ancestors.collect())
        });
        Self { account, grant, binding, ends_at, roles, ancestors }
    }
}

/// A token that has everything but its tags.
pub(crate) struct UnsealedToken {
    pub(crate) claims: TokenClaims,
    key: (SecretVersion, TokenKey),
    binding: GrantBinding,
}

impl ExchangeToken {
    /// Prepares a token that is made from `parent`, with one more role if `role` is new. The
    /// lifetime is shorter than `lifetime_seconds` if the parent ends earlier.
    ///
    /// # Errors
    /// The token would exceed a limit, the role does not exist, or a dependency failed.
    pub(crate) async fn prepare(
        &self,
        parent: Parent,
        role: Option<RoleName>,
        lifetime_seconds: u16,
        request: Option<BoundRequest>,
    ) -> Result<UnsealedToken, Refusal> {
        let Parent { account, grant, binding, ends_at, mut roles, ancestors } = parent;
        // A request token is the end of a chain, and no link of it.
        if ancestors.len() >= MAX_TOKEN_DEPTH && request.is_none() {
            return Err(ExchangeReason::Depth.into());
        }
        if let Some(role) = role.filter(|role| !roles.contains(role)) {
            if roles.len() >= MAX_TOKEN_ROLES {
                return Err(Refusal::invalid_scope(
                    "Two roles already narrow this token. No more can be added.",
                ));
            }
            if self.roles.find(&role).await?.is_none() {
                return Err(Refusal::invalid_scope("The role in `scope` does not exist."));
            }
            roles.push(role);
        }
        let key = self.token_keyring.current().await?;
        let now = self.clock.now().as_second();
        let left = ends_at.map(|end| end.as_second().saturating_sub(now));
        let lifetime = left.map_or(lifetime_seconds.into(), |left| left.min(lifetime_seconds.into()));
        let lifetime_seconds = u16::try_from(lifetime).ok().filter(|lifetime| *lifetime > 0);
        let claims = TokenClaims {
            account,
            grant,
            id: TokenId::generate(&*self.entropy)?,
            issued_at: Timestamp::from_second(now).map_err(Refusal::internal)?,
            lifetime_seconds: lifetime_seconds.ok_or(ExchangeReason::Expired)?,
            roles,
            parents: ancestors,
            request,
        };
        Ok(UnsealedToken { claims, key, binding })
    }

    /// Makes the token.
    ///
    /// # Errors
    /// The token cannot be encoded.
    pub(crate) fn seal(&self, token: &UnsealedToken) -> Result<DisplayedToken, Refusal> {
        let UnsealedToken { claims, key: (version, key), binding } = token;
        let sealed = claims.seal(&self.environment, (version, key), binding);
        sealed.ok_or_else(|| Refusal::internal("the token exceeds a limit of its format"))
    }
}
