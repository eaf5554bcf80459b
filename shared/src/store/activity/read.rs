//! Reads activity.

use std::collections::HashMap;
use std::net::IpAddr;

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use crate::activity::{
    AccountRoutes, COUNTS_KEPT_DAYS, GrantActivity, MAX_RECENT_REFUSALS, MAX_ROUTES, REQUESTS_KEPT_DAYS,
    RecentRequests, RecordedRequest, RefusedRequest, Series, UsedRoutes, hour_of_day,
};
use crate::domain::{AccountId, EventId, GrantId, utc_day};
use crate::policy::Reason;
use crate::store::codec::{MalformedItem, Map, Reader};
use crate::store::schema::{self, attribute};
use crate::store::{Store, StoreError};

/// The maximum number of partitions that are read in parallel.
const READS_AT_A_TIME: usize = 16;

/// Days of counts that a summary of an account's grants needs.
const SUMMARY_DAYS: i32 = 30;

/// The maximum number of stored routes that are read for one response. A grant has more only
/// if several instances stored different routes.
const MAX_ROUTES_READ: usize = 4 * MAX_ROUTES;

/// The maximum number of stored routes of an account that are read for one response.
const MAX_ACCOUNT_ROUTES_READ: usize = 2000;

/// The activity of an account's grants in the last 30 days, and the last use of each grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountActivity {
    /// Grants without activity are absent. Ended grants are included.
    pub grants: HashMap<GrantId, GrantActivity>,
    /// Requests with an unverified credential that names the account.
    pub unverified: Series,
}

/// When a grant was last used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastUse {
    /// When a request with the grant was last allowed.
    pub last_used_at: Option<Timestamp>,
    /// When the grant was last used after its end, and refused.
    pub used_after_end_at: Option<Timestamp>,
}

impl Store {
    /// Reads the activity of an account's grants in the last 30 days, consistently.
    pub async fn account_activity(&self, account: AccountId) -> Result<AccountActivity, StoreError> {
        self.activity_since(account, self.days_ago(SUMMARY_DAYS - 1), &[]).await
    }

    /// Reads the activity of a grant in the last 90 days, consistently.
    pub async fn grant_activity(
        &self,
        account: AccountId,
        grant: impl Into<GrantId>,
    ) -> Result<GrantActivity, StoreError> {
        let since = self.days_ago(COUNTS_KEPT_DAYS - 1);
        let mut activity = self.activity_since(account, since, &[]).await?;
        Ok(activity.grants.remove(&grant.into()).unwrap_or_default())
    }

    /// Reads when the grants of each account were last used, in the order of `accounts`.
    /// The last use of a grant before yesterday can be up to an hour out of date.
    pub async fn list_last_uses(
        &self,
        accounts: Vec<AccountId>,
    ) -> Result<Vec<HashMap<GrantId, LastUse>>, StoreError> {
        let read = |account| self.last_uses(account);
        futures::stream::iter(accounts).map(read).buffered(READS_AT_A_TIME).try_collect().await
    }

    /// Reads when each grant of an account was last used. Grants that were never used are
    /// absent.
    pub async fn last_uses(&self, account: AccountId) -> Result<HashMap<GrantId, LastUse>, StoreError> {
        let attributes = [schema::SK, attribute::LAST_USED_AT, attribute::USED_AFTER_END_AT];
        let activity = self.activity_since(account, self.days_ago(1), &attributes).await?;
        let last_use = |activity: GrantActivity| LastUse {
            last_used_at: activity.last_used_at,
            used_after_end_at: activity.used_after_end_at,
        };
        Ok(activity.grants.into_iter().map(|(grant, activity)| (grant, last_use(activity))).collect())
    }

    /// Reads an account's counts since the day `since` and the last uses of its grants.
    async fn activity_since(
        &self,
        account: AccountId,
        since: Date,
        attributes: &[&str],
    ) -> Result<AccountActivity, StoreError> {
        let partition = schema::usage_partition(account);
        let items =
            self.read_partition_from(partition, Some(&since.to_string()), attributes, usize::MAX).await?;
        let mut activity = AccountActivity::default();
        for item in &items {
            add_item(&mut activity, item).map_err(|error| error.in_item("the activity of a grant"))?;
        }
        Ok(activity)
    }

    /// Reads the counts of all requests with grants in the last 90 days, consistently.
    pub async fn total_activity(&self) -> Result<Series, StoreError> {
        let since = self.days_ago(COUNTS_KEPT_DAYS - 1).to_string();
        let read =
            |shard| self.read_partition_from(schema::totals_partition(shard), Some(&since), &[], usize::MAX);
        let shards: Vec<_> = futures::future::try_join_all((0..schema::TOTALS_SHARDS).map(read)).await?;
        let mut series = Series::default();
        for item in shards.iter().flatten() {
            let added = Reader(item)
                .parse(schema::SK, str::parse::<Date>)
                .and_then(|day| add_counts(&mut series, day, item));
            added.map_err(|error| error.in_item("the counts of all requests"))?;
        }
        Ok(series)
    }

