//! Every page of the console, with the stylesheet, is under 60 KB, whatever the
//! data: what does not fit is on a further page, or said to be there. And every
//! role can be chosen, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tests::{Account, Action, Harness};

use crate::console_keys::used;
use crate::console_roles::{expect, expect_none, words};
use crate::support::browser::{Browser, Page};

/// The most bytes of a page and its style.
const LIGHT: usize = 60_000;

/// So many characters, each of which takes five in a page. They begin with
/// `number`.
fn longest(number: usize, characters: usize) -> String {
    format!("{number:03}").chars().chain("'\"&<".chars().cycle()).take(characters).collect()
}

/// The largest role there can be: as many permissions, as long ones, and of
/// characters that take five in a page.
fn largest(first: char) -> Vec<String> {
    let rest = |from: usize| "'&".repeat((256 - from) / 2);
    (0..100)
        .map(|number| match number {
            99 => format!("ANY /{first}{number:03}{}/{{all+}}", "'".repeat(240)),
            _ => format!("GET /{first}{number:03}{}", rest(9)),
        })
        .collect()
}

/// As many as a role can have, of ordinary lengths.
fn ordinary() -> Vec<String> {
    (0..100).map(|number| format!("GET,HEAD /reports/of/the/year/{number}/{{id}}")).collect()
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

/// Fails unless this page is light.
async fn weigh(browser: &mut Browser<'_>, what: &str, page: Page) -> Page {
    let css = browser.get("/assets/console.css").await.expect(200).text.len();
    let bytes = page.text.len() + css;
    assert!(bytes < LIGHT, "{what} has {bytes} bytes");
    page
}

/// The pages from `path` on, each of which is light.
async fn walk(browser: &mut Browser<'_>, path: &str) -> Vec<Page> {
    let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let page = browser.get(&path).await.expect(200);
        let page = weigh(browser, &path, page).await;
        next = page.text.split_once("\" rel=\"next\">").map(|(before, _)| {
            let address =
                before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&").replace("&amp;", "&");
            address.split('#').next().unwrap().to_owned()
        });
        pages.push(page);
        assert!(pages.len() < 200, "the pages from {path} have no end");
    }
    pages
}

/// What stands behind each `before` in these pages, up to `after`.
fn all<'p>(pages: &'p [Page], before: &str, after: char) -> Vec<&'p str> {
    let texts = pages.iter().flat_map(|page| page.text.split(before).skip(1));
    texts.map(|text| text.split(after).next().unwrap()).collect()
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

/// An account with as much as there can be of everything.
async fn worst_account(harness: &Harness, role: &str, key_role: &str) -> (Account, Vec<tests::Key>) {
    let tags: BTreeMap<_, _> =
        (0..10).map(|at| (format!("{at}{}", "t".repeat(31)), longest(at, 64))).collect();
    let body = json!({ "name": longest(0, 64), "description": longest(1, 256), "owner": longest(2, 128), "role": role,
        "tags": tags });
    let request = harness.request("POST", "/iam/v1/service-accounts").admin();
    let created = request.json(&body).send().await.expect(201);
    let account = Account { id: created.json()["id"].as_str().unwrap().to_owned() };
    let cidrs: Vec<_> = (0..10).map(|at| format!("2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff{at}/128")).collect();
    let days: Vec<_> =
        (1..=30_i8).rev().map(|day| (1, day, 1_000_000_000 + u64::from(day.unsigned_abs()))).collect();
    let mut keys = Vec::new();
    for number in 0..30 {
        let body = json!({ "name": longest(number, 64), "role": key_role, "allowedCidrs": cidrs });
        let key = harness.issue_key_with(&account, &body).await;
        used(harness, &key, &days).await;
        keys.push(key);
    }
    (account, keys)
}

