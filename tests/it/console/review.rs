//! The console's pages for the use of a role and for access reviews.

use serde_json::{Value, json};
use tests::{Account, Action, Harness, Key, Shape, Verdict};

use crate::support::browser::{Browser, HOSTILE, MAX_ORDINARY_BYTES};
use crate::support::tally::count_events;

async fn use_route(harness: &Harness, key: &Key, route: &str) {
    let (method, path) = route.split_once(' ').unwrap();
    let mut event = Shape::HttpV2.request(method, &path.replace("{id}", "42"), &key.secret);
    event["routeKey"] = route.into();
    assert_eq!(harness.verdict(&event).await, Verdict::Allow, "{route}");
}

/// An account whose key used two of four permissions.
async fn account_with_use(harness: &Harness) -> Account {
    let permissions = ["GET,PUT /reports/{id}", "GET /teams/{proxy+}", "POST /teams", "DELETE /teams/{id}"];
    harness.put_role("Reports", &permissions).await;
    let (account, key) = harness.account_with_key("Nightly batch", "Reports").await;
    use_route(harness, &key, "GET /reports/{id}").await;
    use_route(harness, &key, "GET /teams/{id}").await;
    account
}

async fn role_of(harness: &Harness, account: &Account) -> Value {
    harness.get(&account.path()).await.json()["role"].clone()
}

#[tokio::test]
async fn account_gets_a_role_that_is_narrowed_from_its_use() {
    let harness = Harness::start().await;
    let account = account_with_use(&harness).await;
    let tags = json!({ "tags": { "team": "data" } });
    let _ = harness.request("PATCH", &account.path()).admin().json(&tags).send().await.expect(200);
    let mut browser = Browser::signed_in(&harness).await;
    let path = format!("/accounts/{}", account.id);
    let page = browser.get(&path).await.expect(200);
    page.expect_texts(&["2 of 4 permissions used in the last 90 days"]);
    assert!(page.text.contains(&format!("href=\"{path}/role-usage\"")), "{}", page.text);

    let usage = browser.get(&format!("{path}/role-usage")).await.expect(200);
    usage.expect_no_script();
    usage.expect_texts(&[
        "Role usage of Nightly batch",
        "2 of 4 permissions used in the last 90 days",
        "GET,PUT /reports/{id} Used GET /reports/{id} 2026-01-01",
        "DELETE /teams/{id} Unused None",
        "GET /reports/{id} GET /teams/{id} Programs may need more than they used",
    ]);

    // The draft is a form. Nothing is saved yet.
    let draft_path = format!("/new-role?account={}", account.id);
    assert!(usage.text.contains(&format!("href=\"{draft_path}\"")));
    let draft = browser.get(&draft_path).await.expect(200);
    draft.expect_texts(&["This draft permits the routes", "GET /reports/{id} GET /teams/{id}"]);
    let fields = draft.fields("/new-role");
    assert_eq!(fields["name"], "Nightly-batch");
    assert_eq!(fields["description"], "What Nightly batch used until 2026-01-01");
    let permissions = [("permissions", "GET /reports/{id}\nGET /teams/{id}")];
    let created = browser.submit(&draft, "/new-role", &permissions).await.expect(303);
    assert_eq!(created.location(), format!("{path}/role?to=Nightly-batch"));
    assert_eq!(role_of(&harness, &account).await, "Reports", "the role is not changed yet");

    let review = browser.get(created.location()).await.expect(200);
    review.expect_texts(&[
        "Role Nightly-batch was saved.",
        "Change the role of Nightly batch to Nightly-batch ?",
        "− DELETE /teams/{id}",
    ]);
    let saved = browser.submit(&review, &format!("{path}/edit"), &[("button", "confirm")]).await;
    assert_eq!(saved.expect(303).location(), path);
    let changed = harness.get(&account.path()).await.json();
    assert_eq!(changed["role"], "Nightly-batch");
    assert_eq!(changed["tags"], tags["tags"], "nothing else is changed");

    // The role now permits only what was used, so there is nothing to draft.
    let usage = browser.get(&format!("{path}/role-usage")).await.expect(200);
    usage.expect_texts(&["2 of 2 permissions used", "there is no smaller role"]);
    assert_eq!(browser.get(&draft_path).await.expect(303).location(), format!("{path}/role-usage"));
    // The page of a change to the present role has nothing to confirm.
    let same = browser.get(&format!("{path}/role?to=Unknown")).await;
    same.expect(404);
}

#[tokio::test]
async fn account_without_recorded_use_is_offered_no_empty_role() {
    let harness = Harness::start().await;
    let account = harness.create_account("idle", "ServiceAccountWriter").await;
    let mut browser = Browser::signed_in(&harness).await;
    let path = format!("/accounts/{}", account.id);
    browser.get(&path).await.expect(200).expect_texts(&["No use of the permissions was recorded"]);
    let usage = browser.get(&format!("{path}/role-usage")).await.expect(200);
    usage.expect_texts(&["No route was recorded", "A role without permissions would look safe"]);
    usage.expect_without("Draft a smaller role");
}

