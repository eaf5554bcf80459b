//! The pages of protected APIs: their tools, the roles that can call them, and what an agent sees.

use insta::assert_snapshot;
use serde_json::{Map, Value, json};
use tests::{Account, Harness, Shape, Verdict};

use crate::support::browser::{Browser, HOSTILE, Page, secret};

const NEW: &str = "/new-api";

/// A document with four operations, one of which cannot be a tool.
const YAML: &str = "openapi: 3.1.0
info: { title: Teams API, version: '1.4.0' }
paths:
  /organizations:
    get: { operationId: list_organizations, summary: List organizations }
    post:
      operationId: create_organization
      summary: Create an organization
      requestBody: { content: { application/json: { schema: { type: object } } } }
  /organizations/{id}:
    parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
    get: { operationId: get_organization, summary: Get an organization }
    delete: { operationId: delete_organization, summary: Delete an organization }
  /organizations/{id}/logo:
    parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
    put:
      operationId: set_logo
      requestBody: { content: { image/png: { schema: { type: string, format: binary } } } }
";

/// The base URL of an API that local mode accepts.
const BASE_URL: &str = "http://127.0.0.1:8080";

/// Registers a protected API through the API.
async fn register(harness: &Harness, name: &str, document: &Value) {
    let request = harness.request("PUT", &format!("/iam/v1/apis/{name}")).admin();
    let body = json!({ "title": format!("The {name} API"), "baseUrl": BASE_URL, "openapi": document });
    let _ = request.json(&body).send().await.expect(201);
}

async fn registered(harness: &Harness, name: &str) -> Value {
    harness.get(&format!("/iam/v1/apis/{name}")).await.expect(200).json()
}

/// A document with `count` operations that only read.
fn large(count: usize) -> Value {
    let path = |number: usize| {
        let operation = json!({ "operationId": format!("read_{number:04}"), "summary": "\"<&'".repeat(25) });
        (format!("/organizations/p{number:04}"), json!({ "get": operation }))
    };
    let paths: Map<String, Value> = (0..count).map(path).collect();
    json!({ "openapi": "3.1.0", "info": { "title": "Large", "version": "1" }, "paths": paths })
}

/// The names of the tools with a check box.
fn listed(page: &Page) -> Vec<&str> {
    let boxes = page.text.split("name=\"tool\" value=\"").skip(1);
    boxes.map(|rest| rest.split('"').next().unwrap()).collect()
}

/// The text in a `<textarea>` with code.
fn area<'p>(page: &'p Page, id: &str) -> &'p str {
    let (_, area) = page.text.split_once(&format!("<textarea class=\"code\" id=\"{id}\"")).unwrap();
    area.split_once(">\n").unwrap().1.split("</textarea>").next().unwrap()
}

/// Opens the page of an API, selects tools, and presses a button.
async fn select(browser: &mut Browser<'_>, name: &str, tools: &[&str], typed: &[(&str, &str)]) -> Page {
    let path = format!("/apis/{name}");
    let page = browser.get(&path).await.expect(200);
    let action = format!("{path}/role");
    let tools: Vec<_> = tools.iter().map(|tool| ("tool", *tool)).chain(typed.iter().copied()).collect();
    browser.submit_with(&page, &action, &tools).await
}

/// The page that shows what an agent sees.
async fn agent_tools(browser: &mut Browser<'_>, query: &str) -> Page {
    browser.get(&format!("/agent-tools?{query}")).await
}