    /// Reads the last requests with a grant, consistently. Requests are kept for 30 days.
    pub async fn recent_requests(
        &self,
        account: AccountId,
        grant: impl Into<GrantId>,
    ) -> Result<RecentRequests, StoreError> {
        let grant = grant.into();
        let oldest = self
            .clock
            .now()
            .saturating_sub(jiff::SignedDuration::from_hours(24 * i64::from(REQUESTS_KEPT_DAYS)));
        let oldest = oldest.unwrap_or(Timestamp::MIN);
        // The last allowed request sorts after the refused requests. Each other item has
        // at least one refused request.
        let limit = i32::try_from(MAX_RECENT_REFUSALS + 1).unwrap_or(i32::MAX);
        let page = self
            .client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :first AND :last")
            .expression_attribute_names("#pk", schema::PK)
            .expression_attribute_names("#sk", schema::SK)
            .expression_attribute_values(":pk", schema::requests_partition(account))
            .expression_attribute_values(
                ":first",
                AttributeValue::S(format!("{grant}#{}", EventId::first_at(oldest))),
            )
            .expression_attribute_values(
                ":last",
                AttributeValue::S(format!("{grant}#{}", schema::LAST_ALLOWED)),
            )
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(limit)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let mut requests = RecentRequests::default();
        for item in page.items() {
            let added = add_requests(&mut requests, item);
            added.map_err(|error| error.in_item("a request with a grant"))?;
        }
        requests.allowed = requests.allowed.filter(|request| request.at >= oldest);
        requests.refused.retain(|refusal| refusal.request.at >= oldest);
        requests.refused.sort_by_key(|refusal| std::cmp::Reverse(refusal.request.at));
        requests.refused.truncate(MAX_RECENT_REFUSALS);
        Ok(requests)
    }

    /// Reads the routes that a grant used in the last 90 days, consistently.
    pub async fn used_routes(
        &self,
        account: AccountId,
        grant: impl Into<GrantId>,
    ) -> Result<UsedRoutes, StoreError> {
        let page = self.query_routes(account, Some(&format!("{}#", grant.into())), MAX_ROUTES_READ).await?;
        let mut routes = Vec::new();
        let mut used = UsedRoutes::default();
        for (_, route, day) in self.current_routes(page.items())? {
            if route == schema::OTHER_ROUTES {
                used.others = used.others.max(Some(day));
            } else {
                routes.push((route.to_owned(), day));
            }
        }
        // The most recently used routes are shown separately.
        routes.sort_by(|(a, a_day), (b, b_day)| b_day.cmp(a_day).then_with(|| a.cmp(b)));
        let others = routes.get(MAX_ROUTES).map(|(_, day)| *day);
        used.others = used.others.max(others);
        used.routes = routes.into_iter().take(MAX_ROUTES).collect();
        Ok(used)
    }

    /// Reads the routes that all grants of an account used in the last 90 days, consistently.
    pub async fn account_routes(&self, account: AccountId) -> Result<AccountRoutes, StoreError> {
        let page = self.query_routes(account, None, MAX_ACCOUNT_ROUTES_READ).await?;
        let mut used =
            AccountRoutes { is_truncated: page.last_evaluated_key.is_some(), ..AccountRoutes::default() };
        for (grant, route, day) in self.current_routes(page.items())? {
            used.grants.insert(grant);
            if route == schema::OTHER_ROUTES {
                used.others = used.others.max(Some(day));
            } else {
                let last = used.routes.entry(route.to_owned()).or_insert(day);
                *last = day.max(*last);
            }
        }
        Ok(used)
    }

    /// Reads the routes of an account, in one query: all, or those whose sort key starts with
    /// `prefix`.
    async fn query_routes(
        &self,
        account: AccountId,
        prefix: Option<&str>,
        most: usize,
    ) -> Result<QueryOutput, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .expression_attribute_names("#pk", schema::PK)
            .expression_attribute_values(":pk", schema::routes_partition(account))
            .consistent_read(true)
            .limit(i32::try_from(most).unwrap_or(i32::MAX));
        let query = match prefix {
            None => query.key_condition_expression("#pk = :pk"),
            Some(prefix) => query
                .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                .expression_attribute_names("#sk", schema::SK)
                .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned())),
        };
        query.send().await.map_err(StoreError::from_sdk)
    }

    /// The routes in `items` that were used in the last 90 days, each with its grant and the
    /// day of its last use. DynamoDB deletes older items only after a while.
    fn current_routes<'a>(&self, items: &'a [Map]) -> Result<Vec<(GrantId, &'a str, Date)>, StoreError> {
        let oldest = self.days_ago(COUNTS_KEPT_DAYS - 1);
        let mut routes = Vec::new();
        for item in items {
            let (grant, route, day) = route(item).map_err(|error| error.in_item("a route of a grant"))?;
            if day >= oldest {
                routes.push((grant, route, day));
            }
        }
        Ok(routes)
    }

    fn days_ago(&self, days: i32) -> Date {
        utc_day(self.clock.now()).saturating_sub(days.days())
    }
}