#[tokio::test]
async fn account_page_works_without_the_use_of_the_role() {
    let harness = Harness::start().await;
    let account = account_with_use(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.wire.intercept(|call| {
        let is_route = call.body.to_string().contains("ROUTES#");
        if is_route { Action::Refuse } else { Action::Pass }
    });
    let page = browser.get(&format!("/accounts/{}", account.id)).await.expect(200);
    page.expect_without("permissions used");
    page.expect_texts(&["Danger zone"]);
}

#[tokio::test]
async fn answers_are_recorded_and_keep_the_place_in_the_list() {
    let harness = Harness::start().await;
    let account = account_with_use(&harness).await;
    let next = harness.create_account("Other", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let list = browser.get("/review").await.expect(200);
    list.expect_no_script();
    list.expect_texts(&[
        "Nightly batch No owner Reports 2 of 4 permissions unused",
        "Use of 4 permissions unknown Never 0 active Not in the last 400 days",
    ]);
    let form = format!("/accounts/{}/review", account.id);
    let keep = [("decision", "keep"), ("note", "Still needed")];
    let kept = browser.submit(&list, &form, &keep).await.expect(303);
    assert_eq!(kept.location(), format!("/review?#{}", account.id));
    let list = browser.get("/review").await.expect(200);
    list.expect_texts(&["Your answer was recorded", "Keep just now", "by admin@keyward.local Still needed"]);

    // With a filter, the answered account leaves the list, so the next one is shown.
    harness.clock.advance_days(91);
    let mut browser = Browser::signed_in(&harness).await;
    let filtered = browser.get("/review?days=90").await.expect(200);
    let kept = browser.submit(&filtered, &form, &keep).await.expect(303);
    assert_eq!(kept.location(), format!("/review?days=90#{}", next.id));
    let filtered = browser.get("/review?days=90").await.expect(200);
    filtered.expect_without("Nightly batch");
    // The same form again records nothing.
    assert_eq!(count_events(&harness, "serviceAccount.reviewed").await, 2);

    // Narrow and revoke lead to the pages that make the change.
    let list = browser.get("/review").await.expect(200);
    let narrow = browser.submit(&list, &form, &[("decision", "narrow"), ("note", "")]).await.expect(303);
    assert_eq!(narrow.location(), format!("/accounts/{}/role-usage", account.id));
    browser.get(narrow.location()).await.expect(200).expect_texts(&["Now choose a smaller role"]);
    let other = format!("/accounts/{}/review", next.id);
    let revoke = browser.submit(&list, &other, &[("decision", "revoke"), ("note", "")]).await.expect(303);
    assert_eq!(revoke.location(), format!("/accounts/{}/delete", next.id));
    let history = browser.get(&format!("/accounts/{}/history", account.id)).await.expect(200);
    history.expect_texts(&[
        "admin@keyward.local decided to narrow the access of the account",
        "admin@keyward.local confirmed the access of the account Note: Still needed",
    ]);
    let all = browser.get("/history?type=serviceAccount.reviewed").await.expect(200);
    all.expect_texts(&["decided to revoke the access of the account Other"]);
}

#[tokio::test]
async fn refused_answer_keeps_the_note_and_changes_nothing() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let list = browser.get("/review").await.expect(200);
    let form = format!("/accounts/{}/review", account.id);
    let note = format!("{HOSTILE}{}", "x".repeat(256));
    let refused = browser.submit(&list, &form, &[("decision", "keep"), ("note", &note)]).await.expect(422);
    refused.expect_texts(&["The form has errors", "Must be at most 256 characters."]);
    assert_eq!(refused.fields(&form)["note"], note);
    assert!(!refused.text.contains("<script>alert"), "{}", refused.text);
    browser.submit(&list, &form, &[("decision", "shrug"), ("note", "")]).await.expect(400);
    assert_eq!(count_events(&harness, "serviceAccount.reviewed").await, 0);
    assert_eq!(browser.get(&form).await.expect(303).location(), "/review");
    for bad in ["/review?days=1", "/review?days=x", "/review?cursor=x", "/review/export?format=csv&days=2"] {
        browser.get(bad).await.expect(404);
    }
}

#[tokio::test]
async fn page_of_25_accounts_is_small_and_leads_to_the_next() {
    let harness = Harness::start().await;
    for number in 0..26 {
        let (name, owner) = (format!("account {number:02}"), format!("team {number}"));
        let body = json!({ "name": name, "role": "ServiceAccountReader", "owner": owner });
        let request = harness.request("POST", "/iam/v1/service-accounts").admin();
        let _ = request.json(&body).send().await.expect(201);
    }
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/review").await.expect(200);
    assert!(page.text.len() < 2 * MAX_ORDINARY_BYTES, "{}", page.text.len());
    let next = page.next_page().unwrap();
    let last = browser.get(&next).await.expect(200);
    last.expect_texts(&["account 25", "First page"]);
    last.expect_without("account 24");
}

#[tokio::test]
async fn review_is_exported_as_csv_and_json() {
    let harness = Harness::start().await;
    let account = account_with_use(&harness).await;
    let path = format!("{}/reviews", account.path());
    let body = json!({ "decision": "keep", "note": "=HYPERLINK(\"https://example.com\"); +1" });
    let _ = harness.request("POST", &path).admin().json(&body).send().await.expect(201);
    harness.create_account("Other", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let csv = browser.get("/review/export?format=csv").await.expect(200);
    assert_eq!(
        csv.header("content-disposition"),
        "attachment; filename=\"keyward-local-access-review-2026-01-01.csv\""
    );
    assert_eq!(csv.header("cache-control"), "no-store");
    let lines: Vec<_> = csv.text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1],
        format!(
            "{},Nightly batch,,true,Reports,4,2,2026-01-01T00:00:00Z,1,0,0,0,0,2026-01-01T00:00:00Z,\
             admin@keyward.local,keep,\"'=HYPERLINK(\"\"https://example.com\"\");' +1\"",
            account.id
        )
    );
    let json = browser.get("/review/export?format=json&days=30").await.expect(200);
    let json: Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!((json["items"].as_array().unwrap().len(), &json["isComplete"]), (1, &json!(true)));
    assert_eq!(json["items"][0]["name"], "Other");
    // A failure after the start of the export is not silent, and one before it is an error.
    harness.wire.intercept(|_| Action::Refuse);
    browser.get("/review/export?format=json").await.expect(503);
}
