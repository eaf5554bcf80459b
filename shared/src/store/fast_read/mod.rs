//! Reads of one item at a quarter of the SDK's CPU time.
//!
//! An authorization is one read, and through the SDK that read costs four times as
//! much CPU time as everything else. A [`FastRead`] keeps connections open, keeps the
//! signing key of a day, and borrows the item from the response. It knows one
//! operation and one form of response. For anything else, it returns a [`Failure`], and the
//! SDK makes the read ([`super::get_item`]).

mod connection;
mod json;
mod signature;

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use super::codec::Reader;
use super::get_item::{FromItem, GetItem};
use crate::domain::Clock;
use crate::network::{Connect, Server};
use crate::time_limit::TimeLimit;

pub(super) use connection::Failure;
use connection::{Connection, Response};
use json::GetItemOutput;
use signature::{AmzDate, DATE, Signer};

const SERVICE: &str = "dynamodb";
const TARGET: &str = "DynamoDB_20120810.GetItem";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// The default time limit of one read, including a new connection. A connection that
/// died unnoticed costs this much before the SDK takes over.
pub const FAST_READ_LIMIT: Duration = Duration::from_millis(300);

/// The maximum number of open connections. More reads than this wait for each other.
const MAX_CONNECTIONS: usize = 16;

/// The difference between DynamoDB's clock and ours, in seconds, from which requests are
/// dated by DynamoDB's clock. A signature is valid for five minutes before and after its
/// date.
const MIN_SKEW_SECONDS: i64 = 240;

/// Seconds between two log lines that say that the SDK takes over.
const WARNING_INTERVAL_SECONDS: i64 = 60;

/// How fast reads reach DynamoDB.
#[derive(Clone)]
pub struct FastReads {
    /// Opens the connections.
    pub connect: Arc<dyn Connect>,
    /// The time limit of one read. See [`FAST_READ_LIMIT`].
    pub limit: Duration,
}

/// Makes fast reads of one table's service endpoint.
pub(super) struct FastRead {
    connect: Arc<dyn Connect>,
    limit: TimeLimit,
    server: Server,
    authority: String,
    region: String,
    credentials: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    /// The idle connections.
    connections: Mutex<Vec<Connection>>,
    permits: Semaphore,
    /// The signer of the current credentials and day.
    signer: Mutex<Option<Arc<Signer>>>,
    /// Seconds by which DynamoDB's clock is ahead of ours.
    skew_seconds: AtomicI64,
    /// When the log last said that the SDK takes over, in epoch seconds.
    warned_at: AtomicI64,
}

/// A read that the SDK must make.
pub(super) struct Unanswered {
    pub(super) cause: Failure,
    /// The number of requests that were sent, or about to be sent.
    pub(super) attempts: u32,
}

impl FastRead {
    /// `None` for an endpoint that only the SDK can use, such as one with a path.
    pub(super) fn new(config: &SdkConfig, reads: FastReads, clock: Arc<dyn Clock>) -> Option<Self> {
        let server = Server::parse(&endpoint(config)?)?;
        Some(Self {
            connect: reads.connect,
            limit: TimeLimit::new(reads.limit),
            authority: server.authority(),
            server,
            region: config.region()?.to_string(),
            credentials: config.credentials_provider()?,
            clock,
            connections: Mutex::default(),
            permits: Semaphore::new(MAX_CONNECTIONS),
            signer: Mutex::default(),
            skew_seconds: AtomicI64::new(0),
            warned_at: AtomicI64::new(0),
        })
    }

    /// Makes the read `request` and returns the value of the item, if the item exists.
    pub(super) async fn get<T: FromItem<A>, A: Copy>(
        &self,
        request: &GetItem<'_>,
        arguments: A,
    ) -> Result<Option<T>, Unanswered> {
        let mut attempts = 1;
        let read = async {
            match self.attempt(request, arguments).await {
                Err(failure) if self.correct_skew(&failure) => {
                    attempts = 2;
                    self.attempt(request, arguments).await
                }
                result => result,
            }
        };
        let result = self.limit.apply(pin!(read)).await.unwrap_or(Err(Failure::TooSlow));
        result.map_err(|cause| Unanswered { cause, attempts })
    }

