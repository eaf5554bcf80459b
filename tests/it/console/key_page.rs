//! The page of a key: details, activity and history, of live and of retired keys.

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_snapshot;
use serde_json::json;
use tests::{Account, Action, Harness, Item, Key, Shape, Verdict};

use super::{disable, rotate};
use crate::support::browser::{Browser, HOSTILE, Page, visible_text};
use crate::support::changes;
use crate::support::keys::{store_usage, use_key};

fn path_of(key: &Key) -> String {
    format!("/accounts/{}/keys/{}", key.account, key.id)
}

/// Sends a request with `key` through API Gateway. Returns the ID of the request.
async fn send(harness: &Harness, key: &Key, method: &str, path: &str, status: u16) -> String {
    harness.clock.advance_seconds(1);
    let reply = harness.request(method, path).bearer(&key.secret).send().await;
    reply.expect(status).request_id().to_owned()
}

/// An account, and its key with a role and networks.
async fn narrow_key(harness: &Harness) -> (Account, Key) {
    let account = harness.create_account("batch", "ServiceAccountWriter").await;
    let body = json!({ "name": "server 1", "role": "ServiceAccountReader", "allowedCidrs": ["127.0.0.0/8", "203.0.113.0/24"] });
    let key = harness.issue_key_with(&account, &body).await;
    (account, key)
}

/// The section of a page whose heading has this ID.
fn section<'p>(page: &'p Page, id: &str) -> &'p str {
    let start = page.text.find(&format!("aria-labelledby=\"{id}\""));
    let rest = &page.text[start.unwrap_or_else(|| panic!("no {id} in {}", page.text))..];
    &rest[..rest.find("</section>").unwrap()]
}

/// The page's text, in which the random IDs of requests of the history are replaced.
fn text_of(page: &Page) -> String {
    let text = page.main_text();
    let mut parts = text.split(" · request ");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.split_once(' ').map_or(String::new(), |(_, rest)| format!(" {rest}"));
        format!("{text} · request [id]{rest}")
    })
}

fn section_text(page: &Page, id: &str) -> String {
    visible_text(&format!("<{}", section(page, id)))
}

#[tokio::test]
async fn page_shows_everything_about_a_key() {
    let harness = Harness::start().await;
    let (_, key) = narrow_key(&harness).await;
    harness.clock.advance_days(3);
    let mut allowed = String::new();
    for _ in 0..3 {
        allowed = send(&harness, &key, "GET", "/organizations/42?page=2", 200).await;
    }
    harness.clock.advance_seconds(3600);
    let last = send(&harness, &key, "GET", "/teams", 200).await;
    let refused = send(&harness, &key, "POST", "/organizations", 403).await;
    let mut elsewhere = Shape::HttpV2.request("GET", "/teams", &key.secret);
    Shape::HttpV2.set_source(&mut elsewhere, "198.51.100.1");
    harness.clock.advance_seconds(1);
    assert_eq!(harness.verdict(&elsewhere).await, Verdict::Deny);
    let token = Shape::RestToken.request("DELETE", "/teams/42", &key.secret);
    harness.clock.advance_seconds(1);
    assert_eq!(harness.verdict(&token).await, Verdict::Deny);
    harness.authorizer().flush_activity().await;
    harness.clock.advance_seconds(120);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&key)).await.expect(200);
    let text = text_of(&page).replace(&refused, "[refused]").replace(&last, "[last]");
    assert!(!text.contains(&allowed), "an earlier allowed request is only counted: {text}");
    assert_snapshot!(text);
    let charts: Vec<_> = section(&page, "requests").split("<svg").skip(1).collect();
    let charts: Vec<_> = charts.iter().map(|chart| chart.split("</svg>").next().unwrap()).collect();
    assert_snapshot!(charts.join("\n"));
    browser.expect_small(&page).await;
}

#[tokio::test]
async fn unused_key_has_no_charts() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&key)).await.expect(200);
    page.expect_texts(&[
        "Key role None",
        "Networks From anywhere",
        "Last 24 hours 0 allowed, 0 refused Last 30 days 0 allowed, 0 refused",
        "No requests in the last 48 hours.",
        "No requests in the last 90 days.",
        "No allowed request was recorded in the last 30 days.",
        "No refused request was recorded in the last 30 days.",
        "No route was recorded in the last 90 days.",
        "issued the key",
    ]);
    assert!(!page.text.contains("<svg"), "{}", page.text);
}

