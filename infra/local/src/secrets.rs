//! The part of Secrets Manager that the keyring calls: `GetSecretValue` of one
//! secret, in its JSON protocol over HTTP.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// The secret's name.
pub(crate) const SECRET_ID: &str = "keyward-pepper";

/// The secret's value, which can be exchanged.
pub(crate) type Secret = Arc<Mutex<String>>;

/// The service.
pub(crate) fn router(secret: Secret) -> Router {
    Router::new().route("/", post(answer)).with_state(secret)
}

async fn answer(State(secret): State<Secret>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if target != "secretsmanager.GetSecretValue" {
        return failure("InvalidRequestException", "local mode only reads secrets");
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if request.get("SecretId").and_then(Value::as_str) != Some(SECRET_ID) {
        return failure("ResourceNotFoundException", "Secrets Manager can't find the specified secret.");
    }
    let value = secret.lock().map(|secret| secret.clone()).unwrap_or_default();
    let body = json!({
        "ARN": format!("arn:aws:secretsmanager:local:000000000000:secret:{SECRET_ID}"),
        "Name": SECRET_ID,
        "VersionId": "00000000-0000-0000-0000-000000000001",
        "VersionStages": ["AWSCURRENT"],
        "SecretString": value,
    });
    ([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

pub(crate) fn failure(kind: &str, message: &str) -> Response {
    let body = json!({ "__type": kind, "Message": message });
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string())
        .into_response()
}
