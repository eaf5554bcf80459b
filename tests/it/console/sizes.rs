//! Pages with ordinary data are small, and pages with the largest data do not exceed what a
//! Lambda function can return. The largest role can be saved, and every role can be chosen,
//! even if there are many.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Account, Action, Harness};

use crate::support::browser::{Browser, MAX_ORDINARY_BYTES, Page};
use crate::support::keys::store_usage;

/// The maximum size of any page, in bytes. A function's response has at most 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>), and HTML takes
/// at most twice its size in the response's JSON.
const MAX_BYTES: usize = 6_000_000 / 2;

/// A text of this many characters that begins with `number`. Most of them take five bytes in
/// HTML, because HTML escapes them.
fn longest(number: usize, characters: usize) -> String {
    format!("{number:03}").chars().chain("'\"&<".chars().cycle()).take(characters).collect()
}

/// The permissions of the largest role: 100 permissions of 256 characters, most of which HTML
/// and forms escape.
fn largest(first: char) -> Vec<String> {
    let escaped: String = "'&".chars().cycle().take(256 - 9).collect();
    (0..100)
        .map(|number| match number {
            99 => format!("ANY /{first}{number:03}{}/{{all+}}", "'".repeat(240)),
            _ => format!("GET /{first}{number:03}{escaped}"),
        })
        .collect()
}

/// `count` permissions of ordinary length.
fn ordinary(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("GET,HEAD /reports/of/the/year/{number}/{{id}}")).collect()
}

async fn put(harness: &Harness, name: &str, description: &str, permissions: &[String]) {
    let request = harness.request("PUT", &format!("/iam/v1/roles/{name}")).admin();
    let body = json!({ "description": description, "permissions": permissions });
    let reply = request.json(&body).send().await;
    assert!([200, 201].contains(&reply.status), "{reply:?}");
}

/// The longest name of a role. The names are in the order of their numbers.
fn name(number: usize) -> String {
    format!("R{number:03}{}", "x".repeat(60))
}

/// A browser that checks the size of each page plus the stylesheet.
struct SizeLimitedBrowser<'h> {
    browser: Browser<'h>,
    /// The size of the stylesheet, in bytes.
    css: usize,
    max_bytes: usize,
}

impl<'h> SizeLimitedBrowser<'h> {
    async fn new(harness: &'h Harness, max_bytes: usize) -> Self {
        let mut browser = Browser::signed_in(harness).await;
        let css = browser.get("/assets/console.css").await.expect(200).text.len();
        Self { browser, css, max_bytes }
    }

    fn check_size(&self, path: &str, page: Page) -> Page {
        let bytes = page.text.len() + self.css;
        assert!(bytes < self.max_bytes, "{path} has {bytes} bytes");
        page
    }

    async fn get(&mut self, path: &str) -> Page {
        let page = self.browser.get(path).await.expect(200);
        self.check_size(path, page)
    }

    async fn submit(&mut self, path: &str, action: &str, typed: &[(&str, &str)]) -> Page {
        let form = self.get(path).await;
        let page = self.browser.submit(&form, action, typed).await;
        self.check_size(action, page)
    }

    /// The page at `path` and all following pages of its list.
    async fn get_all(&mut self, path: &str) -> Vec<Page> {
        let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.get(&path).await;
            next = page.next_page();
            pages.push(page);
            assert!(pages.len() < 200, "the list from {path} does not end");
        }
        pages
    }
}

/// The texts between each `before` and the next `after` in these pages.
fn all_between<'p>(pages: &'p [Page], before: &str, after: char) -> Vec<&'p str> {
    let texts = pages.iter().flat_map(|page| page.text.split(before).skip(1));
    texts.map(|text| text.split(after).next().unwrap()).collect()
}

fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

/// Creates an account.
async fn create_account(harness: &Harness, body: Value) -> Account {
    let request = harness.request("POST", "/iam/v1/service-accounts").admin();
    let created = request.json(&body).send().await.expect(201);
    Account { id: created.json()["id"].as_str().unwrap().to_owned() }
}

