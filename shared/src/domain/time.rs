//! The clock, as a parameter.

use jiff::Timestamp;

/// Where the time comes from. A test holds it still; a function asks the machine.
pub trait Clock: Send + Sync {
    /// The instant now.
    fn now(&self) -> Timestamp;
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
