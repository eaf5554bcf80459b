//! Serves the embedded AWS services on a port, for tests that run a function as a separate
//! process.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use local::services::{ENDPOINT, Services};
use shared::config::Variables;
use tokio::net::TcpListener;

/// Serves the services on a free port until the test ends. Returns `variables` with that port's
/// URL as the endpoint.
pub(crate) async fn share(services: &Services, variables: &Variables) -> Variables {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(respond).with_state(services.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let variables = variables.iter();
    variables.map(|(name, value)| (name, if value == ENDPOINT { &url } else { value })).collect()
}

async fn respond(
    State(services): State<Services>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    // Requests to Lambda have no such header.
    let target = headers.get("x-amz-target").map_or("", |target| target.to_str().unwrap());
    let (status, body) = services.respond(uri.path(), target, body).await.unwrap();
    (StatusCode::from_u16(status).unwrap(), body)
}
