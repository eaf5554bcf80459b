//! Writes activity.

use std::time::Duration;

use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::activity::{COUNTS_KEPT_DAYS, REQUESTS_KEPT_DAYS, RecordedRequest, RefusedRequest, hour_of_day};
use crate::domain::{AccountId, DerivedEntropy, EventId, GrantId};
use crate::policy::Reason;
use crate::store::codec::{self, Map, n, s, seconds};
use crate::store::directory::key_at_sort_key;
use crate::store::schema::{self, Key, attribute};
use crate::store::{Store, StoreError};

/// The time limit of a write. The instance's next request waits for the write.
const WRITE_LIMIT: Duration = Duration::from_millis(200);

/// The age from which a last use does not replace a stored one, because another instance
/// has probably stored a later one since.
const STALE: SignedDuration = SignedDuration::from_secs(30);

/// The requests that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tally {
    /// Requests with this grant.
    Grant(AccountId, GrantId),
    /// Requests with an unverified credential that names this account.
    Unverified(AccountId),
    /// All requests with verified credentials.
    Total,
}

/// A write of activity, which is attempted once.
#[derive(Clone, Debug)]
pub enum ActivityWrite {
    /// Adds the number of requests in some hours (0 to 23) of a day, by reason.
    Counts {
        tally: Tally,
        day: Date,
        counts: Vec<(i8, Reason, u64)>,
        /// When the last of these requests was allowed.
        last_used_at: Option<Timestamp>,
        /// When the last of these requests was refused because the grant had ended.
        used_after_end_at: Option<Timestamp>,
    },
    /// Stores when a grant was last used. The day's counts contain this too, but they are
    /// deleted earlier.
    LastUse {
        account: AccountId,
        grant: GrantId,
        /// Whether the request was allowed. If not, the grant had ended.
        is_allowed: bool,
        at: Timestamp,
    },
    /// Replaces the last allowed request, unless a later one is stored.
    LastAllowed { account: AccountId, grant: GrantId, request: RecordedRequest },
    /// Stores refused requests, oldest first.
    Refusals { account: AccountId, grant: GrantId, refusals: Vec<RefusedRequest> },
    /// Stores that a grant used a route on a day, unless a later day is stored. `None` stands
    /// for all routes without an item of their own.
    Route { account: AccountId, grant: GrantId, route: Option<String>, day: Date },
}

impl Store {
    /// Makes one attempt of at most 200 ms to write activity. A failed attempt must not be
    /// repeated, because it may have reached the table.
    pub async fn write_activity(&self, write: &ActivityWrite) -> Result<(), StoreError> {
        match tokio::time::timeout(WRITE_LIMIT, self.attempt(write)).await {
            Ok(written) => written,
            Err(_) => Err(StoreError::Unavailable("it took too long".to_owned())),
        }
    }

    async fn attempt(&self, write: &ActivityWrite) -> Result<(), StoreError> {
        match write {
            ActivityWrite::Counts { tally, day, counts, last_used_at, used_after_end_at } => {
                self.add_counts(*tally, *day, counts, *last_used_at, *used_after_end_at).await
            }
            ActivityWrite::LastUse { account, grant, is_allowed, at } => {
                self.raise_last_use(*account, *grant, *is_allowed, *at).await
            }
            ActivityWrite::LastAllowed { account, grant, request } => {
                let (item, ttl) = (recorded(request), requests_kept_until(request.at));
                self.put_latest(schema::last_allowed_key(*account, *grant), item, attribute::AT, ttl).await
            }
            ActivityWrite::Refusals { account, grant, refusals } => {
                let Some(last) = refusals.last() else { return Ok(()) };
                let random = DerivedEntropy::new(&[last.request.request_id.as_bytes()]);
                let time = EventId::generate(last.request.at, &random)?;
                let maps = refusals.iter().map(|refusal| AttributeValue::M(refused(refusal))).collect();
                let item = codec::map([(attribute::REFUSALS, AttributeValue::L(maps))]);
                let ttl = requests_kept_until(last.request.at);
                let put = self.put_item(schema::refusals_key(*account, *grant, time), item, ttl);
                put.customize().config_override(once()).send().await.map(|_| ()).map_err(StoreError::from_sdk)
            }
            ActivityWrite::Route { account, grant, route, day } => {
                let route = route.as_deref().unwrap_or(schema::OTHER_ROUTES);
                let item = codec::map([(attribute::LAST_USED_ON, s(day))]);
                let (key, ttl) = (schema::route_key(*account, *grant, route), counts_kept_until(*day));
                self.put_latest(key, item, attribute::LAST_USED_ON, ttl).await
            }
        }
    }

    async fn add_counts(
        &self,
        tally: Tally,
        day: Date,
        counts: &[(i8, Reason, u64)],
        last_used_at: Option<Timestamp>,
        used_after_end_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let key = match tally {
            Tally::Grant(account, grant) => schema::counts_key(account, day, grant),
            Tally::Unverified(account) => schema::counts_key(account, day, schema::UNVERIFIED),
            Tally::Total => schema::totals_key(self.clock.now(), day),
        };
        let mut update = self.client.update_item().table_name(&*self.table).set_key(Some(key));
        let (mut sets, mut adds) = (vec!["#ttl = :ttl".to_owned()], Vec::new());
        for (name, at) in
            [(attribute::LAST_USED_AT, last_used_at), (attribute::USED_AFTER_END_AT, used_after_end_at)]
        {
            if let Some(at) = at {
                let is_stale = self.clock.now().duration_since(at) > STALE;
                let value =
                    if is_stale { format!("if_not_exists(#{name}, :{name})") } else { format!(":{name}") };
                sets.push(format!("#{name} = {value}"));
                update = update
                    .expression_attribute_names(format!("#{name}"), name)
                    .expression_attribute_values(format!(":{name}"), seconds(at));
            }
        }
        for (position, (hour, reason, number)) in counts.iter().enumerate() {
            adds.push(format!("#n{position} :n{position}"));
            update = update
                .expression_attribute_names(format!("#n{position}"), format!("{hour:02}_{}", reason.name()))
                .expression_attribute_values(format!(":n{position}"), n(number));
        }
        let update = update
            .update_expression(format!("SET {} ADD {}", sets.join(", "), adds.join(", ")))
            .expression_attribute_names("#ttl", schema::TTL)
            .expression_attribute_values(":ttl", counts_kept_until(day));
        update.customize().config_override(once()).send().await.map(|_| ()).map_err(StoreError::from_sdk)
    }

