//! Access reviews: an admin confirms that an account still needs its access, or that the
//! access should be reduced.

use jiff::Timestamp;

use super::{Actor, ReviewId, ReviewNote, named_enum};

named_enum! {
    /// The answer of a review. It changes nothing else.
    pub enum ReviewDecision {
        /// The account needs its access.
        Keep = "keep",
        /// The account needs less access.
        Narrow = "narrow",
        /// The account needs no access.
        Revoke = "revoke",
    }
}

/// A review to record.
#[derive(Clone, Debug)]
pub struct NewReview {
    pub decision: ReviewDecision,
    pub note: ReviewNote,
}

/// A recorded review of an account's access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub id: ReviewId,
    pub at: Timestamp,
    /// The admin who reviewed the access.
    pub by: Actor,
    pub decision: ReviewDecision,
    /// Can be empty.
    pub note: ReviewNote,
}
