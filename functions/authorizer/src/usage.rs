//! Notes the use of keys, after the decision: rarely, within a bound, and
//! without any say in it.
//!
//! The first allow of a key in each five minutes and instance adds one write,
//! which carries the allows since the one before. So does, in each minute, the
//! first refusal of a key that is presented after its end. A write that fails or
//! hangs costs 200 ms at most and is not tried again: what it carried is lost,
//! so that no use is ever counted twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use shared::domain::{AccountId, Clock, KeyId, utc_day};
use shared::store::{Store, USE_AFTER_END_INTERVAL};

/// How often the use of a key is written by one instance, at most.
const USES_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// How many keys an instance remembers, at most: some 400 KB of them. While it
/// knows so many and none has been quiet for long enough to be forgotten,
/// nothing is noted of further ones. So the writes are bounded as well.
const CAPACITY: usize = 4096;

/// How often it is looked which keys can be forgotten, at most.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// What notes the use of keys.
pub(crate) struct Usage {
    store: Store,
    clock: Arc<dyn Clock>,
    uses: Mutex<Recent>,
    uses_after_end: Mutex<Recent>,
}

/// What is to be noted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageKind {
    /// It was let in.
    Use,
    /// It was presented after its end.
    UseAfterEnd,
}

impl Usage {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            uses: Mutex::new(Recent::new(USES_EVERY)),
            uses_after_end: Mutex::new(Recent::new(USE_AFTER_END_INTERVAL)),
        }
    }

    /// Notes it, with a write if one is due.
    pub(crate) async fn note(&self, account: AccountId, key: KeyId, noted: UsageKind) {
        let now = self.clock.now();
        let recent = match noted {
            UsageKind::Use => &self.uses,
            UsageKind::UseAfterEnd => &self.uses_after_end,
        };
        let due = recent.lock().unwrap_or_else(PoisonError::into_inner).note(key, now);
        let Some(uses) = due else { return };
        let written = match noted {
            UsageKind::Use => self.store.record_uses(account, key, now, &uses).await,
            UsageKind::UseAfterEnd => self.store.record_use_after_end(account, key, now).await,
        };
        if let Err(error) = written {
            tracing::warn!(key_id = %key, cause = %error, "the use of a key was not recorded");
        }
    }
}

/// The keys that were noted lately.
struct Recent {
    every: SignedDuration,
    keys: HashMap<KeyId, Entry>,
    swept_at: Option<Timestamp>,
}

struct Entry {
    written_at: Timestamp,
    /// What has been noted since then, of each day. Of two or three days at
    /// most: whoever comes `every` after the last write takes it all along.
    pending: Vec<(Date, u64)>,
}

impl Recent {
    fn new(every: SignedDuration) -> Self {
        Self { every, keys: HashMap::new(), swept_at: None }
    }

    /// Notes a key. If a write is due, what it is to carry.
    fn note(&mut self, key: KeyId, now: Timestamp) -> Option<Vec<(Date, u64)>> {
        let day = utc_day(now);
        let Some(entry) = self.keys.get_mut(&key) else {
            if self.keys.len() >= CAPACITY && !self.make_room(now) {
                return None;
            }
            self.keys.insert(key, Entry { written_at: now, pending: Vec::new() });
            return Some(vec![(day, 1)]);
        };
        match entry.pending.iter_mut().find(|(noted, _)| *noted == day) {
            Some((_, many)) => *many = many.saturating_add(1),
            None => entry.pending.push((day, 1)),
        }
        if is_recent(entry.written_at, now, self.every) {
            return None;
        }
        entry.written_at = now;
        Some(std::mem::take(&mut entry.pending))
    }

    /// Forgets those that were written long enough ago. Whether that has made
    /// room.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if self.swept_at.is_some_and(|at| is_recent(at, now, SWEEP_EVERY)) {
            return false;
        }
        self.swept_at = Some(now);
        let every = self.every;
        self.keys.retain(|_, entry| is_recent(entry.written_at, now, every));
        self.keys.len() < CAPACITY
    }
}

/// Whether `at` is less than `every` away, in either direction: a clock may be
/// set back.
fn is_recent(at: Timestamp, now: Timestamp, every: SignedDuration) -> bool {
    now.duration_since(at).abs() < every
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> KeyId {
        KeyId::from_bare(&format!("{number:016}")).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_write_carries_what_was_noted_since_the_one_before_by_day() {
        let mut recent = Recent::new(USES_EVERY);
        let days = |days: &[(&str, u64)]| -> Option<Vec<(Date, u64)>> {
            Some(days.iter().map(|(day, many)| (day.parse().unwrap(), *many)).collect())
        };
        assert_eq!(recent.note(key(1), at("2026-01-01T23:57:00Z")), days(&[("2026-01-01", 1)]));
        assert_eq!(recent.note(key(1), at("2026-01-01T23:58:00Z")), None);
        assert_eq!(recent.note(key(2), at("2026-01-01T23:58:00Z")), days(&[("2026-01-01", 1)]));
        assert_eq!(recent.note(key(1), at("2026-01-02T00:01:59Z")), None);
        let carried = recent.note(key(1), at("2026-01-02T00:02:00Z"));
        assert_eq!(carried, days(&[("2026-01-01", 1), ("2026-01-02", 2)]));
        assert_eq!(recent.note(key(1), at("2026-01-02T00:06:59Z")), None);
        assert_eq!(recent.note(key(1), at("2026-01-02T00:07:00Z")), days(&[("2026-01-02", 2)]));
        // A clock that was set back far does not silence a key for long.
        assert_eq!(recent.note(key(1), at("2025-12-31T00:00:00Z")), days(&[("2025-12-31", 1)]));
    }

    #[test]
    fn it_remembers_so_many_keys_and_no_more() {
        let mut recent = Recent::new(USES_EVERY);
        let start = at("2026-01-01T00:00:00Z");
        let later = |seconds: i64| start + SignedDuration::from_secs(seconds);
        let writes = |recent: &mut Recent, keys: std::ops::Range<usize>, now: Timestamp| {
            keys.filter(|number| recent.note(key(*number), now).is_some()).count()
        };
        assert_eq!(writes(&mut recent, 0..2 * CAPACITY, start), CAPACITY);
        // Those that it does not know cost nothing until the others have been quiet.
        assert_eq!(writes(&mut recent, CAPACITY..2 * CAPACITY, later(299)), 0);
        assert_eq!(writes(&mut recent, CAPACITY..2 * CAPACITY, later(309)), CAPACITY);
        assert_eq!(recent.keys.len(), CAPACITY);
        assert_eq!(writes(&mut recent, 0..CAPACITY, later(320)), 0);
    }
}
