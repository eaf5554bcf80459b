//! A fault of a dependency never allows a request. The authorizer fails within its time
//! limit, so the client gets 500 and can retry: an outage never looks like a bad key.
//! The first check after the outage succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authorizer::Authorizer;
use futures::future::join_all;
use serde_json::{Value, json};
use shared::config::{Setup, variable};
use shared::network::Network;
use shared::store::{FAST_READ_LIMIT, FastReads};
use tests::{Action, Call, Harness, Key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::activity::is_activity_write;
use crate::support::faults::{CAPTIVE_PORTAL, is_on_item, outages};
use crate::support::{Verdict, check};

/// The time after which a failed read of the keyring is retried, in seconds.
const KEYRING_RETRY_SECONDS: i64 = 1;

/// The maximum duration of a check: the promised 3 s and a margin for a busy machine.
const MAX_DURATION: Duration = Duration::from_millis(3600);

/// Selects calls to AWS.
type CallFilter = fn(&Call) -> bool;

/// The calls that a cold instance makes for one check, in order.
const CALLS: [(&str, CallFilter); 4] = [
    ("the account", |call| is_on_item(call, "ACCOUNT#")),
    ("the keyring", |call| call.operation == "GetSecretValue"),
    ("the account's role", |call| is_on_item(call, "ROLE#Wide")),
    ("the key's role", |call| is_on_item(call, "ROLE#Narrow")),
];

/// Issues a key whose check makes all of [`CALLS`].
async fn key_with_roles(harness: &Harness) -> Key {
    harness.put_role("Wide", &["ANY /organizations/{proxy+}"]).await;
    harness.put_role("Narrow", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("with-roles", "Wide").await;
    harness.issue_key_with(&account, &json!({ "name": "narrow", "role": "Narrow" })).await
}

/// Checks `key` on a cold instance while the calls that `is_faulty` selects have this
/// fault, and returns the verdict. Fails if the check takes too long or retries too
/// often, or if the instance does not allow the key after the fault.
async fn check_with_fault(
    harness: &Harness,
    key: &Key,
    is_faulty: CallFilter,
    fault: Action,
    context: &str,
) -> Verdict {
    let authorizer = harness.another_authorizer();
    harness.wire.take_calls();
    harness.wire.intercept(move |call| if is_faulty(call) { fault.clone() } else { Action::Pass });
    let started = Instant::now();
    let verdict = check(&authorizer, &key.secret).await;
    let elapsed = started.elapsed();
    assert!(elapsed < MAX_DURATION, "{context}: {elapsed:?}");
    let attempts = harness.wire.take_calls().iter().filter(|call| is_faulty(call)).count();
    assert!((1..=3).contains(&attempts), "{context}: {attempts} attempts");
    harness.wire.pass_all();
    harness.clock.advance_seconds(KEYRING_RETRY_SECONDS);
    assert_eq!(check(&authorizer, &key.secret).await, Verdict::Allowed, "after {context}");
    verdict
}

#[tokio::test]
async fn a_fault_in_any_call_allows_nothing_and_the_next_check_recovers() {
    let harness = Harness::start().await;
    let key = key_with_roles(&harness).await;
    let authorizer = harness.another_authorizer();
    harness.wire.take_calls();
    assert_eq!(check(&authorizer, &key.secret).await, Verdict::Allowed);
    let mut calls = harness.wire.take_calls();
    calls.retain(|call| !is_activity_write(call));
    assert_eq!(calls.len(), CALLS.len());
    for ((name, is_expected), call) in CALLS.iter().zip(&calls) {
        assert!(is_expected(call), "{name}: {call:?}");
    }
    for (name, is_faulty) in CALLS {
        for (fault, action) in outages() {
            let context = format!("{fault} on {name}");
            let verdict = check_with_fault(&harness, &key, is_faulty, action, &context).await;
            assert_eq!(verdict, Verdict::Outage, "{context}");
        }
    }
}

#[tokio::test]
async fn an_empty_response_to_any_call_allows_nothing() {
    let harness = Harness::start().await;
    let key = key_with_roles(&harness).await;
    for (name, is_faulty) in CALLS {
        // The SDK reads an empty body like `{}`, DynamoDB's response if an item does not
        // exist.
        for body in ["", "{}"] {
            let context = format!("`{body}` for {name}");
            let fault = Action::ReplaceBody(body.to_owned());
            let verdict = check_with_fault(&harness, &key, is_faulty, fault, &context).await;
            let expected = if name == "the keyring" { Verdict::Outage } else { Verdict::Refused };
            assert_eq!(verdict, expected, "{context}");
        }
    }
}

#[tokio::test]
async fn a_fault_in_the_lookup_of_a_revoked_key_does_not_change_the_refusal() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let authorizer = harness.another_authorizer();
    let _ = harness.revoke(&key).await.expect(204);
    let is_lookup: CallFilter = |call| is_on_item(call, "RETIRED#");
    for (fault, action) in outages() {
        harness.wire.intercept(move |call| if is_lookup(call) { action.clone() } else { Action::Pass });
        assert_eq!(check(&authorizer, &key.secret).await, Verdict::Refused, "{fault}");
    }
}

#[tokio::test]
async fn clients_get_500_for_an_outage_and_403_for_a_revoked_key() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    for (fault, action) in outages() {
        harness.wire.intercept(move |_| action.clone());
        assert_eq!(harness.check(&key.secret).await, 500, "{fault}");
        harness.wire.pass_all();
        assert_eq!(harness.check(&key.secret).await, 200, "after {fault}");
    }
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(harness.check(&key.secret).await, 403);
}

