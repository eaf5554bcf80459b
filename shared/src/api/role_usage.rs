//! Which permissions of a service account's role were used.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::activity::RouteUse;
use super::instant;
use crate::activity::{AccountRoutes, COUNTS_KEPT_DAYS};
use crate::domain::{Account, AccountId, GrantId, RoleName, named_enum, utc_day};
use crate::policy::{self, NoSuggestion, ObservedRoute, Role};
use crate::store::LastUse;

/// The maximum number of routes that are listed for a permission.
pub const MAX_LISTED_ROUTES: usize = 50;

/// Which permissions of a service account's role were used by allowed requests.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleUsage {
    /// The id of the service account.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub service_account_id: AccountId,
    /// The name of the account's role.
    #[schema(value_type = String, example = "ReportsReader")]
    pub role: RoleName,
    /// The first day (UTC) of the observation: 90 days including today, or since the account
    /// was created. If the deployment started to record routes later, the observation is
    /// shorter.
    #[schema(value_type = String, format = Date, example = "2026-09-02")]
    pub observed_since: Date,
    /// The permissions of the role, each with the observed routes that need it. A route needs
    /// the narrowest permission that covers the route or, if no single permission does, every
    /// permission that covers a part of it.
    #[schema(max_items = 100)]
    pub permissions: Vec<PermissionUse>,
    /// The number of permissions that no observed route needs.
    #[schema(example = 9)]
    pub unused_permission_count: usize,
    /// Whether `gaps` is empty.
    pub is_complete: bool,
    /// What the observation does not show:
    /// - `noRoutes`: no route was recorded.
    /// - `otherRoutes`: some routes were not recorded individually, because the keys used too
    ///   many. See `otherRoutesLastUsedOn`.
    /// - `unmatchedRoutes`: some recorded routes have no path. See `unmatchedRoutes`.
    /// - `keysWithoutRoutes`: a key was used, but none of its routes was recorded. A REST
    ///   API's TOKEN authorizer does not receive the route.
    /// - `notPermittedRoutes`: the role no longer permits some observed routes. See
    ///   `notPermittedRoutes`.
    /// - `roleMissing`: the role was deleted, so it permits nothing.
    /// - `roleChanged`: the account got the role, or the role was changed, after
    ///   `observedSince`. See `roleChangedAt`.
    /// - `keyRoles`: a live key or federated identity has its own role, so it could use only part
    ///   of the account's role.
    #[schema(value_type = Vec<String>, example = json!(["roleChanged"]))]
    pub gaps: Vec<ObservationGap>,
    /// When the account last got another role, or its custom role was last changed, if that
    /// was after `observedSince`. Only the 100 most recent events of the account are
    /// searched.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub role_changed_at: Option<Timestamp>,
    /// Observed routes on which the role no longer permits any request, most recently used
    /// first. At most 50.
    #[schema(max_items = 50)]
    pub not_permitted_routes: Vec<RouteUse>,
    /// Observed routes without a path, such as `$default`, most recently used first. At most
    /// 50.
    #[schema(max_items = 50)]
    pub unmatched_routes: Vec<RouteUse>,
    /// The last day (UTC) on which the keys used a route that was not recorded individually.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, format = Date, example = "2026-11-24")]
    pub other_routes_last_used_on: Option<Date>,
    /// The permissions of a smaller role. They permit each request on an observed route that
    /// the role permits, and no request that the role does not permit. Read `gaps` before you
    /// use them. Absent if there is no suggestion.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Vec<String>, max_items = 100, example = json!(["GET /reports/{id}"]))]
    pub suggested_permissions: Option<Vec<String>>,
    /// Why there is no suggestion: `noRoutes`, `noPermittedRoute` (the role permits none of
    /// the observed routes), `unmatchedRoutes`, `alreadyMinimal` (the role permits only the
    /// observed routes) or `tooManyPermissions` (a smaller role would need more than 100
    /// permissions).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "alreadyMinimal")]
    pub no_suggestion: Option<NoSuggestion>,
}

/// A permission of a role, and the observed routes that need it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionUse {
    /// The permission.
    #[schema(example = "GET /reports/{id}")]
    pub permission: String,
    /// The observed routes that need the permission, most recently used first. At most 50.
    /// Empty if the permission is unused.
    #[schema(max_items = 50)]
    pub routes: Vec<RouteUse>,
    /// The number of observed routes that need the permission.
    #[schema(example = 1)]
    pub route_count: usize,
}

named_enum! {
    /// What an observation of routes does not show.
    pub enum ObservationGap {
        NoRoutes = "noRoutes",
        OtherRoutes = "otherRoutes",
        UnmatchedRoutes = "unmatchedRoutes",
        KeysWithoutRoutes = "keysWithoutRoutes",
        NotPermittedRoutes = "notPermittedRoutes",
        RoleMissing = "roleMissing",
        RoleChanged = "roleChanged",
        KeyRoles = "keyRoles",
    }
}

