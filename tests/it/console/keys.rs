//! The console's pages about keys: how they were used, how one is rotated and
//! revoked, and what becomes of one that leaked. What takes a real browser is in
//! `tests/browser`.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_snapshot;
use serde_json::json;
use shared::domain::{ApiKey, Environment};
use tests::{Account, Action, Harness, Key, Logs, SeededEntropy, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::browser::{Browser, HOSTILE, Page, secret, words};
use crate::support::keys::{foreign, forged, parsed, store_usage, use_key};

/// The page of an account.
fn page_of(account: &Account) -> String {
    format!("/accounts/{}", account.id)
}

/// The part of a page whose heading has this id.
fn section<'p>(page: &'p Page, id: &str) -> &'p str {
    let start = page.text.find(&format!("aria-labelledby=\"{id}\""));
    let rest = &page.text[start.unwrap_or_else(|| panic!("no {id} in {}", page.text))..];
    &rest[..rest.find("</section>").unwrap()]
}

/// The row of the key `id`.
fn row<'p>(page: &'p Page, id: &str) -> &'p str {
    let start = page.text.find(&format!("<tr id=\"{id}\""));
    let rest = &page.text[start.unwrap_or_else(|| panic!("no {id} in {}", page.text))..];
    &rest[..rest.find("</tr>").unwrap()]
}

#[tokio::test]
async fn the_use_of_a_key_is_told_in_words_and_by_day() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [used_once, busy, unused] = [
        harness.issue_key_with(&account, &json!({ "name": "once" })).await,
        harness.issue_key_with(&account, &json!({ "name": "busy" })).await,
        harness.issue_key_with(&account, &json!({ "name": "unused" })).await,
    ];
    let mut browser = Browser::signed_in(&harness).await;
    harness.clock.advance_seconds(60);
    use_key(&harness, &used_once).await;
    harness.clock.advance_seconds(180);
    let page = browser.get(&page_of(&account)).await.expect(200);
    assert!(row(&page, &used_once.id).contains(
        "<time datetime=\"2026-01-01T00:01:00Z\" title=\"2026-01-01 00:01:00 UTC\">3 minutes ago</time>"
    ));
    assert!(words(row(&page, &used_once.id)).contains("1 use in 30 days"));
    assert!(words(row(&page, &unused.id)).contains("Never"));
    assert!(!row(&page, &unused.id).contains("<svg"), "there is nothing to draw");

    // The first and the last of the days that are shown, and the ones beside them.
    harness.clock.advance_seconds(40 * 86_400 + 13 * 3600);
    let mut browser = Browser::signed_in(&harness).await;
    store_usage(&harness, &busy, &[(2, 10, 1200), (2, 9, 600), (1, 12, 3), (1, 11, 9000)]).await;
    let page = browser.get(&page_of(&account)).await.expect(200);
    assert_snapshot!(row(&page, &busy.id));
    assert!(words(row(&page, &busy.id)).contains("1,803 uses in 30 days"));
    // Only days long ago.
    assert!(words(row(&page, &used_once.id)).contains("41 days ago 0 uses in 30 days"));
    assert!(!row(&page, &used_once.id).contains("<svg"));
}

#[tokio::test]
async fn retired_keys_are_told_with_what_came_of_them() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [revoked, expired, rotated, quiet] = ["revoked", "expired", "rotated", "quiet"]
        .map(|name| json!({ "name": name, "expiresInDays": if name == "expired" { 1 } else { 90 } }));
    let revoked = harness.issue_key_with(&account, &revoked).await;
    let expired = harness.issue_key_with(&account, &expired).await;
    let rotated = harness.issue_key_with(&account, &rotated).await;
    let quiet = harness.issue_key_with(&account, &quiet).await;
    use_key(&harness, &revoked).await;
    for key in [&revoked, &quiet] {
        let _ = harness.revoke(key).await.expect(204);
    }
    let rotate = harness.request("POST", &format!("{}/rotation", rotated.path())).admin();
    let _ = rotate.json(&json!({ "graceSeconds": 0 })).send().await.expect(201);
    harness.clock.advance_days(1);
    // Moves the expired one to its record.
    harness.issue_key(&account).await;
    for _ in 0..2 {
        harness.clock.advance_seconds(61);
        assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&revoked.secret)).await, Verdict::Deny);
    }
    harness.clock.advance_seconds(3 * 3600);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&page_of(&account)).await.expect(200);
    let retired = section(&page, "retired");
    let order: Vec<_> =
        retired.split("<tr id=\"").skip(1).map(|row| row.split('"').next().unwrap()).collect();
    assert_eq!(order.len(), 4);
    assert_eq!((order[0], order[1]), (revoked.id.as_str(), expired.id.as_str()), "who came again is first");
    assert_snapshot!(words(retired));
    assert_snapshot!(row(&page, &revoked.id));
    assert!(words(row(&page, &rotated.id)).contains("Rotated"));
}