#[tokio::test]
async fn api_is_registered_changed_and_deleted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    assert_snapshot!(browser.get("/apis").await.expect(200).main_text());
    let form = browser.get(NEW).await.expect(200);
    let typed = [
        ("name", "teams"),
        ("title", "Organizations and teams"),
        ("baseUrl", BASE_URL),
        ("openapi", YAML),
        ("exclude", "DELETE /organizations/{id}\r\n"),
        ("confirmation", "ask"),
    ];
    let added = browser.submit(&form, NEW, &typed).await.expect(303);
    assert_eq!(added.location(), "/apis/teams");
    let page = browser.get("/apis/teams").await.expect(200);
    assert_snapshot!(page.main_text().replace(&harness.system.facts().mcp, "[mcp]"));
    assert_snapshot!(browser.get("/apis").await.expect(200).main_text());

    let history = browser.get("/history?api=teams").await.expect(200);
    history.expect_texts(&["registered the protected API teams"]);
    assert!(history.text.contains("href=\"/apis/teams\""), "{}", history.text);
    let page = browser.get("/history?api=teams&role=Auditor").await.expect(422);
    assert!(page.field_error("api").starts_with("Cannot be combined with"));

    let edit = "/apis/teams/edit";
    let form = browser.get(edit).await.expect(200);
    assert_eq!(area(&form, "exclude"), "DELETE /organizations/{id}");
    assert_eq!(area(&form, "openapi"), "");
    let fields = form.fields(edit);
    assert_eq!(
        [&fields["title"], &fields["baseUrl"], &fields["confirmation"]],
        ["Organizations and teams", BASE_URL, "ask"]
    );
    // Without a new document, the API keeps its document.
    let typed = [("title", "Teams"), ("exclude", ""), ("confirmation", "require")];
    let saved = browser.submit(&form, edit, &typed).await.expect(303);
    let page = browser.get(saved.location()).await.expect(200);
    page.expect_texts(&["API teams was saved. Agents see its 4 tools", "Require:", "delete_organization"]);
    assert_eq!(registered(&harness, "teams").await["title"], "Teams");

    let delete = "/apis/teams/delete";
    let form = browser.get(delete).await.expect(200);
    assert_snapshot!(form.main_text());
    let deleted = browser.submit(&form, delete, &[]).await.expect(303);
    assert_eq!(deleted.location(), "/apis");
    let page = browser.get("/apis").await.expect(200);
    page.expect_texts(&["API teams was deleted", "No APIs yet"]);
    browser.get("/apis/teams").await.expect(404);
}

#[tokio::test]
async fn refused_api_keeps_the_input_and_shows_the_reasons_at_the_fields() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get(NEW).await.expect(200);
    let typed = [
        ("name", "teams"),
        ("title", HOSTILE),
        ("baseUrl", "http://api.example.com"),
        ("routePrefix", "v1"),
        ("openapi", "openapi: 3.1.0\npaths:\n  /a:\n    get:\n      parameters: [{ $ref: '#/nowhere' }]\n"),
        ("include", "GET /a\n\nnonsense"),
        ("exclude", "DELETE a"),
    ];
    let page = browser.submit(&form, NEW, &typed).await.expect(422);
    page.expect_no_script();
    assert!(page.field_error("baseUrl").starts_with("Must"), "{}", page.field_error("baseUrl"));
    assert!(page.field_error("routePrefix").starts_with("Must"), "{}", page.field_error("routePrefix"));
    let include = page.field_error("include");
    assert!(include.starts_with("Line 3, nonsense, must be"), "{include}");
    assert!(page.field_error("exclude").starts_with("Line 1, DELETE a, must"));
    assert_eq!(area(&page, "include"), "GET /a\n\nnonsense");
    assert!(area(&page, "openapi").contains("#/nowhere"));

    // Errors in the document begin with their place.
    let typed = [("name", "teams"), ("title", "Teams"), ("baseUrl", BASE_URL), typed[4]];
    let page = browser.submit(&form, NEW, &typed).await.expect(422);
    let error = page.field_error("openapi");
    assert!(error.starts_with("/paths/~1a/get/parameters/0"), "{error}");

    // A custom domain does not contain the ID of the API.
    let typed =
        [("name", "teams"), ("title", "Teams"), ("baseUrl", "https://api.example.com"), ("openapi", YAML)];
    let page = browser.submit(&form, NEW, &typed).await.expect(422);
    assert!(page.field_error("apiId").starts_with("Is required"), "{}", page.field_error("apiId"));

    let page = browser.submit(&form, NEW, &[("name", "No Name")]).await.expect(422);
    assert!(page.field_error("name").starts_with("Must have"), "{}", page.field_error("name"));
    let page = browser.submit(&form, NEW, &[("name", "teams"), ("title", "T"), ("baseUrl", BASE_URL)]).await;
    assert!(page.expect(422).field_error("openapi").starts_with("Is required"));

    register(&harness, "taken", &json!(YAML)).await;
    let typed = [("name", "taken"), ("title", "Teams"), ("baseUrl", BASE_URL), ("openapi", YAML)];
    let page = browser.submit(&form, NEW, &typed).await.expect(422);
    assert_eq!(page.field_error("name"), "Is the name of another API. Choose another name.");
}

