//! The services that the methods of the protocol use.

use shared::api::CredentialPermissions;

use crate::catalog::{Catalog, RegisteredApi};
use crate::exchange::{ExchangeFunction, unavailable};
use crate::guard::Caller;
use crate::refusal::Refusal;
use crate::upstream::Upstream;

/// The services.
pub(crate) struct Services {
    pub(crate) exchange: ExchangeFunction,
    pub(crate) catalog: Catalog,
    pub(crate) upstream: Upstream,
}

impl Services {
    /// What the caller's credential permits, and the caller's API. Both are read at the same time if
    /// the credential is known. Otherwise the credential is checked first, so that callers without a
    /// valid one cause no read of the API.
    ///
    /// # Errors
    /// The credential is refused, the API is not registered, or a dependency failed.
    pub(crate) async fn find_permitted(
        &self,
        caller: &Caller,
    ) -> Result<(CredentialPermissions, RegisteredApi), Refusal> {
        let (permitted, api) = if self.exchange.knows(caller) {
            let (permitted, api) = tokio::join!(self.exchange.permissions(caller), self.find_api(caller));
            (permitted?, api?)
        } else {
            (self.exchange.permissions(caller).await?, self.find_api(caller).await?)
        };
        Ok((permitted, api.ok_or(Refusal::UnknownApi)?))
    }

    /// The caller's API, if it is registered. Nothing of it may be returned before the credential
    /// is checked.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn find_api(&self, caller: &Caller) -> Result<Option<RegisteredApi>, Refusal> {
        self.catalog.find(&caller.api).await.map_err(|error| unavailable(caller, error))
    }

    /// The refusal of a request to an API that is not registered.
    pub(crate) async fn unknown_api(&self, caller: &Caller) -> Refusal {
        self.exchange.permissions(caller).await.err().unwrap_or(Refusal::UnknownApi)
    }
}
