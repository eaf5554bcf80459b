//! Whatever our dependencies do, nobody is let in who is not known to be good:
//! an outage is an error (500 for the client, who tries again), in time, and
//! never looks like a bad key. The next call works again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authorizer::Authorizer;
use futures::future::join_all;
use serde_json::{Value, json};
use shared::config::{Setup, variable};
use tests::{Action, Call, Harness, Key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::faults::{is_note, is_on, outages};
use crate::support::{Verdict, check};

/// For so long a failure to read the keyring stands, in seconds.
const KEYRING_FAILED_FOR: i64 = 1;

/// The longest time that an answer may take, with some for a busy machine. The
/// promise is 3 s.
const IN_TIME: Duration = Duration::from_millis(3600);

/// Whether a call is the one in question.
type Which = fn(&Call) -> bool;

/// The calls that one check makes on a cold instance, in their order.
const POSITIONS: [(&str, Which); 4] = [
    ("the account", |call| is_on(call, "ACCOUNT#")),
    ("the keyring", |call| call.operation == "GetSecretValue"),
    ("the account's role", |call| is_on(call, "ROLE#Wide")),
    ("the key's role", |call| is_on(call, "ROLE#Narrow")),
];

/// A key whose check makes all those calls.
async fn key_with_roles(harness: &Harness) -> Key {
    harness.put_role("Wide", &["ANY /organizations/{proxy+}"]).await;
    harness.put_role("Narrow", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("with-roles", "Wide").await;
    harness.issue_key_with(&account, &json!({ "name": "narrow", "role": "Narrow" })).await
}

#[tokio::test]
async fn no_fault_at_any_call_lets_anybody_in_or_stays() {
    let harness = Harness::start().await;
    let key = key_with_roles(&harness).await;
    let undisturbed = harness.another_authorizer();
    harness.wire.take_calls();
    assert_eq!(check(&undisturbed, &key.secret).await, Verdict::Allowed);
    let mut calls = harness.wire.take_calls();
    calls.retain(|call| !is_note(call));
    assert_eq!(calls.len(), POSITIONS.len());
    for ((name, is_there), call) in POSITIONS.iter().zip(&calls) {
        assert!(is_there(call), "{name}: {call:?}");
    }
    for (name, is_there) in POSITIONS {
        for (fault, action) in outages() {
            let authorizer = harness.another_authorizer();
            harness.wire.disturb(move |call| if is_there(call) { action.clone() } else { Action::Pass });
            let verdict = check(&authorizer, &key.secret).await;
            assert_eq!(verdict, Verdict::Outage, "{fault} of {name}");
            let attempts = harness.wire.take_calls().iter().filter(|call| is_there(call)).count();
            assert!((1..=3).contains(&attempts), "{fault} of {name}: {attempts} attempts");
            harness.wire.calm();
            harness.clock.advance_seconds(KEYRING_FAILED_FOR);
            assert_eq!(check(&authorizer, &key.secret).await, Verdict::Allowed, "after {fault} of {name}");
            harness.wire.take_calls();
        }
    }
}

#[tokio::test]
async fn an_answer_that_nothing_is_there_lets_nobody_in() {
    let harness = Harness::start().await;
    let key = key_with_roles(&harness).await;
    for (name, is_there) in POSITIONS {
        // To the SDK an empty body is an empty answer: DynamoDB's way to say
        // that there is no such item.
        for body in ["", "{}"] {
            let authorizer = harness.another_authorizer();
            harness.wire.disturb(move |call| {
                if is_there(call) { Action::Replace(body.to_owned()) } else { Action::Pass }
            });
            let expected = if name == "the keyring" { Verdict::Outage } else { Verdict::Refused };
            assert_eq!(check(&authorizer, &key.secret).await, expected, "{name}: `{body}`");
            harness.wire.calm();
            harness.clock.advance_seconds(KEYRING_FAILED_FOR);
            assert_eq!(check(&authorizer, &key.secret).await, Verdict::Allowed);
        }
    }
}

#[tokio::test]
async fn a_fault_while_a_refusal_is_explained_changes_nothing() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let authorizer = harness.another_authorizer();
    let _ = harness.revoke(&key).await.expect(204);
    for (fault, action) in outages() {
        harness.wire.disturb(move |call| if is_on(call, "RETIRED#") { action.clone() } else { Action::Pass });
        assert_eq!(check(&authorizer, &key.secret).await, Verdict::Refused, "{fault}");
    }
}

#[tokio::test]
async fn the_client_sees_500_for_an_outage_and_403_for_a_bad_key() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    for (fault, action) in outages() {
        harness.wire.disturb(move |_| action.clone());
        assert_eq!(harness.check(&key.secret).await, 500, "{fault}");
        harness.wire.calm();
        assert_eq!(harness.check(&key.secret).await, 200, "after {fault}");
    }
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(harness.check(&key.secret).await, 403);
}