/// The last 48 hours and 90 days, including the current ones.
#[tokio::test]
async fn charts_have_a_bar_for_each_hour_and_day() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "busy", "expiresInDays": 365 })).await;
    // 90 days before 13:00 on April 10 is January 11.
    store_usage(&harness, &key, &[(1, 10, 7), (1, 11, 9000), (4, 8, 600), (4, 9, 1200), (4, 10, 3)]).await;
    harness.clock.advance_seconds((31 + 28 + 31 + 9) * 86_400 + 13 * 3600);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&key)).await.expect(200);
    let text = section_text(&page, "requests");
    let rows = |text: &str| -> Vec<String> {
        let rows = text.split("<tr><th scope=\"row\">").skip(1);
        rows.map(|row| visible_text(row.split("</tr>").next().unwrap())).collect()
    };
    let (hours, days) = section(&page, "requests").split_once("Last 90 days").unwrap();
    // 12:00 on April 8 is 49 hours ago.
    assert_eq!(rows(hours), ["2026-04-10 12:00 3 0", "2026-04-09 12:00 1,200 0"]);
    assert_eq!(
        rows(days),
        ["2026-04-10 3 0", "2026-04-09 1,200 0", "2026-04-08 600 0", "2026-01-11 9,000 0"]
    );
    for ends in [
        "At most 1,200 requests in one hour. 2026-04-08 14:00 2026-04-10 13:00",
        "At most 9,000 requests in one day. 2026-01-11 2026-04-10",
    ] {
        assert!(text.contains(ends), "{ends} in {text}");
    }
    assert!(hours.contains("d=\"M0 0V-0h330V-60h15V-0h345V-1h15V-0h15V0z\""), "{hours}");
    assert!(days.contains("d=\"M0 0V-60h8V-0h688V-4h8V-8h8V-1h8V0z\""), "{days}");
}

#[tokio::test]
async fn actions_of_a_key_depend_on_its_state() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness).await;
    let path = path_of(&key);
    let mut browser = Browser::signed_in(&harness).await;
    let links = |page: &Page| {
        ["rotate", "revoke"].map(|action| page.text.contains(&format!("href=\"{path}/{action}\"")))
    };
    let page = browser.get(&path).await.expect(200);
    assert_eq!(links(&page), [true, true]);
    let check = format!("/explain?account={}&amp;key={}", account.id, key.id);
    assert!(page.text.contains(&format!("href=\"{check}\"")), "{}", page.text);
    let access = browser.get(&check.replace("&amp;", "&")).await.expect(200);
    assert!(access.text.contains(&format!("<option value=\"{}\" selected>", key.id)), "{}", access.text);

    // In the grace period, each key links to the other.
    let new = rotate(&harness, &key, 3600).await.json();
    let (new, hint) = (new["id"].as_str().unwrap(), new["hint"].as_str().unwrap());
    let page = browser.get(&path).await.expect(200);
    assert_eq!(links(&page), [false, true]);
    page.expect_texts(&[
        "Key server 1 Grace period",
        "End of the grace period in 1 hour 2026-01-01 01:00:00 UTC",
        &format!("Replaced by server 1 (ending in {hint} , {new} )"),
        "rotated the key",
    ]);
    let successor = format!("/accounts/{}/keys/{new}", account.id);
    assert!(page.text.contains(&format!("href=\"{successor}\"")), "{}", page.text);
    let page = browser.get(&successor).await.expect(200);
    // The successor is issued by the rotation, so that event is in both histories.
    page.expect_texts(&["Key server 1 Active", "Replaces server 1 (ending in", &key.id, "rotated the key"]);
    assert!(page.text.contains(&format!("href=\"{path}\"")), "{}", page.text);

    disable(&harness, &account).await;
    let page = browser.get(&successor).await.expect(200);
    page.expect_texts(&["Key server 1 Disabled", "batch Disabled"]);
    assert!(!page.text.contains("/rotate\"") && page.text.contains("/revoke\""), "{}", page.text);
}