/// Creates an account with `keys` keys. `text(number, characters)` returns their texts.
async fn account_with_keys(
    harness: &Harness,
    roles: [&str; 2],
    keys: usize,
    text: fn(usize, usize) -> String,
) -> (Account, Vec<tests::Key>) {
    let tags: BTreeMap<_, _> = (0..10).map(|at| (format!("{at}{}", "t".repeat(31)), text(at, 64))).collect();
    let body = json!({ "name": text(0, 64), "description": text(1, 256), "owner": text(2, 128), "role": roles[0],
        "tags": tags });
    let account = create_account(harness, body).await;
    let cidrs: Vec<_> = (0..10).map(|at| format!("2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff{at}/128")).collect();
    let days: Vec<_> =
        (1..=30_i8).rev().map(|day| (1, day, 1_000_000_000 + u64::from(day.unsigned_abs()))).collect();
    let mut issued = Vec::new();
    for number in 0..keys {
        let mut body = json!({ "name": text(number, 64), "role": roles[1] });
        if keys > 25 {
            body["allowedCidrs"] = json!(cidrs);
        }
        let key = harness.issue_key_with(&account, &body).await;
        store_usage(harness, &key, &days).await;
        issued.push(key);
    }
    (account, issued)
}

/// Checks every page of an account and its keys, and that each key and event is listed once.
async fn check_account_pages(
    harness: &Harness,
    max_bytes: usize,
    roles: [&str; 2],
    account: &Account,
    keys: &[tests::Key],
) {
    let mut browser = SizeLimitedBrowser::new(harness, max_bytes).await;
    let path = format!("/accounts/{}", account.id);
    let page = [browser.get(&path).await];
    let ids: Vec<_> =
        all_between(&page, "<tr id=\"", '"').into_iter().filter(|id| id.starts_with("key_")).collect();
    assert_eq!(ids.len(), keys.len(), "each is listed once");
    assert_eq!(set(ids), set(keys.iter().map(|key| key.id.as_str())));
    let key = &keys[7].id;
    for below in ["/edit", "/disable", "/delete", "/keys/new", "/keys/revoke"] {
        browser.get(&format!("{path}{below}")).await;
    }
    for below in ["", "/rotate", "/revoke"] {
        browser.get(&format!("{path}/keys/{key}{below}")).await;
    }
    let history = browser.get_all(&format!("{path}/history")).await;
    assert_eq!(
        all_between(&history, "request <code>", '<').len(),
        keys.len() + 1,
        "each event is listed once"
    );
    let edit = format!("{path}/edit");
    let page = browser.submit(&edit, &edit, &[("role", roles[1])]).await.expect(200);
    page.expect_texts(&["+ ANY /b099", "− ANY /a099"]);
    let access = [("account", account.id.as_str()), ("key", key), ("method", "GET"), ("path", "/x")];
    browser.submit("/explain", "/explain", &access).await.expect(200);
    let found = browser.submit("/leaked", "/leaked", &[("key", &keys[7].secret)]).await.expect(303);
    browser.get(found.location()).await;
    let request = harness.request("DELETE", &format!("{}/keys", account.path())).admin();
    let _ = request.send().await.expect(200);
    let retired = browser.get_all(&format!("{path}/keys/retired")).await;
    assert_eq!(set(all_between(&retired, "<tr id=\"", '"')), set(keys.iter().map(|key| key.id.as_str())));
    browser.get(&path).await;
    browser.get(&format!("{path}/keys/{key}")).await;
}

#[tokio::test]
async fn pages_of_an_ordinary_account_are_small() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "25").start().await;
    for (name, last) in [("Reports", "ANY /a099"), ("Invoices", "ANY /b099")] {
        put(&harness, name, "Reads and writes reports", &[ordinary(12), vec![last.to_owned()]].concat())
            .await;
    }
    let text = |number, _| format!("nightly batch {number}");
    let roles = ["Reports", "Invoices"];
    let (account, keys) = account_with_keys(&harness, roles, 25, text).await;
    harness.clock.advance_days(29);
    check_account_pages(&harness, MAX_ORDINARY_BYTES, roles, &account, &keys).await;
}

#[tokio::test]
async fn pages_of_the_largest_account_can_be_returned() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    put(&harness, &name(0), &longest(0, 256), &largest('a')).await;
    put(&harness, &name(1), &longest(1, 256), &largest('b')).await;
    let roles = [&*name(0), &*name(1)];
    let (account, keys) = account_with_keys(&harness, roles, 30, longest).await;
    harness.clock.advance_days(29);
    check_account_pages(&harness, MAX_BYTES, roles, &account, &keys).await;
}

