//! A response allows exactly the request of its event, and decisions match a naive model of
//! the policy.

use proptest::prelude::*;
use serde_json::Value;
use shared::domain::{BuiltInRole, RoleName};
use shared::policy::{
    Api, BuiltInRoles, Grant, GrantRoles, InvalidPermission, Method, PathPrefix, Permission, Refusal, Role,
    Target, decide,
};
use tests::{Harness, Shape, Verdict};

use crate::support::keys::generated_key;
use crate::support::{denied, naive};

/// Evaluates a response for an ARN as IAM does: a matching Deny refuses, otherwise a matching
/// Allow permits. `*` matches any text and `?` any character.
fn permits(response: &Value, arn: &str) -> bool {
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
            ['?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && matches(rest, &text[1..]),
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    let has = |effect: &str| {
        response["policyDocument"]["Statement"].as_array().unwrap().iter().any(|statement| {
            statement["Effect"] == effect
                && matches(&chars(statement["Action"].as_str().unwrap()), &chars("execute-api:Invoke"))
                && matches(&chars(statement["Resource"].as_str().unwrap()), &chars(arn))
        })
    };
    !has("Deny") && has("Allow")
}

#[tokio::test]
async fn a_cached_response_allows_no_other_route() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("root", "ServiceAccountAdmin").await;
    let arn = |method: &str, path: &str| {
        format!("arn:aws:execute-api:eu-central-1:123456789012:abcdef123/$default/{method}{path}")
    };
    let routes = [
        ("GET", "/"),
        ("GET", "/organizations"),
        ("GET", "/organizations/"),
        ("GET", "/organizations/4"),
        ("GET", "/organizations/42"),
        ("GET", "/organizations/42/"),
        ("GET", "/organizations/42/members"),
        ("GET", "/Organizations/42"),
        ("POST", "/organizations/42"),
        ("DELETE", "/organizations/42"),
        ("OPTIONS", "/organizations/42"),
        ("GET", "/teams/42"),
        ("GET", "/organizations/42%20"),
        ("GET", "/iam/v1/whoami"),
        ("GET", "/iam/v1/service-accounts"),
        ("POST", "/iam/v1/service-accounts"),
    ];
    // An API that caches responses by the token only uses the first response for every later request.
    for (first_method, first_path) in routes {
        let event = Shape::HttpV2.request(first_method, first_path, &key.secret);
        let cached = serde_json::to_value(harness.authorize(&event).await.unwrap()).unwrap();
        let resource = cached["policyDocument"]["Statement"][0]["Resource"].as_str().unwrap();
        assert_eq!(resource, arn(first_method, first_path));
        assert!(!resource.contains(['*', '?']) && !resource.contains("${"), "{resource}");
        let is_allowed = !first_path.starts_with("/iam") || first_path == "/iam/v1/whoami";
        for (method, path) in routes {
            let same = (method, path) == (first_method, first_path);
            assert_eq!(
                permits(&cached, &arn(method, path)),
                is_allowed && same,
                "the response to {first_method} {first_path}, used for {method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn paths_with_wildcards_are_not_allowed() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("root", "ServiceAccountAdmin").await;
    let paths = [
        "/*",
        "/organizations/*",
        "/organizations/?",
        "/organizations/${x}",
        "/*/*",
        "/organizations/4*",
        "/organizations/%2A",
        "/organizations/%2a",
        "/organizations/%3F",
        "/organizations/%24%7Bx%7D",
    ];
    for shape in Shape::ALL {
        for path in paths {
            let verdict = harness.verdict(&shape.request("GET", path, &key.secret)).await;
            assert_eq!(verdict, Verdict::Deny, "{shape:?} {path}");
        }
    }
}

#[tokio::test]
async fn routes_outside_every_role_are_denied() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    for path in [
        "/",
        "/orders",
        "/organization",
        "/organizationsx/1",
        "/Organizations/1",
        "/teams.json",
        "/v1/teams/1",
        "/admin",
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let decided = harness.decide(&Shape::HttpV2.request(method, path, &key.secret)).await;
            assert_eq!(decided, denied("role"), "{method} {path}");
        }
    }
    for method in ["TRACE", "CONNECT", "PROPFIND", "get", "Get", "", "GET ", "ANY", "*", "QUERY"] {
        let event = Shape::HttpV2.request(method, "/organizations/1", &key.secret);
        let verdict = harness.verdict(&event).await;
        assert_ne!(verdict, Verdict::Allow, "{method}");
    }
}

fn role(permissions: &[String]) -> Role {
    let permissions = permissions.iter().map(|text| Permission::parse(text).unwrap()).collect();
    Role { name: RoleName::parse("custom").unwrap(), permissions }
}

/// Compares the same models for roles that were registered through the API: a role keeps its
/// meaning when it is stored and read for a decision.
#[tokio::test]
async fn decisions_with_registered_roles_match_the_naive_model() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let harness = Harness::start().await;
    harness.put_role("Account", &[]).await;
    harness.put_role("Key", &[]).await;
    let (account, wide) = harness.account_with_key("batch", "Account").await;
    let narrow = serde_json::json!({ "name": "narrow", "role": "Key" });
    let narrow = harness.issue_key_with(&account, &narrow).await;
    let mut runner = TestRunner::deterministic();
    let mut draw_permissions = |limit: usize| {
        let roles = prop::collection::vec(permission(), 0..limit);
        let mut texts = roles.new_tree(&mut runner).unwrap().current();
        // The API refuses permissions below /iam, and duplicates.
        texts.retain(|text| !text.to_ascii_lowercase().split_once(' ').unwrap().1.starts_with("/iam"));
        texts.sort();
        texts.dedup();
        texts
    };
    let mut paths = TestRunner::deterministic();
    let mut outcomes = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let (own, key) = (draw_permissions(6), draw_permissions(4));
        for (name, texts) in [("Account", &own), ("Key", &key)] {
            harness.put_role(name, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        for _ in 0..25 {
            let permissions = [own.as_slice(), key.as_slice()].concat();
            let covered = permissions.first().map(|text| {
                let path = text.split_once(' ').unwrap().1;
                path.replace("{id}", "7").replace("{proxy+}", "7/8")
            });
            let random = path().new_tree(&mut paths).unwrap().current();
            let path = covered.filter(|_| random.len().is_multiple_of(2)).unwrap_or(random);
            let method = method().new_tree(&mut paths).unwrap().current();
            for (secret, own_role) in [(&wide.secret, None), (&narrow.secret, Some(key.as_slice()))] {
                let event = Shape::HttpV2.request(method, &path, secret);
                let allowed = harness.verdict(&event).await == Verdict::Allow;
                let expected = naive::allows(&own, own_role, method, &path);
                assert_eq!(allowed, expected, "{own:?} {own_role:?} {method} {path}");
                outcomes.insert((own_role.is_some(), allowed));
            }
        }
    }
    assert_eq!(outcomes.len(), 4, "each kind of key must be allowed and refused at least once");
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "teams", "organizations", "42", "iam", "IAM", "v1", "whoami", "a.b", "x-y_z~"])
            .prop_map(str::to_owned),
        1 => "[a-z0-9]{1,3}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let drawn = (prop::collection::vec(segment(), 0..5), any::<bool>()).prop_map(|(segments, slash)| {
        let path = format!("/{}", segments.join("/"));
        if slash && !segments.is_empty() { format!("{path}/") } else { path }
    });
    // The only reserved path that a key can call. Random segments rarely give it.
    prop_oneof![19 => drawn, 1 => Just("/iam/v1/whoami".to_owned())]
}