#[tokio::test]
async fn retired_key_keeps_its_page() {
    let harness = Harness::start().await;
    let (account, key) = narrow_key(&harness).await;
    use_key(&harness, &key).await;
    harness.clock.advance_seconds(60);
    let _ = harness.revoke(&key).await.expect(204);
    harness.clock.advance_seconds(60);
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Deny);
    let mut browser = Browser::signed_in(&harness).await;
    let path = path_of(&key);
    let page = browser.get(&path).await.expect(200);
    assert_snapshot!(text_of(&page));
    assert!(!page.text.contains("/rotate\"") && !page.text.contains("/revoke\""), "{}", page.text);

    // A record with only the time and the reason of the retirement.
    let mut record = harness.table.get(&format!("RETIRED#{}", account.id), &key.id).await.unwrap();
    record.retain(|name, _| ["pk", "sk", "reason", "retiredAt", "ttl"].contains(&name.as_str()));
    harness.table.put(record.clone()).await;
    let page = browser.get(&path).await.expect(200);
    page.expect_texts(&[&format!("Key {} Revoked", key.id), "Retired 1 minute ago 2026-01-01 00:01:00 UTC"]);
    page.expect_without("Networks");

    // The account lists only its 100 most recently retired keys.
    for number in 0..100 {
        let mut other = record.clone();
        other.insert("sk".to_owned(), AttributeValue::S(format!("key_1{number:015}")));
        other.insert("retiredAt".to_owned(), AttributeValue::N((1_767_225_700 + number).to_string()));
        harness.table.put(other).await;
    }
    let page = browser.get(&path).await.expect(200);
    page.expect_texts(&[
        &format!("Key {} Retired", key.id),
        "this key is not one of them",
        "1 allowed, 1 refused",
        "The key had been revoked.",
        "revoked the key",
    ]);

    changes::delete(&harness, &account).await;
    let page = browser.get(&path).await.expect(200);
    page.expect_texts(&[
        &account.id,
        "The account of this key was deleted",
        &format!("Deleted {}", account.id),
        "1 allowed, 1 refused",
        "deleted the account and its keys",
    ]);
    assert!(page.text.contains(&format!("href=\"/accounts/{}/history\"", account.id)), "{}", page.text);
}

#[tokio::test]
async fn unknown_key_has_no_page() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    for path in [
        format!("/accounts/{}/keys/key_0000000000000000", account.id),
        format!("/accounts/sa_0000000000000000/keys/{}", key.id),
    ] {
        let page = browser.get(&path).await.expect(404);
        page.expect_texts(&["Not found"]);
    }
    for path in [format!("/accounts/{}/keys/nonsense", account.id), format!("/accounts/x/keys/{}", key.id)] {
        let page = browser.get(&path).await.expect(404);
        page.expect_texts(&["Page not found"]);
    }
    let origin = browser.origin.clone();
    browser.send("POST", &path_of(&key), None, &[("origin", &origin)]).await.expect(405);
}

#[tokio::test]
async fn hostile_requests_and_names_are_text() {
    let harness = Harness::start().await;
    let account = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": HOSTILE })).await;
    let mut event = Shape::HttpV2.request("POST", "/organizations", &key.secret);
    event["requestContext"]["requestId"] = HOSTILE.into();
    event["routeKey"] = format!("POST /{HOSTILE}").into();
    let _ = harness.verdict(&event).await;
    event = Shape::HttpV2.request("GET", "/organizations", &key.secret);
    event["requestContext"]["requestId"] = HOSTILE.into();
    event["routeKey"] = format!("GET /{HOSTILE}").into();
    let _ = harness.verdict(&event).await;
    // A recorded request whose path is a script.
    let mut browser = Browser::signed_in(&harness).await;
    for method in ["POST", "DELETE"] {
        let path = format!("/organizations/{}", "%3Cscript%3Ealert(1)%3C%2Fscript%3E");
        let _ = harness.request(method, &path).bearer(&key.secret).send().await;
    }
    let page = browser.get(&path_of(&key)).await.expect(200);
    page.expect_no_script();
    assert!(page.text.matches("&#60;script&#62;alert").count() > 5, "{}", page.text);
}

/// 20 refusals, requests in each hour and day, and 40 routes.
#[tokio::test]
async fn page_of_a_busy_key_is_small() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "busy", "expiresInDays": 365 })).await;
    harness.clock.advance_days(89);
    for number in 0..25 {
        let path = format!("/organizations/{number}/members/7/permissions");
        send(&harness, &key, "PUT", &path, 403).await;
    }
    for number in 0..40 {
        let mut event = Shape::HttpV2.bearer(&key.secret);
        event["routeKey"] = format!("GET /organizations/{{id}}/reports/{number}").into();
        assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    }
    harness.authorizer().flush_activity().await;
    let days = (1..=89_i32)
        .map(|day| jiff::civil::date(2026, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap());
    for day in days {
        let stored = harness.table.get(&format!("USAGE#{}", account.id), &format!("{day}#{}", key.id)).await;
        let mut item: Item = stored.unwrap_or_default();
        item.insert("pk".to_owned(), AttributeValue::S(format!("USAGE#{}", account.id)));
        item.insert("sk".to_owned(), AttributeValue::S(format!("{day}#{}", key.id)));
        item.insert("ttl".to_owned(), AttributeValue::N("1800000000".to_owned()));
        for hour in 0..24 {
            for (name, number) in [("allowed", 1_204), ("role", 57), ("network", 3)] {
                let number = AttributeValue::N(number.to_string());
                item.insert(format!("{hour:02}_{name}"), number);
            }
        }
        harness.table.put(item).await;
    }
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&key)).await.expect(200);
    let requests = section(&page, "requests");
    assert_eq!(
        requests.matches("<tr><th scope=\"row\">").count(),
        48 + 89,
        "{}",
        section_text(&page, "requests")
    );
    assert_eq!(section(&page, "refusals").matches("<th scope=\"row\">").count(), 20);
    assert_eq!(section(&page, "routes").matches("<th scope=\"row\">").count(), 40);
    browser.expect_small(&page).await;
}

