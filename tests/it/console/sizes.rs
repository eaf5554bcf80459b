//! A page with ordinary data, together with the stylesheet, is under 60 KB. With the
//! largest data, a page is under the 6 MB that a Lambda function can return. And every
//! role can be chosen, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tests::{Account, Action, Harness};

use crate::support::browser::{Browser, Page};
use crate::support::keys::store_usage;

/// The most bytes of a page with ordinary data and the stylesheet.
const ORDINARY: usize = 60_000;
/// The most bytes of any page
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>). HTML is
/// sent as it is, and takes at most twice as much in the function's JSON.
const MOST: usize = 6_000_000 / 2;

/// A text of this many characters that begins with `number`. HTML escapes most of
/// them, in five bytes.
fn longest(number: usize, characters: usize) -> String {
    format!("{number:03}").chars().chain("'\"&<".chars().cycle()).take(characters).collect()
}

/// The largest role: 100 permissions of 256 characters, most of which HTML escapes.
fn largest(first: char) -> Vec<String> {
    let rest = |from: usize| "'&".repeat((256 - from) / 2);
    (0..100)
        .map(|number| match number {
            99 => format!("ANY /{first}{number:03}{}/{{all+}}", "'".repeat(240)),
            _ => format!("GET /{first}{number:03}{}", rest(9)),
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

/// The name of a role that is as long as it can be, the `number`th by name.
fn name(number: usize) -> String {
    format!("R{number:03}{}", "x".repeat(60))
}

/// A browser that fails on a page with more than `most` bytes, with the stylesheet.
struct Scale<'h> {
    browser: Browser<'h>,
    css: usize,
    most: usize,
}

impl<'h> Scale<'h> {
    async fn new(harness: &'h Harness, most: usize) -> Self {
        let mut browser = Browser::signed_in(harness).await;
        let css = browser.get("/assets/console.css").await.expect(200).text.len();
        Self { browser, css, most }
    }

    fn weigh(&self, what: &str, page: Page) -> Page {
        let bytes = page.text.len() + self.css;
        assert!(bytes < self.most, "{what} has {bytes} bytes");
        page
    }

    async fn get(&mut self, path: &str) -> Page {
        let page = self.browser.get(path).await.expect(200);
        self.weigh(path, page)
    }

    async fn submit(&mut self, path: &str, action: &str, typed: &[(&str, &str)]) -> Page {
        let form = self.get(path).await;
        let page = self.browser.submit(&form, action, typed).await;
        self.weigh(action, page)
    }

    /// The pages from `path` on.
    async fn walk(&mut self, path: &str) -> Vec<Page> {
        let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.get(&path).await;
            next = page.text.split_once("\" rel=\"next\">").map(|(before, _)| {
                let address = before.rsplit_once("href=\"").unwrap().1;
                address.replace("&#38;", "&").replace("&amp;", "&")
            });
            pages.push(page);
            assert!(pages.len() < 200, "the pages from {path} have no end");
        }
        pages
    }
}

/// What stands behind each `before` in these pages, up to `after`.
fn all<'p>(pages: &'p [Page], before: &str, after: char) -> Vec<&'p str> {
    let texts = pages.iter().flat_map(|page| page.text.split(before).skip(1));
    texts.map(|text| text.split(after).next().unwrap()).collect()
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

