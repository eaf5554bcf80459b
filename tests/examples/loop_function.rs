//! Functions without Lambda's runtime to compare the authorizer with: a blocking loop
//! over one socket. The first argument selects one: `empty` returns its event, and
//! `read` also makes one signed, consistent read over a TLS connection.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::{Digest, Sha256};
use shared::config::{Variables, variable};

fn main() {
    let variables = Variables::from_process();
    let api = variables.get("AWS_LAMBDA_RUNTIME_API").unwrap();
    let mut database =
        (std::env::args().nth(1).as_deref() == Some("read")).then(|| Database::open(&variables));
    if let Some(database) = &mut database {
        database.read();
    }
    let mut runtime = TcpStream::connect(api).unwrap();
    runtime.set_nodelay(true).unwrap();
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {api}\r\n\r\n");
    let mut buffer = Vec::new();
    loop {
        runtime.write_all(next.as_bytes()).unwrap();
        let (head, body) = receive(&mut runtime, &mut buffer);
        let id = header(&buffer[..head], "lambda-runtime-aws-request-id").to_owned();
        let event = buffer[head..head + body].to_vec();
        if let Some(database) = &mut database {
            database.read();
        }
        let response = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {api}\r\ncontent-length: {}\r\n\r\n",
            event.len()
        );
        runtime.write_all(&[response.as_bytes(), &event].concat()).unwrap();
        receive(&mut runtime, &mut buffer);
    }
}

/// Receives a response, and returns the lengths of its head and of its body.
fn receive(stream: &mut impl Read, buffer: &mut Vec<u8>) -> (usize, usize) {
    buffer.clear();
    let mut chunk = [0; 8192];
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = at + 4;
            let body = header(&buffer[..head], "content-length").parse().unwrap();
            if buffer.len() >= head + body {
                return (head, body);
            }
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the server closed the connection");
        buffer.extend_from_slice(&chunk[..count]);
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> &'a str {
    let lines = std::str::from_utf8(head).unwrap().lines();
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("0", |(_, value)| value)
}

struct Database {
    stream: StreamOwned<ClientConnection, TcpStream>,
    host: String,
    table: String,
    access_key: String,
    token: Option<String>,
    scope: String,
    signing_key: [u8; 32],
    date: String,
    buffer: Vec<u8>,
}

impl Database {
    fn open(variables: &Variables) -> Self {
        let get = |name| variables.get(name).unwrap();
        let host = get("AWS_ENDPOINT_URL_DYNAMODB").strip_prefix("https://").unwrap().to_owned();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.split(':').next().unwrap().to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(&host).unwrap();
        stream.set_nodelay(true).unwrap();
        // A benchmark runs for less than the five minutes for which a date is valid.
        let date = jiff::tz::Offset::UTC.to_datetime(jiff_now()).strftime("%Y%m%dT%H%M%SZ").to_string();
        let steps = [&date[..8], get("AWS_REGION"), "dynamodb", "aws4_request"];
        let secret = format!("AWS4{}", get("AWS_SECRET_ACCESS_KEY")).into_bytes();
        let key = steps.iter().fold(secret, |key, step| hmac(&key, step.as_bytes()).to_vec());
        Self {
            stream: StreamOwned::new(connection, stream),
            table: get(variable::TABLE).to_owned(),
            access_key: get("AWS_ACCESS_KEY_ID").to_owned(),
            token: variables.get("AWS_SESSION_TOKEN").map(str::to_owned),
            scope: steps.join("/"),
            signing_key: key.try_into().unwrap(),
            host,
            date,
            buffer: Vec::new(),
        }
    }

    fn read(&mut self) {
        let body = format!(
            r#"{{"TableName":"{}","Key":{{"pk":{{"S":"-"}},"sk":{{"S":"-"}}}},"ConsistentRead":true}}"#,
            self.table
        );
        let (date, host) = (&self.date, &self.host);
        let token =
            self.token.as_ref().map(|token| format!("x-amz-security-token:{token}\n")).unwrap_or_default();
        let names = if self.token.is_some() {
            "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
        } else {
            "content-type;host;x-amz-date;x-amz-target"
        };
        let headers = format!(
            "content-type:application/x-amz-json-1.0\nhost:{host}\nx-amz-date:{date}\n{token}x-amz-target:DynamoDB_20120810.GetItem\n"
        );
        let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", hex(&Sha256::digest(&body)));
        let scope = &self.scope;
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let signature = hex(&hmac(&self.signing_key, to_sign.as_bytes()));
        let request = format!(
            "POST / HTTP/1.1\r\n{}authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}\r\ncontent-length: {}\r\n\r\n{body}",
            headers.replace('\n', "\r\n"),
            self.access_key,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).unwrap();
        let (head, _) = receive(&mut self.stream, &mut self.buffer);
        assert!(self.buffer[..head].starts_with(b"HTTP/1.1 200"));
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark uses the system clock")]
fn jiff_now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(std::time::SystemTime::now()).unwrap()
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