#[tokio::test]
async fn history_is_searched_in_the_newest_events_of_the_account() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "first" })).await;
    harness.clock.advance_seconds(1);
    let other = harness.issue_key_with(&account, &json!({ "name": "other" })).await;
    harness.clock.advance_seconds(1);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path_of(&key)).await.expect(200);
    assert_eq!(section(&page, "history").matches("<li>").count(), 1);
    page.expect_without("events of the account were searched");
    for number in 0..198 {
        let body = json!({ "description": number.to_string() });
        let request = harness.request("PATCH", &account.path()).admin().header("if-match", "*");
        let _ = request.json(&body).send().await.expect(200);
    }
    // The key was issued 200 events ago, and the other key 199 events ago.
    let page = browser.get(&path_of(&key)).await.expect(200);
    page.expect_texts(&["No events found.", "Only the 200 most recent events of the account were searched."]);
    let page = browser.get(&path_of(&other)).await.expect(200);
    assert_eq!(section(&page, "history").matches("<li>").count(), 1);

    // The page works without the history.
    harness.wire.intercept(|call| {
        let is_event = call.body["ExpressionAttributeValues"][":pk"]["S"]
            .as_str()
            .is_some_and(|key| key.starts_with("EVENTS#"));
        if is_event { Action::Refuse } else { Action::Pass }
    });
    let page = browser.get(&path_of(&key)).await.expect(200);
    page.expect_texts(&["The history is currently unavailable."]);
}

/// Each page that names a key links to the key's page, and shows the last characters and the ID.
#[tokio::test]
async fn pages_that_name_a_key_link_to_its_page() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1" })).await;
    let retired = harness.issue_key_with(&account, &json!({ "name": "server 2" })).await;
    let _ = harness.revoke(&retired).await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/leaked").await.expect(200);
    let path = format!("/accounts/{}", account.id);
    let mut pages = Vec::new();
    for key in [&key, &retired] {
        let found = browser.submit(&form, "/leaked", &[("key", &key.secret)]).await.expect(303);
        pages.push((browser.get(found.location()).await.expect(200), key));
        pages.push((browser.get(&path).await.expect(200), key));
        pages.push((browser.get(&format!("{path}/history")).await.expect(200), key));
    }
    for key in [&key, &retired] {
        pages.push((browser.get("/history").await.expect(200), key));
    }
    pages.push((browser.get(&format!("{path}/keys/retired")).await.expect(200), &retired));
    for action in ["rotate", "revoke"] {
        pages.push((browser.get(&format!("{}/{action}", path_of(&key))).await.expect(200), &key));
    }
    for action in ["disable", "keys/revoke", "delete"] {
        pages.push((browser.get(&format!("{path}/{action}")).await.expect(200), &key));
    }
    let form = browser.get(&format!("/explain?account={}&key={}", account.id, key.id)).await.expect(200);
    pages.push((
        browser.submit(&form, "/explain", &[("key", &key.id), ("method", "GET")]).await.expect(200),
        &key,
    ));
    for (page, key) in pages {
        assert!(page.text.contains(&format!("<a href=\"{}\">", path_of(key))), "{}", page.text);
        for text in [&key.id, &key.secret[key.secret.len() - 4..]] {
            assert!(page.visible_text().contains(text), "{text} in {}", page.visible_text());
        }
    }
    // An event that an earlier version recorded has only the ID.
    let event = harness.table.items("EVENTS#sa_").await;
    for mut event in event.into_iter().filter(|event| event.contains_key("key")) {
        event.remove("keys");
        harness.table.put(event).await;
    }
    let page = browser.get("/history").await.expect(200);
    for key in [&key, &retired] {
        assert!(page.text.contains(&format!("<a href=\"{}\"><code>{}</code></a>", path_of(key), key.id)));
    }
}
