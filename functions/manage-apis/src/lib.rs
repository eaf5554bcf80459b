//! Manages protected APIs, whose operations agents can use as tools. Each operation has its own
//! module.

pub mod delete_api;
mod document;
pub mod get_api;
pub mod list_apis;
pub mod put_api;
mod registered_api;

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

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "GET /iam/v1/apis" => list_apis::list_apis(self, request).await,
            "GET /iam/v1/apis/{name}" => get_api::get_api(self, request).await,
            "PUT /iam/v1/apis/{name}" => put_api::put_api(self, admin, request).await,
            "DELETE /iam/v1/apis/{name}" => delete_api::delete_api(self, admin, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}