    /// Stores a last use, unless a later one is already stored. The directory then lists a key
    /// that was used after its end. It lists no federated identity: the last tokens of an ended
    /// identity expire within the hour.
    async fn raise_last_use(
        &self,
        account: AccountId,
        grant: GrantId,
        is_allowed: bool,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let name = if is_allowed { attribute::LAST_USED_AT } else { attribute::USED_AFTER_END_AT };
        let ended_key = grant.key().filter(|_| !is_allowed);
        let mut update = self
            .client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(schema::last_use_key(account, grant)))
            .update_expression(if ended_key.is_some() {
                "SET #at = :at, #ttl = :ttl, #directory = :directory, #sort = :sort"
            } else {
                "SET #at = :at, #ttl = :ttl"
            });
        if let Some(key) = ended_key {
            update = update
                .expression_attribute_names("#directory", schema::DIRECTORY_PK)
                .expression_attribute_names("#sort", schema::DIRECTORY_SK)
                .expression_attribute_values(":directory", s(schema::DIRECTORY_USED_AFTER_END))
                .expression_attribute_values(":sort", key_at_sort_key(at, key));
        }
        let update = update
            .condition_expression("attribute_not_exists(#at) OR #at < :at")
            .expression_attribute_names("#at", name)
            .expression_attribute_names("#ttl", schema::TTL)
            .expression_attribute_values(":at", seconds(at))
            .expression_attribute_values(":ttl", seconds(schema::kept_until(at)));
        let sent = update.customize().config_override(once()).send().await;
        unless_later(sent, UpdateItemError::is_conditional_check_failed_exception)
    }

    fn put_item(&self, key: Key, mut item: Map, ttl: AttributeValue) -> PutItemFluentBuilder {
        item.extend(key);
        item.insert(schema::TTL.to_owned(), ttl);
        self.client.put_item().table_name(&*self.table).set_item(Some(item))
    }

    /// Puts an item, unless the stored item has a later time in the attribute `name`. An
    /// instance that ends writes what was pending, perhaps for hours.
    async fn put_latest(
        &self,
        key: Key,
        item: Map,
        name: &str,
        ttl: AttributeValue,
    ) -> Result<(), StoreError> {
        let values = item.get(name).map(|at| Map::from([(":at".to_owned(), at.clone())]));
        let put = self
            .put_item(key, item, ttl)
            .condition_expression("attribute_not_exists(#at) OR #at <= :at")
            .expression_attribute_names("#at", name)
            .set_expression_attribute_values(values);
        let sent = put.customize().config_override(once()).send().await;
        unless_later(sent, PutItemError::is_conditional_check_failed_exception)
    }
}

/// The outcome of a write under the condition that no later time is stored. If the condition
/// failed, there is nothing to write.
fn unless_later<T, E>(
    sent: Result<T, SdkError<E>>,
    is_condition_failed: impl FnOnce(&E) -> bool,
) -> Result<(), StoreError>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(is_condition_failed) => Ok(()),
        Err(error) => Err(StoreError::from_sdk(error)),
    }
}

/// The configuration of a call that is not retried.
fn once() -> aws_sdk_dynamodb::config::Builder {
    Config::builder().retry_config(RetryConfig::disabled())
}

/// When the counts of a day can be deleted.
fn counts_kept_until(day: Date) -> AttributeValue {
    let start = hour_of_day(day, 0).unwrap_or(Timestamp::MAX);
    after_days(start, COUNTS_KEPT_DAYS)
}

fn requests_kept_until(at: Timestamp) -> AttributeValue {
    after_days(at, REQUESTS_KEPT_DAYS)
}

fn after_days(at: Timestamp, days: i32) -> AttributeValue {
    let kept = SignedDuration::from_hours(24 * i64::from(days));
    seconds(at.saturating_add(kept).unwrap_or(Timestamp::MAX))
}

fn recorded(request: &RecordedRequest) -> Map {
    let mut item = codec::map([
        (attribute::AT, n(request.at.as_millisecond())),
        (attribute::REQUEST_ID, s(&request.request_id)),
    ]);
    let source = request.source.map(|source| source.to_string());
    for (name, value) in [
        (attribute::METHOD, &request.method),
        (attribute::PATH, &request.path),
        (attribute::ROUTE, &request.route),
        (attribute::SOURCE, &source),
    ] {
        if let Some(value) = value {
            item.insert(name.to_owned(), s(value));
        }
    }
    item
}

fn refused(refusal: &RefusedRequest) -> Map {
    let mut item = recorded(&refusal.request);
    item.insert(attribute::REASON.to_owned(), s(refusal.reason.name()));
    if let Some(missing) = &refusal.missing_permission {
        item.insert(attribute::MISSING_PERMISSION.to_owned(), s(missing));
    }
    item
}
