//! The records of ended grants whose keys or tokens were presented to this instance.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::domain::{AccountId, GrantId};
use crate::store::RetiredCredential;

/// The maximum number of records that an instance reads per second. Without this limit,
/// every well-formed forged key would cost a second read.
const READS_PER_SECOND: u32 = 5;

/// The maximum number of records that an instance remembers.
const MAX_RECORDS: usize = 256;

/// The records of ended grants, and the limit for reading more. A record never changes and
/// never allows a request, so the instance can keep it.
#[derive(Default)]
pub(super) struct RetiredRecords(Mutex<State>);

#[derive(Default)]
struct State {
    records: HashMap<(AccountId, GrantId), RetiredCredential>,
    second: i64,
    reads: u32,
}

impl RetiredRecords {
    /// The record of a grant, if the record was read before.
    pub(super) fn find(&self, grant: (AccountId, GrantId)) -> Option<RetiredCredential> {
        self.state().records.get(&grant).cloned()
    }

    /// Whether one more record can be read at `now`.
    pub(super) fn take_read(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        if state.second != now.as_second() {
            (state.second, state.reads) = (now.as_second(), 0);
        }
        let is_allowed = state.reads < READS_PER_SECOND;
        state.reads += u32::from(is_allowed);
        is_allowed
    }

    /// Remembers the record of a grant.
    pub(super) fn remember(&self, grant: (AccountId, GrantId), record: RetiredCredential) {
        let mut state = self.state();
        // Any record can be forgotten, because it can be read again.
        if state.records.len() >= MAX_RECORDS {
            state.records.clear();
        }
        state.records.insert(grant, record);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
