//! Helpers that several test modules share. The harness itself is `tests/src`.

pub(crate) mod audit_lines;
pub(crate) mod bad_input;
pub(crate) mod browser;
pub(crate) mod faults;
pub(crate) mod golden;
pub(crate) mod keys;
pub(crate) mod local_process;
pub(crate) mod model;
pub(crate) mod naive;
pub(crate) mod routes;
pub(crate) mod tally;
pub(crate) mod yaml;

use std::io::Write as _;

use authorizer::{Authorizer, FunctionError};
use serde_json::{Value, json};
use shared::keyring::RotationStep;
use tests::Harness;

/// Prints a figure even if the test passes. The test runner hides the output of
/// `eprintln!` then.
pub(crate) fn report(figure: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = writeln!(terminal, "{figure}");
}

/// This binary as a new process that runs only the ignored test `test`, which is named
/// with [`module_path!`].
pub(crate) fn this_binary(test: &str) -> tokio::process::Command {
    let (_, test) = test.split_once("::").expect("a path with the crate's name");
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command
}

/// The steps of a pepper rotation, in order.
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

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Refused,
    /// The authorizer could not decide. The client gets 500 and retries.
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
