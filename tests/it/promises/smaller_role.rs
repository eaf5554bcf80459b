//! A suggested role permits every observed route that the current role permits, and nothing
//! that the current role does not permit.

use std::collections::BTreeMap;

use jiff::civil::date;
use proptest::prelude::*;
use shared::domain::RoleName;
use shared::policy::{MAX_PERMISSIONS, NoSuggestion, Permission, Permissions, Role, RoleUsage, Target};

use crate::support::naive;

/// A small alphabet, so that patterns and paths often overlap.
fn segment() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "42"]).prop_map(str::to_owned)
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["GET", "PUT", "DELETE"])
}

fn path() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(segment(), 1..5);
    (segments, any::<bool>())
        .prop_map(|(segments, slash)| format!("/{}{}", segments.join("/"), if slash { "/" } else { "" }))
}

fn pattern() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop_oneof![segment(), Just("{id}".to_owned())], 0..4);
    let end = prop::sample::select(vec!["", "", "", "/", "/{proxy+}"]);
    (segments, end).prop_map(|(segments, end)| {
        let path = [vec![String::new()], segments].concat().join("/") + end;
        if path.is_empty() { "/".to_owned() } else { path }
    })
}

fn permission() -> impl Strategy<Value = String> {
    let methods = prop_oneof![
        Just("ANY".to_owned()),
        prop::sample::subsequence(vec!["GET", "PUT", "DELETE"], 1..4).prop_map(|names| names.join(",")),
    ];
    (methods, pattern()).prop_map(|(methods, pattern)| format!("{methods} {pattern}"))
}

fn route() -> impl Strategy<Value = String> {
    (method(), pattern()).prop_map(|(method, pattern)| format!("{method} {pattern}"))
}

fn role(permissions: &[String]) -> Role {
    let permissions = permissions.iter().map(|text| Permission::parse(text).unwrap()).collect();
    Role { name: RoleName::parse("Present").unwrap(), permissions }
}

fn usage(role: &Role, routes: &[String]) -> RoleUsage {
    let day = date(2026, 1, 1);
    let routes: BTreeMap<_, _> = routes.iter().map(|route| (route.clone(), day)).collect();
    RoleUsage::new(role, &routes)
}

fn texts(permissions: &[Permission]) -> Vec<String> {
    permissions.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_suggestion_permits_the_observed_routes_and_never_more_than_the_role(
        permissions in prop::collection::vec(permission(), 0..6),
        routes in prop::collection::vec(route(), 0..8),
        requests in prop::collection::vec((method(), path()), 20),
    ) {
        let role = role(&permissions);
        let usage = usage(&role, &routes);
        let used: Vec<_> = usage.permissions.iter().filter(|used| !used.routes.is_empty()).collect();
        let used: Vec<_> = used.iter().map(|used| used.permission.to_string()).collect();
        // Without a suggestion, an admin can only keep the role, or drop unused permissions.
        let smaller = usage.suggestion.as_ref().map_or_else(|_| used.clone(), |suggestion| texts(suggestion));
        for (method, path) in requests {
            let permits = |permissions: &[String]| permissions.iter().any(|one| naive::covers(one, method, &path));
            let is_observed = permits(&routes);
            prop_assert!(permits(&permissions) || !permits(&smaller), "{method} {path}: {smaller:?}");
            prop_assert!(
                permits(&smaller) || !(is_observed && permits(&permissions)),
                "{method} {path}: {smaller:?} {:?}", usage.suggestion
            );
            prop_assert!(permits(&used) || !(is_observed && permits(&permissions)), "{method} {path}: {used:?}");
        }
        if let Ok(suggestion) = &usage.suggestion {
            prop_assert!(!suggestion.is_empty() && suggestion.len() <= MAX_PERMISSIONS);
            prop_assert!(Permissions::parse(&smaller).is_ok(), "{smaller:?}");
        }
        let is_any_permitted = usage.permissions.iter().any(|used| !used.routes.is_empty());
        prop_assert_eq!(usage.suggestion == Err(NoSuggestion::NoRoutes), routes.is_empty());
        prop_assert_eq!(
            usage.suggestion == Err(NoSuggestion::NoPermittedRoute), !routes.is_empty() && !is_any_permitted
        );
    }

    #[test]
    fn an_intersection_covers_exactly_what_both_permissions_cover(
        one in permission(), other in permission(), requests in prop::collection::vec((method(), path()), 20),
    ) {
        let [first, second] = [&one, &other].map(|text| Permission::parse(text).unwrap());
        for (first, second) in [(&first, &second), (&second, &first)] {
            let both = first.intersection(second);
            let both = both.map(|both| Permission::parse(both.as_str()).unwrap());
            for (method, path) in &requests {
                let expected = naive::covers(&one, method, path) && naive::covers(&other, method, path);
                let target = Target::parse(method, path).unwrap();
                prop_assert_eq!(both.as_ref().is_some_and(|both| both.covers(&target)), expected, "{:?}", both);
            }
        }
    }
}

