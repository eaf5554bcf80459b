//! A proxy for `DynamoDB` that counts connections, and that can fail in the ways in which
//! a network or a server fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// How the proxy treats one request.
#[derive(Clone, Debug)]
pub(crate) enum Behavior {
    /// Forwards the request and the response.
    Pass,
    /// Forwards the request and the response after this time.
    Delay(Duration),
    /// Never responds.
    Hang,
    /// Pauses for this time in the middle of the response.
    PauseDuring(Duration),
    /// Resets the connection instead of responding.
    ResetBefore,
    /// Resets the connection in the middle of the response.
    ResetDuring,
    /// Resets the connection after the response.
    ResetAfter,
    /// Closes the connection after the response and this time.
    CloseAfter(Duration),
    /// Responds with this status and body.
    Respond(u16, String),
    /// Sends these bytes instead of an HTTP response.
    Garbage(Vec<u8>),
    /// Sends these bytes after the response and this time.
    GarbageAfter(Duration, Vec<u8>),
    /// Forwards the request and sends the response in chunks of this length.
    Chunked(usize),
}

/// Whose connection or request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The authorizer's own client.
    FastRead,
    /// The AWS SDK, which sends a `User-Agent`.
    Sdk,
}

/// A request to `DynamoDB`.
pub(crate) struct Request {
    pub(crate) client: Client,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What happens to a connection after a response.
enum Then {
    Keep,
    Close,
    Reset,
}

type Behave = dyn Fn(&Request) -> Behavior + Send + Sync;

/// The proxy. It runs until the test ends.
pub(crate) struct Proxy {
    pub(crate) url: String,
    target: String,
    client: reqwest::Client,
    behave: Box<Behave>,
    open: [AtomicUsize; 2],
    peaks: [AtomicUsize; 2],
    opened: AtomicUsize,
    /// How long the next restart refuses connections. Each change is a restart.
    restarts: watch::Sender<Duration>,
    is_listening: watch::Sender<bool>,
}

/// Keeps a connection counted.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Starts a proxy for the `DynamoDB` at the URL `target`. `behave` chooses how each
    /// request is treated.
    pub(crate) fn start(
        target: &str,
        behave: impl Fn(&Request) -> Behavior + Send + Sync + 'static,
    ) -> Arc<Self> {
        // This socket never listens. It only keeps the port while the proxy restarts.
        let reserved = socket("127.0.0.1:0".parse().unwrap());
        let address = reserved.local_addr().unwrap();
        let proxy = Arc::new(Self {
            url: format!("http://{address}"),
            target: target.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            behave: Box::new(behave),
            open: Default::default(),
            peaks: Default::default(),
            opened: AtomicUsize::new(0),
            restarts: watch::channel(Duration::ZERO).0,
            is_listening: watch::channel(true).0,
        });
        let listener = socket(address).listen(1024).unwrap();
        tokio::spawn(Arc::clone(&proxy).run(reserved, listener));
        tokio::spawn(Arc::clone(&proxy).observe());
        proxy
    }

    /// Resets all connections, and refuses new ones for `pause`. Returns when new
    /// connections are accepted again.
    pub(crate) async fn restart(&self, pause: Duration) {
        self.is_listening.send_replace(false);
        self.restarts.send_replace(pause);
        self.is_listening.subscribe().wait_for(|is_listening| *is_listening).await.unwrap();
    }

    /// The most connections of this client that were open at once.
    pub(crate) fn peak(&self, client: Client) -> usize {
        self.peaks[client as usize].load(Ordering::Relaxed)
    }

