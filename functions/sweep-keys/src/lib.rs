//! The daily sweep. It checks all accounts, publishes a notice for each key that
//! expires soon or is unused, stores which keys are unused, moves expired keys to their
//! records, and corrects wrong entries in the directory of accounts. It also deletes tools of
//! protected APIs that requests to change them left over.
//!
//! The function can be stopped at any call, and two sweeps can run at the same time. It
//! publishes a notice, then marks the notice as published, and only then moves an expired
//! key. So a notice can be published twice, with the same id, but is never lost.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::IgnoredAny;
use shared::config::{ConfigError, Setup, variable};
use shared::domain::{Account, Clock, GrantId, KeyId, LiveKey, Notice, unused_since};
use shared::notices::Notices;
use shared::store::{AccountToSweep, CompletedSweep, LastUse, ListedEntries, Store, StoreError, SweepState};
use shared::telemetry;

/// The time left before Lambda's deadline when a sweep stops. One account takes less,
/// even if all calls are slow.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

pub struct SweepKeys {
    store: Store,
    notices: Notices,
    clock: Arc<dyn Clock>,
}

/// The summary of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepSummary {
    /// The number of checked accounts.
    pub accounts: usize,
    /// The number of published notices.
    pub notices: usize,
    /// The number of live keys of enabled accounts that are unused.
    pub unused_keys: usize,
    /// The number of keys that were moved to their records.
    pub retired_keys: usize,
    /// The number of wrong entries in the directory that were corrected.
    pub corrected_entries: usize,
    /// The number of unused builds of protected APIs that were deleted.
    pub deleted_builds: usize,
    /// Whether the sweep reached the last account. If not, the next sweep continues
    /// where this one stopped.
    pub is_finished: bool,
}

/// Why a sweep is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A call to the table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sweep skipped this many accounts. Each has an error in the log.
    #[error("{0} accounts could not be swept")]
    Accounts(usize),
}

/// Runs the Lambda function.
pub async fn serve() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let function = &SweepKeys::new(&setup)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<IgnoredAny>| async move {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let deadline = Timestamp::from_millisecond(deadline).unwrap_or(Timestamp::MAX);
        let summary = function.sweep(deadline.saturating_sub(MARGIN).unwrap_or(deadline)).await;
        summary.map_err(|error| telemetry::cause(&error))
    }))
    .await
}