#[tokio::test]
async fn all_retired_keys_are_told_page_by_page_and_no_page_is_large() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let days: Vec<_> =
        (1..=30_i8).rev().map(|day| (1, day, 1_000_000 + u64::from(day.unsigned_abs()))).collect();
    for _ in 0..30 {
        let key = harness.issue_key_with(&account, &json!({ "name": "batch server 1" })).await;
        store_usage(&harness, &key, &days).await;
    }
    let record = harness.reader_key().await;
    let _ = harness.revoke(&record).await.expect(204);
    let record = harness.table.get(&format!("RETIRED#{}", record.account), &record.id).await.unwrap();
    for number in 0..60 {
        let mut item = record.clone();
        item.insert("pk".to_owned(), AttributeValue::S(format!("RETIRED#{}", account.id)));
        item.insert("sk".to_owned(), AttributeValue::S(format!("key_1{number:015}")));
        item.insert("retiredAt".to_owned(), AttributeValue::N((1_767_225_600 + number).to_string()));
        harness.table.put(item).await;
    }
    harness.clock.advance_days(29);
    let mut browser = Browser::signed_in(&harness).await;
    let css = browser.get("/assets/console.css").await.expect(200).text.len();
    let page = browser.get(&page_of(&account)).await.expect(200);
    assert_eq!(page.text.matches("<svg").count(), 30);
    assert!(page.text.contains("View all 60 retired keys"));
    assert!(page.text.len() + css < 60_000, "{} bytes", page.text.len() + css);
    let path = format!("{}/keys/retired", page_of(&account));
    let mut seen = Vec::new();
    for (query, next) in [("", Some("?after=25")), ("?after=25", Some("?after=50")), ("?after=50", None)] {
        let page = browser.get(&format!("{path}{query}")).await.expect(200);
        seen.extend(page.text.split("<tr id=\"").skip(1).map(|row| row[..20].to_owned()));
        assert_eq!(page.text.contains("rel=\"next\""), next.is_some(), "{query}");
        assert!(next.is_none_or(|next| page.text.contains(&format!("{path}{next}\""))), "{query}");
        assert!(page.text.len() + css < 60_000, "{} bytes", page.text.len() + css);
    }
    assert_eq!(seen, (0..60).rev().map(|number| format!("key_1{number:015}")).collect::<Vec<_>>());
    browser.get(&format!("{path}?after=99999")).await.expect(200);
}

/// The account, one key of it, and a browser.
async fn prepared(harness: &Harness) -> (Account, Key, Browser<'_>) {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1", "expiresInDays": 30 })).await;
    (account, key, Browser::signed_in(harness).await)
}

fn rotation_of(key: &Key) -> String {
    format!("/accounts/{}/keys/{}/rotate", key.account, key.id)
}

/// How many keys the account has, and has had.
async fn keys_of(harness: &Harness, account: &Account) -> (usize, usize) {
    let shown = harness.get(&account.path()).await.json();
    (shown["keys"].as_array().unwrap().len(), shown["retiredKeys"].as_array().unwrap().len())
}

