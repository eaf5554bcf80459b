//! Who may do what: `role_matrix.txt`, computed through the gateway.

use std::fmt::Write as _;

use serde_json::json;
use tests::{Harness, Key};

use crate::support::golden;
use crate::support::routes::ROUTES;

/// The operations on business APIs, each with requests that do it.
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

const COLUMNS: [&str; 8] =
    ["Admin key", "Writer key", "Reader key", "Custom key", "Narrow key", "API admin", "IAM admin", "nobody"];

/// What the custom role of two columns permits: that of a "Custom key"'s account,
/// and the own one of a "Narrow key", whose account has the role of a Writer.
const CUSTOM: [&str; 4] =
    ["ANY /reports/{proxy+}", "GET /teams", "GET,PATCH /teams/{id}", "PUT /organizations/{id}/{part}"];

/// A row: which of the columns may do it.
async fn row(
    harness: &Harness,
    credentials: &[Option<String>; 8],
    method: &str,
    path: &str,
    name: &str,
) -> String {
    let mut row = format!("{name:<58}");
    for credential in credentials {
        let request = harness.request(method, path);
        let request = match credential {
            Some(credential) => request.bearer(credential),
            None => request,
        };
        let status = request.send().await.status;
        let may = if matches!(status, 401 | 403) { "no" } else { "yes" };
        write!(row, "  {may:<10}").unwrap();
    }
    row.trim_end().to_owned()
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let harness = Harness::start().await;
    let mut credentials: [Option<String>; 8] = Default::default();
    let roles = ["ServiceAccountAdmin", "ServiceAccountWriter", "ServiceAccountReader"];
    for (credential, role) in credentials.iter_mut().zip(roles) {
        let account = harness.create_account(role, role).await;
        *credential = Some(harness.issue_key(&account).await.secret);
    }
    harness.put_role("Custom", &CUSTOM).await;
    let account = harness.create_account("custom", "Custom").await;
    credentials[3] = Some(harness.issue_key(&account).await.secret);
    let account = harness.create_account("narrow", "ServiceAccountWriter").await;
    let narrow = json!({ "name": "narrow", "role": "Custom" });
    credentials[4] = Some(harness.issue_key_with(&account, &narrow).await.secret);
    credentials[5] = Some(harness.system.facts().admin_api_token.clone());
    credentials[6] = Some(harness.system.facts().admin_token.clone());

    let mut table = format!("{:<58}", "");
    for column in COLUMNS {
        write!(table, "  {column:<10}").unwrap();
    }
    let mut table = format!("{}\n", table.trim_end());
    for (operation, requests) in OPERATIONS {
        write!(table, "\n# {operation}\n").unwrap();
        for request in requests {
            let (method, path) = request.split_once(' ').unwrap();
            writeln!(table, "{}", row(&harness, &credentials, method, path, request).await).unwrap();
        }
    }
    // Of an account that is not there: whoever may is told so.
    let unknown = Key {
        account: "sa_0000000000000000".to_owned(),
        id: "key_0000000000000000".to_owned(),
        secret: String::new(),
    };
    let headings = [("Ask who one is oneself", true), ("Manage accounts, keys and roles", false)];
    for (heading, is_for_keys) in headings {
        write!(table, "\n# {heading}\n").unwrap();
        for route in ROUTES.iter().filter(|route| route.is_for_keys == is_for_keys) {
            let row = row(&harness, &credentials, route.method, &route.path_of(&unknown), &route.key()).await;
            writeln!(table, "{row}").unwrap();
        }
    }
    golden::check("it/promises/role_matrix.txt", &table);
    // The console shows the same operations, and asks its own roles about them.
    let lines = table.lines().skip(2).map(|line| match line.strip_prefix('#') {
        Some(_) => line,
        None => line.split("  ").next().unwrap_or_default(),
    });
    let operations: Vec<&str> = lines.collect();
    golden::check("../functions/console/operations.txt", &format!("{}\n", operations.join("\n")));
}