#[test]
fn a_suggestion_keeps_fully_used_permissions_and_narrows_the_others() {
    for (permissions, routes, expected) in [
        // The whole permission, if all of its methods were used.
        (&["GET,PUT /a/{key}", "GET /b"][..], &["GET /a/{id}", "PUT /a/42"][..], &["GET,PUT /a/{key}"][..]),
        // Only the methods that were used.
        (&["ANY /a/{key}"], &["GET /a/{id}", "PUT /a/{id}"], &["GET,PUT /a/{key}"]),
        // Only the routes that were used, if the permission matches any number of segments.
        (&["GET /{proxy+}"], &["GET /a/{id}", "GET /a"], &["GET /a", "GET /a/{id}"]),
        (&["ANY /{proxy+}"], &["GET /a/{proxy+}", "GET /a/b"], &["GET /a/{proxy+}"]),
        // A part of a route, if the role does not permit the whole route.
        (&["GET /a/42", "GET /a/43", "GET /a/44/b"], &["GET /a/{id}"], &["GET /a/42", "GET /a/43"]),
        (&["ANY /a/{id}/c", "GET /z"], &["GET /{proxy+}"], &["GET /a/{id}/c", "GET /z"]),
        // A route needs only the narrowest of several permissions.
        (&["ANY /{proxy+}", "GET /a/{id}"], &["GET /a/{id}"], &["GET /a/{id}"]),
        // Permissions for the same paths are joined.
        (&["GET /{proxy+}", "PUT /a/{proxy+}"], &["GET /a/{id}", "PUT /a/{key}"], &["GET,PUT /a/{id}"]),
        // Routes below /iam need no permission.
        (&["GET /a", "GET /b"], &["GET /a", "GET /iam/v1/whoami"], &["GET /a"]),
    ] {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let usage = usage(&role(&owned(permissions)), &owned(routes));
        assert_eq!(texts(&usage.suggestion.unwrap()), expected, "{permissions:?} {routes:?}");
    }
}

#[test]
fn a_role_that_permits_only_the_observed_routes_has_no_suggestion() {
    for (permissions, routes) in [
        (&["GET /a/{id}"][..], &["GET /a/{key}"][..]),
        (&["GET,PUT /a"], &["GET /a", "PUT /a"]),
        (&["GET /a/{proxy+}"], &["GET /a/{proxy+}"]),
    ] {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let usage = usage(&role(&owned(permissions)), &owned(routes));
        assert_eq!(usage.suggestion, Err(NoSuggestion::AlreadyMinimal), "{permissions:?}");
    }
}

#[test]
fn a_suggestion_has_at_most_100_permissions() {
    let routes: Vec<_> = (0..150).map(|number| format!("GET /a/{{id}}/{number}")).collect();
    let few: Vec<_> = (0..50).map(|number| format!("GET /b/{number}")).collect();
    let all = [routes, few].concat();
    let role = role(&["ANY /a/{proxy+}", "GET /b/{proxy+}", "GET /c"].map(str::to_owned));
    let suggestion = texts(&usage(&role, &all).suggestion.unwrap());
    assert_eq!(suggestion.len(), 51);
    assert_eq!(suggestion[0], "GET /a/{proxy+}");
    assert!(suggestion.contains(&"GET /b/49".to_owned()) && !suggestion.contains(&"GET /c".to_owned()));
}

#[test]
fn a_route_that_is_too_long_to_narrow_keeps_the_permission() {
    let [long, other] = ["x", "y"].map(|letter| letter.repeat(150));
    let role = role(&[format!("GET,PUT /{{id}}/{long}"), "GET /a".to_owned()]);
    let route = format!("GET /{other}/{{id}}");
    let suggestion = texts(&usage(&role, &[route]).suggestion.unwrap());
    assert_eq!(suggestion, [format!("GET /{{id}}/{long}")]);
}
