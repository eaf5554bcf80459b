//! A fast read gives the same outcome as a read through the SDK, whatever DynamoDB
//! responds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use shared::config::{Setup, Variables};
use shared::domain::{ApiKey, Clock, Environment, OsEntropy, RoleName, SystemClock};
use shared::network::{BoxStream, Connect, Network, Server, sdk_http_client};
use shared::store::{CredentialLookup, FAST_READ_LIMIT, FastReads, Store, StoreError, StoredKey};
use tests::{Harness, TestClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::report;

/// The time limit of most fast reads here: longer than in production, because many tests
/// share a slow machine.
const LIMIT: Duration = Duration::from_secs(2);

/// What a server does with a request.
#[derive(Clone, Debug)]
enum Reply {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    SendAndClose(Vec<u8>),
    /// Sends these bytes and resets the connection.
    SendAndReset(Vec<u8>),
    /// Sends these bytes and nothing more.
    SendAndHang(Vec<u8>),
    /// Sends these bytes in small parts, with pauses.
    SendSlowly(Vec<u8>),
}

/// A server that reads HTTP requests and replies as a test says.
struct FakeServer {
    url: String,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<AtomicUsize>,
}

impl FakeServer {
    /// `reply` gets the number of the request, starting with 0, and its text.
    async fn start(reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (Arc::clone(&server.requests), Arc::clone(&server.connections));
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (requests, reply) = (Arc::clone(&requests), Arc::clone(&reply));
                tokio::spawn(async move {
                    let _ = serve(stream, &requests, &*reply).await;
                });
            }
        });
        server
    }

    async fn replying(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    fn request_count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn connection_count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Vec<u8>>>,
    reply: &(impl Fn(usize, &str) -> Reply + Sync),
) -> std::io::Result<()> {
    while let Some(request) = receive(&mut stream).await? {
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        match reply(number, &String::from_utf8_lossy(&request)) {
            Reply::Send(bytes) => stream.write_all(&bytes).await?,
            Reply::SendAndClose(bytes) => return stream.write_all(&bytes).await,
            Reply::SendAndReset(bytes) => {
                stream.write_all(&bytes).await?;
                // So that the client reads what was sent before the reset.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return stream.set_zero_linger();
            }
            Reply::SendAndHang(bytes) => {
                stream.write_all(&bytes).await?;
                std::future::pending::<()>().await;
            }
            Reply::SendSlowly(bytes) => {
                stream.set_nodelay(true)?;
                for part in bytes.chunks(64) {
                    stream.write_all(part).await?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    }
    Ok(())
}

/// A whole request. `None` if the client closes the connection first.
async fn receive(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
            if request.len() >= head.len() + 4 + length.map_or(0, |length| length.parse().unwrap()) {
                return Ok(Some(request));
            }
        }
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
}

/// A response with a `Content-Length`.
fn response(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The store of an authorizer that reads from `endpoint`: with fast reads and without.
struct Stores {
    fast: Store,
    sdk: Store,
}

fn variables(endpoint: &str) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEGsaDGV1LWNlbnRyYWwtMSJHMEUC/+=="),
        ("AWS_REGION", "eu-central-1"),
        ("KEYWARD_TABLE", "keyward"),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn setup(
    variables: Vec<(String, String)>,
    clock: impl Clock + 'static,
    connect: impl Connect + 'static,
) -> Setup {
    Setup {
        variables: variables.into_iter().collect::<Variables>(),
        clock: Arc::new(clock),
        entropy: Arc::new(OsEntropy),
        http_client: sdk_http_client(),
        fast_reads: Some(FastReads { connect: Arc::new(connect), limit: LIMIT }),
    }
}

impl Stores {
    fn of(server: &FakeServer) -> Self {
        let fast = setup(variables(&server.url), SystemClock, Network);
        let sdk = Setup { fast_reads: None, ..fast.clone() };
        Self { fast: fast.fast_store().unwrap(), sdk: sdk.fast_store().unwrap() }
    }
}

/// Passes connections on, and records what the servers send.
struct Tap {
    connect: Arc<dyn Connect>,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Connect for Tap {
    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, std::io::Result<BoxStream>> {
        Box::pin(async move {
            let (mut from_server, mut to_server) = tokio::io::split(self.connect.connect(server).await?);
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (mut from_client, mut to_client) = tokio::io::split(far);
            let received = Arc::clone(&self.received);
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                    received.lock().unwrap().extend_from_slice(&bytes[..length]);
                    to_client.write_all(&bytes[..length]).await.unwrap();
                }
            });
            Ok(Box::new(near) as BoxStream)
        })
    }
}

/// A key, and the body of the response to its read by the real engine.
struct Sample {
    key: ApiKey,
    body: String,
}

impl Sample {
    /// A key with a role and networks of its own, during a rotation.
    async fn new() -> Self {
        let harness = Harness::start().await;
        let account = harness.create_account("batch \"é\" \u{1f511}", "ServiceAccountWriter").await;
        let request = json!({ "name": "key", "role": "ServiceAccountReader", "allowedCidrs": ["203.0.113.0/24", "2001:db8::/32"] });
        let key = harness.issue_key_with(&account, &request).await;
        let rotation = harness.request("POST", &format!("{}/rotation", key.path())).admin();
        let _ = rotation.json(&json!({ "graceSeconds": 3600 })).send().await.expect(201);
        let parsed = ApiKey::parse(&key.secret, &Environment::parse("local").unwrap()).unwrap();
        harness.wire.take_calls();
        let setup = harness.system.setup_for("Authorizer").unwrap();
        let FastReads { connect, limit } = setup.fast_reads.clone().unwrap();
        let tap = Tap { connect, received: Arc::default() };
        let received = Arc::clone(&tap.received);
        let fast_reads = Some(FastReads { connect: Arc::new(tap), limit });
        let store = Setup { fast_reads, ..setup }.fast_store().unwrap();
        store.find_key_credential(parsed.account, parsed.id).await.unwrap().unwrap().grant.unwrap();
        let [call] = <[_; 1]>::try_from(harness.wire.take_calls()).expect("one read");
        assert_eq!(call.invocation, "", "the SDK did not make the read");
        let response = String::from_utf8(received.lock().unwrap().clone()).unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        Self { key: parsed, body: body.to_owned() }
    }

    /// The outcome of a read: the value, or the kind of error.
    async fn read(&self, store: &Store) -> String {
        describe(store.find_key_credential(self.key.account, self.key.id).await)
    }

    /// Checks that both ways to read have the same outcome, and returns the outcome
    /// and the number of requests of a fast read.
    async fn compare(&self, what: &str, reply: Reply) -> (String, usize) {
        let (fast, sdk) = (FakeServer::replying(reply.clone()).await, FakeServer::replying(reply).await);
        let (fast_store, sdk_store) = (Stores::of(&fast).fast, Stores::of(&sdk).sdk);
        let (fast_outcome, sdk_outcome) = tokio::join!(self.read(&fast_store), self.read(&sdk_store));
        assert_eq!(fast_outcome, sdk_outcome, "{what}");
        // One attempt and at most two of the SDK: no more than the SDK alone.
        assert!(fast.request_count() <= 3, "{what}: {} requests", fast.request_count());
        (fast_outcome, fast.request_count())
    }
}

fn describe(outcome: Result<Option<CredentialLookup<StoredKey>>, StoreError>) -> String {
    match outcome {
        Ok(found) => format!("{found:?}"),
        Err(StoreError::Corrupt { problem, .. }) => format!("corrupt: {problem}"),
        Err(StoreError::Throttled(_)) => "throttled".to_owned(),
        Err(StoreError::Unavailable(_)) => "unavailable".to_owned(),
        Err(other) => panic!("{other}"),
    }
}

/// Compares many replies at once, and returns what [`Sample::compare`] returns for each.
async fn compare_all(sample: &Sample, cases: Vec<(String, Reply)>) -> Vec<(String, usize)> {
    let compare = |(what, reply): (String, Reply)| async move { sample.compare(&what, reply).await };
    futures::stream::iter(cases).map(compare).buffer_unordered(48).collect().await
}

/// Changes one random part of `value`.
fn mutate(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Object(members) if !members.is_empty() && random.random_ratio(9, 10) => {
            let name = members.keys().nth(random.random_range(0..members.len())).unwrap().clone();
            match random.random_range(0..6) {
                0 => drop(members.remove(&name)),
                1 => {
                    let value = members.remove(&name).unwrap();
                    members.insert(
                        ["S", "N", "B", "M", "L", "BOOL", "NULL", "SS", "x"][random.random_range(0..9)]
                            .to_owned(),
                        value,
                    );
                }
                _ => mutate(members.get_mut(&name).unwrap(), random),
            }
        }
        Value::Array(elements) if !elements.is_empty() && random.random_ratio(3, 4) => {
            let at = random.random_range(0..elements.len());
            mutate(&mut elements[at], random);
        }
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => {
            let texts = [
                "",
                "v1",
                "v99",
                "sa_x",
                "-1",
                "99999999999999999999",
                "ServiceAccountAdmin",
                "é\u{0}\"\\",
                "=",
                "AAAA",
                "::/0",
            ];
            *other = match random.random_range(0..6) {
                0 => Value::Null,
                1 => json!(random.random_bool(0.5)),
                2 => json!(random.random_range(-5..5)),
                3 => json!([]),
                4 => json!({}),
                _ => json!(texts[random.random_range(0..texts.len())]),
            };
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_items_have_the_same_outcome() {
    let sample = Sample::new().await;
    let item: Value = serde_json::from_str(&sample.body).unwrap();
    let (_, requests) = sample.compare("the item itself", Reply::Send(response(200, &sample.body))).await;
    assert_eq!(requests, 1, "a fast read needs no SDK");
    let (outcome, requests) = sample.compare("no item", Reply::Send(response(200, "{}"))).await;
    assert_eq!((outcome.as_str(), requests), ("None", 1));
    let mut random = StdRng::seed_from_u64(13);
    let mut cases: Vec<(String, Reply)> = (0..600)
        .map(|_| {
            let mut item = item.clone();
            for _ in 0..random.random_range(1..3) {
                mutate(&mut item, &mut random);
            }
            let body = item.to_string();
            (body.clone(), Reply::Send(response(200, &body)))
        })
        .collect();
    let pretty = serde_json::to_string_pretty(&item).unwrap();
    let twice = sample.body.replacen("{\"Item\":", "{\"Item\":{},\"Item\":", 1);
    let repeated = |name: &str| {
        let other = format!("{{\"Item\":{{\"{name}\":{{\"S\":\"ServiceAccountAdmin\"}},");
        sample.body.replacen("{\"Item\":{", &other, 1)
    };
    let escaped = sample.body.replace("role", "r\\u006fle");
    let more = sample.body.replacen(
        '{',
        "{\"ConsumedCapacity\":{\"TableName\":\"keyward\",\"CapacityUnits\":1.0},",
        1,
    );
    let deep = format!("{{\"Item\":{}{}}}", "{\"a\":{\"M\":".repeat(200), "}".repeat(400));
    for body in [
        pretty,
        repeated("role"),
        repeated("name"),
        twice,
        escaped,
        more,
        deep,
        String::new(),
        "null".into(),
        "[]".into(),
        "{\"Item\":null}".into(),
        format!("{} x", sample.body),
        format!("\u{feff}{}", sample.body),
    ] {
        cases.push((body.clone(), Reply::Send(response(200, &body))));
    }
    let count = cases.len();
    let compared = compare_all(&sample, cases).await;
    let fast = compared.iter().filter(|(_, requests)| *requests == 1).count();
    report(&format!("{count} generated responses had the same outcome; {fast} needed no SDK"));
    assert!(fast > count / 4, "{fast}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_unusual_responses_have_the_same_outcome() {
    let sample = Sample::new().await;
    let mut cases = Vec::new();
    for (status, code) in [
        (400, "ProvisionedThroughputExceededException"),
        (400, "RequestLimitExceeded"),
        (400, "ThrottlingException"),
        (400, "ResourceNotFoundException"),
        (400, "ValidationException"),
        (400, "AccessDeniedException"),
        (400, "ExpiredTokenException"),
        (400, "InvalidSignatureException"),
        (400, "UnrecognizedClientException"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (413, "x"),
        (204, "x"),
        (301, "x"),
    ] {
        let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "m" });
        cases.push((code.to_owned(), Reply::Send(response(status, &body.to_string()))));
    }
    let body = &sample.body;
    let length = body.len();
    let chunked = |head: &str| {
        let (first, rest) = body.split_at(100);
        format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n64\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
            rest.len()
        )
    };
    for (what, text) in [
        ("chunked", chunked("HTTP/1.1 200 OK\r\n")),
        ("chunked and a length", chunked("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")),
        ("length in lower case", format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")),
        (
            "two equal lengths",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "two lengths",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: 2\r\n\r\n{body}"),
        ),
        ("negative length", format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{body}")),
        ("length with a sign", format!("HTTP/1.1 200 OK\r\nContent-Length: +{length}\r\n\r\n{body}")),
        (
            "103 with a length first",
            format!(
                "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "close and keep-alive",
            format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        ),
        ("huge length", format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{body}")),
        ("short length", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", length - 1)),
        ("length of two bytes", format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}{body}")),
        (
            "bytes after the body",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}HTTP/1.1 200 OK\r\n"),
        ),
        ("HTTP/1.0", format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("HTTP/2.0", format!("HTTP/2.0 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("another protocol", "220 mail.example.com ESMTP\r\n\r\n".to_owned()),
        (
            "100 Continue first",
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "keep-alive",
            format!("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "many headers",
            format!("HTTP/1.1 200 OK\r\n{}Content-Length: {length}\r\n\r\n{body}", "X: y\r\n".repeat(60)),
        ),
        (
            "a long header",
            format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: {length}\r\n\r\n{body}", "y".repeat(20_000)),
        ),
        ("no reason", format!("HTTP/1.1 200\r\nContent-Length: {length}\r\n\r\n{body}")),
    ] {
        cases.push((what.to_owned(), Reply::Send(text.into_bytes())));
    }
    let whole = response(200, body);
    let (_, requests) = sample.compare("slow", Reply::SendSlowly(whole.clone())).await;
    assert_eq!(requests, 1, "a fast read waits for the whole response");
    cases.push(("closed after the response".to_owned(), Reply::SendAndClose(whole.clone())));
    let close = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    cases.push(("Connection: close".to_owned(), Reply::SendAndClose(close.into_bytes())));
    let until_closed = format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes();
    cases.push(("a body that ends with the connection".to_owned(), Reply::SendAndClose(until_closed)));
    compare_all(&sample, cases).await;
}

/// The longest of these reads takes three attempts with pauses between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_end_at_any_byte_have_the_same_outcome() {
    let sample = Sample::new().await;
    let whole = response(200, &sample.body);
    let mut cases = Vec::new();
    for at in 0..whole.len() {
        let part = whole[..at].to_vec();
        cases.push((format!("closed at byte {at}"), Reply::SendAndClose(part.clone())));
        if at % 4 == 0 {
            cases.push((format!("reset at byte {at}"), Reply::SendAndReset(part.clone())));
        }
        if at % 100 == 0 {
            cases.push((format!("silent from byte {at}"), Reply::SendAndHang(part)));
        }
    }
    let compared = compare_all(&sample, cases).await;
    report(&format!("{} incomplete responses had the same outcome", compared.len()));
    assert!(compared.iter().all(|(outcome, _)| outcome == "unavailable"), "none is an answer");
}

#[tokio::test]
async fn connections_are_kept_and_replaced_without_the_sdk() {
    let sample = Sample::new().await;
    let whole = response(200, &sample.body);

    let server = FakeServer::replying(Reply::Send(whole.clone())).await;
    let store = Stores::of(&server).fast;
    for _ in 0..20 {
        sample.read(&store).await;
    }
    assert_eq!((server.connection_count(), server.request_count()), (1, 20));

    // As after a freeze that was longer than the server waits.
    let closing = FakeServer::replying(Reply::SendAndClose(whole.clone())).await;
    let store = Stores::of(&closing).fast;
    for _ in 0..5 {
        assert!(sample.read(&store).await.starts_with("Some"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((closing.connection_count(), closing.request_count()), (5, 5));

    // After 20 s, a connection is not trusted, even if nothing says that it is dead.
    let store = Stores::of(&server).fast;
    for idle in [19, 21] {
        sample.read(&store).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
    }
    sample.read(&store).await;
    assert_eq!(server.connection_count(), 1 + 2, "one for the first two reads, one for the third");

    // Errors of the service do not end a connection.
    let throttling =
        FakeServer::replying(Reply::Send(response(400, r#"{"__type":"ThrottlingException"}"#))).await;
    let store = Stores::of(&throttling).fast;
    for _ in 0..5 {
        assert_eq!(sample.read(&store).await, "throttled");
    }
    assert_eq!(throttling.request_count(), 15, "three attempts each");
    assert!(throttling.connection_count() <= 2, "one connection, and one of the SDK");
}

#[tokio::test]
async fn sdk_takes_over_from_a_dead_connection() {
    let sample = Sample::new().await;
    let whole = response(200, &sample.body);
    // The first connection dies unnoticed after its first response.
    let server = FakeServer::start(move |number, _| match number {
        1 => Reply::SendAndHang(Vec::new()),
        _ => Reply::Send(whole.clone()),
    })
    .await;
    let setup = setup(variables(&server.url), SystemClock, Network);
    let fast_reads = Some(FastReads { connect: Arc::new(Network), limit: FAST_READ_LIMIT });
    let store = Setup { fast_reads, ..setup }.fast_store().unwrap();
    assert!(sample.read(&store).await.starts_with("Some"));
    let started = Instant::now();
    assert!(sample.read(&store).await.starts_with("Some"));
    let waited = started.elapsed();
    report(&format!("from a dead connection to an answer: {waited:?}"));
    assert!(waited >= FAST_READ_LIMIT, "{waited:?}");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert!(sample.read(&store).await.starts_with("Some"));
    let by_sdk = |request: &Vec<u8>| String::from_utf8_lossy(request).contains("amz-sdk-invocation-id");
    let by_sdk: Vec<bool> = server.requests.lock().unwrap().iter().map(by_sdk).collect();
    assert_eq!(by_sdk, [false, false, true, false], "fast, dead, SDK, fast");
}

#[tokio::test]
async fn requests_are_dated_by_the_clock_of_the_service_if_it_differs() {
    let sample = Sample::new().await;
    let whole = response(200, &sample.body);
    // The service's clock is 20 minutes ahead.
    let clock = TestClock::default();
    let server = FakeServer::start(move |_, request| {
        if request.contains("x-amz-date: 20260101T002") {
            return Reply::Send(whole.clone());
        }
        let body = r#"{"__type":"com.amazon.coral.service#InvalidSignatureException"}"#;
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\nDate: Thu, 01 Jan 2026 00:20:00 GMT\r\nContent-Length: {}",
            body.len()
        );
        Reply::Send(format!("{head}\r\n\r\n{body}").into_bytes())
    })
    .await;
    let store = setup(variables(&server.url), clock, Network).fast_store().unwrap();
    for requests in [2, 3, 4] {
        assert!(sample.read(&store).await.starts_with("Some"));
        assert_eq!(server.request_count(), requests, "only the first read was refused");
    }
}

/// Opens connections to a server in this process, and records what they are for.
#[derive(Clone, Default)]
struct Recorder {
    servers: Arc<Mutex<Vec<Server>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Connect for Recorder {
    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, std::io::Result<BoxStream>> {
        self.servers.lock().unwrap().push(server.clone());
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let requests = Arc::clone(&self.requests);
        tokio::spawn(async move {
            let mut request = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = far.read(&mut request).await {
                requests.lock().unwrap().push(String::from_utf8(request[..length].to_vec()).unwrap());
                far.write_all(&response(200, "{}")).await.unwrap();
            }
        });
        Box::pin(std::future::ready(Ok(Box::new(near) as BoxStream)))
    }
}

#[tokio::test]
async fn request_is_a_consistent_read_of_the_base_table() {
    let sample = Sample::new().await;
    let recorder = Recorder::default();
    let store = setup(variables(""), TestClock::default(), recorder.clone()).fast_store().unwrap();
    assert_eq!(sample.read(&store).await, "None");
    let role = RoleName::parse("teams.read").unwrap();
    assert!(store.find_role(&role).await.unwrap().is_none());
    assert_eq!(
        *recorder.servers.lock().unwrap(),
        [Server::parse("https://dynamodb.eu-central-1.amazonaws.com").unwrap()]
    );
    insta::assert_snapshot!(recorder.requests.lock().unwrap().join("\n\n").replace('\r', ""));
}

#[tokio::test]
async fn endpoints_are_those_of_the_sdk() {
    let sample = Sample::new().await;
    let on = |name: &str| vec![(name.to_owned(), "true".to_owned())];
    for (more, url) in [
        (on("AWS_USE_FIPS_ENDPOINT"), "https://dynamodb-fips.us-east-1.amazonaws.com"),
        (on("AWS_USE_DUALSTACK_ENDPOINT"), "https://dynamodb.us-east-1.api.aws"),
        (
            vec![("AWS_REGION".to_owned(), "cn-north-1".to_owned())],
            "https://dynamodb.cn-north-1.amazonaws.com.cn",
        ),
        (
            vec![("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), "https://vpce-1.example.com:8443/".to_owned())],
            "https://vpce-1.example.com:8443",
        ),
    ] {
        let recorder = Recorder::default();
        let mut variables = variables("");
        variables.push(("AWS_REGION".to_owned(), "us-east-1".to_owned()));
        variables.extend(more);
        let store = setup(variables, TestClock::default(), recorder.clone()).fast_store().unwrap();
        sample.read(&store).await;
        assert_eq!(*recorder.servers.lock().unwrap(), [Server::parse(url).unwrap()]);
    }

    // Only the SDK uses an endpoint with a path.
    let server = FakeServer::replying(Reply::Send(response(200, &sample.body))).await;
    let store =
        setup(variables(&format!("{}/dynamodb", server.url)), SystemClock, Network).fast_store().unwrap();
    assert!(sample.read(&store).await.starts_with("Some"));
    let request = String::from_utf8(server.requests.lock().unwrap()[0].clone()).unwrap();
    assert!(request.starts_with("POST /dynamodb") && request.contains("amz-sdk-invocation-id"), "{request}");
}

/// The signature that `aws-sigv4` computes for a request that was sent.
fn expected_authorization(request: &str, credentials: &Credentials, region: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let headers: Vec<(&str, &str)> = head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    let get = |name: &str| headers.iter().find(|(other, _)| *other == name).unwrap().1;
    let signed = headers.iter().copied().filter(|(name, _)| ["content-type", "x-amz-target"].contains(name));
    let date = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ%z", format!("{}+0000", get("x-amz-date"))).unwrap();
    let date = date.to_timestamp().unwrap();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = aws_sigv4::http_request::PercentEncodingMode::Single;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("dynamodb")
        .time(UNIX_EPOCH + Duration::from_secs(date.as_second().try_into().unwrap()))
        .settings(settings)
        .build()
        .unwrap();
    let url = format!("https://{}/", get("host"));
    let signable = SignableRequest::new("POST", url, signed, SignableBody::Bytes(body.as_bytes())).unwrap();
    let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
    let (headers, _) = instructions.into_parts();
    headers.iter().find(|header| header.name() == "authorization").unwrap().value().to_owned()
}

#[tokio::test]
async fn signatures_are_those_of_the_sdk() {
    let sample = Sample::new().await;
    let mut random = StdRng::seed_from_u64(4);
    let mut text = |length: usize| -> String {
        (0..length).map(|_| char::from(b"abcXYZ019+/="[random.random_range(0..12)])).collect()
    };
    for round in 0..50 {
        let region = format!("eu-{}-1", text(8).replace(['+', '/', '='], "x").to_lowercase());
        let (id, secret) = (text(20).replace(['+', '/', '='], "A"), text(40));
        let token = (round % 2 == 0).then(|| text(900));
        let recorder = Recorder::default();
        let clock = TestClock::default();
        clock.advance_seconds(round * 7_654_321);
        let mut variables = variables("https://example.com:8000");
        variables.retain(|(name, _)| !name.starts_with("AWS_") || name.ends_with("DYNAMODB"));
        let own = [("AWS_REGION", &region), ("AWS_ACCESS_KEY_ID", &id), ("AWS_SECRET_ACCESS_KEY", &secret)];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.clone())));
        variables.extend(token.clone().map(|token| ("AWS_SESSION_TOKEN".to_owned(), token)));
        let store = setup(variables, clock, recorder.clone()).fast_store().unwrap();
        sample.read(&store).await;
        let request = recorder.requests.lock().unwrap()[0].clone();
        let credentials = Credentials::new(id, secret, token, None, "test");
        let sent = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap();
        assert_eq!(sent, expected_authorization(&request, &credentials, &region), "{request}");
    }
}
