//! The console's pages for roles, access checks and the history of all accounts.

use serde_json::{Value, json};
use tests::{Action, Harness};

use super::disable;
use crate::support::browser::{Browser, HOSTILE};
use crate::support::keys::store_usage;

async fn role(harness: &Harness, name: &str) -> Value {
    harness.get(&format!("/iam/v1/roles/{name}")).await.json()
}

#[tokio::test]
async fn roles_page_shows_the_role_matrix() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/roles").await.expect(200);
    let text = page.visible_text();
    let golden = include_str!("../promises/role_matrix.txt");
    let mut rows = 0;
    for line in golden.lines().skip(1).filter(|line| !line.is_empty()) {
        if let Some(operation) = line.strip_prefix("# ") {
            assert!(text.contains(operation), "{operation}");
            continue;
        }
        let (request, columns) = line.split_once("  ").unwrap();
        let columns: Vec<_> = columns.split_whitespace().collect();
        let roles = [("Reader", columns[2]), ("Writer", columns[1]), ("Admin", columns[0])];
        let roles: Vec<_> =
            roles.iter().filter(|(_, permitted)| *permitted == "yes").map(|(role, _)| *role).collect();
        let roles = if roles.is_empty() { "No key".to_owned() } else { roles.join(", ") };
        assert!(format!("{text} ").contains(&format!(" {request} {roles} ")), "{request} {roles} in {text}");
        rows += 1;
    }
    assert!(rows > 50, "{rows}");
    page.expect_texts(&["Reader", "Writer", "Admin", "Create an organization", "no yes yes"]);
    // The page of a built-in role.
    let admin = browser.get("/roles/ServiceAccountAdmin").await.expect(200);
    admin.expect_texts(&[
        "Built-in",
        "Any method on /{proxy+}",
        ": for example GET /42 and GET /42/notes ; not /",
        "Every key can also identify itself with GET /iam/v1/whoami .",
    ]);
    assert!(!admin.text.contains("/edit\"") && !admin.text.contains("/delete\""), "{}", admin.text);
}

#[tokio::test]
async fn roles_pages_follow_the_data_prefixes() {
    let prefixes = "/orders,/billing/invoices";
    let harness = Harness::builder().variable("KEYWARD_DATA_PREFIXES", prefixes).start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/roles").await.expect(200);
    page.expect_texts(&[
        "View data at /orders and below",
        "GET /orders Reader, Writer, Admin",
        "GET /orders/{id} Reader, Writer, Admin",
        "yes yes yes",
        "Create, update or delete data at /orders and below",
        "POST /orders Writer, Admin",
        "no yes yes",
        "View data at /billing/invoices and below",
        "Everything else outside of /iam",
        "GET /{anything-else} Admin",
        "no no yes",
        "Show the caller's own identity",
        "Manage accounts, keys and roles",
        "No key",
    ]);
    page.expect_without("organization");
    let page = browser.get("/roles/ServiceAccountReader").await.expect(200);
    page.expect_texts(&["Read-only access to /orders and /billing/invoices.", "This role is built in"]);
    let form = browser.get("/accounts/new").await.expect(200);
    form.expect_texts(&[
        "Read-only access to /orders and /billing/invoices.",
        "Read and write access to /orders",
    ]);
}

#[tokio::test]
async fn role_is_created_once_then_shown_replaced_and_deleted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    browser.get("/roles").await.expect(200).expect_texts(&["No custom roles"]);
    let form = browser.get("/new-role").await.expect(200);
    let typed = [
        ("name", "Reports"),
        ("description", "Reads reports"),
        ("permissions", "\nGET,HEAD /reports/{id}\n\n  POST /reports\n"),
    ];
    let created = browser.submit(&form, "/new-role", &typed).await.expect(303);
    assert_eq!(created.location(), "/roles/Reports");
    // The same form again succeeds. Another role cannot have the same name.
    browser.submit(&form, "/new-role", &typed).await.expect(303);
    let other = [("name", "Reports"), ("permissions", "ANY /{all+}")];
    let refused = browser.submit(&form, "/new-role", &other).await.expect(422);
    refused.expect_texts(&["Name", "Is the name of another role", "ANY /{all+}"]);
    assert_eq!(
        role(&harness, "Reports").await["permissions"],
        json!(["POST /reports", "GET,HEAD /reports/{id}"])
    );

    let page = browser.get("/roles/Reports").await.expect(200);
    page.expect_texts(&[
        "Role Reports was saved.",
        "Custom",
        "Reads reports",
        "POST on /reports : for example POST /reports ; not /reports/notes",
        "GET and HEAD on /reports/{id} : for example GET /reports/42 ; not /reports/42/notes",
        "Created just now 2026-01-01 00:00:00 UTC by admin@keyward.local",
    ]);
    browser.get("/roles").await.expect(200).expect_texts(&[
        "Custom roles",
        "Reports",
        "Reads reports",
        "POST /reports",
    ]);

    let edit = "/roles/Reports/edit";
    let form = browser.get(edit).await.expect(200);
    let replacement = [("permissions", "GET /reports/{id}")];
    let review = browser.submit(&form, edit, &replacement).await.expect(200);
    browser.submit(&review, edit, &[("button", "confirm")]).await.expect(303);
    assert_eq!(role(&harness, "Reports").await["permissions"], json!(["GET /reports/{id}"]));
    let stale = browser.submit(&form, edit, &[("permissions", "ANY /stale")]).await.expect(412);
    stale.expect_texts(&["This page is out of date", "ANY /stale"]);

    let delete = "/roles/Reports/delete";
    let confirm = browser.get(delete).await.expect(200);
    confirm.expect_texts(&["No account, key or federated identity has this role."]);
    assert_eq!(browser.submit(&confirm, delete, &[]).await.expect(303).location(), "/roles");
    browser.get("/roles").await.expect_texts(&["Role Reports was deleted.", "No custom roles"]);
    browser.get("/roles/Reports").await.expect(404);
    for invalid in ["/roles/9", "/roles/a%20b", "/roles/%2e%2e/edit"] {
        browser.get(invalid).await.expect(404);
    }
}