#[tokio::test]
async fn a_check_ends_in_time_if_a_call_hangs() {
    let hang = async |name: &str, is_faulty: CallFilter| {
        let harness = Harness::start().await;
        let key = key_with_roles(&harness).await;
        let context = format!("a hang of {name}");
        let verdict = check_with_fault(&harness, &key, is_faulty, Action::Hang, &context).await;
        assert_eq!(verdict, Verdict::Outage, "{context}");
    };
    let single = CALLS.map(|(name, is_faulty)| hang(name, is_faulty));
    tokio::join!(join_all(single), hang("everything", |_| true));
}

#[tokio::test]
async fn a_check_ends_in_time_if_every_call_is_slow_and_one_hangs() {
    let harness = Harness::start().await;
    let key = key_with_roles(&harness).await;
    let authorizer = harness.another_authorizer();
    harness.wire.intercept(|call| {
        if is_on_item(call, "ROLE#Narrow") { Action::Hang } else { Action::Delay(Duration::from_millis(650)) }
    });
    let started = Instant::now();
    assert_eq!(check(&authorizer, &key.secret).await, Verdict::Outage);
    assert!(started.elapsed() < MAX_DURATION, "{:?}", started.elapsed());
}

/// A fault of a server or of the network.
#[derive(Clone, Copy, Debug)]
enum ServerFault {
    RefusesConnections,
    HasUnknownHostName,
    /// Reads the request and closes the connection.
    ClosesConnection,
    /// Reads the request and keeps the connection open.
    NeverResponds,
    TruncatesResponse,
    /// Responds with something that is not HTTP.
    SendsGarbage,
    SendsOneByteAtATime,
    Responds(u16, &'static str),
}

/// Starts a server on a free port. `fault` returns the fault of the next connection.
/// Returns the server's URL and the number of its connections.
async fn start_server(fault: impl Fn() -> ServerFault + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(respond(connection, fault()));
        }
    });
    (url, connections)
}

/// Returns the URL of a server with this fault and the number of its connections.
async fn faulty_server(fault: ServerFault) -> (String, Arc<AtomicUsize>) {
    if matches!(fault, ServerFault::HasUnknownHostName) {
        return ("http://there-is-no-such-host.invalid".to_owned(), Arc::default());
    }
    if matches!(fault, ServerFault::RefusesConnections) {
        // The port is free again when the listener is dropped.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        return (format!("http://{}", listener.local_addr().unwrap()), Arc::default());
    }
    start_server(move || fault).await
}

