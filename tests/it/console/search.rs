//! The search box, and the page of its results.

use insta::assert_snapshot;
use serde_json::json;
use tests::{Account, Harness, Key};

use crate::support::browser::{Browser, HOSTILE, Page};
use crate::support::changes;

async fn search(browser: &mut Browser<'_>, text: &str) -> Page {
    let page = browser.get("/roles").await.expect(200);
    browser.submit(&page, "/search", &[("q", text)]).await.expect(303)
}

async fn found(browser: &mut Browser<'_>, text: &str) -> Page {
    let redirect = search(browser, text).await;
    browser.get(redirect.location()).await
}

async fn accounts(harness: &Harness) -> (Account, Key) {
    let (batch, key) = harness.account_with_key("billing-mcp-agent", "ServiceAccountReader").await;
    let changed = json!({ "owner": "data-team@example.com", "tags": { "team": "data", "stage": "test" } });
    changes::update(harness, &batch, changed).await;
    harness.create_account("web", "ServiceAccountWriter").await;
    (batch, key)
}

#[tokio::test]
async fn text_is_found_in_names_owners_tags_and_key_names() {
    let harness = Harness::start().await;
    let (batch, key) = accounts(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    let redirect = search(&mut browser, " MCP ").await;
    assert_eq!(redirect.location(), "/search?q=MCP");
    let page = browser.get(redirect.location()).await.expect(200);
    let text = page.main_text().replace(&batch.id, "[batch]");
    assert_snapshot!(text);
    for (text, expected) in [
        ("data-team@", "billing-mcp-agent"),
        ("team=data", "billing-mcp-agent"),
        ("test key", "Keys that match"),
        (&key.secret[key.secret.len() - 4..], "last characters"),
        ("we", "web"),
    ] {
        found(&mut browser, text).await.expect(200).expect_texts(&["Search for", text, expected]);
    }
}

#[tokio::test]
async fn whole_id_leads_to_its_page_in_two_steps() {
    let harness = Harness::start().await;
    let (batch, key) = accounts(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    let of_key = format!("/accounts/{}/keys/{}", batch.id, key.id);
    let redirect = found(&mut browser, &key.id).await.expect(303);
    assert_eq!(redirect.location(), of_key);
    let redirect = found(&mut browser, &format!(" {} ", batch.id)).await.expect(303);
    assert_eq!(redirect.location(), format!("/accounts/{}", batch.id));
    // A retired key and a deleted account keep their pages.
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(found(&mut browser, &key.id).await.expect(303).location(), of_key);
    changes::delete(&harness, &batch).await;
    let redirect = found(&mut browser, &batch.id).await.expect(303);
    assert_eq!(redirect.location(), format!("/accounts/{}/history", batch.id));
    browser.get(redirect.location()).await.expect(200);
}

#[tokio::test]
async fn pasted_key_is_looked_up_and_never_in_an_address() {
    let harness = Harness::start().await;
    let (_, key) = accounts(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    let pasted = format!("Authorization: Bearer {}", key.secret);
    let redirect = search(&mut browser, &pasted).await;
    assert!(redirect.location().starts_with("/leaked/key?found="), "{redirect:?}");
    let page = browser.get(redirect.location()).await.expect(200);
    page.expect_texts(&["This key is active", "billing-mcp-agent"]);
    assert!(!page.text.contains(&key.secret[key.secret.len() - 49..]), "{}", page.text);
    // A mistyped key is not searched either.
    let mistyped = search(&mut browser, &key.secret[..key.secret.len() - 1]).await;
    assert!(mistyped.location().starts_with("/leaked?found="), "{mistyped:?}");
    // An address with a key is never opened.
    let redirect = browser.get(&format!("/search?q={}", key.secret)).await.expect(303);
    assert_eq!(redirect.location(), "/leaked");
    // Without this session, the form is not accepted.
    let page = browser.get("/roles").await.expect(200);
    let refused = browser.submit(&page, "/search", &[("q", &pasted), ("csrf", "")]).await.expect(303);
    assert_eq!(refused.location(), "/leaked?why=old_page");
}

#[tokio::test]
async fn token_or_part_of_a_key_is_not_searched_and_not_in_the_address() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
    let redirect = search(&mut browser, &format!("Bearer {token}")).await;
    assert_eq!(redirect.location(), "/search?q=&token=true");
    let page = browser.get(redirect.location()).await.expect(422);
    page.expect_texts(&["Nothing was searched.", "The text contains a JWT, or a part of a key or token."]);
    let key = harness.reader_key().await;
    let redirect = search(&mut browser, &key.secret["kwsa_".len()..]).await;
    assert_eq!(redirect.location(), "/search?q=&token=true");
    let page = browser.get(&format!("/search?q={token}")).await.expect(422);
    assert!(!page.main_text().contains("eyJ"), "{}", page.text);
}

#[tokio::test]
async fn empty_result_says_what_was_searched_and_what_to_try() {
    let harness = Harness::start().await;
    accounts(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = found(&mut browser, HOSTILE).await.expect(200);
    page.expect_texts(&[
        "No matches",
        "All accounts were searched (2 accounts).",
        "Names of retired keys and ended identities are not searched",
        "What you can search for",
    ]);
    page.expect_no_script();
    for id in ["key_0000000000000000", "sa_0000000000000000"] {
        found(&mut browser, id).await.expect(200).expect_texts(&["No matches", "What you can search for"]);
    }
}

#[tokio::test]
async fn text_must_have_2_to_128_characters() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let empty = found(&mut browser, " ").await.expect(200);
    empty.expect_texts(&["Enter text in the search box", "What you can search for"]);
    let short = found(&mut browser, "a").await.expect(422);
    short.expect_texts(&["Nothing was searched.", "The text must have at least 2 characters."]);
    let long = found(&mut browser, &"x.".repeat(65)).await.expect(422);
    long.expect_texts(&["The text must be at most 128 characters."]);
    found(&mut browser, &"é".repeat(128)).await.expect(200);
    browser.get("/search?q=ab&cursor=x").await.expect(404);
}

#[tokio::test]
async fn search_form_of_another_site_is_refused() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let fields = [("q".to_owned(), "text".to_owned())].into();
    let refused = browser.send("POST", "/search", Some(&fields), &[("origin", "https://evil.example")]).await;
    assert_eq!(refused.expect(303).location(), "/leaked?why=forged");
    // A text without a key needs no session: signing in leads to its results.
    let mut visitor = Browser::new(&harness);
    let own = visitor.origin.clone();
    let redirect = visitor.send("POST", "/search", Some(&fields), &[("origin", &own)]).await.expect(303);
    assert_eq!(redirect.location(), "/search?q=text");
    assert_eq!(
        visitor.get(redirect.location()).await.expect(303).location(),
        "/sign-in?back=%2Fsearch%3Fq%3Dtext"
    );
}