#[tokio::test]
async fn every_page_of_an_account_is_light_and_every_key_on_one() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    put(&harness, &name(0), &longest(0, 256), &largest('a')).await;
    put(&harness, &name(1), &longest(1, 256), &largest('b')).await;
    put(&harness, &name(2), &longest(2, 256), &ordinary()).await;
    let (account, keys) = worst_account(&harness, &name(0), &name(1)).await;
    harness.clock.advance_days(29);
    let mut browser = Browser::signed_in(&harness).await;
    let path = format!("/accounts/{}", account.id);
    let pages = walk(&mut browser, &path).await;
    let ids: Vec<_> = all(&pages, "<tr id=\"", '"').into_iter().filter(|id| id.starts_with("key_")).collect();
    assert_eq!(ids.len(), 30, "each once");
    assert_eq!(sorted(ids), sorted(keys.iter().map(|key| key.id.as_str())));
    assert!(pages.len() > 1, "so much that one page cannot hold it");
    let key = &keys[7].id;
    for below in ["/edit", "/delete", "/keys/new", "/keys/revoke"] {
        let page = browser.get(&format!("{path}{below}")).await.expect(200);
        weigh(&mut browser, below, page).await;
    }
    for below in ["rotate", "revoke"] {
        let page = browser.get(&format!("{path}/keys/{key}/{below}")).await.expect(200);
        weigh(&mut browser, below, page).await;
    }
    let history = walk(&mut browser, &format!("{path}/history")).await;
    assert_eq!(all(&history, "request <code>", '<').len(), 31, "each event once");
    // Another role, of which everything is other.
    let edit = format!("{path}/edit");
    let form = browser.get(&edit).await.expect(200);
    let page = browser.submit(&form, &edit, &[("role", &name(1))]).await.expect(200);
    let page = weigh(&mut browser, "another role", page).await;
    expect(
        &page,
        &[
            "What its keys may do that they may not do now",
            "+ ANY /b099",
            "more: see",
            "What they may do no longer",
            "− ANY /a099",
            "more: see",
        ],
    );
    // A question, and a key that somebody has found.
    let asked = [("account", account.id.as_str()), ("key", key), ("method", "GET"), ("path", "/x")];
    let form = browser.get("/explain").await.expect(200);
    let page = browser.submit(&form, "/explain", &asked).await.expect(200);
    weigh(&mut browser, "explain", page).await;
    let form = browser.get("/leaked").await.expect(200);
    let found = browser.submit(&form, "/leaked", &[("key", &keys[7].secret)]).await.expect(303);
    let page = browser.get(found.location()).await.expect(200);
    weigh(&mut browser, "leaked", page).await;
    // All of them revoked.
    let request = harness.request("DELETE", &format!("{}/keys", account.path())).admin();
    let _ = request.send().await.expect(200);
    let retired = walk(&mut browser, &format!("{path}/keys/retired")).await;
    assert_eq!(sorted(all(&retired, "<tr id=\"", '"')), sorted(keys.iter().map(|key| key.id.as_str())));
    let page = browser.get(&path).await.expect(200);
    weigh(&mut browser, "without keys", page).await;
}

#[tokio::test]
async fn every_page_of_roles_is_light_and_every_role_and_permission_on_one() {
    let harness = Harness::start().await;
    let [first, second] = [largest('a'), largest('b')];
    for number in 0..60 {
        let permissions = if number % 2 == 0 { &first } else { &second };
        put(&harness, &name(number), &longest(number, 256), permissions).await;
    }
    // Each is replaced by all others: the longest event there can be.
    for number in 0..10 {
        put(&harness, &name(number), "", if number % 2 == 0 { &second } else { &first }).await;
    }
    let mut browser = Browser::signed_in(&harness).await;
    let list = walk(&mut browser, "/roles").await;
    let links = sorted(all(&list, "<th scope=\"row\"><a href=\"/roles/", '"'));
    assert_eq!(links, sorted((0..60).map(name).collect::<Vec<_>>().iter().map(String::as_str)));
    let role = format!("/roles/{}", name(0));
    let pages = walk(&mut browser, &role).await;
    let permissions: String = pages.iter().map(words).collect();
    let missing: Vec<_> = second
        .iter()
        .filter(|permission| !permissions.contains(permission.split_once(' ').unwrap().1))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let history = walk(&mut browser, "/history").await;
    assert_eq!(all(&history, "request <code>", '<').len(), 70, "each event once");
    for path in
        [format!("{role}/edit"), format!("{role}/delete"), "/new-role".to_owned(), "/explain".to_owned()]
    {
        let page = browser.get(&path).await.expect(200);
        weigh(&mut browser, &path, page).await;
    }
    for (what, permissions) in
        [("a preview", first.clone()), ("a preview of nonsense", vec!["'&".repeat(120); 100])]
    {
        let edit = format!("{role}/edit");
        let form = browser.get(&edit).await.expect(200);
        let typed = [("permissions", permissions.join("\n")), ("button", "preview".to_owned())];
        let typed = typed.each_ref().map(|(name, value)| (*name, value.as_str()));
        let page = browser.submit(&form, &edit, &typed).await;
        weigh(&mut browser, what, page).await;
    }
}

#[tokio::test]
async fn the_front_page_is_light_and_every_account_on_one() {
    let harness = Harness::start().await;
    for number in 0..40 {
        let body = json!({ "name": longest(number, 64), "description": longest(number, 256), "role": "ServiceAccountReader" });
        let request = harness.request("POST", "/iam/v1/service-accounts").admin();
        let created = request.json(&body).send().await.expect(201);
        let account = Account { id: created.json()["id"].as_str().unwrap().to_owned() };
        harness.issue_key_with(&account, &json!({ "name": "k", "expiresInDays": 9 })).await;
    }
    let mut browser = Browser::signed_in(&harness).await;
    let pages = walk(&mut browser, "/").await;
    assert_eq!(all(&pages, "<th scope=\"row\"><a href=\"/accounts/", '"').len(), 40, "each once");
    let pages = walk(&mut browser, "/attention").await;
    assert_eq!(all(&pages, "Expires soon", '<').len(), 40, "each once");
    let pages = walk(&mut browser, "/?prefix=0&role=ServiceAccountReader").await;
    assert_eq!(all(&pages, "<th scope=\"row\"><a href=\"/accounts/", '"').len(), 40, "each once");
}