#[tokio::test]
async fn a_key_is_rotated_once_and_its_successor_shown_once() {
    let harness = Harness::start().await;
    let (account, old, mut browser) = prepared(&harness).await;
    let path = rotation_of(&old);
    let form = browser.get(&path).await.expect(200);
    assert_eq!(form.fields(&path)["grace"], "86400", "a day is what is offered");
    assert_snapshot!(words(&form.text[form.text.find("<main").unwrap()..]));
    let shown = browser.submit(&form, &path, &[("grace", "3600")]).await.expect(200);
    let new = secret(&shown).unwrap();
    assert_ne!(new, old.secret);
    assert_eq!((harness.check(&old.secret).await, harness.check(&new).await), (200, 200));
    let text = words(&shown.text);
    assert!(text.contains("The old key works until 2026-01-01 01:00:00 UTC ( in 1 hour )."), "{text}");
    assert!(text.contains("it is safe to revoke the old key"), "{text}");

    // A reload, a second click, back, and another choice under the same attempt.
    let again = browser.submit(&form, &path, &[("grace", "3600")]).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    let other = browser.submit(&form, &path, &[("grace", "0")]).await.expect(303);
    let told = browser.get(other.location()).await.expect(200);
    assert!(words(&told.text).contains("To stop the old key now, revoke it."), "{}", told.text);
    // Another window.
    let page = browser.get(&path).await.expect(303);
    assert_eq!(page.location(), page_of(&account));
    for answer in [&again, &other, &browser.get(&page_of(&account)).await.expect(200)] {
        assert_eq!(secret(answer), None);
    }
    assert_eq!(keys_of(&harness, &account).await, (2, 0), "one successor");

    let page = browser.get(&page_of(&account)).await.expect(200);
    let successor = harness.get(&account.path()).await.json()["keys"][1]["id"].as_str().unwrap().to_owned();
    assert_snapshot!(row(&page, &old.id).replace(&successor, "[successor]"));
    row(&page, &successor);
    assert!(!row(&page, &old.id).contains("/rotate"), "it has its successor");
    // The successor's own end is told apart from it.
    harness.clock.advance_seconds(3600);
    assert_eq!((harness.check(&old.secret).await, harness.check(&new).await), (403, 200));
}

#[tokio::test]
async fn two_windows_rotate_a_key_once() {
    let harness = Harness::start().await;
    let (account, old, mut browser) = prepared(&harness).await;
    let path = rotation_of(&old);
    let windows = [browser.get(&path).await.expect(200), browser.get(&path).await.expect(200)];
    browser.submit(&windows[0], &path, &[("grace", "604800")]).await.expect(200);
    let second = browser.submit(&windows[1], &path, &[("grace", "604800")]).await.expect(303);
    assert_eq!(second.location(), page_of(&account));
    let told = browser.get(second.location()).await.expect(200);
    assert!(told.text.contains("No key was issued. This key was already rotated."), "{}", told.text);
    assert_eq!(keys_of(&harness, &account).await, (2, 0));
}

#[tokio::test]
async fn a_rotation_without_grace_says_that_the_old_key_is_refused() {
    let harness = Harness::start().await;
    let (account, old, mut browser) = prepared(&harness).await;
    let path = rotation_of(&old);
    let form = browser.get(&path).await.expect(200);
    let shown = browser.submit(&form, &path, &[("grace", "0")]).await.expect(200);
    assert!(words(&shown.text).contains("The old key has been refused since 2026-01-01 00:00:00 UTC."));
    assert_eq!(harness.check(&old.secret).await, 403);
    let again = browser.submit(&form, &path, &[("grace", "0")]).await.expect(409);
    assert_eq!(secret(&again), None);
    // Nothing of it is a dead end.
    let gone = browser.get(&path).await.expect(303);
    assert_eq!(gone.location(), page_of(&account));
    assert!(browser.get(gone.location()).await.text.contains("Key not found"));
    assert_eq!(keys_of(&harness, &account).await, (1, 1));
}

