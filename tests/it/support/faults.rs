//! Faulty and slow responses of AWS.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tests::{Action, Call, Harness};

/// The page that a captive portal returns in place of the requested resource.
pub(crate) const CAPTIVE_PORTAL: &str = "<!doctype html><title>Sign in to the hotel's network</title>";

/// The cancellation of a transaction, with the codes of its cancellation reasons.
pub(crate) fn cancelled(codes: &[&str]) -> Action {
    let reasons: Vec<_> = codes.iter().map(|code| json!({ "Code": code, "Message": "injected" })).collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons {codes:?}"),
        "CancellationReasons": reasons,
    });
    Action::Respond(400, body.to_string())
}

/// A conflict with another transaction. The real `DynamoDB` returns this error, and the
/// SDK does not retry it.
pub(crate) fn conflict() -> Action {
    cancelled(&["TransactionConflict", "None", "None"])
}

/// An error response of an AWS service, in AWS's JSON protocol.
pub(crate) fn service_error(status: u16, kind: &str) -> Action {
    Action::Respond(status, json!({ "__type": kind, "message": "injected" }).to_string())
}

/// Applies `action` to each call of this operation.
pub(crate) fn inject(harness: &Harness, operation: &'static str, action: Action) {
    harness
        .wire
        .intercept(move |call| if call.operation == operation { action.clone() } else { Action::Pass });
}

/// One fault for each kind of outage: failed connections, error responses, and
/// responses of the wrong shape.
pub(crate) fn outages() -> Vec<(&'static str, Action)> {
    let replace = |body: &str| Action::ReplaceBody(body.to_owned());
    vec![
        ("connection refused", Action::Refuse),
        ("connection reset", Action::LoseResponse),
        ("400", service_error(400, "ValidationException")),
        ("access denied", service_error(400, "AccessDeniedException")),
        ("no such table or secret", service_error(400, "ResourceNotFoundException")),
        ("500", service_error(500, "InternalServerError")),
        ("503 without a body", Action::Respond(503, String::new())),
        ("throttle", service_error(400, "ThrottlingException")),
        ("table throttle", service_error(400, "ProvisionedThroughputExceededException")),
        ("truncated", replace(r#"{"Item":{"name":{"S":"reader"},"SecretString":"{\"cur"#)),
        ("garbage", replace("\u{1}\u{2}not JSON at all")),
        ("another JSON value", replace(r#"["Item"]"#)),
        ("another shape", replace(r#"{"Item":"all of it","SecretString":{"current":"v1"}}"#)),
        (
            "an untyped item",
            replace(r#"{"Item":{"name":"reader","role":"ServiceAccountAdmin"},"SecretString":7}"#),
        ),
        ("an item without attributes", replace(r#"{"Item":{},"SecretString":""}"#)),
        ("an HTML page", replace(CAPTIVE_PORTAL)),
    ]
}

/// Whether a call reads or writes one item whose partition key starts with `prefix`.
pub(crate) fn is_on_item(call: &Call, prefix: &str) -> bool {
    call.body["Key"]["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with(prefix))
}

/// Replaces the index of accounts with an empty one. The real index is eventually
/// consistent, so it can lack the most recent accounts.
pub(crate) fn stale_index(call: &Call) -> Action {
    let queries_accounts =
        call.operation == "Query" && call.body["ExpressionAttributeValues"][":pk"]["S"] == "ACCOUNTS";
    let empty = json!({ "Items": [], "Count": 0, "ScannedCount": 0 });
    if queries_accounts { Action::ReplaceBody(empty.to_string()) } else { Action::Pass }
}

/// Cancels transactions with this probability, as the real `DynamoDB` cancels one of two
/// that write the same item.
pub(crate) fn random_conflicts(harness: &Harness, probability: f64) {
    let random = Mutex::new(StdRng::seed_from_u64(7));
    harness.wire.intercept(move |call| {
        let is_hit = random.lock().unwrap().random_bool(probability);
        if is_hit && call.operation == "TransactWriteItems" { conflict() } else { Action::Pass }
    });
}

/// Delays most calls by a random time between 0.5 and 3 ms.
pub(crate) fn delay_calls(harness: &Harness, seed: u64) {
    let random = Mutex::new(StdRng::seed_from_u64(seed));
    harness.wire.intercept(move |_| {
        let micros = random.lock().unwrap().random_range(0..3000);
        if micros < 500 { Action::Pass } else { Action::Delay(Duration::from_micros(micros)) }
    });
}
