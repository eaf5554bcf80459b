//! The clock, which is passed as a parameter, and the text form of instants.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

/// A clock. Functions use the system clock, and tests use a clock that they control.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// Text that is not an instant in RFC 3339 format.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be an RFC 3339 date and time such as 2026-01-31T12:00:00Z (in a URL, write + as %2B)")]
pub struct InvalidInstant;

/// Parses an instant in RFC 3339 format.
///
/// # Errors
/// The text has another format.
pub fn parse_instant(text: &str) -> Result<Timestamp, InvalidInstant> {
    // The library also accepts other formats, such as one without separators.
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let is_extended = separators.iter().all(|(at, separator)| bytes.get(*at) == Some(separator));
    if !is_extended || text.contains('[') {
        return Err(InvalidInstant);
    }
    text.parse().map_err(|_| InvalidInstant)
}

/// The day of an instant, in UTC.
pub fn utc_day(at: Timestamp) -> Date {
    Offset::UTC.to_datetime(at).date()
}

/// Formats `at` as RFC 3339, to the second. Fractions are truncated.
pub fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// The system clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the only use of the system clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