#[tokio::test]
async fn review_shows_the_difference_and_who_is_affected_before_a_role_is_saved() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Auditor", &["GET /reports", "GET /teams"]).await;
    let account = harness.create_account(HOSTILE, "Auditor").await;
    let used = harness.issue_key(&account).await;
    store_usage(&harness, &used, &[(1, 1, 3)]).await;
    let holder = harness.create_account("Holder", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&holder, &json!({ "name": "narrow", "role": "Auditor" })).await;
    disable(&harness, &holder).await;
    let edit = "/roles/Auditor/edit";
    let form = browser.get(edit).await.expect(200);
    let typed = [("description", "Reads"), ("permissions", "GET /reports\nPOST /reports/{id}")];
    let before = harness.table.dump().await;
    let review = browser.submit(&form, edit, &typed).await.expect(200);
    review.expect_texts(&[
        "Save role Auditor?",
        "Nothing is saved yet.",
        "Added permissions + POST /reports/{id}",
        "Removed permissions − GET /teams",
        "Affected accounts and keys",
        HOSTILE,
        "Enabled 1",
        &format!(
            "Key narrow Ending in {} {} of Holder Disabled 1 0 Never",
            &key.secret[key.secret.len() - 4..],
            key.id
        ),
    ]);
    review.expect_no_script();
    for link in [&format!("/accounts/{}", account.id), &format!("/accounts/{}/keys/{}", holder.id, key.id)] {
        assert!(review.text.contains(&format!("href=\"{link}\"")), "{}", review.text);
    }
    assert_eq!(before, harness.table.dump().await, "nothing was saved");
    // Back to the form, with the typed values.
    let back = browser.submit(&review, edit, &[("button", "back")]).await.expect(200);
    assert_eq!(back.fields(edit)["description"], "Reads");
    assert!(back.text.contains("GET /reports\nPOST /reports/{id}</textarea>"), "{}", back.text);
    assert_eq!(before, harness.table.dump().await, "nothing was saved");
    // The confirmation saves only if the role is still the one whose difference was shown.
    harness.put_role("Auditor", &["GET /meanwhile"]).await;
    let confirm = [("button", "confirm")];
    browser.submit(&review, edit, &confirm).await.expect(412).expect_texts(&["This page is out of date"]);
    assert_eq!(role(&harness, "Auditor").await["permissions"], json!(["GET /meanwhile"]));
    let form = browser.get(edit).await.expect(200);
    let review = browser.submit(&form, edit, &typed).await.expect(200);
    browser.submit(&review, edit, &confirm).await.expect(303);
    let saved = role(&harness, "Auditor").await;
    assert_eq!(saved["permissions"], json!(["GET /reports", "POST /reports/{id}"]));
    assert_eq!(saved["description"], "Reads");
    // A change that permits and refuses the same requests needs no review.
    let form = browser.get(edit).await.expect(200);
    let [_, permissions] = typed;
    browser.submit(&form, edit, &[("description", "Reads reports"), permissions]).await.expect(303);
    // Invalid input never gets to the review.
    let long = "x".repeat(257);
    for (typed, field) in
        [(("description", long.as_str()), "description"), (("permissions", "x"), "permissions")]
    {
        let refused = browser.submit(&form, edit, &[typed]).await.expect(422);
        assert!(!refused.field_error(field).is_empty());
    }
}

#[tokio::test]
async fn role_page_lists_accounts_and_keys_with_the_role_page_by_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for number in 0..26 {
        harness.create_account(&format!("batch {number:02}"), "ServiceAccountReader").await;
    }
    let page = browser.get("/roles/ServiceAccountReader").await.expect(200);
    page.expect_texts(&["Accounts, keys and identities with this role", "batch 00", "batch 24", "Next page"]);
    page.expect_without("batch 25");
    let next = browser.get(page.next_page().unwrap().split('#').next().unwrap()).await.expect(200);
    next.expect_texts(&["batch 25", "First page"]);
    next.expect_without("batch 24");
}

#[tokio::test]
async fn role_with_any_valid_name_has_its_own_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for name in ["new", "explain", "edit", "a..b", "A.", &"x".repeat(64)] {
        harness.put_role(name, &["GET /reports"]).await;
        let page = browser.get(&format!("/roles/{name}")).await.expect(200);
        page.expect_texts(&[name, "Custom", "GET on /reports"]);
        browser.get(&format!("/roles/{name}/edit")).await.expect(200);
    }
}

#[tokio::test]
async fn invalid_role_shows_errors_next_to_the_fields_and_keeps_the_input() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-role").await.expect(200);
    let before = harness.table.dump().await;
    let wrong = "GET /a\n\nFETCH /b\nGET /iam/v1/roles\nGET /a";
    for (name, permissions, status, field, problems) in [
        ("", "GET /a", 422, "name", vec!["Must start with a letter, followed by up to 63"]),
        ("9", "GET /a", 422, "name", vec!["Must start with a letter"]),
        ("serviceaccountreader", "GET /a", 409, "name", vec!["is a built-in role"]),
        (
            "Wrong",
            wrong,
            422,
            "permissions",
            vec![
                "Line 3, FETCH /b, must start with ANY or with a comma-separated list of GET",
                "Line 4, GET /iam/v1/roles, must have a path outside of /iam",
                "Line 5, GET /a, means the same as line 1: remove one of them.",
            ],
        ),
        ("Long", &"x".repeat(300), 422, "permissions", vec!["must be at most 256 characters."]),
    ] {
        let typed = [("name", name), ("description", "kept \"this\""), ("permissions", permissions)];
        let page = browser.submit(&form, "/new-role", &typed).await.expect(status);
        let error = page.field_error(field);
        for problem in problems {
            assert!(error.contains(problem), "{problem} in {error}");
        }
        let fields = page.fields("/new-role");
        assert_eq!((fields["name"].as_str(), fields["description"].as_str()), (name, "kept \"this\""));
        assert!(page.text.contains(&format!("\n{permissions}</textarea>")), "{}", page.text);
    }
    assert_eq!(before, harness.table.dump().await, "nothing was saved");
}

