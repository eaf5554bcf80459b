//! The activity of grants. Only the authorizer writes activity. Activity has its own items,
//! so that the authorizer needs no right to write accounts or records of ended grants.
//!
//! A write is billed by the size of its item, so counts have one small item for each grant
//! and day, separate from the requests and routes.

mod read;
mod write;

pub use read::{AccountActivity, LastUse};
pub use write::{ActivityWrite, Tally};