#[tokio::test]
async fn whatever_hangs_the_answer_comes_in_time() {
    let hang = async |name: &str, is_there: Which| {
        let harness = Harness::start().await;
        let key = key_with_roles(&harness).await;
        let authorizer = harness.another_authorizer();
        harness.wire.take_calls();
        harness.wire.disturb(move |call| if is_there(call) { Action::Hang } else { Action::Pass });
        let started = Instant::now();
        assert_eq!(check(&authorizer, &key.secret).await, Verdict::Outage, "{name} hangs");
        assert!(started.elapsed() < IN_TIME, "{name}: {:?}", started.elapsed());
        let attempts = harness.wire.take_calls().iter().filter(|call| is_there(call)).count();
        assert!((1..=3).contains(&attempts), "{name}: {attempts} attempts");
        harness.wire.calm();
        harness.clock.advance_seconds(KEYRING_FAILED_FOR);
        assert_eq!(check(&authorizer, &key.secret).await, Verdict::Allowed, "after {name} hung");
    };
    let single = POSITIONS.map(|(name, is_there)| hang(name, is_there));
    tokio::join!(join_all(single), hang("everything", |_| true));
}

#[tokio::test]
async fn slow_calls_do_not_add_up_to_a_late_answer() {
    let harness = Harness::start().await;
    let key = key_with_roles(&harness).await;
    let authorizer = harness.another_authorizer();
    harness.wire.disturb(|call| {
        if is_on(call, "ROLE#Narrow") { Action::Hang } else { Action::Delay(Duration::from_millis(650)) }
    });
    let started = Instant::now();
    assert_eq!(check(&authorizer, &key.secret).await, Verdict::Outage);
    assert!(started.elapsed() < IN_TIME, "{:?}", started.elapsed());
}

/// What a server does that is none.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Nobody listens.
    Refuses,
    /// The name cannot be resolved.
    HasNoName,
    /// It takes the request and closes the connection.
    Closes,
    /// It takes the request and says nothing.
    IsSilent,
    /// It answers, and ends in the middle.
    BreaksOff,
    /// It does not speak HTTP.
    Babbles,
    /// It never comes to an end.
    Drips,
    Answers(u16, &'static str),
}

/// Where that server is, and how many connections it has seen.
async fn troubled(trouble: Trouble) -> (String, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    match trouble {
        Trouble::Refuses => return (url, seen),
        Trouble::HasNoName => return ("http://there-is-no-such-host.invalid".to_owned(), seen),
        Trouble::Closes
        | Trouble::IsSilent
        | Trouble::BreaksOff
        | Trouble::Babbles
        | Trouble::Drips
        | Trouble::Answers(..) => {}
    }
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(misbehave(connection, trouble));
        }
    });
    (url, seen)
}

async fn misbehave(mut connection: TcpStream, trouble: Trouble) {
    let mut request = [0; 16 * 1024];
    let _ = connection.read(&mut request).await;
    let answer = match trouble {
        Trouble::Refuses | Trouble::HasNoName | Trouble::Closes => return,
        Trouble::IsSilent => std::future::pending().await,
        Trouble::BreaksOff => {
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"Item\":{\"name\":{\"S\":\"rea".to_owned()
        }
        Trouble::Babbles => "220 mail.example.com ESMTP\r\n\r\n".to_owned(),
        Trouble::Drips => {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if connection.write_all(b" ").await.is_err() {
                    return;
                }
            }
        }
        Trouble::Answers(status, body) => {
            format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
    };
    let _ = connection.write_all(answer.as_bytes()).await;
}

const TROUBLES: [Trouble; 9] = [
    Trouble::Refuses,
    Trouble::HasNoName,
    Trouble::Closes,
    Trouble::IsSilent,
    Trouble::BreaksOff,
    Trouble::Babbles,
    Trouble::Drips,
    Trouble::Answers(500, "{}"),
    Trouble::Answers(200, "<!doctype html><title>Sign in to the hotel's network</title>"),
];

/// An authorizer that finds one of its dependencies at `url`.
fn authorizer_with(harness: &Harness, name: &'static str, url: &str) -> Authorizer {
    let setup = harness.system.setup_for("Authorizer").unwrap();
    let others = setup.variables.iter().filter(|(other, _)| *other != name);
    let variables = others.chain([(name, url)]).collect();
    let http_client = harness.system.services().http_client();
    Authorizer::new(&Setup { variables, http_client, ..setup }).unwrap()
}

#[tokio::test]
async fn no_trouble_of_the_network_lets_anybody_in() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let token = harness.system.facts().admin_api_token.clone();
    let dependencies = [
        ("AWS_ENDPOINT_URL_DYNAMODB", &key, 3),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &key, 3),
        (variable::OIDC_JWKS_URI, &token, 1),
    ];
    let mut cases = Vec::new();
    for (name, credential, most_attempts) in dependencies {
        for trouble in TROUBLES {
            let harness = &harness;
            cases.push(async move {
                let (url, seen) = troubled(trouble).await;
                let authorizer = authorizer_with(harness, name, &url);
                let started = Instant::now();
                let verdict = check(&authorizer, credential).await;
                assert_eq!(verdict, Verdict::Outage, "{name}: {trouble:?}");
                assert!(started.elapsed() < IN_TIME, "{name}: {trouble:?}: {:?}", started.elapsed());
                let attempts = seen.load(Ordering::SeqCst);
                assert!(attempts <= most_attempts, "{name}: {trouble:?}: {attempts} attempts");
            });
        }
    }
    join_all(cases).await;
}

