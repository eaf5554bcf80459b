//! The activity of grants. The authorizer writes the activity of requests, and `exchange-token` that
//! of the credentials and tool calls that it refuses, which the authorizer does not see. Activity
//! has its own items, so that these functions need no right to write accounts or records of ended
//! grants.
//!
//! A write is billed by the size of its item, so counts have one small item for each grant
//! and day, separate from the requests and routes.

mod ledger;
mod read;
mod recorder;
mod write;

pub use ledger::{Ledger, Observation};
pub use read::{AccountActivity, LastUse};
pub use recorder::ActivityRecorder;
pub use write::{ActivityWrite, Tally};
