//! Lambda's runtime API and DynamoDB, as servers that cost as little as possible.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use local::services::Services;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A runtime API that hands out one event again and again.
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>)
///
/// It also registers extensions, as the authorizer does to be told when it ends.
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>)
pub(crate) struct RuntimeApi {
    pub(crate) address: String,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// Events to hand out.
    left: usize,
    /// Connections that wait for an event.
    polls: usize,
    /// Events without a response yet, and when they were handed out.
    pending: HashMap<String, Instant>,
    times: Vec<Duration>,
    /// The last response.
    response: Vec<u8>,
    next_id: usize,
    is_closed: bool,
}

impl RuntimeApi {
    pub(crate) fn start(event: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::<(Mutex<State>, Condvar)>::default();
        let (event, state) = (Arc::<str>::from(event), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (event, state) = (Arc::clone(&event), Arc::clone(&state));
                if state.0.lock().unwrap().is_closed {
                    break;
                }
                thread::spawn(move || serve(&stream.unwrap(), &event, &state));
            }
        });
        Self { address, shared }
    }

    /// Waits until `count` connections wait for an event.
    pub(crate) fn wait_for_poll(&self, count: usize) {
        let (state, changed) = &*self.shared;
        let state = state.lock().unwrap();
        let limit = Duration::from_mins(2);
        let (_state, waited) = changed.wait_timeout_while(state, limit, |state| state.polls < count).unwrap();
        assert!(!waited.timed_out(), "the function does not ask for an event");
    }

    /// Hands out `count` events, and waits until the function has responded to all of
    /// them and waits for the next one.
    pub(crate) fn run(&self, count: usize) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        let polls = state.polls;
        state.left = count;
        changed.notify_all();
        let limit = Duration::from_mins(10);
        let is_running =
            |state: &mut State| state.left > 0 || !state.pending.is_empty() || state.polls < polls;
        let (_state, waited) = changed.wait_timeout_while(state, limit, is_running).unwrap();
        assert!(!waited.timed_out(), "the function does not respond");
    }

    /// The times from an event to its response, since this was last called.
    pub(crate) fn take_times(&self) -> Vec<Duration> {
        std::mem::take(&mut self.shared.0.lock().unwrap().times)
    }

    /// The last response.
    pub(crate) fn take_response(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.0.lock().unwrap().response)
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap().is_closed = true;
        self.shared.1.notify_all();
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut stream: &TcpStream, event: &str, shared: &(Mutex<State>, Condvar)) {
    stream.set_nodelay(true).unwrap();
    let (state, changed) = shared;
    let mut buffer = Vec::new();
    while let Some((head, length)) = receive(&mut stream, &mut buffer) {
        let line = std::str::from_utf8(&buffer[..head]).unwrap().lines().next().unwrap().to_owned();
        let path = line.split(' ').nth(1).unwrap();
        let response = if path.ends_with("/extension/register") {
            let body = r#"{"functionName":"measured","functionVersion":"$LATEST","handler":"bootstrap"}"#;
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-extension-identifier: extension-1\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        } else if path.ends_with("/extension/event/next") {
            // The authorizer's extension subscribes to no event.
            drop(changed.wait_while(state.lock().unwrap(), |state| !state.is_closed).unwrap());
            return;
        } else if path.ends_with("/next") {
            let mut state = state.lock().unwrap();
            state.polls += 1;
            changed.notify_all();
            let mut state = changed.wait_while(state, |state| state.left == 0 && !state.is_closed).unwrap();
            if state.is_closed {
                return;
            }
            state.left -= 1;
            state.polls -= 1;
            state.next_id += 1;
            let id = format!("8476a536-e9f4-11e8-9739-{:012}", state.next_id);
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: {id}\r\nlambda-runtime-deadline-ms: 9999999999999\r\nlambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:123456789012:function:measured\r\nlambda-runtime-trace-id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\ncontent-length: {}\r\n\r\n{event}",
                event.len()
            );
            state.pending.insert(id, Instant::now());
            response
        } else {
            let mut state = state.lock().unwrap();
            assert!(path.ends_with("/response"), "{path}");
            let id = path.split('/').nth(4).unwrap();
            let begun = state.pending.remove(id).unwrap();
            state.times.push(begun.elapsed());
            state.response = buffer[head..head + length].to_vec();
            changed.notify_all();
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        stream.write_all(response.as_bytes()).unwrap();
    }
}

/// DynamoDB and Secrets Manager over TLS. The embedded services answer the first of
/// several equal reads, and its response is repeated.
pub(crate) struct Database {
    pub(crate) url: String,
    /// The platform's CA roots, and the one that signed this server's certificate.
    pub(crate) ca_roots: tempfile::NamedTempFile,
    times: Arc<Mutex<Vec<Duration>>>,
}

type Cache = Mutex<HashMap<Vec<u8>, Arc<Vec<u8>>>>;

impl Database {
    pub(crate) fn start(services: Services) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut ca_roots = tempfile::NamedTempFile::new().unwrap();
        let platform = openssl_probe::probe().cert_file.map(|file| std::fs::read(file).unwrap());
        ca_roots.write_all(&platform.unwrap_or_default()).unwrap();
        ca_roots.write_all(certified.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let times = Arc::<Mutex<Vec<Duration>>>::default();
        let (recorded, cache) = (Arc::clone(&times), Arc::<Cache>::default());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
                let (services, times, cache) = (services.clone(), Arc::clone(&recorded), Arc::clone(&cache));
                thread::spawn(move || answer(stream, &services, &cache, &times));
            }
        });
        Self { url, ca_roots, times }
    }

    /// The times from a request to its response, since this was last called.
    pub(crate) fn take_times(&self) -> Vec<Duration> {
        std::mem::take(&mut self.times.lock().unwrap())
    }
}

fn answer(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    services: &Services,
    cache: &Cache,
    times: &Mutex<Vec<Duration>>,
) {
    let mut buffer = Vec::new();
    while let Some((head, length)) = receive(&mut stream, &mut buffer) {
        let begun = Instant::now();
        let body = &buffer[head..head + length];
        let known = cache.lock().unwrap().get(body).cloned();
        let response = known.unwrap_or_else(|| {
            let target = header(&buffer[..head], "x-amz-target").unwrap();
            let (status, json) = services.answer(target, body);
            let response = format!(
                "HTTP/1.1 {status} OK\r\nserver: Server\r\ndate: Thu, 12 Mar 2026 19:03:58 GMT\r\ncontent-type: application/x-amz-json-1.0\r\nx-amzn-requestid: 7U4LN5TQHFDJ7MKNHIHQRJ7KQBVV4KQNSO5AEMVJF66Q9ASUAAJG\r\nx-amz-crc32: 2745614147\r\ncontent-length: {}\r\nconnection: keep-alive\r\n\r\n{json}",
                json.len()
            );
            let response = Arc::new(response.into_bytes());
            if target.ends_with(".GetItem") {
                cache.lock().unwrap().insert(body.to_vec(), Arc::clone(&response));
            }
            response
        });
        if stream.write_all(&response).and_then(|()| stream.flush()).is_err() {
            return;
        }
        times.lock().unwrap().push(begun.elapsed());
    }
}

/// Receives a request, and returns the lengths of its head and of its body. `None` if
/// the client closes the connection.
fn receive(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Option<(usize, usize)> {
    buffer.clear();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = at + 4;
            let body = header(&buffer[..head], "content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= head + body {
                return Some((head, body));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut headers = std::str::from_utf8(head).unwrap().lines().filter_map(|line| line.split_once(':'));
    headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
