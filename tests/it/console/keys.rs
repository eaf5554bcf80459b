//! The usage, rotation and revocation of keys in the console, and the lookup of leaked keys.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_snapshot;
use serde_json::json;
use shared::domain::{ApiKey, Environment};
use tests::{Account, Action, Harness, Key, Logs, SeededEntropy, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use super::{disable, rotate};
use crate::support::browser::{Browser, HOSTILE, Page, secret, visible_text};
use crate::support::keys::{foreign, forged, parsed, store_usage, use_key};

/// The path of an account's page.
fn path_of(account: &Account) -> String {
    format!("/accounts/{}", account.id)
}

/// The section of a page whose heading has this ID.
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
async fn usage_of_each_key_is_shown_in_a_few_words() {
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
    let refused = Shape::HttpV2.request("POST", "/organizations", &used_once.secret);
    assert_eq!(harness.verdict(&refused).await, Verdict::Deny);
    harness.authorizer().flush_activity().await;
    harness.clock.advance_seconds(180);
    let page = browser.get(&path_of(&account)).await.expect(200);
    assert!(
        row(&page, &used_once.id)
            .contains("<span>3 minutes ago <small>2026-01-01 00:01:00 UTC</small></span>")
    );
    assert!(visible_text(row(&page, &used_once.id)).contains("30 days: 1 allowed, 1 refused"));
    page.expect_texts(&["Counts are minimums: the true numbers can be higher, but never lower."]);
    assert!(visible_text(row(&page, &unused.id)).contains("Never"));

    // Uses on the first and the last of the 30 days, on the day before, and in between.
    harness.clock.advance_seconds(40 * 86_400 + 13 * 3600);
    let mut browser = Browser::signed_in(&harness).await;
    store_usage(&harness, &busy, &[(2, 10, 1200), (2, 9, 600), (1, 12, 3), (1, 11, 9000)]).await;
    let page = browser.get(&path_of(&account)).await.expect(200);
    assert_snapshot!(row(&page, &busy.id));
    assert!(visible_text(row(&page, &busy.id)).contains("30 days: 1,803 allowed, 0 refused"));
    // All uses are older than 30 days.
    assert!(visible_text(row(&page, &used_once.id)).contains("41 days ago"));
    assert!(!visible_text(row(&page, &used_once.id)).contains("30 days:"));
}

#[tokio::test]
async fn requests_with_an_unverified_key_are_counted_for_the_account() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&account)).await.expect(200);
    assert!(!page.text.contains("wrong secret"), "{}", page.text);
    for seed in 1..=3 {
        let event = Shape::HttpV2.bearer(&forged(&key, seed));
        assert_eq!(harness.verdict(&event).await, Verdict::Deny);
    }
    browser.get(&path_of(&account)).await.expect_texts(&[
        "Requests with an unknown key or a wrong secret for this account: at least 3 in 24 hours and 3 in 30 \
         days. All were refused.",
    ]);
}

#[tokio::test]
async fn retired_keys_are_listed_with_their_use_after_retirement() {
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
    rotate(&harness, &rotated, 0).await;
    harness.clock.advance_days(1);
    // Issuing a key moves expired keys to the retired keys.
    harness.issue_key(&account).await;
    for _ in 0..2 {
        harness.clock.advance_seconds(61);
        assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&revoked.secret)).await, Verdict::Deny);
    }
    harness.clock.advance_seconds(3 * 3600);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&account)).await.expect(200);
    let retired = section(&page, "retired");
    let order: Vec<_> =
        retired.split("<tr id=\"").skip(1).map(|row| row.split('"').next().unwrap()).collect();
    assert_eq!(order.len(), 4);
    assert_eq!(
        (order[0], order[1]),
        (revoked.id.as_str(), expired.id.as_str()),
        "a key that was used after retirement is first"
    );
    assert_snapshot!(visible_text(retired));
    assert_snapshot!(row(&page, &revoked.id));
    assert!(visible_text(row(&page, &rotated.id)).contains("Rotated"));
}