/// An account with `keys` keys. Every text has the form of `text`.
async fn account(
    harness: &Harness,
    roles: [&str; 2],
    keys: usize,
    text: fn(usize, usize) -> String,
) -> (Account, Vec<tests::Key>) {
    let tags: BTreeMap<_, _> = (0..10).map(|at| (format!("{at}{}", "t".repeat(31)), text(at, 64))).collect();
    let body = json!({ "name": text(0, 64), "description": text(1, 256), "owner": text(2, 128), "role": roles[0],
        "tags": tags });
    let request = harness.request("POST", "/iam/v1/service-accounts").admin();
    let created = request.json(&body).send().await.expect(201);
    let account = Account { id: created.json()["id"].as_str().unwrap().to_owned() };
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

/// Looks at every page of an account and its keys, and finds every key and event once.
async fn see_account(
    harness: &Harness,
    most: usize,
    roles: [&str; 2],
    account: &Account,
    keys: &[tests::Key],
) {
    let mut scale = Scale::new(harness, most).await;
    let path = format!("/accounts/{}", account.id);
    let page = [scale.get(&path).await];
    let ids: Vec<_> = all(&page, "<tr id=\"", '"').into_iter().filter(|id| id.starts_with("key_")).collect();
    assert_eq!(ids.len(), keys.len(), "each once");
    assert_eq!(sorted(ids), sorted(keys.iter().map(|key| key.id.as_str())));
    let key = &keys[7].id;
    for below in ["/edit", "/delete", "/keys/new", "/keys/revoke"] {
        scale.get(&format!("{path}{below}")).await;
    }
    for below in ["rotate", "revoke"] {
        scale.get(&format!("{path}/keys/{key}/{below}")).await;
    }
    let history = scale.walk(&format!("{path}/history")).await;
    assert_eq!(all(&history, "request <code>", '<').len(), keys.len() + 1, "each event once");
    let edit = format!("{path}/edit");
    let page = scale.submit(&edit, &edit, &[("role", roles[1])]).await.expect(200);
    page.expect_texts(&["+ ANY /b099", "− ANY /a099"]);
    let asked = [("account", account.id.as_str()), ("key", key), ("method", "GET"), ("path", "/x")];
    scale.submit("/explain", "/explain", &asked).await.expect(200);
    let found = scale.submit("/leaked", "/leaked", &[("key", &keys[7].secret)]).await.expect(303);
    scale.get(found.location()).await;
    let request = harness.request("DELETE", &format!("{}/keys", account.path())).admin();
    let _ = request.send().await.expect(200);
    let retired = scale.walk(&format!("{path}/keys/retired")).await;
    assert_eq!(sorted(all(&retired, "<tr id=\"", '"')), sorted(keys.iter().map(|key| key.id.as_str())));
    scale.get(&path).await;
}

#[tokio::test]
async fn every_page_of_an_ordinary_account_is_small() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "25").start().await;
    for (name, last) in [("Reports", "ANY /a099"), ("Invoices", "ANY /b099")] {
        put(&harness, name, "Reads and writes reports", &[ordinary(12), vec![last.to_owned()]].concat())
            .await;
    }
    let text = |number, _| format!("nightly batch {number}");
    let roles = ["Reports", "Invoices"];
    let (account, keys) = account(&harness, roles, 25, text).await;
    harness.clock.advance_days(29);
    see_account(&harness, ORDINARY, roles, &account, &keys).await;
}

#[tokio::test]
async fn every_page_of_the_largest_account_can_be_returned() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    put(&harness, &name(0), &longest(0, 256), &largest('a')).await;
    put(&harness, &name(1), &longest(1, 256), &largest('b')).await;
    let roles = [&*name(0), &*name(1)];
    let (account, keys) = account(&harness, roles, 30, longest).await;
    harness.clock.advance_days(29);
    see_account(&harness, MOST, roles, &account, &keys).await;
}