async fn respond(mut connection: TcpStream, fault: ServerFault) {
    let mut request = [0; 16 * 1024];
    let _ = connection.read(&mut request).await;
    let response = match fault {
        ServerFault::RefusesConnections | ServerFault::HasUnknownHostName | ServerFault::ClosesConnection => {
            return;
        }
        ServerFault::NeverResponds => std::future::pending().await,
        ServerFault::TruncatesResponse => {
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"Item\":{\"name\":{\"S\":\"rea".to_owned()
        }
        ServerFault::SendsGarbage => "220 mail.example.com ESMTP\r\n\r\n".to_owned(),
        ServerFault::SendsOneByteAtATime => {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if connection.write_all(b" ").await.is_err() {
                    return;
                }
            }
        }
        ServerFault::Responds(status, body) => {
            format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
    };
    let _ = connection.write_all(response.as_bytes()).await;
}

const SERVER_FAULTS: [ServerFault; 9] = [
    ServerFault::RefusesConnections,
    ServerFault::HasUnknownHostName,
    ServerFault::ClosesConnection,
    ServerFault::NeverResponds,
    ServerFault::TruncatesResponse,
    ServerFault::SendsGarbage,
    ServerFault::SendsOneByteAtATime,
    ServerFault::Responds(500, "{}"),
    ServerFault::Responds(200, CAPTIVE_PORTAL),
];

/// An authorizer whose environment variable `name` is `url`, the URL of a dependency.
fn authorizer_with(harness: &Harness, name: &'static str, url: &str) -> Authorizer {
    let setup = harness.system.setup_for("Authorizer").unwrap();
    let others = setup.variables.iter().filter(|(other, _)| *other != name);
    let variables = others.chain([(name, url)]).collect();
    let services = harness.system.services().connector();
    let fast_reads = Some(FastReads { connect: Arc::new(Network), limit: FAST_READ_LIMIT });
    let http_client = local::services::http_client(services);
    Authorizer::new(&Setup { variables, http_client, fast_reads, ..setup }).unwrap()
}

#[tokio::test]
async fn no_network_fault_allows_a_request() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let token = harness.system.facts().admin_api_token.clone();
    let dependencies = [
        ("AWS_ENDPOINT_URL_DYNAMODB", &key, 3),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &key, 3),
        (variable::OIDC_JWKS_URI, &token, 1),
    ];
    let mut cases = Vec::new();
    for (name, credential, max_attempts) in dependencies {
        for fault in SERVER_FAULTS {
            let harness = &harness;
            cases.push(async move {
                let (url, connections) = faulty_server(fault).await;
                let authorizer = authorizer_with(harness, name, &url);
                let started = Instant::now();
                let verdict = check(&authorizer, credential).await;
                assert_eq!(verdict, Verdict::Outage, "{name}: {fault:?}");
                assert!(started.elapsed() < MAX_DURATION, "{name}: {fault:?}: {:?}", started.elapsed());
                let attempts = connections.load(Ordering::SeqCst);
                assert!(attempts <= max_attempts, "{name}: {fault:?}: {attempts} attempts");
            });
        }
    }
    join_all(cases).await;
}

#[tokio::test]
async fn an_invalid_or_incomplete_jwks_allows_no_token() {
    let harness = Harness::start().await;
    let token = harness.system.facts().admin_api_token.clone();
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024)).leak();
    for (body, expected) in [
        ("", Verdict::Outage),
        ("{}", Verdict::Outage),
        ("[]", Verdict::Outage),
        ("{\"keys\":\"none\"}", Verdict::Outage),
        (long, Verdict::Outage),
        // A JWKS without a usable key for the token's `kid` proves that the issuer did
        // not issue the token.
        ("{\"keys\":[]}", Verdict::Refused),
        ("{\"keys\":[{\"kid\":\"local-1\"}]}", Verdict::Refused),
        ("{\"keys\":[{\"kid\":\"local-1\",\"kty\":\"oct\",\"k\":\"AAAA\"}]}", Verdict::Refused),
    ] {
        let (url, _) = faulty_server(ServerFault::Responds(200, body)).await;
        let authorizer = authorizer_with(&harness, variable::OIDC_JWKS_URI, &url);
        assert_eq!(check(&authorizer, &token).await, expected, "{body:.60}");
    }
}

