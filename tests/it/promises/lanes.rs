//! The IAM API, business APIs and the console accept only their own kinds of
//! credentials.

use local::issuer::{API_CLIENT, CONSOLE_CLIENT, IAM_CLIENT};
use shared::policy::Api;
use tests::{Harness, Shape, Verdict};

use crate::support::keys::foreign;

/// A name and a credential for each kind of credential.
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
        credentials.push((name, harness.account_with_key(role, role).await.1.secret));
    }
    let key = harness.reader_key().await;
    credentials.push(("key of another environment", foreign(&key, "prod")));
    credentials
}

/// The names of the credentials that an API of this kind accepts for a request.
fn accepted(api: Api, method: &str, path: &str) -> &'static [&'static str] {
    match (api, method, path) {
        (Api::Iam, "GET", "/iam/v1/whoami") => {
            &["IAM token", "console token", "admin key", "writer key", "reader key"]
        }
        (Api::Iam, _, "/iam/v1/whoami" | "/iam/v1/service-accounts") => &["IAM token", "console token"],
        // A Reader can use GET, HEAD and OPTIONS.
        (Api::Business, "GET" | "HEAD" | "OPTIONS", "/organizations/42") => {
            &["API token", "admin key", "writer key", "reader key"]
        }
        (Api::Business, _, "/organizations/42") => &["API token", "admin key", "writer key"],
        (Api::Business, _, "/anything/at/all") => &["API token", "admin key"],
        // The IAM API has only paths below /iam, and business APIs have none there.
        _ => &[],
    }
}

#[tokio::test]
async fn each_api_accepts_only_its_own_credentials() {
    let harness = Harness::start().await;
    let credentials = credentials(&harness).await;
    for api in [Api::Iam, Api::Business] {
        for path in ["/iam/v1/whoami", "/iam/v1/service-accounts", "/organizations/42", "/anything/at/all"] {
            for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
                for shape in Shape::ALL {
                    let mut allowed = Vec::new();
                    for (name, credential) in &credentials {
                        let event = shape.request(method, path, credential);
                        if harness.verdict_at(api, &event).await == Verdict::Allow {
                            allowed.push(*name);
                        }
                    }
                    assert_eq!(allowed, accepted(api, method, path), "{api:?} {shape:?} {method} {path}");
                }
            }
        }
    }
}

/// The console accepts only its own session cookie. So a business backend, which sees keys
/// and API tokens, cannot use them at the console.
#[tokio::test]
async fn the_console_accepts_no_key_or_token() {
    let harness = Harness::start().await;
    let console = harness.system.facts().console.clone();
    for (name, credential) in credentials(&harness).await {
        let reply = harness.client.get(format!("{console}/")).bearer_auth(&credential).send().await.unwrap();
        let (status, location) = (reply.status().as_u16(), reply.headers().get("location").cloned());
        assert_eq!((status, location.unwrap().to_str().unwrap()), (303, "/sign-in"), "{name}");
    }
}