/// Looks at every page of the roles, and finds every role and event once.
async fn see_roles(harness: &Harness, most: usize, names: &[String], permissions: &[String], events: usize) {
    let mut scale = Scale::new(harness, most).await;
    let list = scale.walk("/roles").await;
    let links = sorted(all(&list, "<th scope=\"row\"><a href=\"/roles/", '"'));
    assert_eq!(links, sorted(names.iter().map(String::as_str)));
    let role = format!("/roles/{}", names[0]);
    let page = scale.get(&role).await;
    let paths: Vec<_> = permissions.iter().map(|permission| permission.split_once(' ').unwrap().1).collect();
    expect_each(&page, &paths);
    let history = scale.walk("/history").await;
    assert_eq!(all(&history, "request <code>", '<').len(), events, "each event once");
    let edit = format!("{role}/edit");
    for path in [&format!("{role}/delete"), "/new-role", "/explain", "/accounts/new", "/"] {
        scale.get(path).await;
    }
    // A form has at most 64 KB.
    let typed = permissions[..80].join("\n");
    scale.submit(&edit, &edit, &[("permissions", &typed), ("button", "preview")]).await.expect(200);
    if most == MOST {
        let nonsense = vec!["'&".repeat(100); 100].join("\n");
        scale.submit(&edit, &edit, &[("permissions", &nonsense), ("button", "preview")]).await.expect(422);
    }
}

/// Fails unless each of these texts is on the page.
fn expect_each(page: &Page, texts: &[&str]) {
    let seen = page.words();
    let missing: Vec<_> = texts.iter().filter(|text| !seen.contains(**text)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn every_page_of_ordinary_roles_is_small() {
    let harness = Harness::start().await;
    let names: Vec<_> = (0..60).map(|number| format!("Reports{number:02}")).collect();
    let permissions = ordinary(100);
    for name in &names {
        put(&harness, name, "Reads and writes reports", &permissions).await;
    }
    see_roles(&harness, ORDINARY, &names, &permissions, 60).await;
}

#[tokio::test]
async fn every_page_of_the_largest_roles_can_be_returned() {
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
    see_roles(&harness, MOST, &names, &second, 70).await;
}

#[tokio::test]
async fn the_front_page_is_small_and_every_account_on_one() {
    for (most, text) in [
        (ORDINARY, (|number, _| format!("nightly batch {number}")) as fn(usize, usize) -> String),
        (MOST, longest),
    ] {
        let harness = Harness::start().await;
        for number in 0..40 {
            let body = json!({ "name": text(number, 64), "description": text(number, 256),
                "role": "ServiceAccountReader" });
            let request = harness.request("POST", "/iam/v1/service-accounts").admin();
            let created = request.json(&body).send().await.expect(201);
            let account = Account { id: created.json()["id"].as_str().unwrap().to_owned() };
            harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 9 })).await;
        }
        let mut scale = Scale::new(&harness, most).await;
        let prefix = &text(0, 64)[..1];
        for path in ["/".to_owned(), format!("/?prefix={prefix}&role=ServiceAccountReader")] {
            let pages = scale.walk(&path).await;
            assert_eq!(all(&pages, "<th scope=\"row\"><a href=\"/accounts/", '"').len(), 40, "each once");
        }
        let pages = scale.walk("/attention").await;
        assert_eq!(all(&pages, "Expires soon", '<').len(), 40, "each once");
    }
}