/// Adds an item of an account's partition: the counts of a day, or the last use of a grant.
fn add_item(activity: &mut AccountActivity, item: &Map) -> Result<(), MalformedItem> {
    let reader = Reader(item);
    let sort_key = reader.text(schema::SK)?;
    let (grant, day) = match sort_key.split_once('#') {
        Some((day, counted)) => {
            let day = reader.parse(schema::SK, |_| day.parse::<Date>())?;
            if counted == schema::UNVERIFIED {
                return add_counts(&mut activity.unverified, day, item);
            }
            (reader.parse(schema::SK, |_| counted.parse::<GrantId>())?, Some(day))
        }
        None => (reader.parse(schema::SK, str::parse::<GrantId>)?, None),
    };
    let grant = activity.grants.entry(grant).or_default();
    let last_used_at = reader.optional(attribute::LAST_USED_AT, Reader::seconds)?;
    let used_after_end_at = reader.optional(attribute::USED_AFTER_END_AT, Reader::seconds)?;
    grant.last_used_at = grant.last_used_at.max(last_used_at);
    grant.used_after_end_at = grant.used_after_end_at.max(used_after_end_at);
    day.map_or(Ok(()), |day| add_counts(&mut grant.series, day, item))
}

/// Adds the counts of a day's item.
fn add_counts(series: &mut Series, day: Date, item: &Map) -> Result<(), MalformedItem> {
    for name in item.keys() {
        let Some((hour, reason)) = name.split_once('_') else { continue };
        let hour = hour.parse().ok().and_then(|hour| hour_of_day(day, hour));
        if let (Some(hour), Some(reason)) = (hour, Reason::parse(reason)) {
            let number = Reader(item).get(name, |value| value.as_n().ok()?.parse().ok())?;
            series.add(hour, reason, number);
        }
    }
    Ok(())
}

fn add_requests(requests: &mut RecentRequests, item: &Map) -> Result<(), MalformedItem> {
    let reader = Reader(item);
    if reader.find(attribute::REFUSALS).is_none() {
        requests.allowed = Some(recorded(reader)?);
        return Ok(());
    }
    let refusals = reader.get(attribute::REFUSALS, |value| value.as_l().ok())?;
    for refusal in refusals {
        let map = reader.get(attribute::REFUSALS, |_| refusal.as_m().ok())?;
        requests.refused.push(refused(Reader(map))?);
    }
    Ok(())
}

fn recorded(reader: Reader<'_>) -> Result<RecordedRequest, MalformedItem> {
    let text = |name| reader.optional(name, |reader, name| reader.text(name).map(str::to_owned));
    Ok(RecordedRequest {
        at: reader.milliseconds(attribute::AT)?,
        request_id: reader.text(attribute::REQUEST_ID)?.to_owned(),
        method: text(attribute::METHOD)?,
        path: text(attribute::PATH)?,
        route: text(attribute::ROUTE)?,
        source: reader
            .optional(attribute::SOURCE, |reader, name| reader.parse(name, str::parse::<IpAddr>))?,
    })
}

fn refused(reader: Reader<'_>) -> Result<RefusedRequest, MalformedItem> {
    let missing = |reader: Reader<'_>, name: &str| reader.text(name).map(str::to_owned);
    Ok(RefusedRequest {
        request: recorded(reader)?,
        reason: reader.parse(attribute::REASON, |name| Reason::parse(name).ok_or(()))?,
        missing_permission: reader.optional(attribute::MISSING_PERMISSION, missing)?,
    })
}

/// A grant, a route that the grant used, and the day of the last use.
fn route(item: &Map) -> Result<(GrantId, &str, Date), MalformedItem> {
    let reader = Reader(item);
    let (grant, route) = reader.get(schema::SK, |value| {
        let (grant, route) = value.as_s().ok()?.split_once('#')?;
        Some((grant.parse().ok()?, route))
    })?;
    Ok((grant, route, reader.parse(attribute::LAST_USED_ON, str::parse)?))
}