#[tokio::test]
async fn all_retired_keys_are_listed_on_small_pages() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "30").start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let days: Vec<_> =
        (1..=30_i8).rev().map(|day| (1, day, 1_000_000 + u64::from(day.unsigned_abs()))).collect();
    for _ in 0..30 {
        let key = harness.issue_key_with(&account, &json!({ "name": "batch server 1" })).await;
        store_usage(&harness, &key, &days).await;
    }
    let revoked = harness.reader_key().await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let record = harness.table.get(&format!("RETIRED#{}", revoked.account), &revoked.id).await.unwrap();
    for number in 0..60 {
        let mut item = record.clone();
        item.insert("pk".to_owned(), AttributeValue::S(format!("RETIRED#{}", account.id)));
        item.insert("sk".to_owned(), AttributeValue::S(format!("key_1{number:015}")));
        item.insert("retiredAt".to_owned(), AttributeValue::N((1_767_225_600 + number).to_string()));
        harness.table.put(item).await;
    }
    harness.clock.advance_days(29);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&account)).await.expect(200);
    assert_eq!(page.text.matches("30 days: ").count(), 30);
    assert!(page.text.contains("View all 60 retired keys"));
    browser.expect_small(&page).await;
    let path = format!("{}/keys/retired", path_of(&account));
    let mut seen = Vec::new();
    for (query, next) in [("", Some("?after=25")), ("?after=25", Some("?after=50")), ("?after=50", None)] {
        let page = browser.get(&format!("{path}{query}")).await.expect(200);
        seen.extend(page.text.split("<tr id=\"").skip(1).map(|row| row[..20].to_owned()));
        assert_eq!(page.text.contains("rel=\"next\""), next.is_some(), "{query}");
        assert!(next.is_none_or(|next| page.text.contains(&format!("{path}{next}\""))), "{query}");
        browser.expect_small(&page).await;
    }
    assert_eq!(seen, (0..60).rev().map(|number| format!("key_1{number:015}")).collect::<Vec<_>>());
    browser.get(&format!("{path}?after=99999")).await.expect(200);
}

/// An account with a key, and a browser in which the admin is signed in.
async fn account_with_key(harness: &Harness) -> (Account, Key, Browser<'_>) {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1", "expiresInDays": 30 })).await;
    (account, key, Browser::signed_in(harness).await)
}

fn rotation_path(key: &Key) -> String {
    format!("/accounts/{}/keys/{}/rotate", key.account, key.id)
}

/// The numbers of the account's keys and retired keys.
async fn count_keys(harness: &Harness, account: &Account) -> (usize, usize) {
    let shown = harness.get(&account.path()).await.json();
    (shown["keys"].as_array().unwrap().len(), shown["retiredKeys"].as_array().unwrap().len())
}

#[tokio::test]
async fn key_is_rotated_once_and_the_new_key_is_shown_once() {
    let harness = Harness::start().await;
    let (account, old, mut browser) = account_with_key(&harness).await;
    let path = rotation_path(&old);
    let form = browser.get(&path).await.expect(200);
    assert_eq!(form.fields(&path)["grace"], "86400", "the default grace period is a day");
    assert_snapshot!(form.main_text());
    let shown = browser.submit(&form, &path, &[("grace", "3600")]).await.expect(200);
    let new = secret(&shown).unwrap();
    assert_ne!(new, old.secret);
    assert_eq!((harness.check(&old.secret).await, harness.check(&new).await), (200, 200));
    let text = visible_text(&shown.text);
    assert!(text.contains("The old key works until 2026-01-01 01:00:00 UTC (in 1 hour)."), "{text}");
    assert!(text.contains("it is safe to revoke the old key"), "{text}");

    // The same form again, as after a reload or a second click, and with another grace period.
    let again = browser.submit(&form, &path, &[("grace", "3600")]).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    let other = browser.submit(&form, &path, &[("grace", "0")]).await.expect(303);
    let account_page = browser.get(other.location()).await.expect(200);
    account_page.expect_texts(&["To stop the old key now, revoke it."]);
    // The form in another window.
    let page = browser.get(&path).await.expect(303);
    assert_eq!(page.location(), path_of(&account));
    for response in [&again, &other, &browser.get(&path_of(&account)).await.expect(200)] {
        assert_eq!(secret(response), None);
    }
    assert_eq!(count_keys(&harness, &account).await, (2, 0), "the key has one successor");

    let page = browser.get(&path_of(&account)).await.expect(200);
    let successor = harness.get(&account.path()).await.json()["keys"][1]["id"].as_str().unwrap().to_owned();
    assert_snapshot!(row(&page, &old.id).replace(&successor, "[successor]"));
    // The page also has a row for the successor.
    row(&page, &successor);
    assert!(!row(&page, &old.id).contains("/rotate"), "a rotated key cannot be rotated again");
    // Only the old key stops working after the grace period.
    harness.clock.advance_seconds(3600);
    assert_eq!((harness.check(&old.secret).await, harness.check(&new).await), (403, 200));
}