#[tokio::test]
async fn every_role_can_be_chosen_however_many_there_are() {
    let harness = Harness::start().await;
    for number in 0..130 {
        put(&harness, &name(number), &longest(number, 256), &ordinary()[..12]).await;
    }
    put(&harness, "Zulu", "Reads what z has", &["GET /zulu/{id}".to_owned()]).await;
    let mut browser = Browser::signed_in(&harness).await;
    let create = "/accounts/new";
    let form = browser.get(create).await.expect(200);
    let form = weigh(&mut browser, create, form).await;
    expect(&form, &["ServiceAccountReader", &name(0), "Another role", "There are more roles than these"]);
    expect_none(&form, "zulu");
    // Enter in a field is not the button that shows a role.
    let buttons = form.text.split("action=\"/accounts\"").nth(1).unwrap();
    assert!(
        buttons.find("aria-hidden=\"true\">Create the account").unwrap()
            < buttons.find("value=\"role\"").unwrap()
    );
    // What is no role is said so beside its field, and everything typed is there.
    let typed =
        [("name", "batch"), ("description", "at night"), ("owner", "data"), ("role", "ServiceAccountWriter")];
    for (name, problem) in
        [("zulu", "There is no role zulu (capital letters count)."), (" ", "Type the name of a role.")]
    {
        let typed: Vec<_> = typed.into_iter().chain([("other_role", name), ("button", "role")]).collect();
        let page = browser.submit(&form, "/accounts", &typed).await.expect(422);
        expect(&page, &["There are more roles than these", problem]);
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
        let page = weigh(&mut browser, "asked for", page).await;
        expect(
            &page,
            &[
                "Zulu",
                "Reads what z has",
                "You asked for this one, and it is chosen. Nothing is saved yet.",
                "GET /zulu/{id}",
            ],
        );
        assert_eq!(before, harness.table.dump().await);
        let kept = page.fields("/accounts");
        assert_eq!(
            [&kept["name"], &kept["owner"], &kept["role"], &kept["other_role"]],
            ["batch", "data", "Zulu", ""]
        );
        if button.is_empty() {
            let created = browser.submit(&page, "/accounts", &[]).await.expect(303);
            let page = browser.get(created.location()).await.expect(200);
            expect(&page, &["batch Enabled", "Zulu · Reads what z has"]);
            // And so it is where one is chosen for another reason.
            let edit = format!("{}/edit", created.location());
            let form = browser.get(&edit).await.expect(200);
            assert_eq!(form.fields(&edit)["role"], "Zulu");
            let other = name(129);
            let page =
                browser.submit(&form, &edit, &[("other_role", &other), ("button", "role")]).await.expect(200);
            assert_eq!(page.fields(&edit)["role"], other);
            let page = browser.submit(&page, &edit, &[]).await.expect(200);
            expect(
                &page,
                &[
                    "What its keys may do that they may not do now",
                    "What they may do no longer",
                    "GET /zulu/{id}",
                ],
            );
            let keys = format!("{}/keys", created.location());
            let form = browser.get(&format!("{keys}/new")).await.expect(200);
            let typed = [("name", "narrow"), ("other_role", other.as_str()), ("button", "role")];
            let page = browser.submit(&form, &keys, &typed).await.expect(200);
            assert_eq!([&page.fields(&keys)["role"], &page.fields(&keys)["name"]], [&other, "narrow"]);
            let typed = [("other_role", "Zulu"), ("button", "role")];
            let page = browser.submit(&form, &keys, &typed).await.expect(422);
            expect(&page, &["choose a narrower one"]);
        }
    }
    // The list is filtered by any of them, too.
    let page = browser.get("/?role=Zulu").await.expect(200);
    expect(&page, &["batch", "Zulu"]);
    let page = weigh(&mut browser, "filtered", page).await;
    assert!(page.text.contains("list=\"roles\""), "{}", page.text);
    expect(&browser.get("/?role=no+role").await.expect(422), &["Can be no role's name"]);
    // Where the list is not to be had, a role is still asked for, and not denied.
    let typed: Vec<_> = typed.into_iter().chain([("other_role", "Zulu"), ("button", "role")]).collect();
    harness.wire.disturb(|call| if call.operation == "Query" { Action::Refuse } else { Action::Pass });
    let page = browser.submit(&form, "/accounts", &typed).await.expect(200);
    expect(&page, &["Zulu", "You asked for this one, and it is chosen."]);
    harness.wire.disturb(|_| Action::Refuse);
    let page = browser.submit(&form, "/accounts", &typed).await.expect(503);
    expect(&page, &["Keyward does not answer"]);
    expect_none(&page, "There is no role");
    assert_eq!(page.fields("/accounts")["other_role"], "Zulu");
}
