//! The usage of keys. Each key has its own item, which only the authorizer writes,
//! so that the authorizer cannot write accounts or records of retired keys.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::codec::{MalformedItem, Map, Reader, n, number, seconds};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{AccountId, KeyId, KeyUsage, utc_day};

/// The time limit of a write. A request waits for the write.
const WRITE_LIMIT: Duration = Duration::from_millis(200);

/// The shortest time between two counts of a key that is used after its end.
pub const USE_AFTER_END_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// Days for which uses are kept, including today. One more than are shown, so that
/// the first day is complete in every time zone.
const KEPT_DAYS: i32 = 31;

/// The number of partitions that are read in parallel.
const READS_AT_A_TIME: usize = 16;

/// The attributes of a key's usage without the uses of each day.
const LAST: [&str; 3] = [schema::SK, attribute::LAST_USED_AT, attribute::USED_AFTER_END_AT];

impl Store {
    /// Records allowed requests of `key`: the last one at `at`, and the number for each
    /// day. Makes one attempt of at most 200 ms. Removes days that are no longer kept,
    /// so that the item stays small.
    pub async fn record_uses(
        &self,
        account: AccountId,
        key: KeyId,
        at: Timestamp,
        uses: &[(Date, u64)],
    ) -> Result<(), StoreError> {
        let today = utc_day(at);
        let days_ago = |days: i32| today.checked_sub(days.days()).ok();
        let oldest = days_ago(KEPT_DAYS - 1);
        let mut update = self.update_usage(account, key, at, attribute::LAST_USED_AT);
        let (mut adds, mut removes) = (Vec::new(), Vec::new());
        for (position, (day, many)) in
            uses.iter().filter(|(day, _)| oldest.is_none_or(|oldest| *day >= oldest)).enumerate()
        {
            update = update
                .expression_attribute_names(format!("#add{position}"), day.to_string())
                .expression_attribute_values(format!(":add{position}"), n(many));
            adds.push(format!("#add{position} :add{position}"));
        }
        for (position, day) in (KEPT_DAYS..2 * KEPT_DAYS).filter_map(days_ago).enumerate() {
            update = update.expression_attribute_names(format!("#remove{position}"), day.to_string());
            removes.push(format!("#remove{position}"));
        }
        let mut expression = format!("SET #at = :at, #ttl = :ttl REMOVE {}", removes.join(", "));
        if !adds.is_empty() {
            expression.push_str(" ADD ");
            expression.push_str(&adds.join(", "));
        }
        send(update.update_expression(expression)).await
    }

    /// Counts that `key` was presented after its end, unless that was counted
    /// within the minute. One attempt, of 200 ms at most.
    pub async fn record_use_after_end(
        &self,
        account: AccountId,
        key: KeyId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let before = at.saturating_sub(USE_AFTER_END_INTERVAL).unwrap_or(at);
        let update = self
            .update_usage(account, key, at, attribute::USED_AFTER_END_AT)
            .update_expression("SET #at = :at, #ttl = :ttl ADD #minutes :one")
            .condition_expression("attribute_not_exists(#at) OR #at <= :before")
            .expression_attribute_names("#minutes", attribute::MINUTES_USED_AFTER_END)
            .expression_attribute_values(":before", seconds(before))
            .expression_attribute_values(":one", n(1));
        send(update).await
    }

    /// An update of a key's usage that sets the instant `name`.
    fn update_usage(
        &self,
        account: AccountId,
        key: KeyId,
        at: Timestamp,
        name: &str,
    ) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(schema::usage_key(account, key)))
            .expression_attribute_names("#at", name)
            .expression_attribute_names("#ttl", schema::TTL)
            .expression_attribute_values(":at", seconds(at))
            .expression_attribute_values(":ttl", seconds(schema::kept_until(at)))
    }

    /// Reads the usage of an account's keys, including retired keys.
    pub async fn list_usage(&self, account: AccountId) -> Result<HashMap<KeyId, KeyUsage>, StoreError> {
        self.read_usage(account, &[]).await
    }

    /// Reads the usage of the keys of each account, in the order of `accounts`. Omits
    /// the uses of each day, which would be large for many accounts.
    pub async fn list_last_usage(
        &self,
        accounts: Vec<AccountId>,
    ) -> Result<Vec<HashMap<KeyId, KeyUsage>>, StoreError> {
        let read = |account| self.read_usage(account, &LAST);
        futures::stream::iter(accounts).map(read).buffered(READS_AT_A_TIME).try_collect().await
    }

    async fn read_usage(
        &self,
        account: AccountId,
        attributes: &[&str],
    ) -> Result<HashMap<KeyId, KeyUsage>, StoreError> {
        let items = self.read_partition(schema::usage_partition(account), attributes, MAX_QUERIES).await?;
        let usage = |item: &Map| usage(item).map_err(|error| error.in_item("the usage of a key"));
        items.iter().map(usage).collect()
    }
}

/// Sends an update once. A failed condition means that the update was already made.
async fn send(update: UpdateItemFluentBuilder) -> Result<(), StoreError> {
    let once = Config::builder().retry_config(RetryConfig::disabled());
    let sent = tokio::time::timeout(WRITE_LIMIT, update.customize().config_override(once).send()).await;
    let Ok(answer) = sent else {
        return Err(StoreError::Unavailable("it took too long".to_owned()));
    };
    match answer {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(())
        }
        Err(error) => Err(StoreError::from_sdk(error)),
    }
}

fn usage(item: &Map) -> Result<(KeyId, KeyUsage), MalformedItem> {
    let reader = Reader(item);
    let optional_seconds = |name: &str| item.contains_key(name).then(|| reader.seconds(name)).transpose();
    let count = |name: &str| reader.get_optional(name, |value| u64::try_from(number(value)?).ok());
    let mut uses_by_day = BTreeMap::new();
    for name in item.keys() {
        if let Ok(day) = name.parse::<Date>() {
            uses_by_day.insert(day, count(name)?.unwrap_or_default());
        }
    }
    let usage = KeyUsage {
        last_used_at: optional_seconds(attribute::LAST_USED_AT)?,
        uses_by_day,
        used_after_end_at: optional_seconds(attribute::USED_AFTER_END_AT)?,
        minutes_used_after_end: count(attribute::MINUTES_USED_AFTER_END)?.unwrap_or_default(),
    };
    Ok((reader.parse(schema::SK, str::parse)?, usage))
}