#[tokio::test]
async fn forms_in_two_windows_rotate_a_key_once() {
    let harness = Harness::start().await;
    let (account, old, mut browser) = account_with_key(&harness).await;
    let path = rotation_path(&old);
    let windows = [browser.get(&path).await.expect(200), browser.get(&path).await.expect(200)];
    browser.submit(&windows[0], &path, &[("grace", "604800")]).await.expect(200);
    let second = browser.submit(&windows[1], &path, &[("grace", "604800")]).await.expect(303);
    assert_eq!(second.location(), path_of(&account));
    let account_page = browser.get(second.location()).await.expect(200);
    account_page.expect_texts(&["No key was issued. This key was already rotated."]);
    assert_eq!(count_keys(&harness, &account).await, (2, 0));
}

#[tokio::test]
async fn rotation_without_a_grace_period_says_that_the_old_key_is_refused() {
    let harness = Harness::start().await;
    let (account, old, mut browser) = account_with_key(&harness).await;
    let path = rotation_path(&old);
    let form = browser.get(&path).await.expect(200);
    let shown = browser.submit(&form, &path, &[("grace", "0")]).await.expect(200);
    shown.expect_texts(&["The old key has been refused since 2026-01-01 00:00:00 UTC (just now)."]);
    assert_eq!(harness.check(&old.secret).await, 403);
    let again = browser.submit(&form, &path, &[("grace", "0")]).await.expect(409);
    assert_eq!(secret(&again), None);
    // The form redirects to the account, which says that the key no longer exists.
    let redirect = browser.get(&path).await.expect(303);
    assert_eq!(redirect.location(), path_of(&account));
    browser.get(redirect.location()).await.expect_texts(&["Key not found"]);
    assert_eq!(count_keys(&harness, &account).await, (1, 1));
}

#[tokio::test]
async fn refused_rotation_shows_the_reason_and_keeps_the_choice() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "1").start().await;
    let (account, old, mut browser) = account_with_key(&harness).await;
    let path = rotation_path(&old);
    let form = browser.get(&path).await.expect(200);
    let refused = browser.submit(&form, &path, &[("grace", "3600")]).await.expect(409);
    refused.expect_texts(&["or choose “None”, which stops the old key immediately."]);
    assert_eq!(refused.fields(&path)["grace"], "3600");
    assert_eq!(refused.fields(&path)["attempt"], form.fields(&path)["attempt"], "the same attempt");
    for grace in ["60", "", "-1", "604801"] {
        browser.submit(&form, &path, &[("grace", grace)]).await.expect(400);
    }
    // The key is rotated, but the response is lost. The same attempt rotates it only once.
    harness.wire.intercept(|call| {
        if call.operation == "TransactWriteItems" { Action::LoseResponse } else { Action::Pass }
    });
    let lost = browser.submit(&form, &path, &[("grace", "0")]).await;
    harness.wire.pass_all();
    assert!(lost.status == 200 || lost.status >= 300, "{lost:?}");
    let again = browser.submit(&form, &path, &[("grace", "0")]).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    assert_eq!(count_keys(&harness, &account).await, (1, 1));
    browser.get(&format!("/accounts/{}/keys/key_0000000000000000/rotate", account.id)).await.expect(303);
    browser.get(&format!("/accounts/{}/keys/nonsense/rotate", account.id)).await.expect(404);
    let other_account = format!("/accounts/sa_0000000000000000/keys/{}/rotate", old.id);
    browser.get(&other_account).await.expect(404);
}