impl SweepKeys {
    /// Creates the function. Does no I/O.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, notices: setup.notices()?, clock: Arc::clone(&setup.clock) })
    }

    /// Sweeps accounts until the last account or the instant `until`, but at least one
    /// account. Starts where the last sweep stopped.
    ///
    /// # Errors
    /// [`SweepError::Store`] if the sweep stopped early, and [`SweepError::Accounts`]
    /// if it skipped accounts. The next sweep does the rest.
    pub async fn sweep(&self, until: Timestamp) -> Result<SweepSummary, SweepError> {
        let (mut summary, mut failed) = (SweepSummary::default(), 0);
        let now = self.clock.now();
        summary.deleted_builds = self.delete_unused_builds().await;
        let mut state = self.store.sweep_state().await?;
        let mut position = state.position.take();
        // A sweep that continues began with the first account on an earlier day.
        state.started_at = state.started_at.filter(|_| position.is_some()).or(Some(now));
        let entries = self.store.listed_entries().await?;
        loop {
            let page = self.store.accounts_to_sweep(position.as_ref()).await?;
            for AccountToSweep { position: account_position, account } in page.accounts {
                position = account_position.or(position);
                if let Err(error) = self.sweep_account(account, &entries, &mut summary).await {
                    failed += 1;
                    tracing::error!(cause = %error, "an account could not be swept");
                }
                summary.accounts += 1;
                if self.clock.now() >= until {
                    return self.stop(SweepState { position, ..state }, summary, failed).await;
                }
            }
            position = page.next;
            if position.is_none() {
                summary.is_finished = true;
                let completed = CompletedSweep {
                    started_at: state.started_at.unwrap_or(now),
                    ended_at: self.clock.now(),
                };
                let state = SweepState { completed: Some(completed), ..state };
                return self.stop(state, summary, failed).await;
            }
        }
    }

    /// Ends this sweep. The next one starts at the position of `state`.
    async fn stop(
        &self,
        state: SweepState,
        summary: SweepSummary,
        failed: usize,
    ) -> Result<SweepSummary, SweepError> {
        self.store.save_sweep_state(&state).await?;
        let SweepSummary {
            accounts,
            notices,
            unused_keys,
            retired_keys,
            corrected_entries,
            deleted_builds,
            is_finished,
        } = summary;
        tracing::info!(
            accounts,
            notices,
            unused_keys,
            retired_keys,
            corrected_entries,
            deleted_builds,
            is_finished,
            failed,
            "swept"
        );
        if failed == 0 { Ok(summary) } else { Err(SweepError::Accounts(failed)) }
    }

    /// Deletes the unused builds of protected APIs, and returns their number. A failure does not
    /// stop the sweep of accounts: the next sweep tries again.
    async fn delete_unused_builds(&self) -> usize {
        self.store.delete_unused_builds(None).await.unwrap_or_else(|cause| {
            tracing::error!(%cause, "unused tools of protected APIs could not be deleted");
            0
        })
    }

    async fn sweep_account(
        &self,
        account: Result<Account, StoreError>,
        entries: &ListedEntries,
        summary: &mut SweepSummary,
    ) -> Result<(), Error> {
        let listed = account?;
        let now = self.clock.now();
        let last_uses = self.last_uses(&listed, now).await?;
        summary.notices += self.publish_notices(&listed, &last_uses).await?;
        summary.unused_keys += self.mark_unused(&listed, &last_uses, now).await?;
        // The removal of grants corrects the entry too.
        let has_ended = listed.keys.iter().any(|key| key.ended(now).is_some())
            || listed.identities.iter().any(|identity| identity.ended(now).is_some());
        if has_ended {
            summary.retired_keys += self.store.prune_grants(listed.id).await?;
        } else if !entries.contains(&listed) {
            summary.corrected_entries += usize::from(self.store.correct_entry(listed.id).await?);
        }
        Ok(())
    }

    /// Stores which keys are unused, and returns their number. The keys of a disabled account
    /// do not count: the account itself needs attention.
    async fn mark_unused(
        &self,
        listed: &Account,
        last_uses: &HashMap<GrantId, LastUse>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let unused = |key: &LiveKey| Some((key.id, unused_since(key, last_use(last_uses, key.id), now)?));
        let unused: Vec<_> = listed.keys.iter().filter(|_| listed.enabled).filter_map(unused).collect();
        self.store.mark_unused(listed.id, &unused).await?;
        Ok(unused.len())
    }

    /// Publishes the notices that are due and not yet published, and returns their number.
    /// `listed` is the account in the index, which is enough to see whether a notice can
    /// be due.
    async fn publish_notices(
        &self,
        listed: &Account,
        last_uses: &HashMap<GrantId, LastUse>,
    ) -> Result<usize, Error> {
        let now = self.clock.now();
        // Usage can only make fewer notices due.
        if listed.keys.iter().all(|key| Notice::due(key, None, now).is_empty()) {
            return Ok(0);
        }
        let earlier = self.store.published_notices(listed.id).await?;
        let is_new = |notice: &Notice| !earlier.contains(&notice.id());
        if due(&listed.keys, last_uses, now).all(|(_, notice)| !is_new(&notice)) {
            return Ok(0);
        }
        // A key could have been revoked since the index was read.
        let Some(account) = self.store.find_account(listed.id).await? else {
            return Ok(0);
        };
        let notices = due(&account.keys, last_uses, now).filter(|(_, notice)| is_new(notice)).collect();
        let (published, outcome) = self.notices.publish(&account, notices).await;
        let marks: Vec<_> =
            published.iter().map(|(key, notice)| (notice.id(), key.spec.expires_at)).collect();
        for (id, _) in &marks {
            tracing::info!(notice = id, account_id = %account.id, "notice published");
        }
        self.store.mark_published(account.id, &marks).await?;
        outcome?;
        Ok(marks.len())
    }

    /// Reads the last use of an account's keys, if any key is old enough to count as
    /// unused.
    async fn last_uses(
        &self,
        account: &Account,
        now: Timestamp,
    ) -> Result<HashMap<GrantId, LastUse>, StoreError> {
        if account.keys.iter().any(|key| unused_since(key, None, now).is_some()) {
            self.store.last_uses(account.id).await
        } else {
            Ok(HashMap::new())
        }
    }
}

/// The notices that are due for these keys.
fn due<'a>(
    keys: &'a [LiveKey],
    last_uses: &HashMap<GrantId, LastUse>,
    now: Timestamp,
) -> impl Iterator<Item = (&'a LiveKey, Notice)> {
    keys.iter().flat_map(move |key| {
        let notices = Notice::due(key, last_use(last_uses, key.id), now);
        notices.into_iter().map(move |notice| (key, notice))
    })
}

/// When a key was last used, if ever.
fn last_use(last_uses: &HashMap<GrantId, LastUse>, key: KeyId) -> Option<Timestamp> {
    last_uses.get(&key.into()).and_then(|last_use| last_use.last_used_at)
}
