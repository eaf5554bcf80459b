//! Exchanges keys, tokens and the JWTs of workloads for short-lived tokens. Requests
//! authenticate themselves, so the routes have no authorizer.

use shared::config::{ConfigError, Setup};
use shared::http::{Anyone, Failure, Operation, Reply, Request};
use shared::store::Store;

pub struct ExchangeToken {
    store: Store,
}

impl Operation for ExchangeToken {
    type Caller = Anyone;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()? })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, _: Anyone, _: &Request) -> Result<Reply, Failure> {
        Err(Failure::RouteNotFound)
    }
}
