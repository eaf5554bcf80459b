//! What several modules share.

pub(crate) mod bad_input;
pub(crate) mod browser;
pub(crate) mod faults;
pub(crate) mod golden;
pub(crate) mod local_process;
pub(crate) mod model;
pub(crate) mod routes;

use std::io::Write as _;

use authorizer::{Authorizer, FunctionError};
use serde_json::{Value, json};
use shared::keyring::RotationStep;
use tests::Harness;

/// Prints a figure even where the test passes: the test runner keeps what
/// `eprintln!` says of such a one to itself.
pub(crate) fn report(figure: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = writeln!(terminal, "{figure}");
}

/// The steps of a rotation, in their order.
pub(crate) const STEPS: [RotationStep; 4] = [
    RotationStep::CreateSecret,
    RotationStep::SetSecret,
    RotationStep::TestSecret,
    RotationStep::FinishSecret,
];

/// Rotates the pepper, as Secrets Manager does.
pub(crate) async fn rotate_pepper(harness: &Harness, token: &str) {
    harness.system.secrets().begin_rotation(token);
    for step in STEPS {
        harness.system.rotate_pepper(step, token).await.unwrap();
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Refused,
    /// We could not find out: the client sees 500 and tries again.
    Outage,
}

/// The event of `GET /organizations/42` with this credential, as an HTTP API
/// sends it (payload format 2.0).
pub(crate) fn event(credential: &str) -> Value {
    let authorization = format!("Bearer {credential}");
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:eu-central-1:123456789012:api/$default/GET/organizations/42",
        "identitySource": [authorization],
        "routeKey": "$default",
        "rawPath": "/organizations/42",
        "headers": { "authorization": authorization },
        "requestContext": {
            "http": { "method": "GET", "path": "/organizations/42", "sourceIp": "192.0.2.10" },
            "requestId": "request-1",
            "stage": "$default",
        },
    })
}

/// Asks this authorizer about `GET /organizations/42`.
pub(crate) async fn check(authorizer: &Authorizer, credential: &str) -> Verdict {
    match authorizer.answer(&event(credential).to_string(), "invocation-1").await {
        Ok(answer) if answer.is_allow() => Verdict::Allowed,
        Ok(_) | Err(FunctionError::Unauthorized) => Verdict::Refused,
        Err(FunctionError::Unavailable) => Verdict::Outage,
        Err(FunctionError::MalformedEvent) => panic!("the event of this test is malformed"),
    }
}
