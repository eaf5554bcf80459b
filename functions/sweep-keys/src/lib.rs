//! The daily sweep. It goes through all accounts, gives notice of each key that
//! expires soon or that nobody uses, and moves expired keys to their records.
//!
//! It may be killed at any call and run at any time, twice at once too. A notice
//! is published, then marked as given, and only then is an expired key moved: a
//! notice can be given twice, under one id, and never not at all.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::IgnoredAny;
use shared::config::{ConfigError, Setup, variable};
use shared::domain::{Account, Clock, KeyId, LiveKey, Notice, NoticeKind};
use shared::notices::{NotPublished, Notices};
use shared::store::{AccountCursor, AccountToSweep, Store, StoreError};
use shared::telemetry;

/// It stops so long before Lambda would stop it: longer than one account takes,
/// whatever is slow.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// The function.
pub struct SweepKeys {
    store: Store,
    notices: Notices,
    clock: Arc<dyn Clock>,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Accounts that it looked at.
    pub accounts: usize,
    /// Notices that it gave.
    pub notices: usize,
    /// Expired keys that it moved to their records.
    pub retired_keys: usize,
    /// Whether it came to the last account. If not, the next sweep goes on where
    /// this one stopped.
    pub is_finished: bool,
}

/// Why a sweep did not do all that it should have.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The table cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// All accounts were looked at, and this many could not be swept. Each is
    /// in the log.
    #[error("{0} accounts could not be swept")]
    Accounts(usize),
}

/// Why one account could not be swept.
#[derive(Debug, thiserror::Error)]
enum AccountError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotPublished(#[from] NotPublished),
}

/// Runs as this Lambda function.
///
/// # Errors
/// When a variable is missing, or the runtime API cannot be reached.
pub async fn serve() -> Result<(), Error> {
    let setup = Setup::from_process();
    telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let function = SweepKeys::new(&setup)?;
    let function = &function;
    lambda_runtime::run(service_fn(|event: LambdaEvent<IgnoredAny>| async move {
        let stopped_at = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let stopped_at = Timestamp::from_millisecond(stopped_at).unwrap_or(Timestamp::MAX);
        let swept = function.sweep(stopped_at.saturating_sub(MARGIN).unwrap_or(stopped_at)).await;
        swept.map_err(|error| telemetry::cause(&error))
    }))
    .await
}

impl SweepKeys {
    /// Makes it from its setup. Nothing is called yet.
    ///
    /// # Errors
    /// When a variable that it needs is missing or not acceptable.
    pub fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, notices: setup.notices()?, clock: Arc::clone(&setup.clock) })
    }

    /// Sweeps all accounts, or until it is `until`. It begins where the last
    /// sweep stopped, and looks at one account at least.
    ///
    /// # Errors
    /// [`SweepError::Store`] where nothing was done behind some account, and
    /// [`SweepError::Accounts`] when all was done but for some accounts. Either
    /// way the next sweep does the rest.
    pub async fn sweep(&self, until: Timestamp) -> Result<Swept, SweepError> {
        let (mut swept, mut failed) = (Swept::default(), 0);
        let mut position = self.store.sweep_position().await?;
        loop {
            let page = self.store.accounts_to_sweep(position.as_ref()).await?;
            for AccountToSweep { position: account_position, account } in page.accounts {
                position = account_position.or(position);
                if let Err(error) = self.sweep_found(account, &mut swept).await {
                    failed += 1;
                    tracing::error!(cause = %error, "account not swept");
                }
                swept.accounts += 1;
                if self.clock.now() >= until {
                    return self.stop(position, swept, failed).await;
                }
            }
            position = page.next;
            if position.is_none() {
                swept.is_finished = true;
                return self.stop(None, swept, failed).await;
            }
        }
    }

    /// Ends a sweep: the next one begins at `position`.
    async fn stop(
        &self,
        position: Option<AccountCursor>,
        swept: Swept,
        failed: usize,
    ) -> Result<Swept, SweepError> {
        self.store.save_sweep_position(position.as_ref()).await?;
        let Swept { accounts, notices, retired_keys, is_finished } = swept;
        tracing::info!(accounts, notices, retired_keys, is_finished, failed, "swept");
        if failed == 0 { Ok(swept) } else { Err(SweepError::Accounts(failed)) }
    }

    async fn sweep_found(
        &self,
        account: Result<Account, StoreError>,
        swept: &mut Swept,
    ) -> Result<(), AccountError> {
        let listed = account?;
        swept.notices += self.give_notices(&listed).await?;
        let now = self.clock.now();
        if listed.keys.iter().any(|key| key.ended(now).is_some()) {
            swept.retired_keys += self.store.prune_keys(listed.id).await?;
        }
        Ok(())
    }

    /// Gives the notices that are due and were not given yet. `listed` is the
    /// account as the index has it, which says whether to look any closer.
    async fn give_notices(&self, listed: &Account) -> Result<usize, AccountError> {
        let now = self.clock.now();
        // A key that was used is no more due than one that never was.
        if listed.keys.iter().all(|key| Notice::due(key, None, now).is_empty()) {
            return Ok(0);
        }
        let given = self.store.published_notices(listed.id).await?;
        let last_uses = self.last_uses(listed, now).await?;
        let is_new = |notice: &Notice| !given.contains(&notice.id());
        if due(&listed.keys, &last_uses, now).all(|(_, notice)| !is_new(&notice)) {
            return Ok(0);
        }
        // It may have been revoked meanwhile.
        let Some(account) = self.store.find_account(listed.id).await? else {
            return Ok(0);
        };
        let notices = due(&account.keys, &last_uses, now).filter(|(_, notice)| is_new(notice)).collect();
        let (published, outcome) = self.notices.publish(&account, notices).await;
        let expiries: HashMap<KeyId, Timestamp> =
            account.keys.iter().map(|key| (key.id, key.spec.expires_at)).collect();
        let marks: Vec<_> = published
            .iter()
            .map(|notice| (notice.id(), expiries.get(&notice.key).copied().unwrap_or(now)))
            .collect();
        for (id, _) in &marks {
            tracing::info!(notice = id, account_id = %account.id, "notice given");
        }
        self.store.mark_published(account.id, &marks).await?;
        outcome?;
        Ok(marks.len())
    }

    /// When the keys of an account were last used, if any is old enough for that
    /// to matter.
    async fn last_uses(
        &self,
        account: &Account,
        now: Timestamp,
    ) -> Result<HashMap<KeyId, Timestamp>, StoreError> {
        let is_unused = |notice: &Notice| matches!(notice.kind, NoticeKind::Unused { .. });
        let matters = |key: &LiveKey| Notice::due(key, None, now).iter().any(is_unused);
        if account.keys.iter().any(matters) {
            self.store.last_uses(account.id).await
        } else {
            Ok(HashMap::new())
        }
    }
}

/// The notices that are due of these keys.
fn due<'a>(
    keys: &'a [LiveKey],
    last_uses: &HashMap<KeyId, Timestamp>,
    now: Timestamp,
) -> impl Iterator<Item = (&'a LiveKey, Notice)> {
    keys.iter().flat_map(move |key| {
        let notices = Notice::due(key, last_uses.get(&key.id).copied(), now);
        notices.into_iter().map(move |notice| (key, notice))
    })
}
