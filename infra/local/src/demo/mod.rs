//! `cargo dev --demo`: a made-up company that has used Keyward for fifteen weeks.
//!
//! [`company`] lists what exists, [`schedule`] puts it in the order of time, and
//! [`player`] makes it happen with the functions of local mode and a clock of its own. So the data
//! is what the functions write, and only the ids and secrets differ between two starts at
//! the same time.

mod company;
mod player;
mod sample;
mod schedule;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use secrecy::SecretString;
use shared::domain::{AccountId, Clock};

use crate::gateway::Gateway;
use schedule::Step;

pub(crate) use company::{API, FIRST_ACCOUNT, NOT_WRITABLE, READABLE};
pub(crate) use sample::answer;

tokio::task_local! {
    /// The time of the current request.
    static REQUEST_TIME: Timestamp;
}

/// The clock of the functions that create the demo data. Requests of several keys are sent
/// at once, so each has its own time.
#[derive(Default)]
pub(crate) struct DemoClock(AtomicI64);

impl DemoClock {
    fn set(&self, now: Timestamp) {
        self.0.store(now.as_millisecond(), Ordering::SeqCst);
    }
}

impl Clock for DemoClock {
    fn now(&self) -> Timestamp {
        let now = || Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap_or_default();
        REQUEST_TIME.try_with(|time| *time).unwrap_or_else(|_| now())
    }
}

/// What the start-up text shows.
pub(crate) struct Demo {
    /// The account to look at first.
    pub(crate) account: AccountId,
    /// A key of this account. No other secret of a demo key leaves this module.
    pub(crate) key: SecretString,
}

/// Why the demo data could not be created.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct DemoError {
    step: String,
    cause: String,
}

/// Creates the demo data up to `now`. The functions of `gateway`, which is at `url`, use `clock`.
pub(crate) async fn create(
    gateway: &Gateway,
    url: &str,
    clock: &DemoClock,
    now: Timestamp,
) -> Result<Demo, DemoError> {
    let mut player = player::Player::new(gateway, url);
    // The requests since the last action, by key.
    let mut requests = BTreeMap::<_, Vec<_>>::new();
    for (at, step) in schedule::steps(now) {
        match step {
            Step::Request(request) => requests.entry(request.key).or_default().push((at, request)),
            Step::Action(action) => {
                player.send(std::mem::take(&mut requests)).await?;
                clock.set(at);
                player.act(&action).await?;
            }
        }
    }
    player.send(requests).await?;
    clock.set(now);
    player.finish().await
}