#[tokio::test]
async fn what_stands_against_a_rotation_is_said_and_what_was_chosen_is_kept() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "1").start().await;
    let (account, old, mut browser) = prepared(&harness).await;
    let path = rotation_of(&old);
    let form = browser.get(&path).await.expect(200);
    let refused = browser.submit(&form, &path, &[("grace", "3600")]).await.expect(409);
    let told = main_of(&refused);
    assert!(told.contains("or choose “None”, which stops the old key immediately."), "{told}");
    assert_eq!(refused.fields(&path)["grace"], "3600");
    assert_eq!(refused.fields(&path)["attempt"], form.fields(&path)["attempt"], "the same attempt");
    for grace in ["60", "", "-1", "604801"] {
        browser.submit(&form, &path, &[("grace", grace)]).await.expect(400);
    }
    // Lost on its way back: the same attempt tells whether it was done.
    harness.wire.disturb(|call| {
        if call.operation == "TransactWriteItems" { Action::LoseResponse } else { Action::Pass }
    });
    let lost = browser.submit(&form, &path, &[("grace", "0")]).await;
    harness.wire.calm();
    assert!(lost.status == 200 || lost.status >= 300, "{lost:?}");
    let again = browser.submit(&form, &path, &[("grace", "0")]).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    assert_eq!(keys_of(&harness, &account).await, (1, 1));
    browser.get(&format!("/accounts/{}/keys/key_0000000000000000/rotate", account.id)).await.expect(303);
    browser.get(&format!("/accounts/{}/keys/nonsense/rotate", account.id)).await.expect(404);
    let forged = format!("/accounts/sa_0000000000000000/keys/{}/rotate", old.id);
    browser.get(&forged).await.expect(404);
}

#[tokio::test]
async fn revoking_says_what_it_will_stop() {
    let harness = Harness::start().await;
    let (account, unused, _) = prepared(&harness).await;
    let long_ago = harness.issue_key_with(&account, &json!({ "name": "long ago" })).await;
    let busy = harness.issue_key_with(&account, &json!({ "name": "busy" })).await;
    let told = async |browser: &mut Browser<'_>, key: &Key| {
        let page =
            browser.get(&format!("/accounts/{}/keys/{}/revoke", key.account, key.id)).await.expect(200);
        let start = page.text.find("<h1>").unwrap();
        words(&page.text[start..page.text.find("<dl").unwrap()])
    };
    use_key(&harness, &long_ago).await;
    harness.clock.advance_days(5);
    let first = told(&mut Browser::signed_in(&harness).await, &unused).await;
    assert!(first.contains("The key was never used. Revoking it should affect no program."), "{first}");
    harness.clock.advance_days(40);
    store_usage(&harness, &busy, &[(2, 14, 400), (2, 1, 12)]).await;
    harness.clock.advance_seconds(12 * 3600 + 180);
    let mut browser = Browser::signed_in(&harness).await;
    let rarely = told(&mut browser, &long_ago).await;
    assert!(rarely.contains("The key was last used 46 days ago, and not in the last 30 days. "), "{rarely}");
    let often = told(&mut browser, &busy).await;
    assert!(
        often.contains(
            "The key was last used 24 hours ago (412 uses in 30 days). Programs that use it will be refused."
        ),
        "{often}"
    );
    // One that is being replaced, and one that is refused already.
    let rotate = harness.request("POST", &format!("{}/rotation", busy.path())).admin();
    let _ = rotate.json(&json!({})).send().await.expect(201);
    let replaced = told(&mut browser, &busy).await;
    assert!(
        replaced.contains("A new key replaces it. Programs with the new key continue to work."),
        "{replaced}"
    );
    let page = browser.get(&page_of(&account)).await.expect(200);
    let switch = format!("{}/switch", page_of(&account));
    browser.submit(&page, &switch, &[("enabled", "false")]).await.expect(303);
    let refused = told(&mut browser, &busy).await;
    assert!(refused.contains("is already refused. Revoking it affects no program."), "{refused}");
}

