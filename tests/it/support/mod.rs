//! Helpers that several test modules share. The harness itself is `tests/src`.

pub(crate) mod activity;
pub(crate) mod agent;
pub(crate) mod apis;
pub(crate) mod audit_lines;
pub(crate) mod bad_input;
pub(crate) mod browser;
pub(crate) mod changes;
pub(crate) mod dynamodb_proxy;
pub(crate) mod faults;
pub(crate) mod golden;
pub(crate) mod items;
pub(crate) mod keys;
pub(crate) mod lambda;
pub(crate) mod lists;
pub(crate) mod local_process;
pub(crate) mod model;
pub(crate) mod naive;
pub(crate) mod routes;
pub(crate) mod scripted_server;
pub(crate) mod tally;
pub(crate) mod yaml;

use std::io::Write as _;

use authorizer::{Authorizer, FunctionError};
use serde_json::{Value, json};
use shared::keyring::RotationStep;
use tests::{Harness, Shape};

/// Prints a figure even if the test passes. In that case, the test runner hides the
/// output of `eprintln!`.
pub(crate) fn report(figure: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = writeln!(terminal, "{figure}");
}

/// A command that starts this binary again and runs only the ignored test `test`, whose
/// path starts with [`module_path!`].
pub(crate) fn this_binary(test: &str) -> tokio::process::Command {
    let (_, test) = test.split_once("::").expect("a path that starts with the crate");
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command
}

/// The steps of a rotation, in order.
pub(crate) const ROTATION_STEPS: [RotationStep; 4] = [
    RotationStep::CreateSecret,
    RotationStep::SetSecret,
    RotationStep::TestSecret,
    RotationStep::FinishSecret,
];

/// Rotates the pepper, as Secrets Manager does.
pub(crate) async fn rotate_pepper(harness: &Harness, token: &str) {
    harness.system.secrets().begin_rotation(token);
    for step in ROTATION_STEPS {
        harness.system.rotate_pepper(step, token).await.unwrap();
    }
}

/// Rotates the token key, as Secrets Manager does.
pub(crate) async fn rotate_token_key(harness: &Harness, token: &str) {
    harness.system.token_key_secrets().begin_rotation(token);
    for step in ROTATION_STEPS {
        harness.system.rotate_token_key(step, token).await.unwrap();
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

/// What [`Harness::decide`] returns for an allowed request.
pub(crate) fn allowed() -> (tests::Verdict, String) {
    (tests::Verdict::Allow, "allowed".to_owned())
}

/// What [`Harness::decide`] returns for a request that is denied for this reason.
pub(crate) fn denied(reason: &str) -> (tests::Verdict, String) {
    (tests::Verdict::Deny, reason.to_owned())
}

/// What [`Harness::decide`] returns for an event of this shape with a credential that is
/// invalid for this reason.
pub(crate) fn unauthorized(shape: Shape, reason: &str) -> (tests::Verdict, String) {
    (shape.unauthorized(), reason.to_owned())
}

/// The decision of the authorizer of business APIs on `GET /organizations/42` with this
/// credential, and its reason.
pub(crate) async fn decide(harness: &Harness, credential: &str) -> (tests::Verdict, String) {
    harness.decide(&Shape::HttpV2.bearer(credential)).await
}

/// The authorizer event of an HTTP API (payload format 2.0) for `GET /organizations/42`
/// with this credential.
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

/// The outcome of `GET /organizations/42` with this credential at this authorizer.
pub(crate) async fn check(authorizer: &Authorizer, credential: &str) -> Verdict {
    match authorizer.answer(&event(credential).to_string(), "invocation-1").await {
        Ok(answer) if answer.is_allow() => Verdict::Allowed,
        Ok(_) | Err(FunctionError::Unauthorized) => Verdict::Refused,
        Err(FunctionError::Unavailable) => Verdict::Outage,
        Err(FunctionError::MalformedEvent) => panic!("the test sent a malformed event"),
    }
}