#[tokio::test]
async fn document_with_a_key_is_not_shown_again() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let document = YAML.replace("summary: List organizations", &format!("summary: 'With {}'", key.secret));
    let form = browser.get(NEW).await.expect(200);
    let typed = [("name", "teams"), ("title", ""), ("baseUrl", BASE_URL), ("openapi", document.as_str())];
    let page = browser.submit(&form, NEW, &typed).await.expect(422);
    assert!(!page.text.contains(&key.secret));
    assert!(page.field_error("openapi").contains("Choose or paste the document again."));
}

#[tokio::test]
async fn change_of_an_outdated_api_is_refused() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "teams", &json!(YAML)).await;
    let (edit, delete) = ("/apis/teams/edit", "/apis/teams/delete");
    let (form, confirmation) = (browser.get(edit).await.expect(200), browser.get(delete).await.expect(200));
    browser.submit(&form, edit, &[("title", "First")]).await.expect(303);
    let page = browser.submit(&form, edit, &[("title", "Second")]).await.expect(412);
    page.expect_texts(&["This page is out of date", "Nothing was saved."]);
    let page = browser.submit(&confirmation, delete, &[]).await.expect(412);
    page.expect_texts(&["This page is out of date"]);
    assert_eq!(registered(&harness, "teams").await["title"], "First");
    browser.submit(&page, delete, &[]).await.expect(303);
}

#[tokio::test]
async fn roles_that_can_call_each_tool_are_listed_with_their_accounts() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "teams", &json!(YAML)).await;
    harness.put_role("OneOrganization", &["GET /organizations/42", "PUT /elsewhere"]).await;
    harness.put_role("Unrelated", &["GET /reports"]).await;
    for name in ["first", "second"] {
        harness.create_account(name, "OneOrganization").await;
    }
    harness.create_account("reader", "ServiceAccountReader").await;
    let page = browser.get("/apis/teams").await.expect(200);
    page.expect_texts(&[
        "4 tools",
        "list_organizations",
        "GET /organizations Read-only ServiceAccountReader , ServiceAccountWriter , ServiceAccountAdmin",
        "get_organization",
        "GET /organizations/{id} Read-only",
        "OneOrganization",
        "Roles that can call these tools",
        "ServiceAccountReader 2 of 4",
        "1 account",
        "ServiceAccountWriter 4 of 4",
        "No accounts",
        "OneOrganization 1 of 4",
        "2 accounts",
        "Operations that cannot be tools",
        "/paths/~1organizations~1{id}~1logo/put",
    ]);
    assert!(!page.text.contains("role=Unrelated"), "{}", page.text);
    assert!(page.text.contains("href=\"/accounts?role=OneOrganization\""), "{}", page.text);
    // A role lists its tools.
    let page = browser.get("/apis/teams?role=OneOrganization").await.expect(200);
    assert_eq!(listed(&page), ["get_organization"]);
    let page = browser.get("/apis/teams?effect=write").await.expect(200);
    assert_eq!(listed(&page), ["create_organization", "delete_organization"]);
    let page = browser.get("/apis/teams?find=GET%20/ORG").await.expect(200);
    assert_eq!(listed(&page), ["list_organizations", "get_organization"]);
    browser.get("/apis/teams?find=nothing").await.expect(200).expect_texts(&["No tool matches."]);
}

