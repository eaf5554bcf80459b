//! The HTTP API of the MCP server.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use mcp::Mcp;
use shared::http::Gateway;

use crate::gateway::request_id;

/// The routes of the server, behind a layer that adds what API Gateway knows about a request.
pub(crate) fn router(mcp: &Mcp) -> Router {
    mcp.router().layer(middleware::from_fn(add_facts))
}

async fn add_facts(
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let facts = Gateway { request_id: request_id(), domain: None, source: Some(source.ip()) };
    request.extensions_mut().insert(facts);
    next.run(request).await
}

/// The hosts that name the server at `address`, separated by commas.
pub(crate) fn hosts(address: SocketAddr) -> String {
    let port = address.port();
    let others = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
    let own = address.to_string();
    let others = others.into_iter().filter(|host| *host != own).collect::<Vec<_>>().join(",");
    format!("{own},{others}")
}
