//! Counts the requests of each grant and records the most recent ones.
//!
//! [`Ledger`] keeps the counts of this instance in memory and decides what to write and
//! when. A write makes one attempt of at most 200 ms. A failed attempt is not repeated,
//! because it may have reached the table, and counts must never exceed the true numbers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;

use super::{ActivityWrite, Ledger, Observation};
use crate::store::Store;

/// The maximum number of concurrent writes.
const WRITES_AT_A_TIME: usize = 16;

/// The time limit for the writes of an instance that ends. Lambda ends the process
/// 500 ms after the signal.
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>)
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(450);

/// Counts and records the requests that this instance decides on.
pub struct ActivityRecorder {
    store: Store,
    ledger: Mutex<Ledger>,
}

impl ActivityRecorder {
    /// A recorder that has counted nothing yet.
    pub fn new(store: Store) -> Self {
        Self { store, ledger: Mutex::new(Ledger::default()) }
    }

    /// Counts a request, and makes the writes that are due.
    pub async fn record(&self, observation: Observation, now: Timestamp) {
        let writes = self.ledger().record(observation, now);
        self.write(writes).await;
    }

    /// Makes all pending writes. Stops after 450 ms.
    pub async fn flush(&self) {
        let writes = self.ledger().take_pending();
        if tokio::time::timeout(SHUTDOWN_LIMIT, self.write(writes)).await.is_err() {
            tracing::warn!(cause = "the time limit was reached", "activity could not be written");
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, writes: Vec<ActivityWrite>) {
        let write = async |write: ActivityWrite| {
            if let Err(error) = self.store.write_activity(&write).await {
                tracing::warn!(cause = %error, "activity could not be written");
            }
        };
        futures::stream::iter(writes).for_each_concurrent(WRITES_AT_A_TIME, write).await;
    }
}