#[tokio::test]
async fn page_to_revoke_a_key_shows_the_impact() {
    let harness = Harness::start().await;
    let (account, unused, _) = account_with_key(&harness).await;
    let long_ago = harness.issue_key_with(&account, &json!({ "name": "long ago" })).await;
    let busy = harness.issue_key_with(&account, &json!({ "name": "busy" })).await;
    // The text above the key's details.
    let impact = async |browser: &mut Browser<'_>, key: &Key| {
        let page =
            browser.get(&format!("/accounts/{}/keys/{}/revoke", key.account, key.id)).await.expect(200);
        let start = page.text.find("<h1>").unwrap();
        visible_text(&page.text[start..page.text.find("<dl").unwrap()])
    };
    use_key(&harness, &long_ago).await;
    harness.authorizer().flush_activity().await;
    harness.clock.advance_days(5);
    let first = impact(&mut Browser::signed_in(&harness).await, &unused).await;
    assert!(
        first.contains("No use of the key is recorded. Revoking it should affect no program."),
        "{first}"
    );
    harness.clock.advance_days(40);
    store_usage(&harness, &busy, &[(2, 14, 400), (2, 1, 12)]).await;
    harness.clock.advance_seconds(12 * 3600 + 180);
    let mut browser = Browser::signed_in(&harness).await;
    let rarely = impact(&mut browser, &long_ago).await;
    assert!(
        rarely.contains(
            "The key was not used today (UTC), last used 46 days ago 2026-01-01 00:00:00 UTC from an unknown address. A program that rarely uses the key will be refused."
        ),
        "{rarely}"
    );
    let often = impact(&mut browser, &busy).await;
    assert!(
        often.contains(
            "The key was not used today (UTC), last used 24 hours ago 2026-02-14 12:00:00 UTC from an unknown address. Programs that use the key will be refused."
        ),
        "{often}"
    );
    // A key in its grace period, and a key of a disabled account.
    rotate(&harness, &busy, 86_400).await;
    let replaced = impact(&mut browser, &busy).await;
    assert!(
        replaced.contains("A new key replaces this key. Programs with the new key continue to work."),
        "{replaced}"
    );
    disable(&harness, &account).await;
    let refused = impact(&mut browser, &busy).await;
    assert!(refused.contains("is already refused. Revoking it affects no program."), "{refused}");
}

/// Looks up `text` on the page for leaked keys. Checks that the response to the form is a
/// redirect, because a browser then does not store the form, and that no response contains
/// a secret of `text`.
async fn look_up(browser: &mut Browser<'_>, text: &str) -> Page {
    let form = browser.get("/leaked").await.expect(200);
    let redirect = browser.submit(&form, "/leaked", &[("key", text)]).await.expect(303);
    assert_hidden(&redirect, text);
    let page = browser.get(redirect.location()).await.expect(200);
    assert_hidden(&page, text);
    page
}

/// Checks that the response contains neither half of any part of `text` that can be a
/// secret.
fn assert_hidden(response: &Page, text: &str) {
    let all = format!("{}{:?}", response.text, response.headers);
    for secret in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| part.len() > 16) {
        let (start, end) = secret.split_at(secret.len() / 2);
        for part in [start, end] {
            assert!(!all.contains(part), "{part} in {response:?}");
        }
    }
}

#[tokio::test]
async fn leaked_key_is_found_and_revoked() {
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
    let found = look_up(&mut browser, &format!("authorization: \"Bearer {}\"", key.secret)).await;
    assert_eq!(before, harness.table.dump().await, "a lookup changes nothing");
    assert_snapshot!(found.main_text());
    let revoke = format!("/accounts/{}/keys/{}/revoke", account.id, key.id);
    let done = browser.submit(&found, &revoke, &[]).await.expect(303);
    assert_eq!(done.location(), path_of(&account));
    let page = browser.get(done.location()).await.expect(200);
    assert!(page.text.contains("Key server 1 was revoked at 2026-01-01 00:03:00 UTC."), "{}", page.text);
    assert_eq!(harness.check(&key.secret).await, 403);
    let form = browser.get("/leaked").await.expect(200);
    let revoked = look_up(&mut browser, &key.secret).await;
    revoked.expect_texts(&[
        "The key was revoked just now 2026-01-01 00:03:00 UTC by admin@keyward.local . It gives no access.",
    ]);
    assert!(!revoked.text.contains("/revoke\""), "there is nothing to revoke");
    // The result can be opened again, but only in this session.
    let again = browser.submit(&form, "/leaked", &[("key", key.secret.as_str())]).await.expect(303);
    let result = again.location().to_owned();
    for _ in 0..2 {
        browser.get(&result).await.expect(200);
    }
    let signed_out = browser.submit(&revoked, "/sign-out", &[]).await.expect(303);
    assert!(!browser.cookies.keys().any(|name| name.starts_with("keyward-found")), "{signed_out:?}");
    let mut browser = Browser::signed_in(&harness).await;
    assert_eq!(browser.get(&result).await.expect(303).location(), "/leaked?why=gone");
}