/// Pastes `text` on the page for leaked keys. Nothing of it is in the answers,
/// of which the first is a redirect: a browser keeps no form that it was one to.
async fn paste(browser: &mut Browser<'_>, text: &str) -> Page {
    let form = browser.get("/leaked").await.expect(200);
    let answer = browser.submit(&form, "/leaked", &[("key", text)]).await.expect(303);
    assert_hidden(&answer, text);
    let page = browser.get(answer.location()).await.expect(200);
    assert_hidden(&page, text);
    page
}

/// Fails if a part of `text` that may be a key's secret is in the answer.
fn assert_hidden(answer: &Page, text: &str) {
    let all = format!("{}{:?}", answer.text, answer.headers);
    for secret in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| part.len() > 16) {
        let (start, end) = secret.split_at(secret.len() / 2);
        for part in [start, end] {
            assert!(!all.contains(part), "{part} in {answer:?}");
        }
    }
}

fn main_of(page: &Page) -> String {
    words(&page.text[page.text.find("<main").unwrap()..])
}

#[tokio::test]
async fn a_leaked_key_is_found_and_revoked() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountWriter").await;
    let body = json!({
        "name": "server 1", "role": "ServiceAccountReader", "allowedCidrs": ["127.0.0.0/8"],
    });
    let key = harness.issue_key_with(&account, &body).await;
    assert_eq!(harness.check(&key.secret).await, 200);
    let mut browser = Browser::signed_in(&harness).await;
    harness.clock.advance_seconds(180);
    let before = harness.table.dump().await;
    let found = paste(&mut browser, &format!("authorization: \"Bearer {}\"", key.secret)).await;
    assert_eq!(before, harness.table.dump().await, "a look-up changes nothing");
    assert_snapshot!(main_of(&found));
    let revoke = format!("/accounts/{}/keys/{}/revoke", account.id, key.id);
    let done = browser.submit(&found, &revoke, &[]).await.expect(303);
    assert_eq!(done.location(), page_of(&account));
    let page = browser.get(done.location()).await.expect(200);
    assert!(page.text.contains("Key server 1 was revoked at 2026-01-01 00:03:00 UTC."), "{}", page.text);
    assert_eq!(harness.check(&key.secret).await, 403);
    let form = browser.get("/leaked").await.expect(200);
    let dead = paste(&mut browser, &key.secret).await;
    assert!(
        main_of(&dead).contains("The key was revoked just now by admin@keyward.local . It gives no access.")
    );
    assert!(!dead.text.contains("/revoke\""), "there is nothing to revoke");
    // What was found can be seen again for ten minutes, and in this session alone.
    let again = browser.submit(&form, "/leaked", &[("key", key.secret.as_str())]).await.expect(303);
    let found_at = again.location().to_owned();
    for _ in 0..2 {
        browser.get(&found_at).await.expect(200);
    }
    let signed_out = browser.submit(&dead, "/sign-out", &[]).await.expect(303);
    assert!(!browser.cookies.keys().any(|name| name.starts_with("keyward-found")), "{signed_out:?}");
    let mut browser = Browser::signed_in(&harness).await;
    assert_eq!(browser.get(&found_at).await.expect(303).location(), "/leaked?why=gone");
}