#[tokio::test]
async fn every_role_can_be_chosen_however_many_there_are() {
    let harness = Harness::start().await;
    for number in 0..130 {
        put(&harness, &name(number), &longest(number, 256), &ordinary(12)).await;
    }
    put(&harness, "Zulu", "Reads what z has", &["GET /zulu/{id}".to_owned()]).await;
    let mut browser = Browser::signed_in(&harness).await;
    let create = "/accounts/new";
    let form = browser.get(create).await.expect(200);
    form.expect_texts(&["ServiceAccountReader", &name(0), "Another role", "There are more roles"]);
    form.expect_none("zulu");
    // Enter in a field is not the button that shows a role.
    let buttons = form.text.split("action=\"/accounts\"").nth(1).unwrap();
    assert!(
        buttons.find("aria-hidden=\"true\">Create service account").unwrap()
            < buttons.find("value=\"role\"").unwrap()
    );
    // What is no role is said so beside its field, and everything typed is there.
    let typed =
        [("name", "batch"), ("description", "at night"), ("owner", "data"), ("role", "ServiceAccountWriter")];
    for (name, problem) in
        [("zulu", "Role zulu not found. Role names are case-sensitive."), (" ", "Enter the name of a role.")]
    {
        let typed: Vec<_> = typed.into_iter().chain([("other_role", name), ("button", "role")]).collect();
        let page = browser.submit(&form, "/accounts", &typed).await.expect(422);
        page.expect_texts(&["There are more roles", problem]);
        let kept = page.fields("/accounts");
        for (name, value) in &typed[..5] {
            assert_eq!(kept[*name].trim(), value.trim(), "{name}");
        }
    }
    // A typed name alone creates nothing: what it permits is shown first.
    let before = harness.table.dump().await;
    for button in ["role", ""] {
        let typed: Vec<_> = typed.into_iter().chain([("other_role", "Zulu"), ("button", button)]).collect();
        let page = browser.submit(&form, "/accounts", &typed).await.expect(200);
        page.expect_texts(&[
            "Zulu",
            "Reads what z has",
            "This role is now selected. Nothing is saved yet.",
            "GET /zulu/{id}",
        ]);
        assert_eq!(before, harness.table.dump().await);
        let kept = page.fields("/accounts");
        assert_eq!(
            [&kept["name"], &kept["owner"], &kept["role"], &kept["other_role"]],
            ["batch", "data", "Zulu", ""]
        );
        if button.is_empty() {
            let created = browser.submit(&page, "/accounts", &[]).await.expect(303);
            let page = browser.get(created.location()).await.expect(200);
            page.expect_texts(&["batch Enabled", "Zulu · Reads what z has"]);
            // And so it is where one is chosen for another reason.
            let edit = format!("{}/edit", created.location());
            let form = browser.get(&edit).await.expect(200);
            assert_eq!(form.fields(&edit)["role"], "Zulu");
            let other = name(129);
            let page =
                browser.submit(&form, &edit, &[("other_role", &other), ("button", "role")]).await.expect(200);
            assert_eq!(page.fields(&edit)["role"], other);
            let page = browser.submit(&page, &edit, &[]).await.expect(200);
            page.expect_texts(&["Added permissions", "Removed permissions", "GET /zulu/{id}"]);
            let keys = format!("{}/keys", created.location());
            let form = browser.get(&format!("{keys}/new")).await.expect(200);
            let typed = [("name", "narrow"), ("other_role", other.as_str()), ("button", "role")];
            let page = browser.submit(&form, &keys, &typed).await.expect(200);
            assert_eq!([&page.fields(&keys)["role"], &page.fields(&keys)["name"]], [&other, "narrow"]);
            let typed = [("other_role", "Zulu"), ("button", "role")];
            let page = browser.submit(&form, &keys, &typed).await.expect(422);
            page.expect_texts(&["permit less than the account"]);
        }
    }
    // The list is filtered by any of them, too.
    let page = browser.get("/?role=Zulu").await.expect(200);
    page.expect_texts(&["batch", "Zulu"]);
    assert!(page.text.contains("list=\"roles\""), "{}", page.text);
    browser.get("/?role=no+role").await.expect(422).expect_texts(&["Is not a valid role name"]);
    // Where the list is not to be had, a role is still asked for, and not denied.
    let typed: Vec<_> = typed.into_iter().chain([("other_role", "Zulu"), ("button", "role")]).collect();
    harness.wire.intercept(|call| if call.operation == "Query" { Action::Refuse } else { Action::Pass });
    let page = browser.submit(&form, "/accounts", &typed).await.expect(200);
    page.expect_texts(&["Zulu", "This role is now selected."]);
    harness.wire.intercept(|_| Action::Refuse);
    let page = browser.submit(&form, "/accounts", &typed).await.expect(503);
    page.expect_texts(&["Keyward is not responding"]);
    page.expect_none("not found");
    assert_eq!(page.fields("/accounts")["other_role"], "Zulu");
}