#[tokio::test]
async fn preview_shows_what_permissions_match_and_saves_nothing() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-role").await.expect(200);
    let before = harness.table.dump().await;
    let permissions = "ANY /teams/{proxy+}\nGET,HEAD,POST /reports/{id}\nnonsense\nPUT /a/\nDELETE /";
    let typed = [("name", "P"), ("permissions", permissions), ("button", "preview")];
    let page = browser.submit(&form, "/new-role", &typed).await.expect(422);
    page.expect_texts(&[
        "Line 3, nonsense, must be methods, one space and a path",
        "Preview",
        "Any method on /teams/{proxy+} : for example GET /teams/42 and GET /teams/42/notes ; not /teams .",
        "DELETE on / : for example DELETE / ; not /notes .",
        "GET, HEAD and POST on /reports/{id} : for example GET /reports/42 ; not /reports/42/notes .",
        "PUT on /a/ : for example PUT /a/ ; not /a/notes .",
        "Nothing is saved yet.",
    ]);
    assert_eq!(page.fields("/new-role")["name"], "P");
    assert_eq!(before, harness.table.dump().await);
    // The page with the preview can save the role.
    let valid = [("permissions", "GET /reports/{id}")];
    browser.submit(&page, "/new-role", &valid).await.expect(303);
    // The form of an existing role also has a preview.
    let form = browser.get("/roles/P/edit").await.expect(200);
    let page =
        browser.submit(&form, "/roles/P/edit", &[("button", "preview"), ("permissions", "ANY /x")]).await;
    page.expect(200).expect_texts(&["Preview", "Any method on /x"]);
    assert_eq!(role(&harness, "P").await["permissions"], json!(["GET /reports/{id}"]));
}

#[tokio::test]
async fn role_in_use_is_not_deleted_and_its_accounts_and_keys_are_listed() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let delete = "/roles/Auditor/delete";
    let confirm = browser.get(delete).await.expect(200);
    let account = harness.create_account(HOSTILE, "Auditor").await;
    let holder = harness.create_account("Holder", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&holder, &json!({ "name": "k", "role": "Auditor" })).await;
    let in_use = browser.get(delete).await.expect(200);
    in_use.expect_texts(&[
        "The role is in use, so it cannot be deleted.",
        HOSTILE,
        "Key k Ending in",
        "of Holder",
    ]);
    assert!(!in_use.text.contains("action=\"/roles/Auditor/delete\""), "{}", in_use.text);
    in_use.expect_no_script();
    // The role came into use after the page was opened.
    let refused = browser.submit(&confirm, delete, &[]).await.expect(409);
    refused.expect_texts(&[
        "The role is in use, so it was not deleted.",
        "Account",
        HOSTILE,
        &format!("Key {} of Holder", key.id),
    ]);
    for account in [&account, &holder] {
        assert!(refused.text.contains(&format!("href=\"/accounts/{}\"", account.id)), "{}", refused.text);
    }
    refused.expect_no_script();
    assert_eq!(role(&harness, "Auditor").await["permissions"], json!(["GET /reports"]));
    // The form deletes only the version that it was opened with.
    let fields = confirm.fields(delete);
    assert!(fields["version"].starts_with('"'), "{fields:?}");
    harness.put_role("Auditor", &["GET /reports", "GET /more"]).await;
    let stale = browser.submit(&confirm, delete, &[]).await;
    assert!([409, 412].contains(&stale.status), "{stale:?}");
}

#[tokio::test]
async fn deletion_continues_the_check_of_accounts_where_it_stopped() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let delete = "/roles/Auditor/delete";
    let confirm = browser.get(delete).await.expect(200);
    // As if the index was so large that the first request reached only this account.
    let last = index_key(&account.id);
    let page = json!({ "Items": [], "Count": 0, "ScannedCount": 1, "LastEvaluatedKey": last });
    harness.wire.intercept(move |call| {
        if call.operation == "Query" { Action::ReplaceBody(page.to_string()) } else { Action::Pass }
    });
    let stopped = browser.submit(&confirm, delete, &[]).await.expect(409);
    stopped.expect_texts(&["Not all accounts have been checked yet", "Continue and delete role"]);
    assert_eq!(role(&harness, "Auditor").await["permissions"], json!(["GET /reports"]));
    harness.wire.pass_all();
    harness.wire.take_calls();
    browser.submit(&stopped, delete, &[]).await.expect(303);
    let queries = harness.wire.take_calls();
    let starts: Vec<_> = queries.iter().filter(|call| call.operation == "Query").collect();
    assert_eq!(
        starts[0].body["ExclusiveStartKey"],
        index_key(&account.id),
        "the check continues after the account"
    );
    harness.refuse(harness.request("GET", "/iam/v1/roles/Auditor").admin(), 404, "role_not_found").await;
}

/// The key of the account `batch` in the index.
fn index_key(id: &str) -> Value {
    json!({
        "pk": { "S": format!("ACCOUNT#{id}") }, "sk": { "S": "ACCOUNT" },
        "gsi1pk": { "S": "ACCOUNTS" }, "gsi1sk": { "S": "batch" },
    })
}