#[tokio::test]
async fn roles_are_made_and_extended_from_tools() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "teams", &json!(YAML)).await;
    harness.put_role("Existing", &["GET /reports", "HEAD /organizations/{x}"]).await;
    let before = harness.table.dump().await;
    let tools = ["list_organizations", "get_organization", "delete_organization"];
    let form = select(&mut browser, "teams", &tools, &[("button", "create")]).await.expect(200);
    assert_eq!(area(&form, "permissions"), "GET /organizations\nGET,DELETE /organizations/{id}");
    assert_eq!(form.fields("/new-role")["description"], "Tools of The teams API");
    let extended = [("button", "add"), ("extended", "Existing")];
    let existing = select(&mut browser, "teams", &tools, &extended).await.expect(200);
    assert_eq!(
        area(&existing, "permissions"),
        "GET,HEAD,DELETE /organizations/{x}\nGET /reports\nGET /organizations"
    );
    assert!(existing.fields("/roles/Existing/edit")["version"].starts_with('"'));
    let page = select(&mut browser, "teams", &[], &[("button", "create")]).await.expect(422);
    page.expect_texts(&["No tool is selected. Select the tools that the role should permit."]);
    select(&mut browser, "teams", &["unknown"], &[("button", "create")]).await.expect(422);
    select(&mut browser, "teams", &tools, &[("button", "add"), ("extended", "No Role")]).await.expect(422);
    assert_eq!(before, harness.table.dump().await, "nothing was saved");
    let permissions = area(&form, "permissions").to_owned();
    let typed = [("name", "ForAgents"), ("permissions", permissions.as_str())];
    let saved = browser.submit(&form, "/new-role", &typed).await.expect(303);
    assert_eq!(saved.location(), "/roles/ForAgents");
    assert_eq!(browser.get("/apis/teams/role").await.expect(303).location(), "/apis/teams");
}

#[tokio::test]
async fn large_api_is_listed_in_pages() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "large", &large(250)).await;
    let mut next = Some("/apis/large?find=read".to_owned());
    let mut names = Vec::new();
    while let Some(path) = next {
        let page = browser.get(&path).await.expect(200);
        page.expect_no_script();
        assert!(page.text.len() < 500_000, "{} bytes", page.text.len());
        names.extend(listed(&page).into_iter().map(ToOwned::to_owned));
        next = page.next_page();
    }
    let expected: Vec<_> = (0..250).map(|number| format!("read_{number:04}")).collect();
    assert_eq!(names, expected);
    // A role from all tools that match has more permissions than a role can have.
    let page = select(&mut browser, "large", &[], &[("button", "all")]).await.expect(422);
    assert!(page.field_error("permissions").contains("at most 100"), "{}", page.field_error("permissions"));
    let filtered = [("button", "all"), ("find", "/p000")];
    let form = select(&mut browser, "large", &[], &filtered).await.expect(200);
    assert_eq!(area(&form, "permissions").lines().count(), 10);
}

#[tokio::test]
async fn agent_sees_what_all_of_its_roles_permit() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "teams", &json!(YAML)).await;
    harness.put_role("Getter", &["GET /organizations/{id}", "DELETE /organizations/1"]).await;
    harness.put_role("Deleter", &["DELETE /organizations/2", "GET /organizations/{all+}"]).await;
    let account = harness.create_account("agent", "Getter").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "narrow", "role": "Deleter" })).await;
    // With one API, there is nothing to choose.
    let page = agent_tools(&mut browser, &format!("account={}", account.id)).await.expect(200);
    assert_snapshot!(
        "agent_tools_of_an_account",
        page.main_text().replace(&account.id, "sa_…").replace(&key.id, "key_…")
    );
    let query = format!("api=teams&account={}&grant={}", account.id, key.id);
    let page = agent_tools(&mut browser, &query).await.expect(200);
    page.expect_texts(&[
        "agent , Key narrow, ending in",
        "The account's role is Getter",
        "The key's role is Deleter",
        "Visible tools of The teams API : 1 of 4",
        "get_organization",
        "Hidden tools: 3",
        "list_organizations",
        "GET /organizations",
        "Not in Getter and Deleter",
        "delete_organization",
        "DELETE /organizations/{id} The two roles permit no request in common",
    ]);
    let page = agent_tools(&mut browser, &format!("{query}&find=delete")).await.expect(200);
    page.expect_texts(&[
        "Visible tools of The teams API : 1 of 4",
        "No tool matches.",
        "Hidden tools: 3",
        "delete_organization",
    ]);
}

