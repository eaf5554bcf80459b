//! Whether a credential could use a tool, and the role that permits the tools that an admin chose.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use shared::domain::RoleName;
use shared::policy::{
    Api, Grant, GrantRoles, Permission, Permissions, Role, Target, can_permit, decide, permissions_for,
};

const METHODS: [&str; 3] = ["GET", "PUT", "DELETE"];

/// All paths of at most four segments from this alphabet, with and without a slash at the end.
static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut paths = vec![String::new()];
    let mut last = paths.clone();
    for _ in 0..4 {
        let longer = |path: &String| ["a", "b", "iam", "x"].map(|segment| format!("{path}/{segment}"));
        last = last.iter().flat_map(longer).collect();
        paths.extend_from_slice(&last);
    }
    paths.iter().map(|path| format!("{path}/")).chain(paths.iter().skip(1).cloned()).collect()
});

/// Every request with these methods and paths that is not ambiguous.
fn requests() -> impl Iterator<Item = Target<'static>> {
    let of = |path: &'static String| METHODS.map(|method| Target::parse(method, path).unwrap());
    PATHS.iter().flat_map(of)
}

/// Literals, a reserved segment, an ambiguous one, and variables. A variable can have a value that
/// is no literal.
fn pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "a", "b", "iam", "..;a", "{id}", "{other}"]);
    let end = prop::sample::select(vec!["", "", "", "/", "/{proxy+}"]);
    (prop::collection::vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let path = [vec![""], segments].concat().join("/") + end;
        if path.is_empty() { "/".to_owned() } else { path }
    })
}

fn permission() -> impl Strategy<Value = Permission> {
    let methods = prop_oneof![
        Just("ANY".to_owned()),
        prop::sample::subsequence(METHODS.to_vec(), 1..4).prop_map(|names| names.join(",")),
    ];
    (methods, pattern())
        .prop_map(|(methods, pattern)| Permission::parse(&format!("{methods} {pattern}")).unwrap())
}

fn role(permissions: Vec<Permission>) -> Role {
    Role { name: RoleName::parse("Present").unwrap(), permissions }
}

fn parse_role(permissions: &[&str]) -> Role {
    role(permissions.iter().map(|text| Permission::parse(text).unwrap()).collect())
}

/// Whether the authorizer allows the request of an account with the first role, whose key has
/// the second role, with a token that the other roles narrow.
fn is_allowed(roles: &[Role], target: &Target<'_>) -> bool {
    let (account, others) = roles.split_first().unwrap();
    let token: Vec<_> = others.iter().skip(1).cloned().map(Arc::new).collect();
    let roles = GrantRoles { account, grant: others.first(), token: &token };
    decide(Api::Business, Grant::ServiceAccount(roles), target).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_tool_can_be_permitted_if_and_only_if_a_request_of_it_is_allowed(
        permissions in prop::collection::vec(prop::collection::vec(permission(), 1..5), 1..5),
        wanted in permission(),
    ) {
        let roles: Vec<_> = permissions.into_iter().map(role).collect();
        let expected = requests().any(|target| wanted.covers(&target) && is_allowed(&roles, &target));
        let found = can_permit(&roles.iter().collect::<Vec<_>>(), &wanted);
        prop_assert_eq!(found, expected, "{} with {:?}", wanted, roles);
    }

    #[test]
    fn a_role_made_from_tools_permits_exactly_their_requests(
        wanted in prop::collection::vec(permission(), 0..8),
    ) {
        let made = permissions_for(wanted.clone());
        let texts: Vec<_> = made.iter().map(ToString::to_string).collect();
        prop_assert!(Permissions::parse(&texts).is_ok(), "{:?}", texts);
        let (made, asked) = ([role(made)], [role(wanted)]);
        for target in requests() {
            prop_assert_eq!(is_allowed(&made, &target), is_allowed(&asked, &target), "{:?} {:?}", target, made);
        }
    }
}

#[test]
fn roles_that_permit_different_requests_of_a_tool_do_not_permit_it_together() {
    let [first, second, both] =
        [&["GET /teams/1"][..], &["GET /teams/2"], &["GET /teams/1", "PUT /teams/2"]].map(parse_role);
    let can_permit = |roles: &[&Role], wanted| can_permit(roles, &Permission::parse(wanted).unwrap());
    assert!(can_permit(&[&first], "GET /teams/{id}") && can_permit(&[&second], "GET /teams/{id}"));
    assert!(can_permit(&[&first, &both], "GET /teams/{id}"));
    assert!(!can_permit(&[&first, &second], "GET /teams/{id}"));
    assert!(!can_permit(&[&second, &both], "GET /teams/{id}"), "another method");
    assert!(!can_permit(&[], "GET /teams/{id}"), "no role");
    assert!(!can_permit(&[&first, &parse_role(&[])], "GET /teams/{id}"), "a missing role");
}

#[test]
fn a_request_that_is_longer_than_any_permission_can_be_permitted() {
    let long = "l".repeat(200);
    let [first, second] =
        [format!("GET /{long}/{{id}}"), format!("GET /{{id}}/{long}")].map(|one| parse_role(&[&one]));
    assert!(can_permit(&[&first, &second], &Permission::parse("GET /{a}/{b}").unwrap()));
}

#[test]
fn permissions_of_the_same_path_are_joined_in_a_role_made_from_tools() {
    let wanted = ["PUT /teams/{id}", "GET /teams/{key}", "GET /teams", "GET /teams/42", "GET /iam/v1/whoami"];
    let made = permissions_for(wanted.iter().map(|text| Permission::parse(text).unwrap()).collect());
    let made: Vec<_> = made.iter().map(Permission::as_str).collect();
    assert_eq!(made, ["GET /teams", "GET,PUT /teams/{id}"]);
}
