//! Faulty and slow answers of AWS.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tests::{Action, Call, Harness};

/// The cancellation of a transaction, with these reasons' codes.
pub(crate) fn cancelled(codes: &[&str]) -> Action {
    let reasons: Vec<_> = codes.iter().map(|code| json!({ "Code": code, "Message": "injected" })).collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons {codes:?}"),
        "CancellationReasons": reasons,
    });
    Action::Answer(400, body.to_string())
}

/// The conflict of two transactions, which real `DynamoDB` answers and the SDK
/// does not retry.
pub(crate) fn conflict() -> Action {
    cancelled(&["TransactionConflict", "None", "None"])
}

/// An error of AWS's JSON protocols.
pub(crate) fn refusal(status: u16, kind: &str) -> Action {
    Action::Answer(status, json!({ "__type": kind, "message": "injected" }).to_string())
}

/// An answer without the shape that it should have, or none at all: what each
/// kind of outage looks like from here.
pub(crate) fn outages() -> Vec<(&'static str, Action)> {
    let replace = |body: &str| Action::Replace(body.to_owned());
    vec![
        ("connection refused", Action::Refuse),
        ("connection reset", Action::LoseResponse),
        ("400", refusal(400, "ValidationException")),
        ("access denied", refusal(400, "AccessDeniedException")),
        ("no such table or secret", refusal(400, "ResourceNotFoundException")),
        ("500", refusal(500, "InternalServerError")),
        ("503 without a body", Action::Answer(503, String::new())),
        ("throttle", refusal(400, "ThrottlingException")),
        ("table throttle", refusal(400, "ProvisionedThroughputExceededException")),
        ("truncated", replace(r#"{"Item":{"name":{"S":"reader"},"SecretString":"{\"cur"#)),
        ("garbage", replace("\u{1}\u{2}not JSON at all")),
        ("another JSON value", replace(r#"["Item"]"#)),
        ("another shape", replace(r#"{"Item":"all of it","SecretString":{"current":"v1"}}"#)),
        (
            "an untyped item",
            replace(r#"{"Item":{"name":"reader","role":"ServiceAccountAdmin"},"SecretString":7}"#),
        ),
        ("an item without attributes", replace(r#"{"Item":{},"SecretString":""}"#)),
        ("a page of HTML", replace("<!doctype html><title>Sign in to the hotel's network</title>")),
    ]
}

/// Whether a call notes the use of a key, which comes after the decision.
pub(crate) fn is_note(call: &Call) -> bool {
    call.operation == "UpdateItem" && is_on(call, "USAGE#")
}

/// Whether a call reads or writes an item whose partition key begins so.
pub(crate) fn is_on(call: &Call, prefix: &str) -> bool {
    call.body["Key"]["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with(prefix))
}

/// An index that has not heard of any account yet: it may be a moment behind.
pub(crate) fn stale_index(call: &Call) -> Action {
    let asks_for_accounts =
        call.operation == "Query" && call.body["ExpressionAttributeValues"][":pk"]["S"] == "ACCOUNTS";
    let nothing = json!({ "Items": [], "Count": 0, "ScannedCount": 0 });
    if asks_for_accounts { Action::Replace(nothing.to_string()) } else { Action::Pass }
}

/// Cancels transactions with this probability, as real `DynamoDB` cancels one of two
/// that write the same item.
pub(crate) fn random_conflicts(harness: &Harness, probability: f64) {
    let random = Mutex::new(StdRng::seed_from_u64(7));
    harness.wire.disturb(move |call| {
        let is_hit = random.lock().unwrap().random_bool(probability);
        if is_hit && call.operation == "TransactWriteItems" { conflict() } else { Action::Pass }
    });
}

/// Delays each call by up to 3 ms.
pub(crate) fn delay(harness: &Harness, seed: u64) {
    let random = Mutex::new(StdRng::seed_from_u64(seed));
    harness.wire.disturb(move |_| {
        let micros = random.lock().unwrap().random_range(0..3000);
        if micros < 500 { Action::Pass } else { Action::Delay(Duration::from_micros(micros)) }
    });
}
