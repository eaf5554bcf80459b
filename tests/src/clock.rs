//! A clock that stands still until a test moves it.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use shared::domain::Clock;

/// Stands at 2026-01-01T00:00:00Z at first.
pub struct TestClock(Mutex<Timestamp>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap()))
    }
}

impl TestClock {
    /// Moves it on.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }

    /// Moves it on by so many seconds.
    pub fn advance_seconds(&self, seconds: i64) {
        self.advance(SignedDuration::from_secs(seconds));
    }

    /// Moves it on by so many days.
    pub fn advance_days(&self, days: i64) {
        self.advance(SignedDuration::from_hours(24 * days));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}
