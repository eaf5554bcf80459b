//! The identity of a made-up CI job: the endpoint at which a job of GitHub Actions asks for
//! its JWT, with the same requests, responses and claims.
//! (<https://docs.github.com/en/actions/reference/security/oidc>)
//!
//! The issuer is this one, so the claim `iss` differs.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::{Issuer, KEY_ID};

/// The endpoint's path.
pub(super) const PATH: &str = "/workload-token";

/// The lifetime of a job's JWT, in seconds.
const LIFETIME_SECONDS: i64 = 300;

/// The claims of the job that are the same in each JWT. Numbers are text, as in GitHub's.
const CLAIMS: [(&str, &str); 26] = [
    ("actor", "ada"),
    ("actor_id", "1815"),
    ("base_ref", ""),
    ("environment", "production"),
    ("event_name", "push"),
    ("head_ref", ""),
    ("job_workflow_ref", "example/shop/.github/workflows/deploy.yml@refs/heads/main"),
    ("job_workflow_sha", "2f1d9c4e7ab05836e1d2c3b4a5968778695a4b3c"),
    ("ref", "refs/heads/main"),
    ("ref_protected", "true"),
    ("ref_type", "branch"),
    ("repository", "example/shop"),
    ("repository_id", "456789"),
    ("repository_owner", "example"),
    ("repository_owner_id", "123456"),
    ("repository_visibility", "private"),
    ("run_attempt", "1"),
    ("run_id", "16240000001"),
    ("run_number", "42"),
    ("runner_environment", "github-hosted"),
    ("sha", "2f1d9c4e7ab05836e1d2c3b4a5968778695a4b3c"),
    ("workflow", "Deploy"),
    ("workflow_ref", "example/shop/.github/workflows/deploy.yml@refs/heads/main"),
    ("workflow_sha", "2f1d9c4e7ab05836e1d2c3b4a5968778695a4b3c"),
    ("check_run_id", "46810000001"),
    ("enterprise", "example-group"),
];

/// Responds like `ACTIONS_ID_TOKEN_REQUEST_URL`: `audience` becomes the claim `aud`. Any other
/// parameter replaces the claim with its name, to try what a rule refuses.
pub(super) async fn token(
    State(issuer): State<Issuer>,
    headers: HeaderMap,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let credential = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = credential.and_then(|value| value.split_once(' '));
    let is_job = bearer.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && token == issuer.workload_bearer.as_str()
    });
    if !is_job {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5t": KEY_ID, "kid": KEY_ID });
    match issuer.issue(&header, claims(&issuer, parameters)) {
        Ok(jwt) => {
            let body = json!({ "count": jwt.len(), "value": jwt });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn claims(issuer: &Issuer, mut parameters: BTreeMap<String, String>) -> Value {
    parameters.remove("api-version");
    let mut claims: Map<String, Value> =
        CLAIMS.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let audience = parameters.remove("audience").unwrap_or_else(|| "https://github.com/example".to_owned());
    claims.extend(parameters.into_iter().map(|(name, value)| (name, value.into())));
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    // The form with the ids of the owner and the repository.
    let (owner, name) = text("repository").split_once('/').unwrap_or_default();
    let (owner_id, id) = (text("repository_owner_id"), text("repository_id"));
    let job = match (text("environment"), text("ref")) {
        ("", reference) => format!("ref:{reference}"),
        (environment, _) => format!("environment:{environment}"),
    };
    let subject = format!("repo:{owner}@{owner_id}/{name}@{id}:{job}");
    claims.entry("sub").or_insert_with(|| subject.into());
    let now = issuer.clock.now().as_second();
    claims.extend([
        ("iss".to_owned(), issuer.url.as_str().into()),
        ("aud".to_owned(), audience.into()),
        ("iat".to_owned(), now.into()),
        ("nbf".to_owned(), now.saturating_sub(LIFETIME_SECONDS * 2).into()),
        ("exp".to_owned(), now.saturating_add(LIFETIME_SECONDS).into()),
    ]);
    Value::Object(claims)
}