#[tokio::test]
async fn what_became_of_a_leaked_key_is_said_in_words() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let closed = harness.create_account("closed", "ServiceAccountReader").await;
    let gone = harness.create_account("gone", "ServiceAccountReader").await;
    let named = async |account: &Account, name: &str, days: u32| {
        harness.issue_key_with(account, &json!({ "name": name, "expiresInDays": days })).await
    };
    let alive = named(&account, "alive", 90).await;
    let [rotated, replaced] = [named(&account, "rotated", 90).await, named(&account, "replaced", 90).await];
    let expired = named(&account, "expired", 1).await;
    let [paused, deleted] = [named(&closed, "paused", 90).await, named(&gone, "deleted", 90).await];
    harness.clock.advance_days(1);
    for (key, grace) in [(&rotated, 604_800), (&replaced, 0)] {
        let rotate = harness.request("POST", &format!("{}/rotation", key.path())).admin();
        let _ = rotate.json(&json!({ "graceSeconds": grace })).send().await.expect(201);
    }
    let disable = harness.request("PATCH", &closed.path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
    let _ = harness.request("DELETE", &gone.path()).admin().send().await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    let mut told = Vec::new();
    for (name, text, revocable) in [
        ("being replaced", rotated.secret.clone(), true),
        ("replaced", replaced.secret.clone(), false),
        ("expired", expired.secret.clone(), false),
        ("of a disabled account", paused.secret.clone(), true),
        ("of a deleted account", deleted.secret.clone(), false),
        ("wrong secret", forged(&alive, 9), false),
    ] {
        let page = paste(&mut browser, &text).await;
        assert_eq!(page.text.contains("/revoke\""), revocable, "{name}");
        told.push(format!("{name}: {}", main_of(&page)));
    }
    assert_snapshot!(told.join("\n"));
    // One that its end alone is known of.
    let mut record = harness.table.get(&format!("RETIRED#{}", account.id), &replaced.id).await.unwrap();
    record.retain(|name, _| ["pk", "sk", "reason", "retiredAt", "ttl"].contains(&name.as_str()));
    harness.table.put(record).await;
    let page = paste(&mut browser, &replaced.secret).await;
    assert!(main_of(&page).contains("This key no longer works"), "{}", page.text);
}

#[tokio::test]
async fn what_is_no_key_of_ours_is_said_so_and_quoted_nowhere() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::TRACE);
    let (_, key, mut browser) = prepared(&harness).await;
    let other = harness.reader_key_of("other").await;
    let local = Environment::parse("local").unwrap();
    let known = parsed(&key);
    let unknown = "key_0000000000000000".parse().unwrap();
    let unknown = ApiKey::generate(known.account, unknown, &SeededEntropy::new(3)).unwrap();
    let whole = &key.secret;
    let mut told = Vec::new();
    let long = format!("{whole}{}", " ".repeat(33 * 1024));
    for (name, text) in [
        ("nothing", String::new()),
        ("another vendor's", "ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
        ("cut off", whole[..whole.len() - 1].to_owned()),
        ("mistyped", format!("{}~{}", &whole[..60], &whole[61..])),
        ("of another environment", foreign(&key, "stage")),
        ("two", format!("{whole}\n{}", other.secret)),
        ("never issued", unknown.display(&local).expose().to_owned()),
        ("too long", long),
    ] {
        let page = paste(&mut browser, &text).await;
        let start = page.text.find("id=\"key-wrong\"").unwrap_or_else(|| panic!("{name}: {}", page.text));
        let wrong = &page.text[start..start + page.text[start..].find("</p>").unwrap()];
        told.push(format!("{name}: {}", words(&format!("<{wrong}"))));
        assert!(!browser.get("/leaked").await.text.contains("key-wrong"), "it is not said of the next one");
    }
    let hostile = paste(&mut browser, &format!("{HOSTILE}{whole}{HOSTILE}")).await;
    assert!(main_of(&hostile).contains("This key is active") && !hostile.text.contains("<script>alert"));
    assert_snapshot!(told.join("\n"));
    // Nor does anything of it come back where the API is down.
    harness.wire.disturb(|_| Action::Refuse);
    let down = paste(&mut browser, whole).await;
    assert!(
        down.text.contains("Keyward is not responding, so the key was not looked up (request "),
        "{}",
        down.text
    );
    harness.wire.calm();
    assert_hidden(&down, whole);
    let logged = logs.take();
    assert!(logged.contains("\"page\":\"/leaked\""), "it logs: {logged}");
    let secret = &whole[whole.len() - 49..];
    for line in logged.lines() {
        assert!(!line.contains(&secret[..24]) && !line.contains(&secret[24..]), "{line}");
    }
}