#[tokio::test]
async fn a_failed_jwks_fetch_is_retried_after_ten_seconds() {
    let harness = Harness::start().await;
    let jwks: &str =
        reqwest::get(harness.system.issuer().jwks_uri()).await.unwrap().text().await.unwrap().leak();
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let status = move || if up.load(Ordering::SeqCst) { 200 } else { 503 };
    let (url, fetches) = start_server(move || ServerFault::Responds(status(), jwks)).await;
    let authorizer = authorizer_with(&harness, variable::OIDC_JWKS_URI, &url);
    let token = harness.system.facts().admin_api_token.clone();
    assert_eq!(check(&authorizer, &token).await, Verdict::Outage);
    is_up.store(true, Ordering::SeqCst);
    assert_eq!(check(&authorizer, &token).await, Verdict::Outage);
    assert_eq!(fetches.load(Ordering::SeqCst), 1, "the fetch was retried too early");
    harness.clock.advance_seconds(10);
    assert_eq!(check(&authorizer, &token).await, Verdict::Allowed);
    // Cached keys work during an outage.
    is_up.store(false, Ordering::SeqCst);
    harness.clock.advance_seconds(60);
    assert_eq!(check(&authorizer, &token).await, Verdict::Allowed);
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_iam_api_responds_503_or_429_during_an_outage_and_recovers() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("managed", "ServiceAccountReader").await;
    let keys = format!("{}/keys", account.path());
    let requests: [(&str, &str, Option<Value>); 6] = [
        ("GET", &account.path(), None),
        ("PATCH", &account.path(), Some(json!({ "description": "another" }))),
        ("POST", &keys, Some(json!({ "name": "another" }))),
        ("DELETE", &key.path(), None),
        ("DELETE", &keys, None),
        ("DELETE", &account.path(), None),
    ];
    for (fault, action) in outages() {
        harness.wire.intercept(move |_| action.clone());
        for (method, path, body) in &requests {
            let request = harness.request(method, path).admin();
            let request = if let Some(body) = body { request.json(body) } else { request };
            let reply = request.send().await;
            let expected = match fault {
                "throttle" | "table throttle" => (429, "throttled"),
                // A malformed item is Keyward's own error.
                "an item without attributes" => (500, "internal_error"),
                _ => (503, "dependency_unavailable"),
            };
            let reply = reply.expect_problem(expected.0, expected.1);
            assert_eq!(reply.headers.contains_key("retry-after"), expected.0 != 500, "{fault}: {reply:?}");
            assert!(!reply.text.contains("injected") && !reply.text.contains("hotel"), "{fault}: {reply:?}");
        }
        harness.wire.pass_all();
        let _ = harness.request("GET", &account.path()).admin().send().await.expect(200);
    }
    assert_eq!(harness.check(&key.secret).await, 200, "a failed request changed the account");
}

#[tokio::test]
async fn a_failed_write_responds_503_or_429_and_stores_nothing() {
    let harness = Harness::start().await;
    // The other faults replace the response to a write that was carried out.
    let faults =
        outages().into_iter().filter(|(_, action)| matches!(action, Action::Refuse | Action::Respond(..)));
    for (fault, action) in faults {
        harness.wire.intercept(move |_| action.clone());
        let body = json!({ "name": "batch", "role": "ServiceAccountReader" });
        let reply = harness.request("POST", "/iam/v1/service-accounts").admin().json(&body).send().await;
        let is_throttle = fault.contains("throttle");
        let expected = if is_throttle { (429, "throttled") } else { (503, "dependency_unavailable") };
        let _ = reply.expect_problem(expected.0, expected.1);
        harness.wire.pass_all();
        assert_eq!(harness.table.dump().await.len(), 0, "{fault}");
    }
}
