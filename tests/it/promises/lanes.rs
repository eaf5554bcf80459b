//! Credentials keep to their lanes: each kind of credential at each kind of API.

use local::issuer::{API_CLIENT, CONSOLE_CLIENT, IAM_CLIENT};
use shared::domain::{ApiKey, Environment};
use shared::policy::Api;
use tests::{Harness, Shape, Verdict};

/// One credential of each kind, by its name.
async fn credentials(harness: &Harness) -> Vec<(&'static str, String)> {
    let token = |client| harness.system.issuer().token(client).unwrap();
    let mut credentials = vec![
        ("IAM token", token(IAM_CLIENT)),
        ("console token", token(CONSOLE_CLIENT)),
        ("API token", token(API_CLIENT)),
    ];
    for (name, role) in [
        ("admin key", "ServiceAccountAdmin"),
        ("writer key", "ServiceAccountWriter"),
        ("reader key", "ServiceAccountReader"),
    ] {
        let account = harness.create_account(role, role).await;
        credentials.push((name, harness.issue_key(&account).await.secret));
    }
    let [local, prod] = ["local", "prod"].map(|label| Environment::parse(label).unwrap());
    let key = ApiKey::parse(&credentials.last().unwrap().1, &local).unwrap();
    credentials.push(("foreign key", key.display(&prod).expose().to_owned()));
    credentials
}

/// The credentials that an API of this kind accepts for a request.
fn expected(api: Api, method: &str, path: &str) -> &'static [&'static str] {
    match (api, method, path) {
        (Api::Iam, "GET", "/iam/v1/whoami") => {
            &["IAM token", "console token", "admin key", "writer key", "reader key"]
        }
        (Api::Iam, _, "/iam/v1/whoami" | "/iam/v1/service-accounts") => &["IAM token", "console token"],
        (Api::Business, "GET", "/organizations/42") => {
            &["API token", "admin key", "writer key", "reader key"]
        }
        (Api::Business, _, "/organizations/42") => &["API token", "admin key", "writer key"],
        (Api::Business, _, "/anything") => &["API token", "admin key"],
        // The IAM API has no such path, and a business API nothing below /iam.
        _ => &[],
    }
}

#[tokio::test]
async fn every_credential_keeps_to_its_api() {
    let harness = Harness::start().await;
    let credentials = credentials(&harness).await;
    for api in [Api::Iam, Api::Business] {
        for path in ["/iam/v1/whoami", "/iam/v1/service-accounts", "/organizations/42", "/anything"] {
            for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
                let expected = match (api, method, path) {
                    // A Reader reads by three methods.
                    (Api::Business, "HEAD" | "OPTIONS", "/organizations/42") => {
                        expected(api, "GET", "/organizations/42")
                    }
                    _ => expected(api, method, path),
                };
                for shape in Shape::ALL {
                    let mut allowed = Vec::new();
                    for (name, credential) in &credentials {
                        let event = shape.event(method, path, &format!("Bearer {credential}"));
                        if harness.verdict_at(api, &event).await == Verdict::Allow {
                            allowed.push(*name);
                        }
                    }
                    assert_eq!(allowed, expected, "{api:?} {shape:?} {method} {path}");
                }
            }
        }
    }
}

/// Business backends see keys and API tokens. Neither opens the console, which
/// accepts only its own session cookie.
#[tokio::test]
async fn no_credential_opens_the_console() {
    let harness = Harness::start().await;
    let console = harness.system.facts().console.clone();
    for (name, credential) in credentials(&harness).await {
        let reply = harness.client.get(format!("{console}/")).bearer_auth(&credential).send().await.unwrap();
        let (status, location) = (reply.status().as_u16(), reply.headers().get("location").cloned());
        assert_eq!((status, location.unwrap().to_str().unwrap()), (303, "/sign-in"), "{name}");
    }
}