#[tokio::test]
async fn where_a_leaked_key_is_refused_the_answer_keeps_none_and_says_why() {
    let harness = Harness::start().await;
    let (_, key, mut browser) = prepared(&harness).await;
    let form = browser.get("/leaked").await.expect(200);
    let own = browser.origin.clone();
    let mut good = form.fields("/leaked");
    good.insert("key".to_owned(), key.secret.clone());
    let mut old = good.clone();
    old.insert("csrf".to_owned(), String::new());
    let long = [("key".to_owned(), format!("{}{}", key.secret, " ".repeat(70_000)))].into();
    let signed_in = browser.cookies.clone();
    harness.wire.take_calls();
    for (fields, origin, is_signed_in, why, said) in [
        (&good, "https://evil.example", true, "forged", "the form was not sent from this page"),
        (&good, "null", true, "forged", "the form was not sent from this page"),
        (&old, own.as_str(), true, "old_page", "opened before you signed in again"),
        (&long, own.as_str(), true, "malformed", "the form could not be read"),
        (&good, own.as_str(), false, "ended", "your session had expired"),
        (&good, "https://evil.example", false, "forged", "the form was not sent from this page"),
    ] {
        browser.cookies = if is_signed_in { signed_in.clone() } else { BTreeMap::default() };
        let answer = browser.send("POST", "/leaked", Some(fields), &[("origin", origin)]).await.expect(303);
        assert_eq!(answer.location(), format!("/leaked?why={why}"));
        assert_hidden(&answer, &key.secret);
        // Also by way of signing in again.
        if !is_signed_in {
            let sent = browser.get(answer.location()).await.expect(303);
            assert_eq!(browser.sign_in(sent.location()).await.expect(303).location(), answer.location());
        }
        let page = browser.get(answer.location()).await.expect(200);
        let told = main_of(&page);
        assert!(told.contains("The key was not looked up: ") && told.contains(said), "{said} in {told}");
        assert_hidden(&page, &key.secret);
    }
    let asked = harness.wire.take_operations();
    assert!(!asked.contains(&"GetItem".to_owned()), "nothing was looked up: {asked:?}");
    // Its session has ended by its token.
    browser.cookies = signed_in;
    harness.clock.advance_seconds(3600);
    let late = browser.send("POST", "/leaked", Some(&good), &[("origin", &own)]).await.expect(303);
    assert_eq!(late.location(), "/leaked?why=ended");
}

#[tokio::test]
async fn of_two_windows_with_leaked_keys_each_finds_its_own() {
    let harness = Harness::start().await;
    let (_, key, mut browser) = prepared(&harness).await;
    let other = harness.reader_key_of("other").await;
    let form = browser.get("/leaked").await.expect(200);
    let mut pages = Vec::new();
    for text in [key.secret.as_str(), other.secret.as_str(), "nothing", &key.secret[..60]] {
        pages
            .push(browser.submit(&form, "/leaked", &[("key", text)]).await.expect(303).location().to_owned());
    }
    for _ in 0..2 {
        for (page, said) in pages.iter().zip([&key.id, &other.id, "holds no key", "holds no whole key"]) {
            let told = main_of(&browser.get(page).await.expect(200));
            assert!(told.contains(said), "{said} in {told}");
        }
    }
    // The oldest has no room beside a fifth one: then it is said to be gone, and
    // no other key is shown in its place.
    browser.submit(&form, "/leaked", &[("key", other.secret.as_str())]).await.expect(303);
    let gone = browser.get(&pages[0]).await.expect(303);
    assert_eq!(gone.location(), "/leaked?why=gone");
    assert!(main_of(&browser.get(&pages[1]).await.expect(200)).contains(&other.id));
    for path in ["/leaked/key", "/leaked/key?found=nonsense"] {
        assert_eq!(browser.get(path).await.expect(303).location(), "/leaked?why=gone");
    }
    // However much is found, the browser takes the cookie.
    let cookies = browser.set_cookies.iter().filter(|cookie| cookie.starts_with("keyward-found"));
    assert!(cookies.clone().count() > 4 && cookies.clone().all(|cookie| cookie.len() < 4096));
}

