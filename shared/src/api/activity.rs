//! Activity: the counted and recorded requests of keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use crate::activity;
use crate::activity::{
    COUNTS_KEPT_DAYS, Counts, RecentRequests, RecordedRequest, RefusedRequest, SHOWN_HOURS, Series,
    UsedRoutes,
};
use crate::policy::Reason;

/// The number of requests. The true numbers can be higher, but never lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct RequestCounts {
    /// The number of allowed requests. The true number can be higher, but never
    /// lower.
    #[schema(example = 25)]
    pub allowed: u64,
    /// The number of refused requests. The true number can be higher, but never
    /// lower.
    #[schema(example = 7)]
    pub refused: u64,
}

/// The number of recent requests. The true numbers can be higher, but never lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentCounts {
    /// The requests of the current clock hour (UTC) and the 23 hours before it.
    pub last_24_hours: RequestCounts,
    /// The requests of today (UTC) and the 29 days before it.
    pub last_30_days: RequestCounts,
}

/// The number of recent requests with an unverified key that names the service account: the
/// secret is wrong, the account has no key with this id, or the record of a retired key
/// could not be read. All were refused. Keyward counts these requests for each account, and
/// stores nothing else about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnverifiedCounts {
    /// The requests of the current clock hour (UTC) and the 23 hours before it. The true
    /// number can be higher, but never lower.
    #[schema(example = 3)]
    pub last_24_hours: u64,
    /// The requests of today (UTC) and the 29 days before it. The true number can be
    /// higher, but never lower.
    #[schema(example = 3)]
    pub last_30_days: u64,
}

/// The number of requests by reason. The true numbers can be higher, but never lower.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountsByReason {
    /// The number of allowed and refused requests.
    #[serde(flatten)]
    pub counts: RequestCounts,
    /// The number of refused requests by reason, as in the authorizer's log. Reasons
    /// without requests are left out. The true numbers can be higher, but never lower.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({ "role": 5, "network": 2 }))]
    pub refused_by_reason: BTreeMap<Reason, u64>,
}

/// The requests of one hour.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HourCounts {
    /// The start of the hour (UTC).
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime, example = "2026-11-24T13:00:00Z")]
    pub hour: Timestamp,
    /// The number of requests in this hour.
    #[serde(flatten)]
    pub counts: CountsByReason,
}

/// The requests of one day.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DayCounts {
    /// The day (UTC).
    #[schema(value_type = String, format = Date, example = "2026-11-24")]
    pub day: Date,
    /// The number of requests on this day.
    #[serde(flatten)]
    pub counts: CountsByReason,
}

/// The number of requests over time.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The number of recent requests.
    #[serde(flatten)]
    pub recent: RecentCounts,
    /// The requests of the last 48 hours, including the current one, oldest first. Hours
    /// without requests are left out.
    #[schema(max_items = 48)]
    pub by_hour: Vec<HourCounts>,
    /// The requests of the last 90 days (UTC), including today, oldest first. Days
    /// without requests are left out.
    #[schema(max_items = 90)]
    pub by_day: Vec<DayCounts>,
}

/// The activity of a key.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyActivity {
    /// The number of requests with the key.
    #[serde(flatten)]
    pub activity: Activity,
    /// When the key was last used.
    #[serde(flatten)]
    pub last_use: LastUse,
    /// The most recent allowed request that was recorded in the last 30 days. Some allowed
    /// requests are only counted, so the key can have later ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = RequestRecord)]
    pub last_allowed: Option<RequestRecord>,
    /// The most recent refused requests of the last 30 days, newest first. At most 20. Some
    /// refused requests are only counted, so the list can have gaps.
    #[schema(max_items = 20)]
    pub recent_refusals: Vec<RefusalRecord>,
    /// The routes that allowed requests used in the last 90 days, sorted by name. At
    /// most 200.
    #[schema(max_items = 200)]
    pub routes: Vec<RouteUse>,
    /// The last day (UTC) on which the key used a route that is not in `routes`. Absent
    /// if `routes` contains all routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = Date, example = "2026-11-24")]
    pub other_routes_last_used_on: Option<Date>,
}

/// When a key was last used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastUse {
    /// When a request with the key was last allowed. The true time can be later, but
    /// never earlier. Absent if no request was allowed.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub last_used_at: Option<Timestamp>,
    /// When the key was last used after it had ended. The request was refused. The true
    /// time can be later, but never earlier. Absent if the key was not used after its
    /// end.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub used_after_end_at: Option<Timestamp>,
}