/// Paths with characters and lengths that a permission cannot express.
fn path_of_any_characters() -> impl Strategy<Value = String> {
    let rare = prop_oneof![
        Just("{id}".to_owned()),
        Just("{proxy+}".to_owned()),
        "[ -~&&[^/\\\\*?$#%]]{1,5}",
        "[é一ñ😀\"<>^`|]{1,3}",
        Just("a%20b".to_owned()),
        Just("%C3%A9".to_owned()),
        Just("a".repeat(250)),
        "[a-z;=]{60,90}",
    ];
    let segments = prop::collection::vec(prop_oneof![segment(), rare], 0..7);
    let drawn = (segments, prop::sample::select(vec!["", "/"])).prop_filter_map(
        "the path is ambiguous",
        |(segments, end)| {
            let path = format!("/{}{}", segments.join("/"), if segments.is_empty() { "" } else { end });
            Target::parse("GET", &path).is_ok().then_some(path)
        },
    );
    prop_oneof![path(), drawn]
}

fn permission() -> impl Strategy<Value = String> {
    let methods = prop_oneof![
        Just("ANY".to_owned()),
        prop::sample::subsequence(Method::ALL.map(Method::name).to_vec(), 1..4)
            .prop_map(|names| names.join(",")),
    ];
    let segments = prop::collection::vec(prop_oneof![3 => segment(), 2 => Just("{id}".to_owned())], 0..4);
    let end = prop::sample::select(vec!["", "", "/", "{proxy+}"]);
    (methods, segments, end).prop_map(|(methods, segments, end)| {
        let path = segments.join("/");
        match (path.is_empty(), end) {
            (true, "/") => format!("{methods} /"),
            (true, end) => format!("{methods} /{end}"),
            (false, "{proxy+}") => format!("{methods} /{path}/{{proxy+}}"),
            (false, end) => format!("{methods} /{path}{end}"),
        }
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(Method::ALL.map(Method::name).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn decisions_match_the_naive_model(
        account in prop::collection::vec(permission(), 0..4),
        key in prop::option::of(prop::collection::vec(permission(), 0..3)),
        method in method(),
        path in path(),
    ) {
        let (account_role, key_role) = (role(&account), key.as_deref().map(role));
        let target = Target::parse(method, &path).unwrap();
        let grant = Grant::ServiceAccount(GrantRoles { grant: key_role.as_ref(), ..GrantRoles::new(&account_role) });
        let expected = naive::allows(&account, key.as_deref(), method, &path);
        prop_assert_eq!(decide(Api::serving(&target), grant, &target).is_ok(), expected, "{:?} {:?} {} {}", account, key, method, path);
    }

    #[test]
    fn a_permission_covers_paths_made_from_its_pattern(permission in permission(), fill in "[a-z0-9]{1,4}", method in method()) {
        let (methods, pattern) = permission.split_once(' ').unwrap();
        let path = pattern.replace("{id}", &fill).replace("{proxy+}", &format!("{fill}/{fill}"));
        let covered = methods == "ANY" || methods.split(',').any(|name| name == method);
        let target = Target::parse(method, &path).unwrap();
        prop_assert_eq!(Permission::parse(&permission).unwrap().covers(&target), covered);
        prop_assert_eq!(naive::covers(&permission, method, &path), covered);
    }

    #[test]
    fn a_permission_covers_the_paths_of_another_if_it_covers_each_of_them(one in permission(), other in permission()) {
        let pattern = other.split_once(' ').unwrap().1;
        let any = format!("ANY {}", one.split_once(' ').unwrap().1);
        // No pattern contains this segment, so a permission that covers it covers every segment.
        let fill = |rest| pattern.replace("{id}", "zzzz").replace("{proxy+}", rest);
        let expected = ["zzzz", "zzzz/", "zzzz/zzzz/zzzz"].into_iter().all(|rest| naive::covers(&any, "GET", &fill(rest)));
        let (one, other) = (Permission::parse(&one).unwrap(), Permission::parse(&other).unwrap());
        prop_assert_eq!(one.covers_paths_of(&other), expected);
        prop_assert!(one.covers_paths_of(&one));
    }

    #[test]
    fn the_missing_permission_is_the_narrowest_that_covers_the_request(
        path in path_of_any_characters(),
        method in method(),
        other_method in method(),
        other in permission(),
    ) {
        let target = Target::parse(method, &path).unwrap();
        let missing = Permission::for_target(&target);
        let other_target = Target::parse(other_method, &path).unwrap();
        for permission in [&missing, &Permission::parse(missing.as_str()).unwrap()] {
            prop_assert_eq!(permission, &missing);
            prop_assert!(permission.covers(&target), "{permission}");
            prop_assert_eq!(permission.covers(&other_target), method == other_method, "{}", permission);
        }
        prop_assert!(naive::covers(missing.as_str(), method, &path), "{missing}");
        // Each permission that covers the request covers all that this one covers, unless this
        // one was shortened.
        let other = Permission::parse(&other).unwrap();
        let is_narrower = other.covers_paths_of(&missing) || missing.path().ends_with("{proxy+}");
        prop_assert!(is_narrower || !other.covers(&target), "{missing} {other}");
        // The text needs no escape in JSON, and no escape in a log.
        prop_assert_eq!(serde_json::to_string(missing.as_str()).unwrap(), format!("\"{missing}\""));
        prop_assert!(missing.as_str().is_ascii());
    }

    #[test]
    fn a_role_with_the_missing_permission_permits_the_request(
        account in prop::collection::vec(permission(), 0..4),
        key in prop::option::of(prop::collection::vec(permission(), 0..3)),
        method in method(),
        path in path(),
    ) {
        let target = Target::parse(method, &path).unwrap();
        prop_assume!(!target.is_reserved());
        let (mut account, mut key) = (role(&account), key.as_deref().map(role));
        let mut by_key_role = Vec::new();
        // At most both roles lack the permission, the account's role first.
        for _ in 0..3 {
            let grant = Grant::ServiceAccount(GrantRoles { grant: key.as_ref(), ..GrantRoles::new(&account) });
            let Err(refusal) = decide(Api::Business, grant, &target) else { break };
            let missing = refusal.missing_permission().unwrap().clone();
            by_key_role.push(matches!(refusal, Refusal::GrantRole(_)));
            let lacking = if by_key_role.ends_with(&[true]) { key.as_mut().unwrap() } else { &mut account };
            lacking.permissions.push(missing);
        }
        prop_assert!([&[][..], &[false], &[true], &[false, true]].contains(&&by_key_role[..]), "{by_key_role:?}");
    }

    #[test]
    fn a_keys_own_role_only_narrows_its_access(
        account in prop::collection::vec(permission(), 0..4),
        key in prop::collection::vec(permission(), 0..3),
        method in method(),
        path in path(),
    ) {
        let (account, key) = (role(&account), role(&key));
        let target = Target::parse(method, &path).unwrap();
        let with = |key_role| decide(Api::Business, Grant::ServiceAccount(GrantRoles { grant: key_role, ..GrantRoles::new(&account) }), &target).is_ok();
        prop_assert!(with(None) || !with(Some(&key)));
        prop_assert!(!with(Some(&role(&[]))));
    }

    #[test]
    fn reserved_paths_are_reserved_for_every_role(rest in path(), method in method(), prefix in "/[iI][aA][mM]") {
        let path = format!("{prefix}{rest}");
        let target = Target::parse(method, &path).unwrap();
        let admin = role(&["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]);
        let is_whoami = method == "GET" && path == "/iam/v1/whoami";
        for (grant, at_iam) in [
            (Grant::ServiceAccount(GrantRoles::new(&admin)), is_whoami),
            (Grant::ServiceAccountWithoutRoles, is_whoami),
            (Grant::ApiAdmin, false),
            (Grant::IamAdmin, prefix == "/iam"),
        ] {
            let refusal = decide(Api::Business, grant, &target).unwrap_err();
            prop_assert_eq!(refusal.missing_permission(), None);
            prop_assert_eq!(refusal, Refusal::Reserved);
            prop_assert_eq!(decide(Api::Iam, grant, &target).is_ok(), at_iam);
        }
    }

    #[test]
    fn the_iam_api_refuses_every_path_outside_iam(path in path(), method in method()) {
        let target = Target::parse(method, &path).unwrap();
        prop_assume!(!target.is_reserved());
        let admin = role(&["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]);
        let key = Grant::ServiceAccount(GrantRoles::new(&admin));
        for (grant, at_business) in
            [(key, true), (Grant::ServiceAccountWithoutRoles, false), (Grant::ApiAdmin, true), (Grant::IamAdmin, false)]
        {
            prop_assert_eq!(decide(Api::Iam, grant, &target).unwrap_err(), Refusal::Reserved);
            prop_assert_eq!(decide(Api::Business, grant, &target).is_ok(), at_business);
        }
    }

    #[test]
    fn any_text_is_a_permission_or_an_error(text in any::<String>(), near in "[A-Z,]{0,8} ?/[a-z{}+/.%*-]{0,12}") {
        for text in [text, near] {
            if let Ok(permission) = Permission::parse(&text) {
                prop_assert_eq!(permission.to_string(), text);
            }
        }
    }

    #[test]
    fn any_path_is_a_target_or_an_error(path in any::<String>(), method in any::<String>()) {
        for path in [path.clone(), format!("/{path}")] {
            if let Ok(target) = Target::parse("GET", &path) {
                prop_assert_eq!(target.path(), &path);
            }
        }
        prop_assert_eq!(Target::parse(&method, "/").is_ok(), Method::parse(&method).is_ok());
    }
}

#[test]
fn the_missing_permission_has_the_segments_that_its_syntax_can_express() {
    let key = generated_key("prod", 1);
    let (filler, too_long) = ("a".repeat(200), "b".repeat(300));
    for (path, expected) in [
        ("/", "POST /"),
        ("/organizations/42", "POST /organizations/42"),
        ("/organizations/42/", "POST /organizations/42/"),
        ("/a;x=1/-._~!&'(),;=:@", "POST /a;x=1/-._~!&'(),;=:@"),
        ("/organizations/a%20b/members", "POST /organizations/{name}/members"),
        ("/organizations/a b/\u{e9}", "POST /organizations/{name}/{name}"),
        ("/organizations/{id}", "POST /organizations/{name}"),
        ("/say/\"hi\"", "POST /say/{name}"),
        // A credential in a path does not get into the text, in which a log or a response could
        // show it.
        (&format!("/keys/{key}/rotation"), "POST /keys/{name}/rotation"),
        (&format!("/{filler}/{too_long}/"), &format!("POST /{filler}/{{proxy+}}")),
        (&format!("/{too_long}"), "POST /{proxy+}"),
        (&format!("/{filler}/{}", "c".repeat(49)), &format!("POST /{filler}/{}", "c".repeat(49))),
        (&format!("/{filler}/{}", "c".repeat(50)), &format!("POST /{filler}/{{proxy+}}")),
        // With the trailing slash, this text is too long, and the tail needs a segment.
        (&format!("/{filler}/{}/", "c".repeat(49)), &format!("POST /{filler}/{{proxy+}}")),
    ] {
        let target = Target::parse("POST", path).unwrap();
        let missing = Permission::for_target(&target);
        assert_eq!(missing.as_str(), expected, "{path}");
        assert!(missing.covers(&target), "{path}");
    }
}

/// Lists the combinations of grant, API and path that are permitted. All others are refused.
#[test]
fn each_grant_is_limited_to_its_api() {
    let role = role(&["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]);
    let key = Grant::ServiceAccount(GrantRoles::new(&role));
    let grants = [
        ("iam", Grant::IamAdmin),
        ("api", Grant::ApiAdmin),
        ("key", key),
        ("valid", Grant::ServiceAccountWithoutRoles),
    ];
    for path in [
        "/iam/v1/service-accounts",
        "/iam/v1/whoami",
        "/iam/",
        "/iam",
        "/IAM/v1/whoami",
        "/iamx",
        "/",
        "/teams/1",
    ] {
        for method in Method::ALL {
            for api in [Api::Iam, Api::Business] {
                let target = Target::parse(method.name(), path).unwrap();
                let permitted = grants.iter().filter(|(_, grant)| decide(api, *grant, &target).is_ok());
                let permitted: Vec<_> = permitted.map(|(name, _)| *name).collect();
                let expected: &[&str] = match (api, method, path) {
                    (Api::Iam, Method::Get, "/iam/v1/whoami") => &["iam", "key", "valid"],
                    (Api::Iam, _, "/iam/v1/service-accounts" | "/iam/v1/whoami" | "/iam/") => &["iam"],
                    (Api::Business, _, "/iamx" | "/" | "/teams/1") => &["api", "key"],
                    (Api::Iam | Api::Business, _, _) => &[],
                };
                assert_eq!(permitted, expected, "{api:?} {method:?} {path}");
            }
        }
    }
}

#[test]
fn an_allow_names_the_permission_that_allowed() {
    let role = role(&["GET /a".to_owned(), "GET /{x}".to_owned()]);
    let target = Target::parse("GET", "/b").unwrap();
    let allowed = decide(Api::Business, Grant::ServiceAccount(GrantRoles::new(&role)), &target).unwrap();
    assert_eq!(allowed.permission().unwrap().to_string(), "GET /{x}");
}

#[test]
fn the_grammar_of_permissions_is_strict() {
    use InvalidPermission::{Form, Methods, Path, TooLong};
    let longest = format!("GET /{}", "a".repeat(251));
    let valid = [
        "GET /",
        "ANY /",
        "ANY /{proxy+}",
        "GET,POST /teams",
        "GET /teams/{id}",
        "GET /teams/",
        "PUT /a/{b}/c/{d}",
        "GET,HEAD,OPTIONS,POST,PUT,PATCH,DELETE /x",
        "GET /a-b._~c",
        "GET /a:b@c;d=e,f!&'()",
        "GET /{a.b-c_d}",
        "GET /{x}/{y+}",
        &longest,
    ];
    for text in valid {
        assert_eq!(Permission::parse(text).unwrap().to_string(), text);
    }
    let too_long = format!("{longest}a");
    let invalid = [
        ("", Form),
        ("GET", Form),
        ("/", Form),
        ("GET/teams", Form),
        ("GET\t/teams", Form),
        (" GET /teams", Methods),
        (" /teams", Methods),
        ("get /teams", Methods),
        ("Get /teams", Methods),
        ("ALL /teams", Methods),
        ("* /teams", Methods),
        ("GET, POST /teams", Methods),
        ("GET,,POST /teams", Methods),
        (",GET /teams", Methods),
        ("GET,GET /teams", Methods),
        ("ANY,GET /teams", Methods),
        ("GET,ANY /teams", Methods),
        ("CONNECT /teams", Methods),
        ("GET  /teams", Path),
        ("GET teams", Path),
        ("GET ", Path),
        ("GET /teams ", Path),
        ("GET /te ams", Path),
        ("GET //", Path),
        ("GET //teams", Path),
        ("GET /teams//x", Path),
        ("GET /teams//", Path),
        ("GET /.", Path),
        ("GET /..", Path),
        ("GET /a/../b", Path),
        ("GET /a/./b", Path),
        ("GET /../", Path),
        ("GET /*", Path),
        ("GET /teams/*", Path),
        ("GET /teams?x", Path),
        ("GET /teams#x", Path),
        ("GET /%74eams", Path),
        ("GET /a\\b", Path),
        ("GET /$default", Path),
        ("GET /a+", Path),
        ("GET /{}", Path),
        ("GET /{+}", Path),
        ("GET /{id", Path),
        ("GET /id}", Path),
        ("GET /{id}x", Path),
        ("GET /x{id}", Path),
        ("GET /{a}{b}", Path),
        ("GET /{{a}}", Path),
        ("GET /{a/b}", Path),
        ("GET /{proxy+}/x", Path),
        ("GET /{proxy+}/", Path),
        ("GET /{pro xy}", Path),
        ("GET /{a++}", Path),
        ("GET /té", Path),
        ("GET /a\n", Path),
        ("GET /a\0", Path),
        (&too_long, TooLong),
    ];
    for (text, error) in invalid {
        assert_eq!(Permission::parse(text).expect_err(text), error, "{text:?}");
    }
}

#[test]
fn the_built_in_roles_cover_their_prefixes_and_methods() {
    let roles = BuiltInRoles::new(&PathPrefix::parse_list("/organizations,/v2/teams").unwrap());
    let is_allowed = |role: BuiltInRole, method: &str, path: &str| {
        let role = roles.get(role);
        decide(
            Api::Business,
            Grant::ServiceAccount(GrantRoles::new(role)),
            &Target::parse(method, path).unwrap(),
        )
        .is_ok()
    };
    let inside = [
        "/organizations",
        "/organizations/1",
        "/organizations/1/members/2",
        "/v2/teams",
        "/v2/teams/1",
        "/organizations/1/",
    ];
    let outside = [
        "/",
        "/orders",
        "/organizationsx",
        "/organizations/",
        "/v2",
        "/v2/teamsx/1",
        "/teams",
        "/v2/teams.json",
        "/iam",
    ];
    for method in Method::ALL {
        let is_read = matches!(method, Method::Get | Method::Head | Method::Options);
        for path in inside {
            assert!(is_allowed(BuiltInRole::Admin, method.name(), path));
            assert!(is_allowed(BuiltInRole::Writer, method.name(), path));
            assert_eq!(is_allowed(BuiltInRole::Reader, method.name(), path), is_read, "{method:?} {path}");
        }
        for path in outside {
            assert_eq!(is_allowed(BuiltInRole::Admin, method.name(), path), path != "/iam", "{path}");
            assert!(!is_allowed(BuiltInRole::Writer, method.name(), path), "{path}");
            assert!(!is_allowed(BuiltInRole::Reader, method.name(), path), "{path}");
        }
    }
}

#[test]
fn a_path_prefix_must_be_plain_and_not_reserved() {
    for text in ["/organizations", "/v1/teams", "/a-b._c"] {
        assert!(PathPrefix::parse(text).is_ok(), "{text}");
    }
    for text in [
        "", "/", "teams", "/teams/", "//teams", "/a//b", "/{id}", "/*", "/a b", "/..", "/a/./b", "/iam",
        "/IAM/v1", "/iam/v1", "/a%20b", "/té",
    ] {
        assert!(PathPrefix::parse(text).is_err(), "{text}");
    }
}