#[tokio::test]
async fn agent_is_found_by_name_and_id() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = harness.create_account("agent", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    browser.get("/agent-tools").await.expect(200).expect_texts(&["No APIs yet"]);
    for name in ["teams", "other"] {
        register(&harness, name, &json!(YAML)).await;
    }
    let form = browser.get("/agent-tools").await.expect(200);
    let of_account = format!("/agent-tools?account={}", account.id);
    for (entered, expected) in [
        ("agent", of_account.clone()),
        (account.id.as_str(), of_account.clone()),
        (key.id.as_str(), format!("{of_account}&grant={}", key.id)),
    ] {
        let typed = [("account", entered)];
        assert_eq!(browser.submit(&form, "/agent-tools", &typed).await.expect(303).location(), expected);
    }
    // Without a choice, all APIs are compared.
    let page = browser.get(&of_account).await.expect(200);
    page.expect_texts(&["Tools by API", "other The other API 2 of 4", "teams The teams API 2 of 4"]);
    for unknown in ["", "unknown", "sa_doesnotexist", "key_4hQ0bTnYwLzR8sVc", HOSTILE] {
        let page = browser.submit(&form, "/agent-tools", &[("account", unknown)]).await.expect(422);
        page.expect_no_script();
        assert!(!page.field_error("account").is_empty(), "{unknown}");
    }
    let page = agent_tools(&mut browser, &format!("account={}&grant=key_4hQ0bTnYwLzR8sVc", account.id)).await;
    assert!(page.expect(422).field_error("grant").starts_with("Does not give access"));
    browser.get(&format!("/accounts/{}", account.id)).await.expect(200).expect_texts(&["Tools for agents"]);
    let page = browser.get(&format!("/accounts/{}/keys/{}", account.id, key.id)).await.expect(200);
    assert!(
        page.text.contains(&format!("href=\"/agent-tools?account={}&amp;grant={}\"", account.id, key.id))
    );
}

#[tokio::test]
async fn agent_of_a_disabled_account_or_with_a_deleted_role_sees_nothing() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "teams", &json!(YAML)).await;
    let account = harness.create_account("agent", "ServiceAccountReader").await;
    super::disable(&harness, &account).await;
    let page = agent_tools(&mut browser, &format!("account={}", account.id)).await.expect(200);
    page.expect_texts(&["This account is disabled, so an agent sees nothing until you enable the account."]);
}

/// The page that shows a new key.
async fn issue(harness: &Harness, account: &Account) -> Page {
    let mut browser = Browser::signed_in(harness).await;
    let keys = format!("/accounts/{}/keys", account.id);
    let form = browser.get(&format!("{keys}/new")).await.expect(200);
    browser.submit(&form, &keys, &[("name", "server 1")]).await.expect(200)
}