#[tokio::test]
async fn lookup_shows_the_state_of_a_leaked_key() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let closed = harness.create_account("closed", "ServiceAccountReader").await;
    let gone = harness.create_account("gone", "ServiceAccountReader").await;
    let issue = async |account: &Account, name: &str, days: u32| {
        harness.issue_key_with(account, &json!({ "name": name, "expiresInDays": days })).await
    };
    let alive = issue(&account, "alive", 90).await;
    let [rotated, replaced] = [issue(&account, "rotated", 90).await, issue(&account, "replaced", 90).await];
    let expired = issue(&account, "expired", 1).await;
    let [paused, deleted] = [issue(&closed, "paused", 90).await, issue(&gone, "deleted", 90).await];
    harness.clock.advance_days(1);
    for (key, grace) in [(&rotated, 604_800), (&replaced, 0)] {
        rotate(&harness, key, grace).await;
    }
    disable(&harness, &closed).await;
    let _ = harness.request("DELETE", &gone.path()).admin().send().await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    let mut results = Vec::new();
    for (name, text, revocable) in [
        ("being replaced", rotated.secret.clone(), true),
        ("replaced", replaced.secret.clone(), false),
        ("expired", expired.secret.clone(), false),
        ("of a disabled account", paused.secret.clone(), true),
        ("of a deleted account", deleted.secret.clone(), false),
        ("wrong secret", forged(&alive, 9), false),
    ] {
        let page = look_up(&mut browser, &text).await;
        assert_eq!(page.text.contains("/revoke\""), revocable, "{name}");
        results.push(format!("{name}: {}", page.main_text()));
    }
    assert_snapshot!(results.join("\n"));
    // A record with only the time and the reason of the retirement.
    let mut record = harness.table.get(&format!("RETIRED#{}", account.id), &replaced.id).await.unwrap();
    record.retain(|name, _| ["pk", "sk", "reason", "retiredAt", "ttl"].contains(&name.as_str()));
    harness.table.put(record).await;
    let page = look_up(&mut browser, &replaced.secret).await;
    page.expect_texts(&["This key no longer works"]);
}

#[tokio::test]
async fn text_without_a_known_key_is_reported_and_not_quoted() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::TRACE);
    let (_, key, mut browser) = account_with_key(&harness).await;
    let other = harness.reader_key_of("other").await;
    let local = Environment::parse("local").unwrap();
    let known = parsed(&key);
    let unknown = "key_0000000000000000".parse().unwrap();
    let unknown = ApiKey::generate(known.account, unknown, &SeededEntropy::new(3)).unwrap();
    let whole = &key.secret;
    let mut errors = Vec::new();
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
        let page = look_up(&mut browser, &text).await;
        errors.push(format!("{name}: {}", page.field_error("key")));
        assert!(!browser.get("/leaked").await.text.contains("key-wrong"), "a new form has no error");
    }
    let hostile = look_up(&mut browser, &format!("{HOSTILE}{whole}{HOSTILE}")).await;
    hostile.expect_texts(&["This key is active"]);
    hostile.expect_no_script();
    assert_snapshot!(errors.join("\n"));
    // During an outage, the page does not quote the key either.
    harness.wire.intercept(|_| Action::Refuse);
    let down = look_up(&mut browser, whole).await;
    assert!(
        down.text.contains("Keyward is not responding, so the key was not looked up (request "),
        "{}",
        down.text
    );
    harness.wire.pass_all();
    let logged = logs.take();
    assert!(logged.contains("\"page\":\"/leaked\""), "the request is logged: {logged}");
    let secret = &whole[whole.len() - 49..];
    for line in logged.lines() {
        assert!(!line.contains(&secret[..24]) && !line.contains(&secret[24..]), "{line}");
    }
}

