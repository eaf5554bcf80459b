//! The deployable binary under Lambda's own runtime interface emulator: built
//! for release, as it is deployed, it answers each shape of event, survives a
//! malformed one, and says no credential in its most verbose log.
//!
//! It needs more than cargo, so `.ci/run` runs it.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use shared::config::Variables;
use shared::domain::{Clock as _, SystemClock};
use tests::Harness;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

const ARN: &str = "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/prod/GET/organizations/42";

/// A free loopback address. (The emulator cannot pick one by itself.)
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The emulator and, in it, the function.
struct Emulator {
    child: Child,
    url: String,
}

impl Emulator {
    /// With `DynamoDB` at `dynamodb`, logging at `level`.
    async fn start(harness: &Harness, variables: &Variables, dynamodb: &str, level: &str) -> Self {
        let path = |name| variables.get(name).unwrap_or_else(|| panic!("{name} must be set")).to_owned();
        let address = free_address();
        let shared = harness.variables_to_share("Authorizer").await;
        let child = Command::new(path("KEYWARD_TEST_RIE"))
            .args(["--runtime-interface-emulator-address", &address])
            .args(["--runtime-api-address", &free_address()])
            .arg(path("KEYWARD_TEST_BOOTSTRAP"))
            .env_clear()
            .envs(shared.iter())
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("KEYWARD_LOG_LEVEL", level)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, url: format!("http://{address}/2015-03-31/functions/function/invocations") }
    }

    async fn invoke(&self, harness: &Harness, event: &str) -> Value {
        for _ in 0..100 {
            if let Ok(response) = harness.client.post(&self.url).body(event.to_owned()).send().await {
                return serde_json::from_str(&response.text().await.unwrap()).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the emulator does not answer");
    }

    /// Ends the function's process as a panic ends it.
    async fn abort_function(&self) {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id().unwrap())).unwrap();
        let children =
            threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
        let children = children.collect::<String>();
        let killed = Command::new("kill").arg("-ABRT").args(children.split_whitespace()).status().await;
        assert!(killed.unwrap().success(), "{children}");
    }

    /// Stops it. What it and the function have logged.
    async fn stop(mut self) -> String {
        self.child.kill().await.unwrap();
        let mut log = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut log).await.unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        log
    }
}

/// A way to `DynamoDB` that can be held up.
struct Way {
    url: String,
    is_open: watch::Sender<bool>,
}

impl Way {
    /// To the `DynamoDB` of `harness`.
    async fn open(harness: &Harness) -> Self {
        let shared = harness.variables_to_share("Authorizer").await;
        let target = shared.get("AWS_ENDPOINT_URL_DYNAMODB").unwrap().replace("http://", "");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (is_open, watched) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, watched) = (target.clone(), watched.clone());
                tokio::spawn(async move { forward(client, &target, watched).await });
            }
        });
        Self { url, is_open }
    }
}

/// Hands on what `client` sends while the way is open, and all that comes back.
async fn forward(client: TcpStream, target: &str, mut is_open: watch::Receiver<bool>) {
    let (mut asks, mut told) = client.into_split();
    let (mut answers, mut to) = TcpStream::connect(target).await.unwrap().into_split();
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut told).await });
    let mut bytes = [0; 4096];
    while let Ok(read) = asks.read(&mut bytes).await {
        let _ = is_open.wait_for(|is_open| *is_open).await;
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
}

