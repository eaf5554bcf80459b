//! An HTTP server on this machine that does with each connection what a script says, including
//! what no proper server does.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Script {
    /// Sends this and closes the connection.
    Send(Vec<u8>),
    /// Sends this and keeps the connection open.
    Hold(Vec<u8>),
    /// Sends the first part, and then the second one again and again.
    Forever(Vec<u8>, Vec<u8>),
    /// Sends the first part, and then a byte every 100 ms.
    Drip(Vec<u8>),
    /// Sends the request as a text.
    Echo,
    /// Sends the request in a JSON object, with each character escaped.
    EchoEscaped,
    /// The same with the status 400.
    RefuseEscaped,
}

/// Chooses the script for a path.
type Scripts = Arc<dyn Fn(&str) -> Script + Send + Sync>;

/// The server.
pub(crate) struct ScriptedServer {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    connections: AtomicUsize,
    sent: AtomicUsize,
    requests: Mutex<Vec<String>>,
    scripts: Mutex<Scripts>,
}

impl ScriptedServer {
    /// Starts the server, which responds to nothing until [`set`](Self::set) is called.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let scripts: Scripts = Arc::new(|_| Script::Hold(Vec::new()));
        let state = Arc::new(State {
            connections: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            requests: Mutex::default(),
            scripts: Mutex::new(scripts),
        });
        let server = Self { url, state: Arc::clone(&state) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        server
    }

    /// Chooses the script of each later request by its path and query.
    pub(crate) fn set(&self, scripts: impl Fn(&str) -> Script + Send + Sync + 'static) {
        *self.state.scripts.lock().unwrap() = Arc::new(scripts);
    }

    /// The number of connections since the last call.
    pub(crate) fn take_connections(&self) -> usize {
        self.state.connections.swap(0, Ordering::Relaxed)
    }

    /// The number of bytes that were sent since the last call.
    pub(crate) fn take_sent(&self) -> usize {
        self.state.sent.swap(0, Ordering::Relaxed)
    }

    /// The requests since the last call, with their heads and bodies.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }

    /// The only request since the last call.
    pub(crate) fn take_request(&self) -> String {
        let [request] = <[String; 1]>::try_from(self.take_requests()).expect("exactly one request");
        request
    }
}

/// Reads a request with its body. `None` if the connection ends first.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if request.len() >= head + 4 + length {
                return Some(String::from_utf8_lossy(&request).into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let Some(request) = read(&mut stream).await else { return };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    state.requests.lock().unwrap().push(request.clone());
    let script = Arc::clone(&state.scripts.lock().unwrap())(&path);
    let mut write = async |bytes: &[u8]| {
        let is_sent = stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok();
        state.sent.fetch_add(bytes.len(), Ordering::Relaxed);
        is_sent
    };
    match script {
        Script::Send(bytes) => drop(write(&bytes).await),
        Script::Echo => drop(write(&with_body("200 OK\r\ncontent-type: text/plain", request)).await),
        Script::EchoEscaped | Script::RefuseEscaped => {
            let mut escaped = String::new();
            for character in request.chars() {
                write!(escaped, "\\u{:04x}", u32::from(character)).unwrap();
            }
            let body = format!("{{\"{escaped}\":\"{escaped}\"}}");
            let status = if matches!(script, Script::EchoEscaped) { "200 OK" } else { "400 Bad Request" };
            write(&with_body(&format!("{status}\r\ncontent-type: application/json"), &body)).await;
        }
        Script::Hold(bytes) => {
            write(&bytes).await;
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        Script::Forever(start, more) => {
            let mut is_open = write(&start).await;
            while is_open {
                is_open = write(&more).await;
            }
        }
        Script::Drip(start) => {
            let mut is_open = write(&start).await;
            while is_open {
                tokio::time::sleep(Duration::from_millis(100)).await;
                is_open = write(b" ").await;
            }
        }
    }
}

/// A response with this head, without its status line's version, and body.
pub(crate) fn response(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body.as_ref()].concat()
}

/// A complete response with a JSON body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    with_body("200 OK\r\ncontent-type: application/json", body)
}

/// A complete response with this status, headers and body.
pub(crate) fn with_body(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    response(&format!("{head}\r\ncontent-length: {}", body.len()), body)
}