#[tokio::test]
async fn refused_lookup_gives_the_reason_and_does_not_return_the_key() {
    let harness = Harness::start().await;
    let (_, key, mut browser) = account_with_key(&harness).await;
    let form = browser.get("/leaked").await.expect(200);
    let own = browser.origin.clone();
    let mut good = form.fields("/leaked");
    good.insert("key".to_owned(), key.secret.clone());
    let mut stale = good.clone();
    stale.insert("csrf".to_owned(), String::new());
    let long = [("key".to_owned(), format!("{}{}", key.secret, " ".repeat(100_000)))].into();
    let signed_in = browser.cookies.clone();
    harness.wire.take_calls();
    for (fields, origin, is_signed_in, why, reason) in [
        (&good, "https://evil.example", true, "forged", "the form was not sent from this page"),
        (&good, "null", true, "forged", "the form was not sent from this page"),
        (&stale, own.as_str(), true, "old_page", "opened before you signed in again"),
        (&long, own.as_str(), true, "malformed", "the form could not be read"),
        (&good, own.as_str(), false, "ended", "your session had expired"),
        (&good, "https://evil.example", false, "forged", "the form was not sent from this page"),
    ] {
        browser.cookies = if is_signed_in { signed_in.clone() } else { BTreeMap::default() };
        let redirect = browser.send("POST", "/leaked", Some(fields), &[("origin", origin)]).await.expect(303);
        assert_eq!(redirect.location(), format!("/leaked?why={why}"));
        assert_hidden(&redirect, &key.secret);
        // Signing in returns to the reason.
        if !is_signed_in {
            let to_sign_in = browser.get(redirect.location()).await.expect(303);
            let signed_in = browser.sign_in(to_sign_in.location()).await.expect(303);
            assert_eq!(signed_in.location(), redirect.location());
        }
        let page = browser.get(redirect.location()).await.expect(200);
        page.expect_texts(&["The key was not looked up: ", reason]);
        assert_hidden(&page, &key.secret);
    }
    let operations = harness.wire.take_operations();
    assert!(!operations.contains(&"GetItem".to_owned()), "no key was looked up: {operations:?}");
    // The session has expired with its token.
    browser.cookies = signed_in;
    harness.clock.advance_seconds(3600);
    let late = browser.send("POST", "/leaked", Some(&good), &[("origin", &own)]).await.expect(303);
    assert_eq!(late.location(), "/leaked?why=ended");
}

#[tokio::test]
async fn each_window_shows_the_result_of_its_own_lookup() {
    let harness = Harness::start().await;
    let (_, key, mut browser) = account_with_key(&harness).await;
    let other = harness.reader_key_of("other").await;
    let form = browser.get("/leaked").await.expect(200);
    let mut pages = Vec::new();
    for text in [key.secret.as_str(), other.secret.as_str(), "nothing", &key.secret[..60]] {
        pages
            .push(browser.submit(&form, "/leaked", &[("key", text)]).await.expect(303).location().to_owned());
    }
    for _ in 0..2 {
        for (page, text) in
            pages.iter().zip([&key.id, &other.id, "contains no key and no token", "contains no valid key"])
        {
            browser.get(page).await.expect(200).expect_texts(&[text]);
        }
    }
    // A fifth result replaces the oldest one, whose page then shows no other key.
    browser.submit(&form, "/leaked", &[("key", other.secret.as_str())]).await.expect(303);
    let gone = browser.get(&pages[0]).await.expect(303);
    assert_eq!(gone.location(), "/leaked?why=gone");
    browser.get(&pages[1]).await.expect(200).expect_texts(&[&other.id]);
    for path in ["/leaked/key", "/leaked/key?found=nonsense"] {
        assert_eq!(browser.get(path).await.expect(303).location(), "/leaked?why=gone");
    }
    // The cookie with the results never exceeds the size that browsers accept.
    let cookies = browser.set_cookies.iter().filter(|cookie| cookie.starts_with("keyward-found"));
    assert!(cookies.clone().count() > 4 && cookies.clone().all(|cookie| cookie.len() < 4096));
}