#[tokio::test]
async fn the_history_of_an_account_tells_of_its_keys_by_their_names() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [first, second] = [
        harness.issue_key_with(&account, &json!({ "name": "first" })).await,
        harness.issue_key_with(&account, &json!({ "name": HOSTILE })).await,
    ];
    let mut hints = Vec::new();
    for (key, grace) in [(&first, 3600), (&second, 0)] {
        let rotate = harness.request("POST", &format!("{}/rotation", key.path())).admin();
        let new = rotate.json(&json!({ "graceSeconds": grace })).send().await.expect(201);
        hints.push(new.json()["hint"].as_str().unwrap().to_owned());
    }
    let hint = |key: &Key| key.secret[key.secret.len() - 4..].to_owned();
    let mut browser = Browser::signed_in(&harness).await;
    let history = format!("{}/history", page_of(&account));
    let rotated = format!(
        "rotated the key first (ends in {} ) first (ends in {} ) replaces it. The old key works until 2026-01-01 \
         01:00:00 UTC at the latest.",
        hint(&first),
        hints[0],
    );
    let at_once = format!("(ends in {} ) replaces it. The old key was refused immediately.", hints[1]);
    for path in [history.clone(), page_of(&account)] {
        let page = browser.get(&path).await.expect(200);
        let told = main_of(&page);
        for text in [&rotated, &at_once, &format!("issued the key first (ends in {} )", hint(&first))] {
            assert!(told.contains(text), "{text} in {told}");
        }
        assert!(!page.text.contains("<script>alert") && page.text.contains("&#60;script&#62;"));
        assert!(!told.contains("replacedBy") && !told.contains("retiresAt"), "{told}");
    }
    harness.clock.advance_seconds(3600);
    let mut browser = Browser::signed_in(&harness).await;
    let told = main_of(&browser.get(&history).await.expect(200));
    assert!(told.contains("The old key worked until 2026-01-01 01:00:00 UTC at the latest."), "{told}");
    // Everybody's has ids, and so has that of a deleted account.
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    for path in ["/history", &history] {
        let told = main_of(&browser.get(path).await.expect(200));
        let texts = [format!("rotated the key {}", first.id), format!("issued the key {}", first.id)];
        assert!(texts.iter().all(|text| told.contains(text)), "{told}");
        assert!(told.contains("The old key worked until") && !told.contains("retiresAt"), "{told}");
    }
}

#[tokio::test]
async fn an_instant_is_told_in_one_unit_up_to_the_next() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut told = Vec::new();
    let mut last = 0;
    for at in [59, 60, 3569, 3570, 3600, 170_999, 171_000, 7_819_199, 7_819_200, 60_911_999, 60_912_000] {
        harness.clock.advance_seconds(at - last);
        last = at;
        let page = Browser::signed_in(&harness).await.get(&page_of(&account)).await.expect(200);
        let (_, created) = page.text.split_once("<dt>Created</dt>").unwrap();
        told.push(words(created.split("</time>").next().unwrap()));
    }
    assert_eq!(
        told,
        [
            "just now",
            "1 minute ago",
            "59 minutes ago",
            "1 hour ago",
            "1 hour ago",
            "47 hours ago",
            "2 days ago",
            "90 days ago",
            "3 months ago",
            "23 months ago",
            "2 years ago"
        ]
    );
}

#[tokio::test]
async fn a_hostile_name_is_text_on_each_page_of_a_key() {
    let harness = Harness::start().await;
    let account = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    let named = json!({ "name": HOSTILE });
    let [key, retired] =
        [harness.issue_key_with(&account, &named).await, harness.issue_key_with(&account, &named).await];
    let _ = harness.revoke(&retired).await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get(&rotation_of(&key)).await.expect(200);
    let mut pages = vec![
        browser.get(&page_of(&account)).await.expect(200),
        browser.get(&format!("{}/keys/retired", page_of(&account))).await.expect(200),
        paste(&mut browser, &key.secret).await,
        paste(&mut browser, &retired.secret).await,
        browser.submit(&form, &rotation_of(&key), &[]).await.expect(200),
    ];
    pages.push(form);
    for page in pages {
        assert!(page.text.contains("&#60;script&#62;alert"), "it is there: {}", page.text);
        assert!(!page.text.contains("<script>alert") && !page.text.contains("value=\"<"), "{}", page.text);
    }
}