/// Checks every page of the roles, and that each role and event is listed once.
async fn check_role_pages(
    harness: &Harness,
    max_bytes: usize,
    names: &[String],
    permissions: &[String],
    events: usize,
) {
    let mut browser = SizeLimitedBrowser::new(harness, max_bytes).await;
    let list = browser.get_all("/roles").await;
    let links = set(all_between(&list, "<th scope=\"row\"><a href=\"/roles/", '"'));
    assert_eq!(links, set(names.iter().map(String::as_str)));
    let role = format!("/roles/{}", names[0]);
    let page = browser.get(&role).await;
    let paths: Vec<_> = permissions.iter().map(|permission| permission.split_once(' ').unwrap().1).collect();
    expect_each(&page, &paths);
    let history = browser.get_all("/history").await;
    assert_eq!(all_between(&history, "request <code>", '<').len(), events, "each event is listed once");
    let edit = format!("{role}/edit");
    for path in [&format!("{role}/delete"), "/new-role", "/explain", "/accounts/new", "/accounts", "/"] {
        browser.get(path).await;
    }
    let typed = permissions.join("\n");
    browser.submit(&edit, &edit, &[("permissions", &typed), ("button", "preview")]).await.expect(200);
    if max_bytes == MAX_BYTES {
        let invalid = vec!["'&".repeat(128); 100].join("\n");
        browser.submit(&edit, &edit, &[("permissions", &invalid), ("button", "preview")]).await.expect(422);
    }
}

/// Checks that the page contains each of these texts, in any order.
fn expect_each(page: &Page, texts: &[&str]) {
    let shown = page.visible_text();
    let missing: Vec<_> = texts.iter().filter(|text| !shown.contains(**text)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A browser ends lines with CRLF, and percent-encodes most characters of this role.
#[tokio::test]
async fn largest_role_can_be_saved_and_a_larger_form_is_refused() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-role").await.expect(200);
    let (name, description, permissions) = (name(0), "😀".repeat(256), largest('a'));
    assert!(permissions.len() == 100 && permissions.iter().all(|permission| permission.len() == 256));
    let typed = permissions.join("\r\n");
    let fields = [("name", name.as_str()), ("description", &description), ("permissions", &typed)];
    browser.submit(&form, "/new-role", &fields).await.expect(303);
    let saved = harness.get(&format!("/iam/v1/roles/{name}")).await.json();
    assert_eq!(saved["description"], description);
    assert_eq!(
        set(saved["permissions"].as_array().unwrap().iter().map(|text| text.as_str().unwrap())).len(),
        100
    );

    let edit = format!("/roles/{name}/edit");
    let form = browser.get(&edit).await.expect(200);
    let fields = [("description", description.as_str()), ("permissions", &typed)];
    browser.submit(&form, &edit, &fields).await.expect(303);
    let refused = browser.submit(&form, &edit, &[("permissions", &"x".repeat(90_000))]).await.expect(400);
    refused.expect_texts(&["This form could not be read"]);
}

#[tokio::test]
async fn pages_of_ordinary_roles_are_small() {
    let harness = Harness::start().await;
    let names: Vec<_> = (0..60).map(|number| format!("Reports{number:02}")).collect();
    let permissions = ordinary(100);
    for name in &names {
        put(&harness, name, "Reads and writes reports", &permissions).await;
    }
    check_role_pages(&harness, MAX_ORDINARY_BYTES, &names, &permissions, 60).await;
}

#[tokio::test]
async fn pages_of_the_largest_roles_can_be_returned() {
    let harness = Harness::start().await;
    let names: Vec<_> = (0..60).map(name).collect();
    let [first, second] = [largest('a'), largest('b')];
    for (number, name) in names.iter().enumerate() {
        let permissions = if number % 2 == 0 { &first } else { &second };
        put(&harness, name, &longest(number, 256), permissions).await;
    }
    // The longest events: each replaces all permissions of a role.
    for (number, name) in names.iter().take(10).enumerate() {
        put(&harness, name, "", if number % 2 == 0 { &second } else { &first }).await;
    }
    check_role_pages(&harness, MAX_BYTES, &names, &second, 70).await;
}

#[tokio::test]
async fn pages_of_accounts_are_limited_and_list_every_account_once() {
    for (max_bytes, text) in [
        (MAX_ORDINARY_BYTES, (|number, _| format!("nightly batch {number}")) as fn(usize, usize) -> String),
        (MAX_BYTES, longest),
    ] {
        let harness = Harness::start().await;
        for number in 0..40 {
            let body = json!({ "name": text(number, 64), "description": text(number, 256),
                "role": "ServiceAccountReader" });
            let account = create_account(&harness, body).await;
            harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 9 })).await;
        }
        let mut browser = SizeLimitedBrowser::new(&harness, max_bytes).await;
        let prefix = &text(0, 64)[..1];
        for path in ["/accounts".to_owned(), format!("/accounts?prefix={prefix}&role=ServiceAccountReader")] {
            let pages = browser.get_all(&path).await;
            assert_eq!(
                all_between(&pages, "<th scope=\"row\"><a href=\"/accounts/", '"').len(),
                40,
                "each is listed once"
            );
        }
    }
}

