//! One persistent HTTP/1.1 connection (RFC 9112), for one request at a time.
//!
//! This reads only responses in the form that DynamoDB sends: HTTP/1.1 with a
//! `Content-Length`.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use crate::network::BoxStream;
use crate::store::codec::MalformedItem;

/// The maximum number of headers in a response. DynamoDB sends about eight.
const MAX_HEADERS: usize = 32;
/// The maximum length of a response's head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The maximum length of a response's body, in bytes. An item has at most 400 KB, and
/// its JSON is at most a few times longer.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The maximum size of a buffer that is kept for the next response, in bytes.
const MAX_KEPT: usize = 64 * 1024;

/// How long a connection can be idle before it is replaced. DynamoDB closes idle
/// connections, and a load balancer or NAT on the way may forget them. While a
/// function is frozen, it does not notice either.
const MAX_IDLE: Duration = Duration::from_secs(20);

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    stream: BoxStream,
    /// The bytes of the current response.
    received: Vec<u8>,
    last_used: Instant,
}

/// A response, whose body is in the received bytes.
pub(super) struct Response {
    head: Head,
    body_end: usize,
    /// Whether the connection can be used for another request.
    is_reusable: bool,
}

/// The head of a response.
struct Head {
    /// Where the body starts.
    end: usize,
    status: u16,
    content_length: usize,
    /// Whether the server keeps the connection open.
    is_kept: bool,
    date: Option<Timestamp>,
}

/// Why there is no usable response.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Failure {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the response took too long")]
    TooSlow,
    #[error("the response has status {status}")]
    Status {
        status: u16,
        /// The time of DynamoDB's clock.
        server_time: Option<Timestamp>,
    },
    #[error("the response has a form that only the SDK reads")]
    Form,
    #[error("there are no credentials")]
    Credentials,
    /// The SDK would read the same item.
    #[error("the item is malformed")]
    Malformed(MalformedItem),
}

impl Connection {
    pub(super) fn new(stream: BoxStream) -> Self {
        Self { stream, received: Vec::with_capacity(4096), last_used: Instant::now() }
    }

    /// Whether the connection can be used for another request, as far as this side
    /// knows. It cannot if it was idle for too long, if the server has closed it, or
    /// if the server has sent something that is not a response.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        self.last_used.elapsed() < MAX_IDLE
            && Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_pending()
    }

    /// Sends `request`, a whole HTTP request, and reads the response. After a
    /// failure, the connection must not be used again.
    pub(super) async fn send(&mut self, request: &[u8]) -> Result<Response, Failure> {
        self.received.clear();
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let head = loop {
            self.receive().await?;
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
            if self.received.len() > MAX_HEAD {
                return Err(Failure::Form);
            }
        };
        let body_end = head.end.checked_add(head.content_length).ok_or(Failure::Form)?;
        while self.received.len() < body_end {
            self.receive().await?;
        }
        self.last_used = Instant::now();
        // Bytes after the body would be taken for the next response.
        let is_complete = head.is_kept && self.received.len() == body_end;
        // A large item would stay in memory.
        let is_reusable = is_complete && self.received.capacity() <= MAX_KEPT;
        Ok(Response { head, body_end, is_reusable })
    }

    pub(super) fn body(&self, response: &Response) -> &[u8] {
        self.received.get(response.head.end..response.body_end).unwrap_or_default()
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(Failure::Io(std::io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }
}

impl Response {
    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    /// The `Date` header (RFC 9110, section 6.6.1).
    pub(super) fn date(&self) -> Option<Timestamp> {
        self.head.date
    }

    pub(super) fn is_reusable(&self) -> bool {
        self.is_reusable
    }
}

impl Head {
    /// Parses the head at the start of `received`. `None` if it is not complete yet.
    fn parse(received: &[u8]) -> Result<Option<Self>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let end = match response.parse(received) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Failure::Form),
        };
        // Another response follows an informational one (RFC 9110, section 15.2).
        let status = response.code.filter(|status| *status >= 200).ok_or(Failure::Form)?;
        let (mut length, mut is_kept, mut date) = (None, true, None);
        for header in response.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            // The SDK refuses other values too.
            let value = std::str::from_utf8(header.value).map_err(|_| Failure::Form)?;
            if is("content-length") {
                let digits = Some(value).filter(|value| value.bytes().all(|b| b.is_ascii_digit()));
                let number =
                    digits.and_then(|digits| digits.parse().ok()).filter(|number| *number <= MAX_BODY);
                // Two lengths can be an attack (RFC 9112, section 6.3).
                if length.replace(number.ok_or(Failure::Form)?).is_some() {
                    return Err(Failure::Form);
                }
            } else if is("transfer-encoding") || is("content-encoding") {
                return Err(Failure::Form);
            } else if is("connection") {
                is_kept &= value.eq_ignore_ascii_case("keep-alive");
            } else if status != 200 && is("date") {
                date = DateTimeParser::new().parse_timestamp(header.value).ok();
            }
        }
        let content_length = length.filter(|_| response.version == Some(1)).ok_or(Failure::Form)?;
        Ok(Some(Self { end, status, content_length, is_kept, date }))
    }
}