#[tokio::test]
async fn hostile_text_in_a_role_is_escaped() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-role").await.expect(200);
    let typed = [("name", "Hostile"), ("description", HOSTILE), ("permissions", "GET /it's&!x")];
    browser.submit(&form, "/new-role", &typed).await.expect(303);
    let mut pages = Vec::new();
    for path in [
        "/roles",
        "/roles/Hostile",
        "/roles/Hostile/edit",
        "/roles/Hostile/delete",
        "/roles?cursor=%3Cscript%3Ealert",
    ] {
        pages.push(browser.get(path).await);
    }
    let invalid = [
        ("name", HOSTILE),
        ("description", HOSTILE),
        ("permissions", "</textarea><script>alert(1)</script>"),
    ];
    pages.push(browser.submit(&form, "/new-role", &invalid).await.expect(422));
    let invalid =
        [("name", "X"), ("permissions", "</textarea><script>alert(1)</script>"), ("button", HOSTILE)];
    pages.push(browser.submit(&form, "/new-role", &invalid).await.expect(422));
    let invalid = [("permissions", "</textarea><script>alert(1)</script>"), ("button", "preview")];
    pages.push(browser.submit(&form, "/new-role", &invalid).await.expect(422));
    for page in pages {
        page.expect_no_script();
    }
}

#[tokio::test]
async fn forms_and_filters_offer_custom_roles() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let many: Vec<_> = (0..12).map(|number| format!("GET /reports/{number}")).collect();
    harness.put_role("Auditor", &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let form = browser.get("/accounts/new").await.expect(200);
    form.expect_texts(&[
        "ServiceAccountReader",
        "ServiceAccountWriter",
        "ServiceAccountAdmin",
        "Auditor",
        "GET /reports/0",
        "and 4 more",
    ]);
    let created = browser.submit(&form, "/accounts", &[("name", "a"), ("role", "Auditor")]).await.expect(303);
    let account = created.location().to_owned();
    let page = browser.get(&account).await.expect(200);
    page.expect_texts(&["Role", "Auditor", "GET /reports/0", "and 4 more"]);
    assert!(page.text.contains("href=\"/roles/Auditor\""), "{}", page.text);
    browser.get("/accounts?role=Auditor").await.expect(200).expect_texts(&["Last used a Enabled Auditor"]);
    // Any other role can limit a key of this account. Only custom roles can limit a key of a
    // Reader's account.
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    form.expect_texts(&[
        "Same as account: Auditor",
        "ServiceAccountReader",
        "ServiceAccountWriter",
        "ServiceAccountAdmin",
    ]);
    let reader = harness.create_account("reader", "ServiceAccountReader").await;
    let keys = format!("/accounts/{}/keys", reader.id);
    let form = browser.get(&format!("{keys}/new")).await.expect(200);
    form.expect_texts(&["Same as account: ServiceAccountReader", "Auditor"]);
    form.expect_without("ServiceAccountWriter");
    let shown = browser.submit(&form, &keys, &[("name", "k"), ("role", "Auditor")]).await.expect(200);
    shown.expect_texts(&["limited by role Auditor"]);
}

#[tokio::test]
async fn short_list_includes_the_permissions_that_permit_most() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let narrow: Vec<_> = (0..14).map(|at| format!("GET /a{at}")).collect();
    let narrow: Vec<_> = narrow.iter().map(String::as_str).collect();
    harness.put_role("Sneaky", &narrow).await;
    harness.put_role("Sneaky", &[narrow.as_slice(), &["ANY /{proxy+}"]].concat()).await;
    let account = harness.create_account("a", "Sneaky").await;
    for path in ["/accounts/new", &format!("/accounts/{}", account.id), "/roles"] {
        browser.get(path).await.expect(200).expect_texts(&["Sneaky", "ANY /{proxy+}", "and 7 more"]);
    }
    browser.get("/history").await.expect(200).expect_texts(&["updated the role Sneaky", "ANY /{proxy+}"]);
}

#[tokio::test]
async fn pages_work_with_many_large_roles_and_changes() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let permissions = |first: char| -> Vec<String> {
        (0..100).map(|at| format!("GET /{first}{at:03}{}", "x".repeat(240))).collect()
    };
    let sets = [permissions('a'), permissions('b')];
    for at in 0..42 {
        let set: Vec<_> = sets[at % 2].iter().map(String::as_str).collect();
        harness.put_role(&format!("Role{}", at / 2 * 2 % 40), &set).await;
        harness.put_role(&format!("Other{at}"), &set).await;
    }
    for path in ["/", "/accounts/new", "/history"] {
        browser.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn built_in_role_has_no_forms() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for form in ["edit", "delete"] {
        browser.get(&format!("/roles/ServiceAccountReader/{form}")).await.expect(404);
    }
}

