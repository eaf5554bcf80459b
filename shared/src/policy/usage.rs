//! Which permissions of a role were used, and a smaller role for the same use.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{MAX_PERMISSIONS, Permission, Role, Unreachable};
use crate::domain::named_enum;

/// A route of an API, and the last day (UTC) on which an allowed request used the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRoute {
    /// The route in API Gateway, with the request's method, such as `GET /teams/{id}`.
    pub route: String,
    pub last_used_on: Date,
}

/// A permission, and the observed routes that need the permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionUse {
    pub permission: Permission,
    /// Sorted by name. Empty if the permission was not used.
    pub routes: Vec<ObservedRoute>,
}

named_enum! {
    /// Why there is no suggestion of a smaller role.
    pub enum NoSuggestion {
        /// No route was observed, so nothing is known about what the programs need.
        NoRoutes = "noRoutes",
        /// The role permits none of the observed routes.
        NoPermittedRoute = "noPermittedRoute",
        /// An observed route has no path, so the requests on the route are unknown.
        UnmatchedRoutes = "unmatchedRoutes",
        /// The role permits only the observed routes.
        AlreadyMinimal = "alreadyMinimal",
        /// A smaller role would have too many permissions.
        TooManyPermissions = "tooManyPermissions",
    }
}

/// How a role was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleUsage {
    /// All permissions of the role, in its order.
    pub permissions: Vec<PermissionUse>,
    /// Observed routes that the role no longer permits.
    pub not_permitted: Vec<ObservedRoute>,
    /// Observed routes without a path, such as `$default`, or with a path that no
    /// permission can express.
    pub unmatched: Vec<ObservedRoute>,
    /// The permissions of a smaller role. They permit every request on an observed route
    /// that the role permits, and no request that the role does not permit.
    pub suggestion: Result<Vec<Permission>, NoSuggestion>,
}

/// A permission of the role and the observed routes that need it.
struct UsedLine<'a> {
    permission: &'a Permission,
    routes: Vec<(ObservedRoute, Permission)>,
}

impl RoleUsage {
    /// How the observed `routes` used `role`. The routes are those of allowed requests, each
    /// with the day of the last use.
    ///
    /// A route needs the narrowest permission that covers the whole route. If no single
    /// permission does, the route needs every permission that covers a part of it. Routes
    /// below the reserved prefix need no permission.
    pub fn new(role: &Role, routes: &BTreeMap<String, Date>) -> Self {
        let mut lines: Vec<_> =
            role.permissions.iter().map(|permission| UsedLine { permission, routes: Vec::new() }).collect();
        let (mut not_permitted, mut unmatched) = (Vec::new(), Vec::new());
        for (route, day) in routes {
            let observed = ObservedRoute { route: route.clone(), last_used_on: *day };
            let Ok(pattern) = Permission::parse(route) else {
                unmatched.push(observed);
                continue;
            };
            match pattern.check_reachable() {
                Ok(()) => {}
                Err(Unreachable::Reserved) => continue,
                Err(Unreachable::Ambiguous) => {
                    unmatched.push(observed);
                    continue;
                }
            }
            let needed = needed(role, &pattern);
            if needed.is_empty() {
                not_permitted.push(observed);
                continue;
            }
            for (position, line) in lines.iter_mut().enumerate() {
                if needed.contains(&position) {
                    line.routes.push((observed.clone(), pattern.clone()));
                }
            }
        }
        let suggestion = if !unmatched.is_empty() {
            Err(NoSuggestion::UnmatchedRoutes)
        } else if lines.iter().any(|line| !line.routes.is_empty()) {
            suggest(role, &lines)
        } else if not_permitted.is_empty() {
            Err(NoSuggestion::NoRoutes)
        } else {
            Err(NoSuggestion::NoPermittedRoute)
        };
        let permissions = lines.into_iter().map(|line| PermissionUse {
            permission: line.permission.clone(),
            routes: line.routes.into_iter().map(|(route, _)| route).collect(),
        });
        Self { permissions: permissions.collect(), not_permitted, unmatched, suggestion }
    }

    /// The number of permissions that no observed route needs.
    pub fn unused(&self) -> usize {
        self.permissions.iter().filter(|used| used.routes.is_empty()).count()
    }

    /// Whether a route was observed for which a role matters.
    pub fn has_routes(&self) -> bool {
        self.unused() < self.permissions.len() || !self.not_permitted.is_empty() || !self.unmatched.is_empty()
    }
}

