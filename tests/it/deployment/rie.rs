//! The release build of the authorizer under AWS's Lambda runtime interface emulator: it
//! responds to each shape of event, continues after a malformed event, and logs no credential
//! at the most verbose level.
//!
//! `.ci/run` runs these tests, because they need the built function and the emulator.

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

/// A free loopback address. The emulator cannot choose one.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The emulator, which runs the function.
struct Emulator {
    child: Child,
    url: String,
}

impl Emulator {
    /// Starts the emulator. The function calls `DynamoDB` at the URL `dynamodb` and logs at
    /// `level`.
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
        panic!("the emulator does not respond");
    }

    /// Aborts the function's process, as a panic does.
    async fn abort_function(&self) {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id().unwrap())).unwrap();
        let children =
            threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
        let children = children.collect::<String>();
        let killed = Command::new("kill").arg("-ABRT").args(children.split_whitespace()).status().await;
        assert!(killed.unwrap().success(), "{children}");
    }

    /// Stops the emulator. Returns the log of the emulator and the function.
    async fn stop(mut self) -> String {
        self.child.kill().await.unwrap();
        let mut log = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut log).await.unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        log
    }
}

/// A TCP proxy for the `DynamoDB` of a harness. The test can pause the requests.
struct Proxy {
    url: String,
    is_open: watch::Sender<bool>,
}

impl Proxy {
    async fn start(harness: &Harness) -> Self {
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

/// Forwards the bytes from `client` while the proxy is open, and all bytes from `target`.
async fn forward(client: TcpStream, target: &str, mut is_open: watch::Receiver<bool>) {
    let (mut requests, mut to_client) = client.into_split();
    let (mut responses, mut to_target) = TcpStream::connect(target).await.unwrap().into_split();
    tokio::spawn(async move { tokio::io::copy(&mut responses, &mut to_client).await });
    let mut bytes = [0; 4096];
    while let Ok(read) = requests.read(&mut bytes).await {
        let _ = is_open.wait_for(|is_open| *is_open).await;
        if read == 0 || to_target.write_all(&bytes[..read]).await.is_err() {
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

/// A harness with the time of the machine, because the built function uses the machine's clock.
async fn harness() -> Harness {
    let harness = Harness::start().await;
    harness.clock.advance(SystemClock.now().duration_since(harness.clock.now()));
    harness
}

#[tokio::test]
#[ignore = "needs the built function and Lambda's emulator: see .ci/run"]
async fn the_built_authorizer_responds_to_every_shape_of_event() {
    let harness = harness().await;
    let proxy = Proxy::start(&harness).await;
    let key = harness.reader_key().await;
    let revoked = harness.reader_key_of("revoked").await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let emulator = Emulator::start(&harness, &Variables::from_process(), &proxy.url, "TRACE").await;

    for (shape, event) in events(&key.secret) {
        let response = emulator.invoke(&harness, &event.to_string()).await;
        let statement = &response["policyDocument"]["Statement"][0];
        assert_eq!(
            *statement,
            json!({ "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN }),
            "{shape}: {response}"
        );
        assert_eq!(response["context"]["keyId"], *key.id, "{shape}: {response}");
        assert_eq!(response["principalId"], *key.account, "{shape}: {response}");
    }
    for (shape, event) in events(&revoked.secret) {
        let response = emulator.invoke(&harness, &event.to_string()).await;
        if shape == "HTTP 2.0" {
            assert_eq!(response["policyDocument"]["Statement"][0]["Effect"], "Deny", "{response}");
        } else {
            assert_eq!(response["errorMessage"], "Unauthorized", "{shape}: {response}");
        }
    }
    for malformed in [r#"{"type":"REQUEST","headers":"Bearer "}"#, "{}", "[]", "null"] {
        let response = emulator.invoke(&harness, malformed).await;
        assert_eq!(response["errorMessage"], "MalformedEvent", "{malformed}: {response}");
    }
    let [_, _, _, (_, next)] = events(&key.secret);
    let response = emulator.invoke(&harness, &next.to_string()).await;
    assert_eq!(
        response["policyDocument"]["Statement"][0]["Effect"], "Allow",
        "after the malformed events: {response}"
    );

    let log = emulator.stop().await;
    assert!(log.contains(r#""reason":"allowed""#) && log.contains(r#""reason":"revoked""#), "{log}");
    for secret in [&key.secret, &revoked.secret] {
        let (_, tail) = secret.rsplit_once('_').unwrap();
        assert!(!log.contains(tail), "the log contains a credential");
    }
}

/// A panic ends the process (`panic = "abort"`), here during a request.
#[tokio::test]
#[ignore = "needs the built function and Lambda's emulator: see .ci/run"]
async fn a_process_that_aborts_allows_nothing_and_the_next_one_decides() {
    let harness = harness().await;
    let proxy = Proxy::start(&harness).await;
    let key = harness.reader_key().await;
    let emulator = Emulator::start(&harness, &Variables::from_process(), &proxy.url, "ERROR").await;
    let [_, _, _, (_, event)] = events(&key.secret);
    let event = event.to_string();
    let effect = |response: &Value| response["policyDocument"]["Statement"][0]["Effect"].clone();
    assert_eq!(effect(&emulator.invoke(&harness, &event).await), "Allow");

    // The process is waiting for the table when it ends.
    proxy.is_open.send_replace(false);
    let abort = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        emulator.abort_function().await;
    };
    let (response, ()) = tokio::join!(emulator.invoke(&harness, &event), abort);
    assert_eq!(response["errorType"], "Runtime.ExitError", "{response}");
    assert_eq!(effect(&response), Value::Null, "{response}");

    proxy.is_open.send_replace(true);
    assert_eq!(effect(&emulator.invoke(&harness, &event).await), "Allow");

    // The alarms count this line, so every log level includes it.
    let log = emulator.stop().await;
    assert_eq!(log.matches(r#""reason":"allowed""#).count(), 2, "{log}");
}