#[tokio::test]
async fn configurations_of_clients_read_the_key_from_elsewhere() {
    let harness = Harness::start().await;
    let account = harness.create_account("agent", "ServiceAccountReader").await;
    let page = issue(&harness, &account).await;
    page.expect_texts(&["Connect an agent", "register the API"]);
    for name in ["teams", "zoo"] {
        register(&harness, name, &json!(YAML)).await;
    }
    let url = format!("{}/teams", harness.system.facts().mcp);
    let issued = issue(&harness, &account).await;
    issued.expect_texts(&["Connect an agent", "The teams API", "Claude Code", "Other APIs: zoo"]);
    let key = secret(&issued).unwrap();
    let mut browser = Browser::signed_in(&harness).await;
    let of_api = browser.get("/apis/teams").await.expect(200);
    for page in [&issued, &of_api] {
        let json_of = |id: &str| -> Value { serde_json::from_str(&page.code(id)).unwrap() };
        let authorization = |text: &str| json!({ "Authorization": format!("Bearer {text}") });
        assert_eq!(
            json_of("claude-code-1"),
            json!({ "mcpServers": { "teams": {
                "type": "http", "url": url, "headers": authorization("${KEYWARD_KEY}") } } })
        );
        assert_eq!(
            json_of("cursor-1"),
            json!({ "mcpServers": { "teams": { "url": url, "headers": authorization("${env:KEYWARD_KEY}") } } })
        );
        let vs_code = json_of("vs-code-1");
        assert_eq!(vs_code["inputs"][0]["password"], true);
        assert_eq!(
            vs_code["servers"],
            json!({ "teams": { "type": "http", "url": url, "headers": authorization("${input:keyward-key}") } })
        );
        assert_eq!(
            page.code("codex-1"),
            format!("[mcp_servers.teams]\nurl = \"{url}\"\nbearer_token_env_var = \"KEYWARD_KEY\"")
        );
        assert!(page.code("inspector-1").contains(&format!("--cli {url} --transport http")));
        assert!(page.code("inspector-1").contains("\"Authorization: Bearer $KEYWARD_KEY\""));
        assert_eq!(page.text.matches("name=\"agent\"").count(), 5);
    }
    assert_eq!(issued.text.matches(&key).count(), 1);
    assert!(!of_api.text.contains("kwsa_"));
}

#[tokio::test]
async fn recorded_requests_of_a_key_name_their_tools() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    register(&harness, "teams", &json!(YAML)).await;
    let account = harness.create_account("agent", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    for (method, path, status) in
        [("GET", "/organizations/42", 200), ("DELETE", "/organizations/42", 403), ("GET", "/teams/7", 200)]
    {
        harness.clock.advance_seconds(1);
        let _ = harness.request(method, path).bearer(&key.secret).send().await.expect(status);
    }
    // An event with the route in API Gateway.
    let mut event = Shape::HttpV2.request("GET", "/organizations/7", &key.secret);
    event["routeKey"] = "GET /organizations/{organization}".into();
    harness.clock.advance_seconds(1);
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    harness.authorizer().flush_activity().await;
    harness.clock.advance_seconds(120);
    let page = browser.get(&format!("/accounts/{}/keys/{}", account.id, key.id)).await.expect(200);
    page.expect_texts(&[
        "Last allowed request",
        "GET /organizations/7 Route GET /organizations/{organization} Tool get_organization of teams",
        "Recent refusals",
        "DELETE /organizations/42 Route $default Tool delete_organization of teams",
        "Routes used",
        "Route Tool Last used (UTC)",
        "$default None",
        "GET /organizations/{organization} Tool get_organization of teams",
    ]);
}

#[tokio::test]
async fn tool_with_listed_values_is_seen_only_if_one_of_them_is_permitted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let kind = json!({ "type": "string", "enum": ["daily", "weekly"] });
    let operation = json!({ "operationId": "get_report", "parameters": [
        { "name": "kind", "in": "path", "required": true, "schema": kind },
    ] });
    let document = json!({ "openapi": "3.1.0", "info": { "title": "Reports", "version": "1" },
        "paths": { "/reports/{kind}": { "get": operation } } });
    register(&harness, "reports", &document).await;
    for (role, permission, seen) in
        [("Weekly", "GET /reports/weekly", 1), ("Yearly", "GET /reports/yearly", 0)]
    {
        harness.put_role(role, &[permission]).await;
        let account = harness.create_account(role, role).await;
        let page = agent_tools(&mut browser, &format!("account={}", account.id)).await.expect(200);
        page.expect_texts(&[&format!("Visible tools of The reports API : {seen} of 1")]);
    }
    let tool = &registered(&harness, "reports").await["tools"][0];
    assert_eq!(tool["permission"], "GET /reports/{kind}");
    assert_eq!(tool["narrowerPermissions"], json!(["GET /reports/daily", "GET /reports/weekly"]));
}