#[tokio::test]
async fn new_role_of_an_account_is_saved_after_its_difference_is_confirmed() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Reports", &["GET /organizations/{id}", "POST /reports", "ANY /teams/{proxy+}"]).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let edit = format!("/accounts/{}/edit", account.id);
    let role = async || harness.get(&account.path()).await.json()["role"].as_str().unwrap().to_owned();
    let form = browser.get(&edit).await.expect(200);
    let typed = [("role", "Reports"), ("owner", "the \"team\"")];
    let review = browser.submit(&form, &edit, &typed).await.expect(200);
    review.expect_texts(&[
        "Change the role of batch to Reports ?",
        "The current role is ServiceAccountReader . Nothing is saved yet.",
        "Added permissions",
        "+ POST,PUT,PATCH,DELETE /teams/{proxy+}",
        "+ POST /reports",
        "Removed permissions",
        "− GET,HEAD,OPTIONS /organizations",
        "− GET,HEAD,OPTIONS /organizations/{proxy+}",
        "− GET,HEAD,OPTIONS /teams",
        "All permissions of the new role",
    ]);
    // Permissions that both roles have are not listed: to read an organization and a team.
    let (difference, _) = review.text.split_once("All permissions of the new role").unwrap();
    assert!(
        !difference.contains("GET /organizations/{id}") && !difference.contains("ANY /teams"),
        "{difference}"
    );
    assert_eq!(role().await, "ServiceAccountReader");
    // Back to the form, which keeps the input.
    let back = browser.submit(&review, &edit, &[("button", "back")]).await.expect(200);
    let fields = back.fields(&edit);
    assert_eq!((fields["role"].as_str(), fields["owner"].as_str()), ("Reports", "the \"team\""));
    let review = browser.submit(&back, &edit, &[]).await.expect(200);
    browser.submit(&review, &edit, &[("button", "confirm")]).await.expect(303);
    assert_eq!(role().await, "Reports");
    let saved = harness.get(&account.path()).await.json();
    assert_eq!(saved["owner"], "the \"team\"");

    // If the role stays the same, no confirmation is needed. An error is shown in the form.
    let form = browser.get(&edit).await.expect(200);
    browser.submit(&form, &edit, &[("owner", "ops")]).await.expect(303);
    let form = browser.get(&edit).await.expect(200);
    let page = browser.submit(&form, &edit, &[("role", "Unknown")]).await.expect(422);
    page.expect_texts(&["Role not found"]);
    let long = "x".repeat(65);
    let review =
        browser.submit(&form, &edit, &[("role", "ServiceAccountAdmin"), ("name", &long)]).await.expect(200);
    let refused = browser.submit(&review, &edit, &[("button", "confirm")]).await.expect(422);
    refused.expect_texts(&["Must be at most 64 characters."]);
    assert_eq!(refused.fields(&edit)["role"], "ServiceAccountAdmin");
    // The confirmation saves only if the account has not changed since the form was opened.
    let review = browser.submit(&form, &edit, &[("role", "ServiceAccountAdmin")]).await.expect(200);
    let change = harness.request("PATCH", &account.path()).admin().json(&json!({ "owner": "meanwhile" }));
    let _ = change.send().await.expect(200);
    browser.submit(&review, &edit, &[("button", "confirm")]).await.expect(412);
    assert_eq!(role().await, "Reports");
}

#[tokio::test]
async fn changed_difference_must_be_reviewed_again() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Before", &["GET /a", "GET /b"]).await;
    harness.put_role("After", &["GET /b"]).await;
    let account = harness.create_account("batch", "Before").await;
    let edit = format!("/accounts/{}/edit", account.id);
    let role = async || harness.get(&account.path()).await.json()["role"].as_str().unwrap().to_owned();
    let form = browser.get(&edit).await.expect(200);
    let confirm = [("button", "confirm")];
    let mut review = browser.submit(&form, &edit, &[("role", "After"), ("owner", "ops")]).await.expect(200);
    // Changes of the new role and of the current role.
    for (name, permissions, shown) in [
        ("After", vec!["GET /b", "ANY /{all+}"], "+ ANY /{all+}"),
        ("Before", vec!["GET /", "GET /a"], "Removed permissions − GET /"),
        ("After", vec!["GET /b"], "Removed permissions − GET / − GET /a"),
    ] {
        harness.put_role(name, &permissions).await;
        let again = browser.submit(&review, &edit, &confirm).await.expect(409);
        again.expect_texts(&[
            "A role changed after you reviewed the difference, so nothing was saved.",
            shown,
        ]);
        assert_eq!(role().await, "Before");
        review = again;
    }
    // A confirmation without a reviewed difference.
    browser.submit(&review, &edit, &[("button", "confirm"), ("shown", "")]).await.expect(409);
    // A role that was deleted in the meantime.
    let _ = harness.request("DELETE", "/iam/v1/roles/After").admin().send().await.expect(204);
    browser.submit(&review, &edit, &confirm).await.expect(422).expect_texts(&["Role not found"]);
    harness.put_role("After", &["GET /b"]).await;
    browser.submit(&review, &edit, &confirm).await.expect(303);
    let saved = harness.get(&account.path()).await.json();
    assert_eq!((&saved["role"], &saved["owner"]), (&json!("After"), &json!("ops")));
}

#[tokio::test]
async fn access_check_names_the_deciding_permission() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Auditor", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let narrow = json!({ "name": "narrow", "role": "Auditor", "allowedCidrs": ["203.0.113.0/24"] });
    let key = harness.issue_key_with(&account, &narrow).await;
    // The account's page links to the form, with the account filled in.
    let page = browser.get(&format!("/accounts/{}", account.id)).await.expect(200);
    let link = format!("/explain?account={}", account.id);
    assert!(page.text.contains(&format!("href=\"{link}\"")), "{}", page.text);
    let form = browser.get(&link).await.expect(200);
    assert_eq!(form.fields("/explain")["account"], account.id);
    form.expect_texts(&["Any key without its own role", "narrow, ending in"]);

    let name: &[(&str, &str)] = &[("account", "bATCH")];
    let by_key: &[(&str, &str)] = &[("account", &account.id), ("key", &key.id)];
    let by_role: &[(&str, &str)] = &[("account", ""), ("role", "Auditor")];
    for (who, method, path, texts) in [
        (
            name,
            "POST",
            "/organizations",
            vec![
                "Allowed: POST /organizations",
                "The account's role ServiceAccountWriter permits the request with ANY /organizations .",
            ],
        ),
        (
            name,
            "GET",
            "/reports",
            vec![
                "Refused: GET /reports",
                "The account's role ServiceAccountWriter",
                "has no matching permission.",
            ],
        ),
        (
            name,
            "GET",
            "/iam/v1/roles",
            vec!["Refused: GET /iam/v1/roles", "/iam is reserved for admin users."],
        ),
        (
            name,
            "GET",
            "/iam/v1/whoami",
            vec![
                "Allowed: GET /iam/v1/whoami",
                "Every key and token of a service account can call this operation.",
            ],
        ),
        (name, "GET", "/teams/..%2f", vec!["Refused:", "could mean something else to the backend"]),
        (
            by_key,
            "GET",
            "/organizations/1",
            vec![
                "Allowed:",
                "The account's role ServiceAccountWriter permits the request with ANY /organizations/{proxy+} .",
                "The key's role Auditor permits the request with GET /organizations/{id} .",
                "works only from 203.0.113.0/24",
            ],
        ),
        (
            by_key,
            "DELETE",
            "/organizations/1",
            vec!["Refused:", "The key's role Auditor has no matching permission."],
        ),
        (
            by_role,
            "GET",
            "/organizations/1",
            vec!["Allowed:", "The role Auditor permits the request with GET /organizations/{id} ."],
        ),
        (
            by_role,
            "GET",
            "/organizations/1/",
            vec!["Refused:", "The role Auditor has no matching permission."],
        ),
    ] {
        let typed = [who, &[("method", method), ("path", path)]].concat();
        let page = browser.submit(&form, "/explain", &typed).await.expect(200);
        page.expect_texts(&texts);
        assert_eq!(page.fields("/explain")["path"], path);
    }
    let elsewhere =
        [by_key, &[("method", "GET"), ("path", "/organizations/1"), ("source_address", "192.0.2.1")]]
            .concat();
    browser
        .submit(&form, "/explain", &elsewhere)
        .await
        .expect_texts(&["Refused:", "cannot be used from this address"]);
    disable(&harness, &account).await;
    let typed = [name, &[("method", "GET"), ("path", "/teams")]].concat();
    browser
        .submit(&form, "/explain", &typed)
        .await
        .expect_texts(&["Refused:", "The service account is disabled."]);
}

