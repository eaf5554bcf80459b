//! The records of retired keys that were presented to this instance.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use shared::domain::{AccountId, ApiKey, KeyId};
use shared::store::RetiredCredential;

/// The maximum number of records that an instance reads per second. Without this limit,
/// every well-formed forged key would cost a second read.
const READS_PER_SECOND: u32 = 5;

/// The maximum number of records that an instance remembers.
const MAX_RECORDS: usize = 256;

/// The records of retired keys, and the limit for reading more. A record never changes and
/// never allows a request, so the instance can keep it.
#[derive(Default)]
pub(crate) struct RetiredKeys(Mutex<State>);

#[derive(Default)]
struct State {
    records: HashMap<(AccountId, KeyId), RetiredCredential>,
    second: i64,
    reads: u32,
}

impl RetiredKeys {
    /// The record with the ids of `key`, if it was read before.
    pub(crate) fn find(&self, key: &ApiKey) -> Option<RetiredCredential> {
        self.state().records.get(&(key.account, key.id)).cloned()
    }

    /// Whether one more record can be read at `now`.
    pub(crate) fn take_read(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        if state.second != now.as_second() {
            (state.second, state.reads) = (now.as_second(), 0);
        }
        let is_allowed = state.reads < READS_PER_SECOND;
        state.reads += u32::from(is_allowed);
        is_allowed
    }

    /// Remembers the record with the ids of `key`.
    pub(crate) fn remember(&self, key: &ApiKey, record: RetiredCredential) {
        let mut state = self.state();
        // Any record can be forgotten, because it can be read again.
        if state.records.len() >= MAX_RECORDS {
            state.records.clear();
        }
        state.records.insert((key.account, key.id), record);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