/// The positions of the role's permissions that a route needs.
fn needed(role: &Role, route: &Permission) -> Vec<usize> {
    let positions = || role.permissions.iter().enumerate();
    let whole = positions().filter(|(_, permission)| permission.covers_all_of(route));
    let narrowest = whole.min_by_key(|(_, permission)| {
        (permission.has_open_end(), permission.variable_segments(), permission.methods().count())
    });
    match narrowest {
        Some((position, _)) => vec![position],
        None => positions()
            .filter(|(_, permission)| permission.overlaps(route))
            .map(|(position, _)| position)
            .collect(),
    }
}

/// The permissions of a smaller role.
fn suggest(role: &Role, lines: &[UsedLine<'_>]) -> Result<Vec<Permission>, NoSuggestion> {
    let used = lines.iter().filter(|line| !line.routes.is_empty());
    let mut parts: Vec<_> = used.map(|line| (line, line.narrowed())).collect();
    let mut suggestion = merged(parts.iter().flat_map(|(_, narrowed)| narrowed));
    if suggestion.len() > MAX_PERMISSIONS {
        // The role's own permission takes the place of its parts, where they are most.
        parts.sort_by_key(|(_, narrowed)| std::cmp::Reverse(narrowed.len()));
        let mut number: usize = parts.iter().map(|(_, narrowed)| narrowed.len()).sum();
        for (line, narrowed) in &mut parts {
            if number > MAX_PERMISSIONS {
                number = number.saturating_sub(narrowed.len().saturating_sub(1));
                *narrowed = vec![line.with_used_methods()];
            }
        }
        suggestion = merged(parts.iter().flat_map(|(_, narrowed)| narrowed));
    }
    if suggestion.len() > MAX_PERMISSIONS {
        return Err(NoSuggestion::TooManyPermissions);
    }
    let is_smaller = role.permissions.iter().any(|permission| !is_covered(permission, &suggestion));
    if is_smaller { Ok(suggestion) } else { Err(NoSuggestion::AlreadyMinimal) }
}

impl UsedLine<'_> {
    /// The parts of the permission that the routes need. The whole permission, if all of
    /// its methods were used and it does not end in `{name+}`.
    fn narrowed(&self) -> Vec<Permission> {
        let own = self.with_used_methods();
        if own == *self.permission && !own.has_open_end() {
            return vec![own];
        }
        let parts = self.routes.iter().map(|(_, route)| self.permission.intersection(route));
        // An intersection can be too long.
        let parts = parts.collect::<Option<Vec<_>>>().unwrap_or_else(|| vec![own]);
        merged(parts.iter())
    }

    /// The permission with the methods that were used.
    fn with_used_methods(&self) -> Permission {
        let routes = self.routes.iter().map(|(_, route)| route);
        self.permission.with_methods_in(routes).unwrap_or_else(|| self.permission.clone())
    }
}

/// The permissions of a role that permits all that `wanted` covers, sorted by path. Permissions
/// with the same paths are joined. Those that another one covers, or that can never permit a
/// request, are left out.
#[must_use]
pub fn permissions_for(wanted: Vec<Permission>) -> Vec<Permission> {
    merged(wanted.iter())
}

/// Joins permissions with the same paths, and drops those that another one covers.
fn merged<'a>(parts: impl Iterator<Item = &'a Permission>) -> Vec<Permission> {
    let mut joined = Vec::<Permission>::new();
    for part in parts.filter(|part| part.check_reachable().is_ok()) {
        match joined.iter_mut().find_map(|other| Some((other.with_methods_of(part)?, other))) {
            Some((both, other)) => *other = both,
            None => joined.push(part.clone()),
        }
    }
    let is_needed =
        |one: &Permission| !joined.iter().any(|other| !std::ptr::eq(one, other) && other.covers_all_of(one));
    let mut needed: Vec<_> = joined.iter().filter(|one| is_needed(one)).cloned().collect();
    needed.sort_by(|a, b| a.path().cmp(b.path()));
    needed
}

/// Whether `others` cover every method of `permission`, each on all of its paths.
fn is_covered(permission: &Permission, others: &[Permission]) -> bool {
    permission.methods().all(|method| {
        others.iter().any(|other| {
            other.methods().any(|covered| covered == method) && other.covers_paths_of(permission)
        })
    })
}
