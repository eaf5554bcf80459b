//! The daily sweep. It checks all accounts, publishes a notice for each key that
//! expires soon or is unused, and moves expired keys to their records.
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
use shared::domain::{Account, Clock, KeyId, LiveKey, Notice, NoticeKind};
use shared::notices::Notices;
use shared::store::{AccountCursor, AccountToSweep, LastUse, Store, StoreError};
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
    /// The number of keys that were moved to their records.
    pub retired_keys: usize,
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
        let mut position = self.store.sweep_position().await?;
        loop {
            let page = self.store.accounts_to_sweep(position.as_ref()).await?;
            for AccountToSweep { position: account_position, account } in page.accounts {
                position = account_position.or(position);
                if let Err(error) = self.sweep_account(account, &mut summary).await {
                    failed += 1;
                    tracing::error!(cause = %error, "an account could not be swept");
                }
                summary.accounts += 1;
                if self.clock.now() >= until {
                    return self.stop(position, summary, failed).await;
                }
            }
            position = page.next;
            if position.is_none() {
                summary.is_finished = true;
                return self.stop(None, summary, failed).await;
            }
        }
    }

    /// Ends this sweep. The next one starts at `position`.
    async fn stop(
        &self,
        position: Option<AccountCursor>,
        summary: SweepSummary,
        failed: usize,
    ) -> Result<SweepSummary, SweepError> {
        self.store.save_sweep_position(position.as_ref()).await?;
        let SweepSummary { accounts, notices, retired_keys, is_finished } = summary;
        tracing::info!(accounts, notices, retired_keys, is_finished, failed, "swept");
        if failed == 0 { Ok(summary) } else { Err(SweepError::Accounts(failed)) }
    }

    async fn sweep_account(
        &self,
        account: Result<Account, StoreError>,
        summary: &mut SweepSummary,
    ) -> Result<(), Error> {
        let listed = account?;
        summary.notices += self.publish_notices(&listed).await?;
        let now = self.clock.now();
        if listed.keys.iter().any(|key| key.ended(now).is_some()) {
            summary.retired_keys += self.store.prune_keys(listed.id).await?;
        }
        Ok(())
    }

    /// Publishes the notices that are due and not yet published, and returns their number.
    /// `listed` is the account in the index, which is enough to see whether a notice can
    /// be due.
    async fn publish_notices(&self, listed: &Account) -> Result<usize, Error> {
        let now = self.clock.now();
        // Usage can only make fewer notices due.
        if listed.keys.iter().all(|key| Notice::due(key, None, now).is_empty()) {
            return Ok(0);
        }
        let earlier = self.store.published_notices(listed.id).await?;
        let last_uses = self.last_uses(listed, now).await?;
        let is_new = |notice: &Notice| !earlier.contains(&notice.id());
        if due(&listed.keys, &last_uses, now).all(|(_, notice)| !is_new(&notice)) {
            return Ok(0);
        }
        // A key could have been revoked since the index was read.
        let Some(account) = self.store.find_account(listed.id).await? else {
            return Ok(0);
        };
        let notices = due(&account.keys, &last_uses, now).filter(|(_, notice)| is_new(notice)).collect();
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
    ) -> Result<HashMap<KeyId, LastUse>, StoreError> {
        let is_unused = |notice: &Notice| matches!(notice.kind, NoticeKind::Unused { .. });
        let matters = |key: &LiveKey| Notice::due(key, None, now).iter().any(is_unused);
        if account.keys.iter().any(matters) {
            self.store.last_uses(account.id).await
        } else {
            Ok(HashMap::new())
        }
    }
}

/// The notices that are due for these keys.
fn due<'a>(
    keys: &'a [LiveKey],
    last_uses: &HashMap<KeyId, LastUse>,
    now: Timestamp,
) -> impl Iterator<Item = (&'a LiveKey, Notice)> {
    keys.iter().flat_map(move |key| {
        let notices =
            Notice::due(key, last_uses.get(&key.id).and_then(|last_use| last_use.last_used_at), now);
        notices.into_iter().map(move |notice| (key, notice))
    })
}