#[tokio::test]
async fn access_check_accepts_a_pasted_url() {
    let harness = Harness::builder().variable("KEYWARD_BASE_PATHS", "/shop,/shop/eu").start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Auditor", &["POST /reports/{id}"]).await;
    let form = browser.get("/explain").await.expect(200);
    let host = "https://abc.execute-api.eu-central-1.amazonaws.com";
    for (text, path, notes) in [
        (
            "https://api.example.com/shop/eu/reports/7?token=x#top",
            "/reports/7",
            vec!["Removed from your text: the scheme and the host, the query, the fragment, the base path."],
        ),
        ("https://api.example.com/shop/reports/7", "/reports/7", vec!["the base path."]),
        (
            "https://api.example.com/shopping/7",
            "/shopping/7",
            vec!["Removed from your text: the scheme and the host."],
        ),
        ("http://user:password@api.example.com:8443", "/", vec!["the scheme and the host"]),
        ("https://api.example.com?a=/b", "/", vec!["the query"]),
        (
            &format!("{host}/prod/reports/7"),
            "/prod/reports/7",
            vec!["If prod is the stage of your API, remove it"],
        ),
        (" /shop/reports/7?a=b ", "/shop/reports/7", vec!["Removed from your text: the query."]),
        ("post https://api.example.com/reports/7", "/reports/7", vec!["Allowed: POST /reports/7"]),
    ] {
        let typed = [("role", "Auditor"), ("method", "GET"), ("path", text)];
        let page = browser.submit(&form, "/explain", &typed).await.expect(200);
        page.expect_texts(&notes);
        assert_eq!(page.fields("/explain")["path"], path, "{text}");
        for hidden in ["password", "token=x"] {
            assert!(!page.text.contains(hidden), "{}", page.text);
        }
    }
    for text in ["://a", "reports", "javascript:alert(1)"] {
        let typed = [("role", "Auditor"), ("method", "GET"), ("path", text)];
        browser.submit(&form, "/explain", &typed).await.expect(422).field_error("path");
    }
}

#[tokio::test]
async fn access_check_finds_the_account_of_a_key() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let narrow = json!({ "name": "narrow", "role": "ServiceAccountReader" });
    let key = harness.issue_key_with(&account, &narrow).await;
    let form = browser.get("/explain").await.expect(200);
    let typed = [("account", key.id.as_str()), ("method", "POST"), ("path", "/organizations")];
    for expected in
        ["The key's role ServiceAccountReader has no matching permission.", "The key was revoked."]
    {
        let page = browser.submit(&form, "/explain", &typed).await.expect(200);
        page.expect_texts(&["Refused: POST /organizations", expected]);
        assert_eq!(page.fields("/explain")["account"], account.id);
        assert!(page.text.contains(&format!("<option value=\"{}\" selected>", key.id)), "{}", page.text);
        let revoke = harness.request("DELETE", &format!("{}/keys/{}", account.path(), key.id)).admin();
        let _ = revoke.send().await.expect(204);
    }
    let typed = [("account", "key_0000000000000000"), ("method", "GET"), ("path", "/")];
    let page = browser.submit(&form, "/explain", &typed).await.expect(422);
    assert!(page.field_error("serviceAccountId").contains("Key not found"));
}

#[tokio::test]
async fn refused_access_check_names_the_roles_that_would_permit_the_request() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Wide", &["ANY /{all+}"]).await;
    harness.put_role("Exact", &["GET /other", "POST /organizations"]).await;
    harness.put_role("Other", &["GET /organizations"]).await;
    harness.create_account("Batch", "ServiceAccountReader").await;
    let form = browser.get("/explain").await.expect(200);
    let post = [("account", "Batch"), ("method", "POST"), ("path", "/organizations")];
    let page = browser.submit(&form, "/explain", &post).await.expect(200);
    page.expect_texts(&[
        "Refused: POST /organizations",
        "The account's role ServiceAccountReader has no matching permission.",
        "Missing permission: POST /organizations",
        "Roles that would permit this request",
        "Exact with POST /organizations",
        "ServiceAccountWriter with ANY /organizations",
        "with ANY /{",
        "Change the account's role",
    ]);
    let (_, permitting) = page.text.split_once("id=\"permitting\"").unwrap();
    let links: Vec<_> =
        permitting.split("</section>").next().unwrap().split("<a href=\"/roles/").skip(1).collect();
    let names: Vec<_> = links.iter().map(|link| link.split('"').next().unwrap()).collect();
    assert_eq!(names, ["Exact", "ServiceAccountWriter", "ServiceAccountAdmin", "Wide"]);
    // No role helps if the path is reserved, and an allowed request needs none.
    for (method, path) in [("POST", "/iam/v1/roles"), ("GET", "/organizations")] {
        let typed = [("account", "Batch"), ("method", method), ("path", path)];
        browser.submit(&form, "/explain", &typed).await.expect(200).expect_without("Roles that would permit");
    }
    // Only some of the roles are shown, and only the first hundred are checked.
    for number in 0..110 {
        harness.put_role(&format!("More{number:03}"), &["POST /organizations"]).await;
    }
    let page = browser.submit(&form, "/explain", &post).await.expect(200);
    page.expect_texts(&["Exact with POST /organizations", "more", "Not all roles were checked."]);
}

