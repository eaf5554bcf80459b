//! The console's import of permissions from an `OpenAPI` document.

use serde_json::{Value, json};
use tests::Harness;

use crate::support::browser::{Browser, HOSTILE, Page};

const NEW: &str = "/new-role/import";

/// Submits a document in the import page of a new role.
async fn list(browser: &mut Browser<'_>, document: &str, typed: &[(&str, &str)]) -> Page {
    let form = browser.get("/new-role").await.expect(200);
    let page = browser.submit_to(&form, ("/new-role", NEW), &[("name", "Imported")]).await.expect(200);
    let typed = [&[("document", document), ("button", "list")], typed].concat();
    browser.submit(&page, NEW, &typed).await
}

/// The permissions of the check boxes of single operations.
fn listed(page: &Page) -> Vec<String> {
    let boxes = page.text.split("name=\"operation\" value=\"").skip(1);
    let values =
        boxes.map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&").replace("&#39;", "'"));
    values.filter(|value| !value.contains('\n')).collect()
}

/// The permissions in the form of a role.
fn permissions(page: &Page) -> &str {
    let (_, area) = page.text.split_once("<textarea class=\"code\" id=\"permissions\"").unwrap();
    area.split_once(">\n").unwrap().1.split("</textarea>").next().unwrap()
}

const YAML: &str = "openapi: 3.1.0
info: { title: Reports, version: '1' }
servers: [{ url: 'https://api.example.com/v2/' }]
paths:
  /reports:
    get: { tags: [Reading, Other], summary: List reports }
    post: { tags: [Writing], operationId: createReport }
  /reports/{report-id}:
    parameters: [{ name: report-id, in: path }]
    get: &shared
      tags: [Reading]
      responses:
        200:
          description: |
            A list in Markdown, without an alias:
            * one
    delete: *shared
  /files/{name}.{extension}:
    get: {}
  /proxy/{proxy+}:
    x-amazon-apigateway-any-method: {}
  /odd/{a b}/$value: { put: {} }
  /iam/v1/roles: { get: {} }
  /traced: { trace: {}, options: null }
  /elsewhere: { $ref: '#/components/pathItems/Elsewhere' }
";

