//! Publishes notices on `EventBridge`'s default bus. Only this module uses
//! `aws_sdk_eventbridge`.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use serde::Serialize;

use crate::domain::{Account, Environment, LiveKey, Notice, NoticeKind, UNUSED_NOTICE_DAYS, seconds};
use crate::telemetry;

/// The `detail-type` of a notice about an expiry.
const EXPIRES_SOON: &str = "Key Expires Soon";
/// The `detail-type` of a notice about an unused key.
const UNUSED: &str = "Key Unused";

/// The maximum number of entries in one `PutEvents` request.
const BATCH: usize = 10;
/// The maximum number of times that an entry is sent.
const ATTEMPTS: u32 = 4;
/// The pause before entries are sent a second time. It doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The publisher of notices. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    client: Client,
    environment: Environment,
}

/// Some notices were not published.
#[derive(Debug, thiserror::Error)]
#[error("{number} notices were not published: {cause}")]
pub struct NotPublished {
    number: usize,
    cause: String,
}

/// The detail of a notice, as subscribers receive it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    id: &'a str,
    /// The notice in words, with what to do.
    message: String,
    environment: &'a str,
    service_account_id: String,
    service_account_name: &'a str,
    owner: &'a str,
    key_id: String,
    key_name: &'a str,
    created_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    within_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unused_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
}

impl Notices {
    /// Creates a publisher. Does not connect yet.
    pub fn connect(config: &SdkConfig, environment: Environment) -> Self {
        Self { client: Client::new(config), environment }
    }

    /// Publishes notices about keys of `account`. Returns the published notices, and an
    /// error if there are others.
    pub async fn publish<'a>(
        &self,
        account: &Account,
        notices: Vec<(&'a LiveKey, Notice)>,
    ) -> (Vec<(&'a LiveKey, Notice)>, Result<(), NotPublished>) {
        let mut published = Vec::new();
        let mut outcome = Ok(());
        for batch in notices.chunks(BATCH) {
            if let Err(error) = self.publish_batch(account, batch.to_vec(), &mut published).await {
                let earlier = outcome.map_or_else(|earlier: NotPublished| earlier.number, |()| 0);
                outcome = Err(NotPublished { number: earlier + error.number, ..error });
            }
        }
        (published, outcome)
    }

    /// Sends a batch, and sends entries that were not accepted again.
    async fn publish_batch<'a>(
        &self,
        account: &Account,
        mut batch: Vec<(&'a LiveKey, Notice)>,
        published: &mut Vec<(&'a LiveKey, Notice)>,
    ) -> Result<(), NotPublished> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let entries = batch.iter().map(|(key, notice)| self.entry(account, key, notice)).collect();
            let response = self.client.put_events().set_entries(Some(entries)).send().await;
            // The SDK has already retried a failed call.
            let response = response
                .map_err(|error| NotPublished { number: batch.len(), cause: telemetry::cause(&error) })?;
            // The results are in the order of the entries.
            let mut results = response.entries().iter();
            let (accepted, rejected): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .partition(|_| results.next().is_some_and(|result| result.event_id().is_some()));
            published.extend(accepted);
            if rejected.is_empty() {
                return Ok(());
            }
            if attempt == ATTEMPTS {
                let cause = response.entries().iter().find_map(PutEventsResultEntry::error_code);
                let cause = cause.unwrap_or("no error code").to_owned();
                return Err(NotPublished { number: rejected.len(), cause });
            }
            batch = rejected;
            tokio::time::sleep(pause).await;
            (pause, attempt) = (pause * 2, attempt + 1);
        }
    }

    /// The text of a notice for people, with what to do.
    fn message(&self, account: &Account, key: &LiveKey, notice: &Notice) -> String {
        let problem = match notice.kind {
            NoticeKind::Expires { within_days } => format!(
                "expires at {}, in {within_days} {} or less. Issue another key, put it in place, and revoke this one",
                seconds(key.spec.expires_at),
                if within_days == 1 { "day" } else { "days" },
            ),
            NoticeKind::Unused { last_used_at, .. } => format!(
                "was {} and has not been used for {UNUSED_NOTICE_DAYS} days. Revoke it if it is no longer needed",
                last_used_at.map_or_else(
                    || format!("issued at {}", seconds(key.created_at)),
                    |at| format!("last used at {}", seconds(at))
                )
            ),
        };
        let owner = if account.owner.as_str().is_empty() { "none" } else { account.owner.as_str() };
        format!(
            "Keyward {}: the key '{}' ({}) of the service account '{}' ({}; owner: {owner}) {problem}.",
            self.environment.as_str(),
            key.name,
            key.id,
            account.name,
            account.id,
        )
    }

    fn entry(&self, account: &Account, key: &LiveKey, notice: &Notice) -> PutEventsRequestEntry {
        let id = notice.id();
        let (kind, within_days, unused_days, last_used_at) = match notice.kind {
            NoticeKind::Expires { within_days } => (EXPIRES_SOON, Some(within_days), None, None),
            NoticeKind::Unused { last_used_at, .. } => (UNUSED, None, Some(UNUSED_NOTICE_DAYS), last_used_at),
        };
        let detail = Detail {
            id: &id,
            message: self.message(account, key, notice),
            environment: self.environment.as_str(),
            service_account_id: account.id.to_string(),
            service_account_name: account.name.as_str(),
            owner: account.owner.as_str(),
            key_id: key.id.to_string(),
            key_name: key.name.as_str(),
            created_at: seconds(key.created_at),
            expires_at: seconds(key.spec.expires_at),
            within_days,
            unused_days,
            last_used_at: last_used_at.map(seconds),
        };
        // Our own type always serializes. If it did not, `EventBridge` would refuse the
        // entry, because it has no detail.
        let detail = serde_json::to_string(&detail).unwrap_or_default();
        PutEventsRequestEntry::builder()
            .source(format!("keyward.{}", self.environment.as_str()))
            .detail_type(kind)
            .detail(detail)
            .build()
    }
}