#[tokio::test]
async fn refused_request_on_the_page_of_its_key_is_explained_without_typing() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let refused = harness.request("POST", "/organizations").bearer(&key.secret).send().await;
    let _ = refused.expect(403);
    let path = format!("/accounts/{}/keys/{}", account.id, key.id);
    let page = browser.get(&path).await.expect(200);
    let (_, refusals) = page.text.split_once("id=\"refusals\"").unwrap();
    let (_, link) = refusals.split_once("<a href=\"/explain?").unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    let explained = browser.get(&format!("/explain?{link}")).await.expect(200);
    explained.expect_texts(&[
        "Refused: POST /organizations",
        "The account's role ServiceAccountReader has no matching permission.",
        "Roles that would permit this request",
        "ServiceAccountWriter with ANY /organizations",
    ]);
    let fields = explained.fields("/explain");
    assert_eq!(
        [&fields["account"], &fields["path"], &fields["source_address"]],
        [&account.id, "/organizations", "127.0.0.1"]
    );
    assert!(
        explained.text.contains(&format!("<option value=\"{}\" selected>", key.id)),
        "{}",
        explained.text
    );
    // The page of a key that has ended links to the same explanation.
    let revoke = harness.request("DELETE", &format!("{}/keys/{}", account.path(), key.id)).admin();
    let _ = revoke.send().await.expect(204);
    let explained = browser.get(&format!("/explain?{link}")).await.expect(200);
    explained.expect_texts(&["Refused: POST /organizations", "The key was revoked."]);
    assert!(
        explained.text.contains(&format!("<option value=\"{}\" selected>", key.id)),
        "{}",
        explained.text
    );
}

#[tokio::test]
async fn invalid_access_check_shows_the_error_next_to_its_field() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    let key = harness.issue_key(&account).await;
    let form = browser.get("/explain").await.expect(200);
    harness.wire.take_calls();
    for (typed, field, problem) in [
        (vec![("path", "/")], "serviceAccountId", "Enter an account"),
        (vec![("account", "Bat")], "serviceAccountId", "Account not found"),
        (vec![("account", key.secret.as_str())], "serviceAccountId", "Account not found"),
        (vec![("account", "sa_0000000000000000")], "serviceAccountId", ""),
        (
            vec![("account", "Batch"), ("role", "ServiceAccountAdmin")],
            "role",
            "Must be empty if an account is entered",
        ),
        (vec![("account", "Batch"), ("path", "a")], "path", "Must start with"),
        (vec![("account", "Batch"), ("path", "/"), ("method", "FETCH")], "method", "Must be one of"),
        (
            vec![("account", "Batch"), ("path", "/"), ("source_address", "192.0.2.1")],
            "sourceAddress",
            "Requires a key",
        ),
        (vec![("account", "Batch"), ("path", "/"), ("key", "key_0000000000000000")], "keyId", ""),
    ] {
        let typed = [&[("method", "GET")], typed.as_slice()].concat();
        let page = browser.submit(&form, "/explain", &typed).await.expect(422);
        let error = page.field_error(field);
        assert!(error.contains(problem), "{problem} in {error}");
    }
    // A key that was pasted into the wrong field is not in any call to AWS.
    let calls = format!("{:?}", harness.wire.take_calls()).to_lowercase();
    assert!(calls.contains("batch") && !calls.contains(&key.secret[..40].to_lowercase()), "{calls}");
    for path in [
        "/explain?account=%3Cscript%3Ealert(1)&role=%22%3E%3Cscript%3Ealert(1)",
        "/explain?account=sa_0000000000000000",
    ] {
        browser.get(path).await.expect(200).expect_no_script();
    }
}

