//! A clock that only the test advances.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use shared::domain::Clock;

/// A clock that starts at 2026-01-01T00:00:00Z.
pub struct TestClock(Mutex<Timestamp>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap()))
    }
}

impl TestClock {
    /// Advances the clock.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }

    /// Advances the clock by a number of seconds.
    pub fn advance_seconds(&self, seconds: i64) {
        self.advance(SignedDuration::from_secs(seconds));
    }

    /// Advances the clock by a number of days of 24 hours.
    pub fn advance_days(&self, days: i64) {
        self.advance(SignedDuration::from_hours(24 * days));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}