#[tokio::test]
async fn every_role_can_be_chosen_even_if_there_are_many() {
    let harness = Harness::start().await;
    for number in 0..130 {
        put(&harness, &name(number), &longest(number, 256), &ordinary(12)).await;
    }
    put(&harness, "Zulu", "Reads zulu data", &["GET /zulu/{id}".to_owned()]).await;
    let mut browser = Browser::signed_in(&harness).await;
    let create = "/accounts/new";
    let form = browser.get(create).await.expect(200);
    form.expect_texts(&["Find a role", "Not all roles are listed.", "ServiceAccountReader", &name(0)]);
    form.expect_without("zulu");
    // Enter in a field presses the main button, not the one that finds roles.
    let buttons = form.text.split("action=\"/accounts\"").nth(1).unwrap();
    assert!(
        buttons.find("aria-hidden=\"true\">Create service account").unwrap()
            < buttons.find("value=\"role\"").unwrap()
    );
    // A filter without a match is an error next to the field. The form keeps its other values.
    let typed =
        [("name", "batch"), ("description", "at night"), ("owner", "data"), ("role", "ServiceAccountWriter")];
    let search = |text: &'static str| {
        typed.into_iter().chain([("find_role", text), ("button", "role")]).collect::<Vec<_>>()
    };
    let wrong = search("no such role");
    let page = browser.submit(&form, "/accounts", &wrong).await.expect(422);
    page.expect_texts(&["Find a role", "No role matches “no such role”."]);
    let kept = page.fields("/accounts");
    for (name, value) in &wrong[..5] {
        assert_eq!(kept[*name], *value, "{name}");
    }
    // The filter searches names, descriptions and permissions of all roles, ignoring case.
    for text in ["ZUL", "ZULU DATA", "get /zulu/{"] {
        let page = browser.submit(&form, "/accounts", &search(text)).await.expect(200);
        page.expect_texts(&["1 role matches", text, "ServiceAccountWriter", "Zulu", "Reads zulu data"]);
        page.expect_without(&name(0));
        let kept = page.fields("/accounts");
        assert_eq!([&kept["name"], &kept["role"], &kept["find_role"]], ["batch", "ServiceAccountWriter", ""]);
    }
    let page = browser.submit(&form, "/accounts", &search("serviceaccount")).await.expect(200);
    page.expect_texts(&[
        "3 roles match",
        "ServiceAccountWriter",
        "ServiceAccountReader",
        "ServiceAccountAdmin",
    ]);
    // An empty filter lists the first roles again.
    let page = browser.submit(&page, "/accounts", &search(" ")).await.expect(200);
    page.expect_texts(&["Not all roles are listed.", &name(0)]);
    // The permissions of an entered role are shown before anything is created.
    let before = harness.table.dump().await;
    for button in ["role", ""] {
        let typed: Vec<_> = typed.into_iter().chain([("find_role", "Zulu"), ("button", button)]).collect();
        let page = browser.submit(&form, "/accounts", &typed).await.expect(200);
        page.expect_texts(&[
            "Zulu",
            "Reads zulu data",
            "This role is now selected. Nothing is saved yet.",
            "GET /zulu/{id}",
        ]);
        assert_eq!(before, harness.table.dump().await);
        let kept = page.fields("/accounts");
        assert_eq!(
            [&kept["name"], &kept["owner"], &kept["role"], &kept["find_role"]],
            ["batch", "data", "Zulu", ""]
        );
        if button.is_empty() {
            let created = browser.submit(&page, "/accounts", &[]).await.expect(303);
            let page = browser.get(created.location()).await.expect(200);
            page.expect_texts(&["batch Enabled", "Zulu · Reads zulu data"]);
            // The form of an account and the form of a key work the same way.
            let edit = format!("{}/edit", created.location());
            let form = browser.get(&edit).await.expect(200);
            assert_eq!(form.fields(&edit)["role"], "Zulu");
            let other = name(129);
            let page =
                browser.submit(&form, &edit, &[("find_role", &other), ("button", "role")]).await.expect(200);
            assert_eq!(page.fields(&edit)["role"], other);
            let page = browser.submit(&page, &edit, &[]).await.expect(200);
            page.expect_texts(&["Added permissions", "Removed permissions", "GET /zulu/{id}"]);
            let keys = format!("{}/keys", created.location());
            let form = browser.get(&format!("{keys}/new")).await.expect(200);
            let typed = [("name", "narrow"), ("find_role", other.as_str()), ("button", "role")];
            let page = browser.submit(&form, &keys, &typed).await.expect(200);
            assert_eq!([&page.fields(&keys)["role"], &page.fields(&keys)["name"]], [&other, "narrow"]);
            let typed = [("find_role", "Zulu"), ("button", "role")];
            let page = browser.submit(&form, &keys, &typed).await.expect(422);
            page.expect_texts(&["permit less than the account"]);
        }
    }
    // The list of accounts can be filtered by every role.
    let page = browser.get("/accounts?role=Zulu").await.expect(200);
    page.expect_texts(&["batch", "Zulu"]);
    assert!(page.text.contains("list=\"roles\""), "{}", page.text);
    browser.get("/accounts?role=no+role").await.expect(422).expect_texts(&["Is not a valid role name"]);
    // If the list of roles is unavailable, the entered role is still looked up. An outage is
    // not reported as an unknown role.
    let typed: Vec<_> = typed.into_iter().chain([("find_role", "Zulu"), ("button", "role")]).collect();
    harness.wire.intercept(|call| if call.operation == "Query" { Action::Refuse } else { Action::Pass });
    let page = browser.submit(&form, "/accounts", &typed).await.expect(200);
    page.expect_texts(&["Zulu", "This role is now selected."]);
    harness.wire.intercept(|_| Action::Refuse);
    let page = browser.submit(&form, "/accounts", &typed).await.expect(503);
    page.expect_texts(&["Keyward is not responding"]);
    page.expect_without("not found");
    assert_eq!(page.fields("/accounts")["find_role"], "Zulu");
}

