//! An answer opens exactly the request that was asked about, and the policy
//! means what a naive reading of it means.

use proptest::prelude::*;
use serde_json::Value;
use shared::domain::{BuiltInRole, RoleName};
use shared::policy::{
    Api, BuiltInRoles, Grant, InvalidPermission, Method, PathPrefix, Permission, Refusal, Role, Target,
    decide,
};
use tests::{Harness, Shape};

use crate::support::naive;

/// IAM's evaluation of one answer for one ARN: a Deny that fits refuses, then
/// an Allow that fits permits. `*` is any text, `?` any character.
fn permits(answer: &Value, arn: &str) -> bool {
    fn fits(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| fits(rest, &text[skip..])),
            ['?', rest @ ..] => !text.is_empty() && fits(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && fits(rest, &text[1..]),
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    let has = |effect: &str| {
        answer["policyDocument"]["Statement"].as_array().unwrap().iter().any(|statement| {
            statement["Effect"] == effect
                && fits(&chars(statement["Action"].as_str().unwrap()), &chars("execute-api:Invoke"))
                && fits(&chars(statement["Resource"].as_str().unwrap()), &chars(arn))
        })
    };
    !has("Deny") && has("Allow")
}

#[tokio::test]
async fn a_cached_answer_opens_no_other_route() {
    let harness = Harness::start().await;
    let account = harness.create_account("root", "ServiceAccountAdmin").await;
    let authorization = format!("Bearer {}", harness.issue_key(&account).await.secret);
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
    // The cache of an authorizer whose identity source is the token alone: the
    // first answer stands for every later request.
    for (first_method, first_path) in routes {
        let event = Shape::HttpV2.event(first_method, first_path, &authorization);
        let cached = serde_json::to_value(harness.authorize(&event).await.unwrap()).unwrap();
        let resource = cached["policyDocument"]["Statement"][0]["Resource"].as_str().unwrap();
        assert_eq!(resource, arn(first_method, first_path));
        assert!(!resource.contains(['*', '?']) && !resource.contains("${"), "{resource}");
        let may = !first_path.starts_with("/iam") || first_path == "/iam/v1/whoami";
        for (method, path) in routes {
            let same = (method, path) == (first_method, first_path);
            assert_eq!(
                permits(&cached, &arn(method, path)),
                may && same,
                "{first_method} {first_path} opens {method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_path_cannot_widen_the_answer() {
    let harness = Harness::start().await;
    let account = harness.create_account("root", "ServiceAccountAdmin").await;
    let authorization = format!("Bearer {}", harness.issue_key(&account).await.secret);
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
            let answer = harness.authorize(&shape.event("GET", path, &authorization)).await.unwrap();
            assert!(!answer.is_allow(), "{shape:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_its_arn_alone() {
    let harness = Harness::start().await;
    let event = Shape::HttpV2.bearer("junk");
    let answer = serde_json::to_value(harness.authorize(&event).await.unwrap()).unwrap();
    assert_eq!(answer["policyDocument"]["Statement"][0]["Resource"], event["routeArn"]);
    assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny");
    assert_eq!(answer["policyDocument"]["Statement"].as_array().unwrap().len(), 1);
    assert_eq!(answer.get("context"), None);
}

#[tokio::test]
async fn routes_that_no_role_knows_are_denied() {
    let harness = Harness::start().await;
    let authorization = format!("Bearer {}", harness.reader_key().await.secret);
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
            let decided = harness.decide(&Shape::HttpV2.event(method, path, &authorization)).await;
            assert_eq!(decided, (tests::Verdict::Deny, "role".to_owned()), "{method} {path}");
        }
    }
    for method in ["TRACE", "CONNECT", "PROPFIND", "get", "Get", "", "GET ", "ANY", "*", "QUERY"] {
        let event = Shape::HttpV2.event(method, "/organizations/1", &authorization);
        let verdict = harness.verdict(&event).await;
        assert_ne!(verdict, tests::Verdict::Allow, "{method}");
    }
}

fn role(permissions: &[String]) -> Role {
    let permissions = permissions.iter().map(|text| Permission::parse(text).unwrap()).collect();
    Role { name: RoleName::parse("custom").unwrap(), permissions }
}

/// The same against roles that an admin registered: what arrives in the table,
/// and is read for a decision, means what was put.
#[tokio::test]
async fn a_registered_role_decides_as_the_naive_model_does() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountAdmin").await;
    harness.put_role("Account", &[]).await;
    harness.put_role("Key", &[]).await;
    let change = harness.request("PATCH", &account.path()).admin();
    let _ = change.json(&serde_json::json!({ "role": "Account" })).send().await.expect(200);
    let wide = harness.issue_key(&account).await;
    let narrow = serde_json::json!({ "name": "narrow", "role": "Key" });
    let narrow = harness.issue_key_with(&account, &narrow).await;
    let mut runner = TestRunner::deterministic();
    let mut draw = |most: usize| {
        let roles = prop::collection::vec(permission(), 0..most);
        let mut texts = roles.new_tree(&mut runner).unwrap().current();
        // What the API refuses: below /iam, and the same meaning twice.
        texts.retain(|text| !text.to_ascii_lowercase().split_once(' ').unwrap().1.starts_with("/iam"));
        texts.sort();
        texts.dedup();
        texts
    };
    let mut paths = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let (own, key) = (draw(6), draw(4));
        for (name, texts) in [("Account", &own), ("Key", &key)] {
            harness.put_role(name, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        for _ in 0..25 {
            let made = [own.as_slice(), key.as_slice()].concat();
            let fitting = made.first().map(|text| {
                let path = text.split_once(' ').unwrap().1;
                path.replace("{id}", "7").replace("{proxy+}", "7/8")
            });
            let random = path().new_tree(&mut paths).unwrap().current();
            let path = fitting.filter(|_| random.len().is_multiple_of(2)).unwrap_or(random);
            let method = method().new_tree(&mut paths).unwrap().current();
            for (secret, own_role) in [(&wide.secret, None), (&narrow.secret, Some(key.as_slice()))] {
                let event = Shape::HttpV2.event(method, &path, &format!("Bearer {secret}"));
                let allowed = harness.verdict(&event).await == tests::Verdict::Allow;
                let expected = naive::key_may(&own, own_role, method, &path);
                assert_eq!(allowed, expected, "{own:?} {own_role:?} {method} {path}");
                seen.insert((own_role.is_some(), allowed));
            }
        }
    }
    assert_eq!(seen.len(), 4, "each kind of key was allowed and refused");
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
    // The one reserved path that a key may call is rarely drawn.
    prop_oneof![19 => drawn, 1 => Just("/iam/v1/whoami".to_owned())]
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
    fn a_decision_is_the_naive_one(
        account in prop::collection::vec(permission(), 0..4),
        key in prop::option::of(prop::collection::vec(permission(), 0..3)),
        method in method(),
        path in path(),
    ) {
        let (account_role, key_role) = (role(&account), key.as_deref().map(role));
        let target = Target::parse(method, &path).unwrap();
        let grant = Grant::Key { role: &account_role, key_role: key_role.as_ref() };
        let expected = naive::key_may(&account, key.as_deref(), method, &path);
        prop_assert_eq!(decide(Api::serving(&target), grant, &target).is_ok(), expected, "{:?} {:?} {} {}", account, key, method, path);
    }

    #[test]
    fn a_path_made_to_fit_is_covered(permission in permission(), fill in "[a-z0-9]{1,4}", method in method()) {
        let (methods, pattern) = permission.split_once(' ').unwrap();
        let path = pattern.replace("{id}", &fill).replace("{proxy+}", &format!("{fill}/{fill}"));
        let covered = methods == "ANY" || methods.split(',').any(|name| name == method);
        let target = Target::parse(method, &path).unwrap();
        prop_assert_eq!(Permission::parse(&permission).unwrap().covers(&target), covered);
        prop_assert!(naive::covers(&permission, method, &path) == covered);
    }

    #[test]
    fn a_permission_covers_the_paths_of_another_if_it_covers_each_of_them(one in permission(), other in permission()) {
        let pattern = other.split_once(' ').unwrap().1;
        let any = format!("ANY {}", one.split_once(' ').unwrap().1);
        // No pattern names this segment, so what covers it covers all.
        let fill = |rest| pattern.replace("{id}", "zzzz").replace("{proxy+}", rest);
        let expected = ["zzzz", "zzzz/", "zzzz/zzzz/zzzz"].into_iter().all(|rest| naive::covers(&any, "GET", &fill(rest)));
        let (one, other) = (Permission::parse(&one).unwrap(), Permission::parse(&other).unwrap());
        prop_assert_eq!(one.covers_paths_of(&other), expected);
        prop_assert!(one.covers_paths_of(&one));
    }

    #[test]
    fn a_role_of_a_key_only_narrows(
        account in prop::collection::vec(permission(), 0..4),
        key in prop::collection::vec(permission(), 0..3),
        method in method(),
        path in path(),
    ) {
        let (account, key) = (role(&account), role(&key));
        let target = Target::parse(method, &path).unwrap();
        let with = |key_role| decide(Api::Business, Grant::Key { role: &account, key_role }, &target).is_ok();
        prop_assert!(with(None) || !with(Some(&key)));
        prop_assert!(!with(Some(&role(&[]))));
    }

    #[test]
    fn what_is_reserved_is_so_for_every_role(rest in path(), method in method(), prefix in "/[iI][aA][mM]") {
        let path = format!("{prefix}{rest}");
        let target = Target::parse(method, &path).unwrap();
        let admin = role(&["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]);
        let is_whoami = method == "GET" && path == "/iam/v1/whoami";
        for (grant, at_iam) in [
            (Grant::Key { role: &admin, key_role: None }, is_whoami),
            (Grant::KeyWithoutRoles, is_whoami),
            (Grant::ApiAdmin, false),
            (Grant::IamAdmin, prefix == "/iam"),
        ] {
            prop_assert_eq!(decide(Api::Business, grant, &target).unwrap_err(), Refusal::Reserved);
            prop_assert_eq!(decide(Api::Iam, grant, &target).is_ok(), at_iam);
        }
    }

    #[test]
    fn the_iam_api_serves_no_other_path(path in path(), method in method()) {
        let target = Target::parse(method, &path).unwrap();
        prop_assume!(!target.is_reserved());
        let admin = role(&["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]);
        let key = Grant::Key { role: &admin, key_role: None };
        for (grant, at_business) in
            [(key, true), (Grant::KeyWithoutRoles, false), (Grant::ApiAdmin, true), (Grant::IamAdmin, false)]
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
        prop_assert_eq!(Target::parse(&method, "/").is_ok(), Method::parse(&method).is_some());
    }
}

/// Each grant at each kind of API: every combination that is not named here is
/// refused.
#[test]
fn each_grant_keeps_to_its_api() {
    let role = role(&["ANY /".to_owned(), "ANY /{proxy+}".to_owned()]);
    let key = Grant::Key { role: &role, key_role: None };
    let grants =
        [("iam", Grant::IamAdmin), ("api", Grant::ApiAdmin), ("key", key), ("valid", Grant::KeyWithoutRoles)];
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
fn the_permission_that_decided_is_told() {
    let role = role(&["GET /a".to_owned(), "GET /{x}".to_owned()]);
    let target = Target::parse("GET", "/b").unwrap();
    let allowed = decide(Api::Business, Grant::Key { role: &role, key_role: None }, &target).unwrap();
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
fn the_built_in_roles_reach_what_they_say() {
    let roles = BuiltInRoles::new(&PathPrefix::parse_list("/organizations,/v2/teams").unwrap());
    let may = |role: BuiltInRole, method: &str, path: &str| {
        let role = roles.get(role);
        decide(Api::Business, Grant::Key { role, key_role: None }, &Target::parse(method, path).unwrap())
            .is_ok()
    };
    let data = [
        "/organizations",
        "/organizations/1",
        "/organizations/1/members/2",
        "/v2/teams",
        "/v2/teams/1",
        "/organizations/1/",
    ];
    let other = [
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
        let reads = matches!(method, Method::Get | Method::Head | Method::Options);
        for path in data {
            assert!(may(BuiltInRole::Admin, method.name(), path));
            assert!(may(BuiltInRole::Writer, method.name(), path));
            assert_eq!(may(BuiltInRole::Reader, method.name(), path), reads, "{method:?} {path}");
        }
        for path in other {
            assert_eq!(may(BuiltInRole::Admin, method.name(), path), path != "/iam", "{path}");
            assert!(!may(BuiltInRole::Writer, method.name(), path), "{path}");
            assert!(!may(BuiltInRole::Reader, method.name(), path), "{path}");
        }
    }
}

#[test]
fn a_prefix_is_plain_and_not_reserved() {
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