/// Each shape of event, with this credential.
fn events(credential: &str) -> [(&'static str, Value); 4] {
    let bearer = format!("Bearer {credential}");
    let v1 = json!({
        "version": "1.0", "type": "REQUEST", "methodArn": ARN, "identitySource": bearer,
        "authorizationToken": bearer, "resource": "/organizations/{id}", "path": "/organizations/42",
        "httpMethod": "GET", "headers": { "Authorization": bearer },
        "requestContext": { "requestId": "request-1", "identity": { "sourceIp": "203.0.113.7" } },
    });
    let mut rest = v1.clone();
    let members = rest.as_object_mut().unwrap();
    for name in ["version", "identitySource", "authorizationToken"] {
        members.remove(name);
    }
    members.insert("multiValueHeaders".to_owned(), json!({ "Authorization": [bearer] }));
    let v2 = json!({
        "version": "2.0", "type": "REQUEST", "routeArn": ARN, "identitySource": [bearer],
        "routeKey": "GET /organizations/{id}", "rawPath": "/prod/organizations/42",
        "headers": { "authorization": bearer },
        "requestContext": {
            "requestId": "request-1", "stage": "prod",
            "http": { "method": "GET", "path": "/prod/organizations/42", "sourceIp": "203.0.113.7" },
        },
    });
    let token = json!({ "type": "TOKEN", "methodArn": ARN, "authorizationToken": bearer });
    [("TOKEN", token), ("REST", rest), ("HTTP 1.0", v1), ("HTTP 2.0", v2)]
}

/// The built function has the machine's clock, so the harness takes it too.
async fn harness() -> Harness {
    let harness = Harness::start().await;
    harness.clock.advance(SystemClock.now().duration_since(harness.clock.now()));
    harness
}

#[tokio::test]
#[ignore = "needs the built function and Lambda's emulator: see .ci/run"]
async fn the_built_authorizer_answers_every_shape_of_event() {
    let harness = harness().await;
    let way = Way::open(&harness).await;
    let key = harness.reader_key().await;
    let revoked = harness.reader_key_of("revoked").await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let emulator = Emulator::start(&harness, &Variables::from_process(), &way.url, "TRACE").await;

    for (shape, event) in events(&key.secret) {
        let answer = emulator.invoke(&harness, &event.to_string()).await;
        let statement = &answer["policyDocument"]["Statement"][0];
        assert_eq!(
            *statement,
            json!({ "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN }),
            "{shape}: {answer}"
        );
        assert_eq!(answer["context"]["keyId"], *key.id, "{shape}: {answer}");
        assert_eq!(answer["principalId"], *key.account, "{shape}: {answer}");
    }
    for (shape, event) in events(&revoked.secret) {
        let answer = emulator.invoke(&harness, &event.to_string()).await;
        if shape == "HTTP 2.0" {
            assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny", "{answer}");
        } else {
            assert_eq!(answer["errorMessage"], "Unauthorized", "{shape}: {answer}");
        }
    }
    for malformed in [r#"{"type":"REQUEST","headers":"Bearer "}"#, "{}", "[]", "null"] {
        let answer = emulator.invoke(&harness, malformed).await;
        assert_eq!(answer["errorMessage"], "MalformedEvent", "{malformed}: {answer}");
    }
    let [_, _, _, (_, next)] = events(&key.secret);
    let answer = emulator.invoke(&harness, &next.to_string()).await;
    assert_eq!(
        answer["policyDocument"]["Statement"][0]["Effect"], "Allow",
        "after the malformed ones: {answer}"
    );

    let log = emulator.stop().await;
    assert!(log.contains(r#""reason":"allowed""#) && log.contains(r#""reason":"revoked""#), "{log}");
    for secret in [&key.secret, &revoked.secret] {
        let (_, tail) = secret.rsplit_once('_').unwrap();
        assert!(!log.contains(tail), "the log holds a credential");
    }
}

/// A panic ends the process (`panic = "abort"`), in the middle of a request.
#[tokio::test]
#[ignore = "needs the built function and Lambda's emulator: see .ci/run"]
async fn a_process_that_ends_lets_nobody_in_and_the_next_one_decides() {
    let harness = harness().await;
    let way = Way::open(&harness).await;
    let key = harness.reader_key().await;
    let emulator = Emulator::start(&harness, &Variables::from_process(), &way.url, "ERROR").await;
    let [_, _, _, (_, event)] = events(&key.secret);
    let event = event.to_string();
    let effect = |answer: &Value| answer["policyDocument"]["Statement"][0]["Effect"].clone();
    assert_eq!(effect(&emulator.invoke(&harness, &event).await), "Allow");

    // It waits for the table when it ends.
    way.is_open.send_replace(false);
    let end = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        emulator.abort_function().await;
    };
    let (answer, ()) = tokio::join!(emulator.invoke(&harness, &event), end);
    assert_eq!(answer["errorType"], "Runtime.ExitError", "{answer}");
    assert_eq!(effect(&answer), Value::Null, "{answer}");

    way.is_open.send_replace(true);
    assert_eq!(effect(&emulator.invoke(&harness, &event).await), "Allow");

    // No level silences the line that the alarms are made of.
    let log = emulator.stop().await;
    assert_eq!(log.matches(r#""reason":"allowed""#).count(), 2, "{log}");
}
