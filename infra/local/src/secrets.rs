//! The part of Secrets Manager that the functions call: `GetSecretValue` of the
//! keyring and of the console's secret, in its JSON protocol over HTTP.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// The pepper secret's name.
pub(crate) const SECRET_ID: &str = "keyward-pepper";
/// The name of the console's secret.
pub(crate) const CONSOLE_SECRET_ID: &str = "keyward-console";

/// The pepper secret's value, which can be exchanged.
pub(crate) type Secret = Arc<Mutex<String>>;

/// The service.
pub(crate) fn router(secret: Secret, console: String) -> Router {
    Router::new().route("/", post(answer)).with_state((secret, console))
}

async fn answer(
    State((pepper, console)): State<(Secret, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if target != "secretsmanager.GetSecretValue" {
        return failure("InvalidRequestException", "local mode only reads secrets");
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = request.get("SecretId").and_then(Value::as_str).unwrap_or_default();
    let value = match id {
        SECRET_ID => pepper.lock().map(|secret| secret.clone()).unwrap_or_default(),
        CONSOLE_SECRET_ID => console,
        _ => {
            return failure("ResourceNotFoundException", "Secrets Manager can't find the specified secret.");
        }
    };
    let body = json!({
        "ARN": format!("arn:aws:secretsmanager:local:000000000000:secret:{id}"),
        "Name": id,
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
