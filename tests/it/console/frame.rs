//! What all pages have in common: the navigation, the end of the session, and keyboard
//! shortcuts.

use serde_json::json;
use tests::Harness;

use crate::support::browser::Browser;

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
        ("History", vec!["/history".to_owned(), "/history?actor=ada".to_owned()]),
        ("Check access", vec!["/explain".to_owned()]),
        ("Report a leaked key", vec!["/leaked".to_owned()]),
    ] {
        for path in paths {
            assert_eq!(current(&mut browser, &path).await.as_deref(), Some(section), "{path}");
        }
    }
}