#[tokio::test]
async fn operations_of_a_yaml_document_become_permissions() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let before = harness.table.dump().await;
    let page = list(&mut browser, YAML, &[]).await.expect(200);
    page.expect_texts(&[
        "The document has 6 operations that you can import.",
        "Nothing is saved yet.",
        "The document's first server has the path /v2 .",
        "Reading (3)",
        "All operations of this group",
        "GET /reports List reports",
        "DELETE /reports/{report-id}",
        "Writing (1)",
        "POST /reports createReport",
        "files (1)",
        "GET /files/{name} Also covers other paths",
        "proxy (1)",
        "ANY /proxy/{proxy+}",
        "Operations that cannot be imported",
        "/paths/~1elsewhere/$ref The value must refer to a value that the document contains.",
        "/paths/~1iam~1v1~1roles/get The permission must have a path outside of /iam",
        "/paths/~1odd~1{a b}~1$value/put The permission must have a path that starts with",
        "/paths/~1traced/trace A permission cannot contain the method TRACE.",
    ]);
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn selected_operations_are_merged_into_the_permissions_of_the_form() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let get = json!({ "tags": ["All"] });
    let document = json!({ "openapi": "3.0.3", "paths": {
        "/a": { "get": get, "head": get, "options": get, "post": get, "put": get, "patch": get, "delete": get },
        "/a/{id}": { "get": get, "post": get },
        "/b": { "get": { "summary": HOSTILE } },
    } });
    let form = browser.get("/new-role").await.expect(200);
    let typed =
        [("name", "Imported"), ("description", "Reads"), ("permissions", "HEAD /a/{other}\nnonsense")];
    let page = browser.submit_to(&form, ("/new-role", NEW), &typed).await.expect(200);
    let typed = [("document", &*document.to_string()), ("base_path", "/v1/"), ("button", "list")];
    let page = browser.submit(&page, NEW, &typed).await.expect(200);
    page.expect_texts(&["The document has 10 operations", "GET /v1/a", HOSTILE]);
    page.expect_no_script();
    assert_eq!(listed(&page).len(), 10);
    let all = listed(&page).into_iter().filter(|line| line.contains("/a")).collect::<Vec<_>>().join("\n");
    let selected = format!("{all}\nGET /v1/b\nGET /v1/b\nnonsense");
    let typed = [("operation", &*selected), ("button", "add")];
    let form = browser.submit(&page, NEW, &typed).await.expect(422);
    assert_eq!(permissions(&form), "HEAD /a/{other}\nnonsense\nANY /v1/a\nGET,POST /v1/a/{id}\nGET /v1/b");
    form.expect_texts(&["Line 2, nonsense, must be methods"]);
    let fields = form.fields("/new-role");
    assert_eq!([&fields["name"], &fields["description"]], ["Imported", "Reads"]);
    // Merging keeps the line of the form.
    let page = browser
        .submit_to(&form, ("/new-role", NEW), &[("permissions", "HEAD /v1/a/{other}")])
        .await
        .expect(200);
    let page = browser
        .submit(&page, NEW, &[("document", &*document.to_string()), ("base_path", "/v1"), ("button", "list")])
        .await;
    let form = browser.submit(&page, NEW, &[("operation", &*all), ("button", "add")]).await.expect(200);
    assert_eq!(permissions(&form), "GET,HEAD,POST /v1/a/{other}\nANY /v1/a");
    let before = harness.table.dump().await;
    let form = browser.submit(&page, NEW, &[("operation", &*all), ("button", "back")]).await.expect(200);
    assert_eq!(permissions(&form), "HEAD /v1/a/{other}");
    assert_eq!(before, harness.table.dump().await, "nothing was saved");
    let created = browser.submit(&form, "/new-role", &[("permissions", "GET /v1/b")]).await.expect(303);
    assert_eq!(created.location(), "/roles/Imported");
}

#[tokio::test]
async fn import_into_an_existing_role_keeps_its_version() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Auditor", &["GET /reports"]).await;
    let (edit, import) = ("/roles/Auditor/edit", "/roles/Auditor/import");
    let form = browser.get(edit).await.expect(200);
    let page = browser.submit_to(&form, (edit, import), &[("permissions", "GET /reports")]).await;
    // The form of the role posts its fields to the address of the import.
    assert!(form.text.contains(&format!("formaction=\"{import}\"")), "{}", form.text);
    let document = json!({ "openapi": "3.1.0", "paths": { "/reports": { "post": {} } } }).to_string();
    let page =
        browser.submit(&page, import, &[("document", &*document), ("button", "list")]).await.expect(200);
    let form =
        browser.submit(&page, import, &[("operation", "POST /reports"), ("button", "add")]).await.expect(200);
    assert_eq!(permissions(&form), "GET,POST /reports");
    assert!(form.fields(edit)["version"].starts_with('"'));
    assert_eq!(browser.get(import).await.expect(303).location(), "/roles/Auditor");
    assert_eq!(browser.get(NEW).await.expect(303).location(), "/roles");
}

#[tokio::test]
async fn filter_limits_the_listed_operations() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for (find, expected) in [
        ("WRITING", vec!["POST /reports"]),
        ("list rep", vec!["GET /reports"]),
        ("delete /", vec!["DELETE /reports/{report-id}"]),
        ("no such text", vec![]),
    ] {
        let page = list(&mut browser, YAML, &[("find", find)]).await.expect(200);
        assert_eq!(listed(&page), expected, "{find}");
        page.expect_texts(&[&format!("{} of 6 operations are listed.", expected.len())]);
    }
}