#[tokio::test]
async fn history_of_an_account_names_its_keys() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let [first, second] = [
        harness.issue_key_with(&account, &json!({ "name": "first" })).await,
        harness.issue_key_with(&account, &json!({ "name": HOSTILE })).await,
    ];
    // The last characters and the IDs of the new keys.
    let mut new_keys: Vec<(String, String)> = Vec::new();
    for (key, grace) in [(&first, 3600), (&second, 0)] {
        let new = rotate(&harness, key, grace).await.json();
        new_keys.push(["hint", "id"].map(|field| new[field].as_str().unwrap().to_owned()).into());
    }
    let hint = |key: &Key| key.secret[key.secret.len() - 4..].to_owned();
    let mut browser = Browser::signed_in(&harness).await;
    let history = format!("{}/history", path_of(&account));
    let rotated = format!(
        "rotated the key first (ending in {} , {} ) first (ending in {} , {} ) replaces the old key. The old key works until \
         2026-01-01 01:00:00 UTC (in 1 hour) at the latest.",
        hint(&first),
        first.id,
        new_keys[0].0,
        new_keys[0].1,
    );
    let immediately = format!(
        "(ending in {} , {} ) replaces the old key. The old key was refused immediately.",
        new_keys[1].0, new_keys[1].1
    );
    for path in [history.clone(), path_of(&account)] {
        let page = browser.get(&path).await.expect(200);
        let text = page.main_text();
        for expected in [
            &rotated,
            &immediately,
            &format!("issued the key first (ending in {} , {} )", hint(&first), first.id),
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        page.expect_no_script();
        assert!(page.text.contains("&#60;script&#62;"), "{}", page.text);
        assert!(!text.contains("replacedBy") && !text.contains("retiresAt"), "{text}");
    }
    harness.clock.advance_seconds(3600);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&history).await.expect(200);
    page.expect_texts(&["The old key worked until 2026-01-01 01:00:00 UTC (just now) at the latest."]);
    // The events keep the names of the keys of a deleted account.
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    for path in ["/history", &history] {
        let page = browser.get(path).await.expect(200);
        for text in [
            format!("rotated the key first (ending in {} , {} )", hint(&first), first.id),
            format!("issued the key first (ending in {} , {} )", hint(&first), first.id),
            "The old key worked until".to_owned(),
        ] {
            page.expect_texts(&[&text]);
        }
        page.expect_without("retiresAt");
    }
}

#[tokio::test]
async fn instant_is_shown_in_the_largest_fitting_unit() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut shown = Vec::new();
    let mut last = 0;
    for at in [59, 60, 3569, 3570, 3600, 170_999, 171_000, 7_819_199, 7_819_200, 60_911_999, 60_912_000] {
        harness.clock.advance_seconds(at - last);
        last = at;
        let page = Browser::signed_in(&harness).await.get(&path_of(&account)).await.expect(200);
        let (_, created) = page.text.split_once("<dt>Created</dt>").unwrap();
        shown.push(visible_text(created.split("<small>").next().unwrap()));
    }
    assert_eq!(
        shown,
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
async fn hostile_name_is_escaped_on_each_page_of_a_key() {
    let harness = Harness::start().await;
    let account = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    let body = json!({ "name": HOSTILE });
    let [key, retired] =
        [harness.issue_key_with(&account, &body).await, harness.issue_key_with(&account, &body).await];
    let _ = harness.revoke(&retired).await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get(&rotation_path(&key)).await.expect(200);
    let mut pages = vec![
        browser.get(&path_of(&account)).await.expect(200),
        browser.get(&format!("{}/keys/retired", path_of(&account))).await.expect(200),
        look_up(&mut browser, &key.secret).await,
        look_up(&mut browser, &retired.secret).await,
        browser.submit(&form, &rotation_path(&key), &[]).await.expect(200),
    ];
    pages.push(form);
    for page in pages {
        assert!(page.text.contains("&#60;script&#62;alert"), "the page shows the name: {}", page.text);
        page.expect_no_script();
    }
}
