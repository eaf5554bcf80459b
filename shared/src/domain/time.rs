//! The clock, as a parameter.

use jiff::Timestamp;

/// Where the time comes from. A test holds it still; a function asks the machine.
pub trait Clock: Send + Sync {
    /// The instant now.
    fn now(&self) -> Timestamp;
}

/// Text that is no instant.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an instant is written as RFC 3339 has it, such as 2026-01-31T12:00:00Z (in a URL, a + is %2B)")]
pub struct InvalidInstant;

/// Reads an instant (RFC 3339).
///
/// # Errors
/// When it is none.
pub fn parse_instant(text: &str) -> Result<Timestamp, InvalidInstant> {
    // The library also reads other forms, such as those without separators.
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let is_extended = separators.iter().all(|(at, separator)| bytes.get(*at) == Some(separator));
    if !is_extended || text.contains('[') {
        return Err(InvalidInstant);
    }
    text.parse().map_err(|_| InvalidInstant)
}

/// `at` in RFC 3339, to the second. Fractions are cut off.
#[must_use]
pub fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the Clock that asks the machine")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