#[tokio::test]
async fn invalid_document_is_an_error_that_says_where() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200), close.repeat(200));
    let bomb = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |bomb, level| {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("{bomb}a{level}: &a{level} [{aliases}]\n")
    });
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(400_000), vec!["*a"; 100].join(", "));
    let nested = (1..5).fold(format!("a0: &a0 {}\n", "[".repeat(30) + &"]".repeat(30)), |nested, level| {
        format!("{nested}a{level}: &a{level} {}*a{}{}\n", "[".repeat(30), level - 1, "]".repeat(30))
    });
    let path = |number: usize| (format!("/p{number}"), json!({ "get": {} }));
    let many: serde_json::Map<String, Value> = (0..2001).map(path).collect();
    for (document, problem) in [
        ("", "The document is empty."),
        (" \n", "The document is empty."),
        ("{\n  \"openapi\": }", "not valid JSON. Line 2, column 14: unexpected text"),
        ("{\"openapi\": \"3.1.0\"", "the text ends too early"),
        ("openapi: 3.1.0\npaths: [", "not valid YAML: line"),
        ("openapi: 3.1.0\npaths:\n  ? [a]\n  : b\n", "line 3 has a key that is not text"),
        ("just text", "must be an object"),
        ("[]", "must be an object"),
        ("swagger: '2.0'\npaths: {}", "is a Swagger 2.0 document. Convert it"),
        ("openapi: 4.0.0", "Its openapi field must be a version such as 3.1.0"),
        ("{\"openapi\": 3}", "Its openapi field must be a version"),
        ("openapi: 3.1.0\npaths: []", "must have a paths object"),
        ("openapi: 3.1.0", "The document has no operations"),
        (&format!("{{\"a\": {}}}", deep("[", "]")), "more than 127 levels deep"),
        (&format!("a: {}", deep("[", "]")), "more than 100 levels deep"),
        (&bomb, "including those that aliases repeat"),
        (&long, "including those that aliases repeat"),
        (&nested, "more than 100 levels deep"),
        (&json!({ "openapi": "3.1.0", "paths": many }).to_string(), "has more than 2000 operations"),
        (&format!("openapi: 3.1.0\nx: {}", "y".repeat(1_000_000)), "must be at most 1 MB"),
        ("</textarea><script>alert(1)</script>", "must be an object"),
        ("{<script>alert(1)</script>", "not valid JSON"),
    ] {
        let page = list(&mut browser, document, &[]).await.expect(422);
        let error = page.field_error("document");
        assert!(error.contains(problem), "{problem} in {error}");
        page.expect_no_script();
    }
    for base_path in ["v1", "/v 1", "/<script>alert(1)", &format!("/{}", "v".repeat(201))] {
        let page = list(&mut browser, YAML, &[("base_path", base_path)]).await.expect(422);
        assert!(page.field_error("base_path").contains("Must be a path such as /v1"));
        page.expect_no_script();
    }
}

#[tokio::test]
async fn largest_documents_are_listed_within_the_limits_of_a_response() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    // Most characters are percent-encoded in the form and escaped in HTML.
    let path = |number: usize| {
        let operation = json!({ "summary": "\"<&'".repeat(25), "tags": [format!("<{number}>\"'&")] });
        (format!("/{number:04}{}", "'&".repeat(115)), json!({ "get": operation }))
    };
    let paths: serde_json::Map<String, Value> = (0..1900).map(path).collect();
    let mut document = json!({ "openapi": "3.1.0", "paths": paths }).to_string();
    document.push_str(&" ".repeat(1_000_000 - document.len()));
    let page = list(&mut browser, &document, &[]).await.expect(200);
    page.expect_texts(&["of 1900 operations are listed.", "The list is too long for one page."]);
    assert!(page.text.len() < 3_000_000, "{}", page.text.len());
    let page = list(&mut browser, &document, &[("find", "GET /1899")]).await.expect(200);
    assert_eq!(listed(&page).len(), 1);
    // A larger form is refused.
    let form = browser.get("/new-role").await.expect(200);
    let page = browser
        .submit_to(&form, ("/new-role", NEW), &[("document", &"\"".repeat(1_200_000))])
        .await
        .expect(400);
    page.expect_texts(&["This form could not be read"]);
}