/// The observed use of an account's role.
pub struct Observation<'a> {
    pub account: &'a Account,
    /// `None` if the role was deleted.
    pub role: Option<&'a Role>,
    pub routes: &'a AccountRoutes,
    /// When each grant was last used.
    pub last_uses: &'a HashMap<GrantId, LastUse>,
    /// When the account last got another role, or the role was last changed.
    pub role_changed_at: Option<Timestamp>,
    pub now: Timestamp,
}

impl Observation<'_> {
    fn usage(&self) -> policy::RoleUsage {
        let missing = Role::empty(self.account.role.clone());
        policy::RoleUsage::new(self.role.unwrap_or(&missing), &self.routes.routes)
    }

    /// The first day of the observation.
    fn since(&self) -> Date {
        let first = utc_day(self.now).saturating_sub((COUNTS_KEPT_DAYS - 1).days());
        first.max(utc_day(self.account.created_at))
    }

    /// Whether a grant was used, but no route of the grant is recorded.
    fn has_grants_without_routes(&self) -> bool {
        let since = self.since();
        let is_used = |last_use: &LastUse| last_use.last_used_at.is_some_and(|at| utc_day(at) >= since);
        self.last_uses
            .iter()
            .any(|(grant, last_use)| is_used(last_use) && !self.routes.grants.contains(grant))
    }

    fn gaps(&self, usage: &policy::RoleUsage) -> Vec<ObservationGap> {
        let Account { keys, identities, .. } = self.account;
        let has_key_role = keys.iter().any(|key| key.spec.role.is_some() && key.ended(self.now).is_none())
            || identities.iter().any(|own| own.spec.role.is_some() && own.ended(self.now).is_none());
        let is_changed = self
            .role_changed_at
            .is_some_and(|at| at > self.account.created_at && utc_day(at) >= self.since());
        let gaps = [
            (ObservationGap::NoRoutes, !usage.has_routes()),
            (ObservationGap::OtherRoutes, self.routes.others.is_some() || self.routes.is_truncated),
            (ObservationGap::UnmatchedRoutes, !usage.unmatched.is_empty()),
            (ObservationGap::KeysWithoutRoutes, self.has_grants_without_routes()),
            (ObservationGap::NotPermittedRoutes, !usage.not_permitted.is_empty()),
            (ObservationGap::RoleMissing, self.role.is_none()),
            (ObservationGap::RoleChanged, is_changed),
            (ObservationGap::KeyRoles, has_key_role),
        ];
        gaps.into_iter().filter(|(_, is_present)| *is_present).map(|(gap, _)| gap).collect()
    }

    /// The number of permissions that no observed route needs. `None` if the recorded routes
    /// do not show which permissions were used.
    pub(super) fn unused_permissions(&self) -> Option<usize> {
        let usage = self.usage();
        let hides_use = |gap: &ObservationGap| match gap {
            ObservationGap::NoRoutes
            | ObservationGap::OtherRoutes
            | ObservationGap::UnmatchedRoutes
            | ObservationGap::KeysWithoutRoutes
            | ObservationGap::RoleMissing => true,
            ObservationGap::NotPermittedRoutes | ObservationGap::RoleChanged | ObservationGap::KeyRoles => {
                false
            }
        };
        (!self.gaps(&usage).iter().any(hides_use)).then(|| usage.unused())
    }
}

impl RoleUsage {
    /// The use of a role as the API shows it.
    pub fn new(observation: &Observation<'_>) -> Self {
        let usage = observation.usage();
        let gaps = observation.gaps(&usage);
        let (suggested, no_suggestion) = match &usage.suggestion {
            Ok(permissions) => (Some(permissions.iter().map(ToString::to_string).collect()), None),
            Err(reason) => (None, Some(*reason)),
        };
        let is_changed = gaps.contains(&ObservationGap::RoleChanged);
        Self {
            service_account_id: observation.account.id,
            role: observation.account.role.clone(),
            observed_since: observation.since(),
            unused_permission_count: usage.unused(),
            is_complete: gaps.is_empty(),
            role_changed_at: observation.role_changed_at.filter(|_| is_changed),
            gaps,
            not_permitted_routes: listed(usage.not_permitted),
            unmatched_routes: listed(usage.unmatched),
            other_routes_last_used_on: observation.routes.others,
            permissions: usage
                .permissions
                .into_iter()
                .map(|used| PermissionUse {
                    permission: used.permission.to_string(),
                    route_count: used.routes.len(),
                    routes: listed(used.routes),
                })
                .collect(),
            suggested_permissions: suggested,
            no_suggestion,
        }
    }
}

/// The most recently used routes.
fn listed(mut routes: Vec<ObservedRoute>) -> Vec<RouteUse> {
    routes.sort_by(|a, b| b.last_used_on.cmp(&a.last_used_on).then_with(|| a.route.cmp(&b.route)));
    routes.truncate(MAX_LISTED_ROUTES);
    let shown =
        |observed: ObservedRoute| RouteUse { route: observed.route, last_used_on: observed.last_used_on };
    routes.into_iter().map(shown).collect()
}
