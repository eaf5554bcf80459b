//! The precision of instants in responses.

use jiff::Timestamp;
use serde::Serializer;

/// Serializes an instant to the second.
pub(super) fn seconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.0}"))
}

/// Serializes an optional instant to the second.
#[allow(clippy::ref_option, reason = "serde passes a field by reference")]
pub(super) fn optional_seconds<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => seconds(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// Serializes an instant to the millisecond.
pub(super) fn milliseconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

/// Serializes an optional instant to the millisecond.
#[allow(clippy::ref_option, reason = "serde passes a field by reference")]
pub(super) fn optional_milliseconds<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => milliseconds(at, serializer),
        None => serializer.serialize_none(),
    }
}