#[tokio::test]
async fn wrong_key_sets_of_the_issuer_let_nobody_in() {
    let harness = Harness::start().await;
    let token = harness.system.facts().admin_api_token.clone();
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024)).leak();
    for (body, expected) in [
        ("", Verdict::Outage),
        ("{}", Verdict::Outage),
        ("[]", Verdict::Outage),
        ("{\"keys\":\"none\"}", Verdict::Outage),
        (long, Verdict::Outage),
        // An issuer without the key that the token names: then it is no token of
        // the issuer's.
        ("{\"keys\":[]}", Verdict::Refused),
        ("{\"keys\":[{\"kid\":\"local-1\"}]}", Verdict::Refused),
        ("{\"keys\":[{\"kid\":\"local-1\",\"kty\":\"oct\",\"k\":\"AAAA\"}]}", Verdict::Refused),
    ] {
        let (url, _) = troubled(Trouble::Answers(200, body)).await;
        let authorizer = authorizer_with(&harness, variable::OIDC_JWKS_URI, &url);
        assert_eq!(check(&authorizer, &token).await, expected, "{body:.60}");
    }
}

#[tokio::test]
async fn the_issuer_is_asked_again_after_ten_seconds() {
    let harness = Harness::start().await;
    let jwks: &str =
        reqwest::get(harness.system.issuer().jwks_uri()).await.unwrap().text().await.unwrap().leak();
    let is_up = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (up, seen) = (Arc::clone(&is_up), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let status = if up.load(Ordering::SeqCst) == 1 { 200 } else { 503 };
            tokio::spawn(misbehave(connection, Trouble::Answers(status, jwks)));
        }
    });
    let authorizer = authorizer_with(&harness, variable::OIDC_JWKS_URI, &url);
    let token = harness.system.facts().admin_api_token.clone();
    assert_eq!(check(&authorizer, &token).await, Verdict::Outage);
    is_up.store(1, Ordering::SeqCst);
    assert_eq!(check(&authorizer, &token).await, Verdict::Outage);
    assert_eq!(seen.load(Ordering::SeqCst), 1, "asked again at once");
    harness.clock.advance_seconds(10);
    assert_eq!(check(&authorizer, &token).await, Verdict::Allowed);
    // Known keys outlast an outage.
    is_up.store(0, Ordering::SeqCst);
    harness.clock.advance_seconds(60);
    assert_eq!(check(&authorizer, &token).await, Verdict::Allowed);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn management_functions_answer_503_or_429_and_work_again() {
    let harness = Harness::start().await;
    let account = harness.create_account("managed", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
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
        harness.wire.disturb(move |_| action.clone());
        for (method, path, body) in &requests {
            let request = harness.request(method, path).admin();
            let request = if let Some(body) = body { request.json(body) } else { request };
            let reply = request.send().await;
            let expected = match fault {
                "throttle" | "table throttle" => (429, "throttled"),
                // An item that is there and not well-formed is our own mistake.
                "an item without attributes" => (500, "internal_error"),
                _ => (503, "dependency_unavailable"),
            };
            let reply = reply.expect_problem(expected.0, expected.1);
            assert_eq!(reply.headers.contains_key("retry-after"), expected.0 != 500, "{fault}: {reply:?}");
            assert!(!reply.text.contains("injected") && !reply.text.contains("hotel"), "{fault}: {reply:?}");
        }
        harness.wire.calm();
        let _ = harness.request("GET", &account.path()).admin().send().await.expect(200);
    }
    assert_eq!(harness.check(&key.secret).await, 200, "nothing was changed");
}

#[tokio::test]
async fn a_write_that_fails_is_answered_503_or_429() {
    let harness = Harness::start().await;
    // What is answered after a write has arrived cannot undo it.
    let faults =
        outages().into_iter().filter(|(_, action)| matches!(action, Action::Refuse | Action::Answer(..)));
    for (fault, action) in faults {
        harness.wire.disturb(move |_| action.clone());
        let body = json!({ "name": "batch", "role": "ServiceAccountReader" });
        let reply = harness.request("POST", "/iam/v1/service-accounts").admin().json(&body).send().await;
        let is_throttle = fault.contains("throttle");
        let expected = if is_throttle { (429, "throttled") } else { (503, "dependency_unavailable") };
        let _ = reply.expect_problem(expected.0, expected.1);
        harness.wire.calm();
        assert_eq!(harness.table.dump().await.len(), 0, "{fault}");
    }
}