    /// The number of connections that were ever opened.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    async fn run(self: Arc<Self>, _reserved: TcpSocket, mut listener: TcpListener) {
        let address = listener.local_addr().unwrap();
        let mut restarts = self.restarts.subscribe();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::spawn(Arc::clone(&self).serve(stream));
                    }
                }
                _ = restarts.changed() => {
                    drop(listener);
                    let pause = *restarts.borrow();
                    tokio::time::sleep(pause).await;
                    listener = socket(address).listen(1024).unwrap();
                    self.is_listening.send_replace(true);
                }
            }
        }
    }

    /// Finds the peaks. A connection that was replaced can be counted for a moment after
    /// it was closed, so a peak must be there twice in a row.
    async fn observe(self: Arc<Self>) {
        let mut before = [0, 0];
        loop {
            for (index, before) in before.iter_mut().enumerate() {
                let now = self.open[index].load(Ordering::Relaxed);
                self.peaks[index].fetch_max(now.min(*before), Ordering::Relaxed);
                *before = now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Serves a connection until it ends.
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut restarts = self.restarts.subscribe();
        let mut counted = None;
        loop {
            let request = tokio::select! {
                request = read(&mut stream) => request,
                _ = restarts.changed() => {
                    let _ = stream.set_zero_linger();
                    return;
                }
            };
            let Some(request) = request else { return };
            counted.get_or_insert_with(|| {
                let open = &self.open[request.client as usize];
                open.fetch_add(1, Ordering::Relaxed);
                Counted(open)
            });
            let behavior = (self.behave)(&request);
            let (mut requests, mut responses) = stream.split();
            let mut byte = [0];
            let then = tokio::select! {
                then = self.respond(&request, behavior, &mut responses) => then.unwrap_or(Then::Close),
                // A client that sends nothing more has closed the connection.
                _ = requests.read(&mut byte) => Then::Close,
                _ = restarts.changed() => Then::Reset,
            };
            match then {
                Then::Keep => {}
                Then::Close => return,
                Then::Reset => {
                    let _ = stream.set_zero_linger();
                    return;
                }
            }
        }
    }

    async fn respond(
        &self,
        request: &Request,
        behavior: Behavior,
        stream: &mut WriteHalf<'_>,
    ) -> std::io::Result<Then> {
        let whole = async || {
            let (status, body) = self.forward(request).await;
            response(status, &body)
        };
        match behavior {
            Behavior::Pass => stream.write_all(&whole().await).await?,
            Behavior::Delay(time) => {
                tokio::time::sleep(time).await;
                stream.write_all(&whole().await).await?;
            }
            Behavior::Hang => return std::future::pending().await,
            Behavior::PauseDuring(time) => {
                let whole = whole().await;
                let (first, second) = whole.split_at(whole.len() / 2);
                stream.write_all(first).await?;
                tokio::time::sleep(time).await;
                stream.write_all(second).await?;
            }
            Behavior::ResetBefore => return Ok(Then::Reset),
            Behavior::ResetDuring => {
                let whole = whole().await;
                stream.write_all(&whole[..whole.len() / 2]).await?;
                return Ok(Then::Reset);
            }
            Behavior::ResetAfter => {
                stream.write_all(&whole().await).await?;
                return Ok(Then::Reset);
            }
            Behavior::CloseAfter(time) => {
                stream.write_all(&whole().await).await?;
                tokio::time::sleep(time).await;
                return Ok(Then::Close);
            }
            Behavior::Respond(status, body) => stream.write_all(&response(status, body.as_bytes())).await?,
            Behavior::Garbage(bytes) => stream.write_all(&bytes).await?,
            Behavior::GarbageAfter(time, bytes) => {
                stream.write_all(&whole().await).await?;
                tokio::time::sleep(time).await;
                stream.write_all(&bytes).await?;
            }
            Behavior::Chunked(length) => {
                let (status, body) = self.forward(request).await;
                stream.write_all(&head(status, "transfer-encoding: chunked")).await?;
                for chunk in body.chunks(length) {
                    let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                    stream.write_all(&chunk).await?;
                }
                stream.write_all(b"0\r\n\r\n").await?;
            }
        }
        Ok(Then::Keep)
    }

    async fn forward(&self, request: &Request) -> (u16, Vec<u8>) {
        let sent = self.client.post(&self.target).headers(request.headers.clone()).body(request.body.clone());
        let response = sent.send().await.expect("the database responds");
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }
}

/// A socket at `address`, which other sockets of this function can have at the same time.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Reads a request. `None` if the connection ends.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut received = Vec::new();
    let end = loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = received.split_off(end + 4);
    let head = String::from_utf8(received).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let length = headers.remove("content-length")?.to_str().unwrap().parse().unwrap();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    assert_eq!(body.len(), length, "the next request came before the response");
    let client = if headers.contains_key("user-agent") { Client::Sdk } else { Client::FastRead };
    Some(Request { client, headers, body })
}

fn head(status: u16, framing: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\ncontent-type: application/x-amz-json-1.0\r\n{framing}\r\n\r\n")
        .into()
}

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    [&head(status, &format!("content-length: {}", body.len())), body].concat()
}