/// The largest API: 2,000 operations with the longest texts that fit into a document, in the largest
/// selections, and the longest title, base URL and prefix.
async fn register_largest_api(harness: &Harness) {
    let path = |number: usize| {
        let path = format!("/p{number:04}/{}", "'&".repeat(60));
        let summary: String = "'\"&<".chars().cycle().take(100).collect();
        let operation = json!({ "operationId": format!("read_{number:04}{}", "x".repeat(39)), "summary": summary,
            "description": longest(number, 120) });
        (path, json!({ "get": operation }))
    };
    // Operations with a variable in part of a segment cannot be tools.
    let skipped = (0..100).map(|number| (format!("/skipped/{{id}}.{number}"), json!({ "get": {} })));
    let paths: serde_json::Map<_, _> = (0..1_900).map(path).chain(skipped).collect();
    let info = json!({ "title": longest(0, 500), "version": longest(0, 500) });
    let document = json!({ "openapi": "3.1.0", "info": info, "paths": paths });
    let exclude = (0..100).map(|number| format!("GET /{number}{}", "'&".repeat(120)));
    let body = json!({
        "title": longest(1, 128), "baseUrl": format!("http://127.0.0.1:8080/{}", "&'".repeat(240)),
        "routePrefix": format!("/{}", "'".repeat(100)), "openapi": document, "confirmation": "require",
        "include": ["ANY /{proxy+}"], "exclude": exclude.collect::<Vec<_>>(),
    });
    let reply = harness.request("PUT", "/iam/v1/apis/largest").admin().json(&body).send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[tokio::test]
async fn pages_of_the_largest_api_can_be_returned() {
    let harness = Harness::start().await;
    register_largest_api(&harness).await;
    for number in 0..60 {
        put(&harness, &name(number), "Calls all tools", &["ANY /{proxy+}".to_owned()]).await;
    }
    let account = harness.create_account("Agent", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let mut browser = SizeLimitedBrowser::new(&harness, MAX_BYTES).await;
    browser.get("/apis").await;
    let pages = browser.get_all("/apis/largest").await;
    assert_eq!(all_between(&pages, "name=\"tool\" value=\"", '"').len(), 1_900, "each is listed once");
    for path in ["/edit", "/delete"] {
        browser.get(&format!("/apis/largest{path}")).await;
    }
    browser.get("/history?api=largest").await;
    browser.get(&format!("/agent-tools?account={}&key={}&api=largest", account.id, key.id)).await;
    let all = [("button", "all")];
    browser.submit("/apis/largest", "/apis/largest/role", &all).await;
}