#[tokio::test]
async fn history_of_all_accounts_is_shown_and_filtered() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    browser.get("/history").await.expect(200).expect_texts(&["No events yet"]);
    let account = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    harness.clock.advance_days(1);
    let grace = harness.token_of("grace-1", "grace@example.com");
    let put = async |permissions: Value| {
        let request = harness.request("PUT", "/iam/v1/roles/Auditor").bearer(&grace);
        let _ = request.json(&json!({ "permissions": permissions })).send().await;
    };
    put(json!(["GET /a", "GET /b"])).await;
    harness.clock.advance_seconds(1);
    put(json!(["GET /b", "GET /c"])).await;
    harness.clock.advance_days(1);
    let _ = harness.request("DELETE", "/iam/v1/roles/Auditor").admin().send().await.expect(204);
    harness.clock.advance_seconds(1);
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);

    // The first session has expired.
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/history").await.expect(200);
    let admin = "admin@keyward.local";
    let deleted =
        format!("{admin} deleted the account {HOSTILE} and its keys and federated identities just now");
    let hint = &key.secret[key.secret.len() - 4..];
    let issued =
        format!("{admin} issued the key test key (ending in {hint} , {} ) of {HOSTILE} 2 days ago", key.id);
    let created = format!("{admin} created the account {HOSTILE}");
    page.expect_texts(&[
        &deleted,
        &format!("{admin} deleted the role Auditor"),
        "Removed permission GET /b",
        "Removed permission GET /c",
        "grace@example.com updated the role Auditor",
        "Removed permission GET /a",
        "Added permission GET /c",
        "grace@example.com created the role Auditor",
        "Added permission GET /a",
        "Added permission GET /b",
        &issued,
        &created,
    ]);
    page.expect_no_script();
    let history = format!("/accounts/{}/history", account.id);
    assert_eq!(page.text.matches(&format!("href=\"{history}\"")).count(), 3, "{}", page.text);
    let own = browser.get(&history).await.expect(200);
    own.expect_texts(&["deleted the account and its keys", "issued the key", &key.id, "created the account"]);

    for (query, texts, others) in [
        ("type=role.updated", vec!["updated the role Auditor"], vec!["created the", "issued the"]),
        (
            "actor=grace%40example.com",
            vec!["updated the role", "created the role"],
            vec!["deleted the", "issued the"],
        ),
        ("actor=+GRACE%40Example", vec!["updated the role", "created the role"], vec!["deleted the"]),
        ("actor=ace-1&role=Auditor", vec!["updated the role", "created the role"], vec!["deleted the"]),
        ("role=Auditor", vec!["deleted the role", "created the role"], vec!["the account"]),
        (&format!("account={}", account.id), vec!["deleted the account", "issued"], vec!["the role Auditor"]),
        (
            "from=2026-01-02&to=2026-01-02",
            vec!["updated the role", "created the role"],
            vec!["deleted the", "issued the"],
        ),
        ("to=2026-01-01", vec!["issued", "created the account"], vec!["the role Auditor"]),
        ("type=key.rotated", vec!["No matching events"], vec!["issued the"]),
        ("actor=&account=&type=&from=&to=", vec!["deleted the", "issued the"], vec!["Clear"]),
    ] {
        let page = browser.get(&format!("/history?{query}")).await.expect(200);
        page.expect_texts(&texts);
        for other in others {
            page.expect_without(other);
        }
    }
    for (query, field, problem) in [
        ("from=yesterday", "from", "Must be a date"),
        ("from=2026-01-03&to=2026-01-02", "to", "Must not be before the start date."),
        ("account=unknown", "account", "Account not found"),
        ("account=%3Cscript%3Ealert(1)", "account", "Account not found"),
        ("role=no+role", "role", "Is not a valid role name."),
        (&format!("role=Auditor&account={}", account.id), "role", "Cannot be combined with an account"),
        (&format!("actor={}", "x".repeat(257)), "actor", "Must be at most 256 characters."),
        ("actor=%E2%80%8D", "actor", "Must not be empty."),
    ] {
        let page = browser.get(&format!("/history?{query}")).await.expect(422);
        let error = page.field_error(field);
        assert!(error.contains(problem), "{problem} in {error}");
        page.expect_no_script();
    }
}

#[tokio::test]
async fn next_page_of_a_history_keeps_the_filters() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    for number in 0..60 {
        harness.clock.advance_seconds(1);
        let patch = json!({ "description": format!("the {number}th") });
        let _ = harness.request("PATCH", &account.path()).admin().json(&patch).send().await.expect(200);
    }
    let query = "type=serviceAccount.updated&account=batch";
    let mut path = format!("/history?{query}");
    let mut seen = 0;
    loop {
        let page = browser.get(&path).await.expect(200);
        browser.expect_small(&page).await;
        seen += page.text.matches("<li>").count();
        page.expect_without("created the account");
        let Some(next) = page.next_page() else {
            assert!(path.contains("cursor=") && page.text.contains(">Newest</a>"), "{}", page.text);
            break;
        };
        page.expect_texts(&["Older"]);
        path = next;
    }
    assert_eq!(seen, 60);
}

#[tokio::test]
async fn pages_with_many_long_roles_are_small() {
    let harness = Harness::start().await;
    let many: Vec<_> =
        (0..100).map(|number| format!("GET,HEAD /reports/of/the/year/{number}/{{id}}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for number in 0..30 {
        harness.put_role(&format!("Role{number:02}"), &many).await;
    }
    let mut browser = Browser::signed_in(&harness).await;
    let mut pages = Vec::new();
    for path in
        ["/", "/accounts/new", "/history", "/roles", "/roles/Role07", "/roles/Role07/edit", "/explain"]
    {
        pages.push(browser.get(path).await.expect(200));
    }
    let preview = [("permissions", many.join("\n")), ("button", "preview".to_owned())];
    let preview = preview.each_ref().map(|(name, value)| (*name, value.as_str()));
    let edit = "/roles/Role07/edit";
    let form = browser.get(edit).await.expect(200);
    pages.push(browser.submit(&form, edit, &preview).await.expect(200));
    for page in &pages {
        browser.expect_small(page).await;
    }
    pages[3].expect_texts(&["Role00", "and 92 more", "Role24", "Next page"]);
    pages[2].expect_texts(&["created the role", "Added permission", "and 88 more"]);
}

#[tokio::test]
async fn role_form_without_this_origin_and_session_changes_nothing() {
    let harness = Harness::start().await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let mut browser = Browser::signed_in(&harness).await;
    let good = browser.get("/new-role").await.fields("/new-role")["csrf"].clone();
    let before = harness.table.dump().await;
    let own = browser.origin.clone();
    for form in ["/new-role", "/roles/Auditor/edit", "/roles/Auditor/delete", "/explain"] {
        for (origin, token) in
            [("https://evil.example", good.as_str()), (own.as_str(), ""), (own.as_str(), &good[1..])]
        {
            let fields = [("csrf", token), ("name", "New"), ("version", "*"), ("permissions", "ANY /{all+}")];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            browser.send("POST", form, Some(&fields), &[("origin", origin)]).await.expect(403);
        }
    }
    assert_eq!(before, harness.table.dump().await);
}