    /// Logs that the SDK takes over, at most once a minute: after a freeze, that is normal.
    pub(super) fn warn(&self, cause: &Failure) {
        let now = self.clock.now().as_second();
        let last = self.warned_at.swap(now, Ordering::Relaxed);
        if now.saturating_sub(last).abs() < WARNING_INTERVAL_SECONDS {
            self.warned_at.store(last, Ordering::Relaxed);
        } else {
            tracing::warn!(cause = %cause, "the SDK made a read, because a fast read got no usable response");
        }
    }

    async fn attempt<T: FromItem<A>, A>(
        &self,
        request: &GetItem<'_>,
        arguments: A,
    ) -> Result<Option<T>, Failure> {
        let _permit = self.permits.acquire().await.map_err(std::io::Error::other)?;
        let (idle, (signer, date)) = (self.take_connection(), self.signer().await?);
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::new(self.connect.connect(&self.server).await?),
        };
        let response = connection.send(&signer.request(date, &request.body())).await?;
        let result = interpret(&connection, &response, arguments);
        if response.is_reusable() {
            self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        result
    }

    /// An idle connection that can be used, if there is one. The others are closed.
    fn take_connection(&self) -> Option<Connection> {
        let mut idle = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_secs(self.skew_seconds.load(Ordering::Relaxed));
        let now = self.clock.now();
        now.checked_add(skew).unwrap_or(now)
    }

    /// The signer of the current credentials and day, and the instant to sign.
    async fn signer(&self) -> Result<(Arc<Signer>, AmzDate), Failure> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|_| Failure::Credentials)?;
        let date = AmzDate::new(self.now());
        let mut cached = self.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = cached.as_ref().filter(|signer| signer.is_for(&credentials, date)) {
            return Ok((Arc::clone(signer), date));
        }
        let mut headers = vec![
            ("content-type", CONTENT_TYPE),
            ("host", &*self.authority),
            (DATE, ""),
            ("x-amz-target", TARGET),
        ];
        if let Some(token) = credentials.session_token() {
            headers.insert(3, ("x-amz-security-token", token));
        }
        let signer = Arc::new(Signer::new(&credentials, date, &self.region, SERVICE, &headers));
        Ok((Arc::clone(cached.insert(signer)), date))
    }

    /// Dates the next requests by DynamoDB's clock if a refused request shows that it
    /// differs from ours. Returns whether that changes anything.
    fn correct_skew(&self, failure: &Failure) -> bool {
        let Failure::Status { status: 400 | 403, server_time: Some(server_time) } = failure else {
            return false;
        };
        let known = self.skew_seconds.load(Ordering::Relaxed);
        let skew = server_time.as_second().saturating_sub(self.clock.now().as_second());
        let is_news = skew.abs_diff(known) >= MIN_SKEW_SECONDS.unsigned_abs();
        is_news
            && self.skew_seconds.compare_exchange(known, skew, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn interpret<T: FromItem<A>, A>(
    connection: &Connection,
    response: &Response,
    arguments: A,
) -> Result<Option<T>, Failure> {
    if response.status() != 200 {
        return Err(Failure::Status { status: response.status(), server_time: response.date() });
    }
    // One check of the whole text is faster than one of each string.
    let body = std::str::from_utf8(connection.body(response)).map_err(|_| Failure::Form)?;
    let output: GetItemOutput<'_> = serde_json::from_str(body).map_err(|_| Failure::Form)?;
    let value = output.item.map(|item| T::from_item(Reader(&item), arguments)).transpose();
    value.map_err(Failure::Malformed)
}

/// The endpoint's URL, as the SDK resolves it.
fn endpoint(config: &SdkConfig) -> Option<String> {
    let params = Params::builder()
        .set_region(config.region().map(ToString::to_string))
        .set_endpoint(config.endpoint_url().map(str::to_owned))
        .use_fips(config.use_fips().unwrap_or_default())
        .use_dual_stack(config.use_dual_stack().unwrap_or_default())
        .build()
        .ok()?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).now_or_never()?.ok()?;
    Some(endpoint.url().to_owned())
}
