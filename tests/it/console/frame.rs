//! What all pages have in common: the navigation, the end of the session, and keyboard
//! shortcuts.

use serde_json::json;
use tests::Harness;

use crate::support::browser::{Browser, visible_text};

/// The label of the link that the navigation marks as the current page.
async fn current(browser: &mut Browser<'_>, path: &str) -> Option<String> {
    let page = browser.get(path).await.expect(200);
    let marked: Vec<_> = page.text.split(" aria-current=\"page\">").skip(1).collect();
    assert!(marked.len() <= 1, "{path}: {marked:?}");
    Some(marked.first()?.split('<').next().unwrap().to_owned())
}

#[tokio::test]
async fn navigation_marks_the_section_of_each_page() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1" })).await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = format!("/accounts/{}", account.id);
    for (section, paths) in [
        ("Overview", vec!["/".to_owned(), "/attention".to_owned()]),
        (
            "Service accounts",
            vec![
                account.clone(),
                format!("{account}/edit"),
                format!("{account}/history"),
                format!("{account}/keys/new"),
                format!("{account}/keys/{}", key.id),
                "/accounts/new".to_owned(),
            ],
        ),
        (
            "Roles",
            vec!["/roles".to_owned(), "/roles/ServiceAccountReader".to_owned(), "/new-role".to_owned()],
        ),
        ("Access review", vec!["/review".to_owned(), "/review?days=30".to_owned()]),
        ("History", vec!["/history".to_owned(), "/history?actor=ada".to_owned()]),
        ("Check access", vec!["/explain".to_owned()]),
        ("Report a leaked key", vec!["/leaked".to_owned()]),
    ] {
        for path in paths {
            assert_eq!(current(&mut browser, &path).await.as_deref(), Some(section), "{path}");
        }
    }
}

#[tokio::test]
async fn each_page_says_when_the_session_ends() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.clock.advance_seconds(600);
    for path in ["/", "/roles", "/leaked"] {
        let page = browser.get(path).await.expect(200);
        assert!(page.text.contains(" data-seconds-left=\"2970\""), "{}", page.text);
        page.expect_texts(&["Signed in until 2026-01-01 00:59:30 UTC"]);
    }
    let page = browser.get("/signed-out").await.expect(200);
    assert!(!page.text.contains("data-seconds-left"), "{}", page.text);
}

/// The script of each page passes the CSRF token of the new session to the other tabs.
#[tokio::test]
async fn form_can_be_sent_after_signing_in_in_another_tab() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    harness.clock.advance_seconds(3600);
    let signed_in = browser.sign_in("/sign-in?back=%2Fsigned-in").await.expect(303);
    let page = browser.get(signed_in.location()).await.expect(200);
    page.expect_texts(&["You are signed in again", "Close this tab and return to the other tab."]);
    let csrf = page.fields("/sign-out")["csrf"].clone();
    assert_ne!(csrf, form.fields("/accounts")["csrf"]);
    browser.submit(&form, "/accounts", &[("name", "batch"), ("csrf", &csrf)]).await.expect(303);
}

#[tokio::test]
async fn each_listed_shortcut_exists_and_all_can_be_turned_off() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let help = browser.get("/shortcuts").await.expect(200);
    let front = browser.get("/accounts").await.expect(200);
    let rows: Vec<_> = help.text.split("<th scope=\"row\">").skip(1).collect();
    assert!(rows.len() > 5, "{}", help.text);
    for row in rows {
        let keys = visible_text(row.split("</th>").next().unwrap());
        assert!(front.text.contains(&format!(" data-keys=\"{keys}\"")), "{keys} is not on {}", front.text);
    }
    assert!(front.text.contains("<body data-shortcuts>"), "{}", front.text);

    let off = browser.submit(&help, "/shortcuts", &[]).await.expect(303);
    let help = browser.get(off.location()).await.expect(200);
    help.expect_texts(&["Keyboard shortcuts are off in this browser.", "Turn shortcuts on"]);
    // The setting outlives the session.
    browser.submit(&help, "/sign-out", &[]).await.expect(303);
    browser.sign_in("/sign-in").await.expect(303);
    assert!(browser.get("/").await.expect(200).text.contains("<body>"));
    let help = browser.get("/shortcuts").await.expect(200);
    browser.submit(&help, "/shortcuts", &[("enabled", "maybe")]).await.expect(400);
    browser.submit(&help, "/shortcuts", &[]).await.expect(303);
    assert!(browser.get("/").await.expect(200).text.contains("<body data-shortcuts>"));
}
