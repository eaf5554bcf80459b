//! The permissions of each caller. Requests through the gateway compute
//! `role_matrix.txt`.

use std::fmt::Write as _;

use serde_json::json;
use tests::{Harness, Key};

use crate::support::golden;
use crate::support::routes::ROUTES;

/// The operations of business APIs, each with its requests.
const OPERATIONS: [(&str, &[&str]); 7] = [
    ("Create an organization", &["POST /organizations"]),
    (
        "Update or delete organization master data; add or remove its admin members",
        &[
            "PUT /organizations/42",
            "PATCH /organizations/42",
            "DELETE /organizations/42",
            "POST /organizations/42/admins",
            "DELETE /organizations/42/admins/7",
        ],
    ),
    (
        "Update member permissions or storage",
        &["PUT /organizations/42/members/7/permissions", "PUT /organizations/42/storage"],
    ),
    (
        "View organization master data, members, storage",
        &[
            "GET /organizations",
            "HEAD /organizations",
            "OPTIONS /organizations",
            "GET /organizations/42",
            "GET /organizations/42/members",
            "GET /organizations/42/members/7/permissions",
            "GET /organizations/42/storage",
        ],
    ),
    (
        "Create, update or delete a team; its members, permissions, storage",
        &[
            "POST /teams",
            "PUT /teams/7",
            "PATCH /teams/7",
            "DELETE /teams/7",
            "POST /teams/7/members",
            "DELETE /teams/7/members/3",
            "PUT /teams/7/permissions",
            "PUT /teams/7/storage",
        ],
    ),
    (
        "View a team, its members, storage",
        &["GET /teams", "HEAD /teams/7", "GET /teams/7", "GET /teams/7/members", "GET /teams/7/storage"],
    ),
    (
        "Everything else on admin endpoints",
        &[
            "GET /",
            "GET /reports",
            "POST /reports",
            "DELETE /reports/1",
            "GET /organizationsandmore",
            "GET /Organizations",
            "GET /organizations/",
            "GET /v2/organizations",
            "GET /teams-archive",
            "GET /x/teams",
        ],
    ),
];

/// The permissions of a custom role. It is the account's role of the caller
/// `Custom key`, and the key's own role of `Narrow key`, whose account is a Writer.
const CUSTOM: [&str; 4] =
    ["ANY /reports/{proxy+}", "GET /teams", "GET,PATCH /teams/{id}", "PUT /organizations/{id}/{part}"];

/// What to do about a difference from `role_matrix.txt`.
const ADVICE: &str = "\
If you are here because this assertion failed, a caller can do something that it could not \
do before, or the other way around. If you added an operation, update the file and check that each \
`yes` of its rows is intended. If you did not mean to change what a caller can do, fix your change \
to the roles, the policy or the authorizer instead. DO NOT UPDATE THE FILE TO SILENCE THIS TEST.";

/// A column of the matrix: its heading and the credential of the caller.
type Caller = (&'static str, Option<String>);

async fn callers(harness: &Harness) -> [Caller; 8] {
    harness.put_role("Custom", &CUSTOM).await;
    let key = async |role: &str| Some(harness.account_with_key(role, role).await.1.secret);
    let writer = harness.create_account("narrow", "ServiceAccountWriter").await;
    let narrow = json!({ "name": "narrow", "role": "Custom" });
    let facts = harness.system.facts();
    [
        ("Admin key", key("ServiceAccountAdmin").await),
        ("Writer key", key("ServiceAccountWriter").await),
        ("Reader key", key("ServiceAccountReader").await),
        ("Custom key", key("Custom").await),
        ("Narrow key", Some(harness.issue_key_with(&writer, &narrow).await.secret)),
        ("API admin", Some(facts.admin_api_token.clone())),
        ("IAM admin", Some(facts.admin_token.clone())),
        ("no credential", None),
    ]
}

/// A line of the matrix.
fn line(title: &str, cells: [&str; 8]) -> String {
    let mut line = format!("{title:<58}");
    for cell in cells {
        write!(line, "  {cell:<10}").unwrap();
    }
    line.trim_end().to_owned()
}

/// The line of a request: whether each caller can send it.
async fn row(harness: &Harness, callers: &[Caller; 8], title: &str, method: &str, path: &str) -> String {
    let mut cells = [""; 8];
    for (cell, (_, credential)) in cells.iter_mut().zip(callers) {
        let request = harness.request(method, path);
        let request = match credential {
            Some(credential) => request.bearer(credential),
            None => request,
        };
        let is_refused = matches!(request.send().await.status, 401 | 403);
        *cell = if is_refused { "no" } else { "yes" };
    }
    line(title, cells)
}

#[tokio::test]
async fn each_caller_can_do_exactly_what_the_matrix_says() {
    let harness = Harness::start().await;
    let callers = callers(&harness).await;
    let mut matrix = format!("{}\n", line("", callers.each_ref().map(|(heading, _)| *heading)));
    for (operation, requests) in OPERATIONS {
        write!(matrix, "\n# {operation}\n").unwrap();
        for request in requests {
            let (method, path) = request.split_once(' ').unwrap();
            writeln!(matrix, "{}", row(&harness, &callers, request, method, path).await).unwrap();
        }
    }
    // These requests name an account and a role that do not exist, and have no body. A
    // caller with the right to send them gets another error than 401 and 403.
    let unknown = Key {
        account: "sa_0000000000000000".to_owned(),
        id: "key_0000000000000000".to_owned(),
        secret: String::new(),
    };
    let headings = [("Show the caller's own identity", true), ("Manage accounts, keys and roles", false)];
    for (heading, is_for_keys) in headings {
        write!(matrix, "\n# {heading}\n").unwrap();
        for route in ROUTES.iter().filter(|route| route.is_for_keys == is_for_keys) {
            let path = route.path_for(&unknown);
            let row = row(&harness, &callers, &route.key(), route.method, &path).await;
            writeln!(matrix, "{row}").unwrap();
        }
    }
    golden::check_with_advice("it/promises/role_matrix.txt", &matrix, ADVICE);
    // The console lists the same operations, and computes the cells from its own roles.
    let lines = matrix.lines().skip(2).map(|line| match line.strip_prefix('#') {
        Some(_) => line,
        None => line.split("  ").next().unwrap_or_default(),
    });
    let operations: Vec<&str> = lines.collect();
    golden::check("../functions/console/operations.txt", &format!("{}\n", operations.join("\n")));
}