/// A request with a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// When the authorizer decided, to the millisecond.
    #[serde(serialize_with = "instant::milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The method. Absent if the authorizer's event did not contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "GET")]
    pub method: Option<String>,
    /// The path without the query. Long paths are truncated. Absent if the authorizer's
    /// event did not contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "/organizations/42")]
    pub path: Option<String>,
    /// The route in API Gateway. Absent if the authorizer's event did not contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "GET /organizations/{id}")]
    pub route: Option<String>,
    /// The IP address of the client. Absent if the deployment does not record addresses,
    /// or the authorizer's event did not contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "203.0.113.7")]
    pub source_address: Option<IpAddr>,
    /// The id of the request, as in API Gateway's response and the authorizer's log. If the
    /// API has a TOKEN authorizer, this is the id of the Lambda invocation, as in the log.
    pub request_id: String,
}

/// A refused request with a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalRecord {
    /// The request.
    #[serde(flatten)]
    pub request: RequestRecord,
    /// Why the request was refused, as in the authorizer's log.
    #[schema(value_type = String, example = "role")]
    pub reason: Reason,
    /// The narrowest permission that would have covered the request. Present only if a
    /// role refused the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "POST /organizations")]
    pub missing_permission: Option<String>,
}

/// A route that a key used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteUse {
    /// The route in API Gateway.
    #[schema(example = "GET /organizations/{id}")]
    pub route: String,
    /// The last day (UTC) on which the key used the route.
    #[schema(value_type = String, format = Date, example = "2026-11-24")]
    pub last_used_on: Date,
}

impl From<&Counts> for RequestCounts {
    fn from(counts: &Counts) -> Self {
        Self { allowed: counts.allowed(), refused: counts.refused() }
    }
}

impl From<&Counts> for CountsByReason {
    fn from(counts: &Counts) -> Self {
        Self { counts: counts.into(), refused_by_reason: counts.refused_by_reason().collect() }
    }
}

impl RecentCounts {
    /// The number of recent requests in `series` at `now`.
    pub(super) fn new(series: &Series, now: Timestamp) -> Self {
        Self {
            last_24_hours: (&series.last_24_hours(now)).into(),
            last_30_days: (&series.last_30_days(now)).into(),
        }
    }
}

impl UnverifiedCounts {
    /// The number of recent requests in `series` at `now`.
    pub(super) fn new(series: &Series, now: Timestamp) -> Self {
        Self {
            last_24_hours: series.last_24_hours(now).refused(),
            last_30_days: series.last_30_days(now).refused(),
        }
    }
}

impl Activity {
    /// The requests in `series` at `now`.
    pub fn new(series: &Series, now: Timestamp) -> Self {
        let by_hour = series.by_hour(now, SHOWN_HOURS);
        let by_day = series.by_day(now, COUNTS_KEPT_DAYS);
        Self {
            recent: RecentCounts::new(series, now),
            by_hour: by_hour.map(|(hour, counts)| HourCounts { hour, counts: counts.into() }).collect(),
            by_day: by_day
                .iter()
                .map(|(day, counts)| DayCounts { day: *day, counts: counts.into() })
                .collect(),
        }
    }
}

impl KeyActivity {
    /// The activity of a key at `now`.
    pub fn new(
        activity: &activity::GrantActivity,
        recent: RecentRequests,
        used: UsedRoutes,
        now: Timestamp,
    ) -> Self {
        let routes = used.routes.into_iter();
        Self {
            activity: Activity::new(&activity.series, now),
            last_use: LastUse::new(activity),
            last_allowed: recent.allowed.map(RequestRecord::from),
            recent_refusals: recent.refused.into_iter().map(RefusalRecord::from).collect(),
            routes: routes.map(|(route, last_used_on)| RouteUse { route, last_used_on }).collect(),
            other_routes_last_used_on: used.others,
        }
    }
}

impl LastUse {
    pub(super) fn new(activity: &activity::GrantActivity) -> Self {
        Self { last_used_at: activity.last_used_at, used_after_end_at: activity.used_after_end_at }
    }
}

impl From<RecordedRequest> for RequestRecord {
    fn from(request: RecordedRequest) -> Self {
        let RecordedRequest { at, request_id, method, path, route, source } = request;
        Self { at, method, path, route, source_address: source, request_id }
    }
}

impl From<RefusedRequest> for RefusalRecord {
    fn from(refusal: RefusedRequest) -> Self {
        let RefusedRequest { request, reason, missing_permission } = refusal;
        Self { request: request.into(), reason, missing_permission }
    }
}
