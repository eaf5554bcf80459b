//! Manages protected APIs, whose operations agents can use as tools. Each operation has its own
//! module.

use shared::config::{ConfigError, Setup};
use shared::domain::UrlHosts;
use shared::http::{Admin, Failure, Operation, Reply, Request};
use shared::store::Store;

pub struct ManageApis {
    store: Store,
    hosts: UrlHosts,
}

impl Operation for ManageApis {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, hosts: setup.url_hosts()? })
    }

    async fn warm(&self) {
        // The function has no right to the item that opens the connection to the table.
    }

    async fn handle(&self, _admin: Admin, request: &Request) -> Result<Reply, Failure> {
        let _ = (&self.store, self.hosts, request);
        Err(Failure::RouteNotFound)
    }
}
