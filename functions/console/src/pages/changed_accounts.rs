//! The response to a change of several accounts: what was done and what failed.

use std::time::Duration;

use askama::Template;
use shared::api::UpdateServiceAccountRequest;
use shared::domain::AccountId;
use tokio::time::{Instant, timeout_at};

use super::change_accounts::{Action, Selection};
use crate::api::{AdminApi, ApiError, ApiResult};
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::request_id;
use crate::view::formatting::{count, revoked_words};
use crate::view::layout::Page;

/// The time limit, below the deadline of a page. Accounts after it are not changed.
const LIMIT: Duration = Duration::from_secs(20);

/// What happened to an account.
struct Row {
    id: AccountId,
    /// The name, or the ID.
    name: String,
    outcome: Result<String, String>,
}

#[derive(Template)]
#[template(path = "changed_accounts.html")]
struct ChangedAccounts {
    page: Page,
    action: Action,
    rows: Vec<Row>,
}

impl ChangedAccounts {
    fn failed(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.outcome.is_err())
    }

    /// For example, `2 accounts`.
    fn failed_accounts(&self) -> String {
        accounts(self.failed().count())
    }

    fn changed_accounts(&self) -> String {
        accounts(self.rows.len() - self.failed().count())
    }
}

fn accounts(number: usize) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX), "account")
}

/// Changes the selected accounts one after the other.
pub(super) async fn show(session: Session, selection: Selection) -> PageResult {
    let Selection { action, account: ids, name: names } = selection;
    let deadline = Instant::now() + LIMIT;
    let mut names = names.into_iter();
    let mut rows = Vec::new();
    for id in ids {
        let name = names.next().unwrap_or_else(|| id.to_string());
        let outcome = if Instant::now() < deadline {
            match timeout_at(deadline, change(session.api(), action, id)).await {
                Ok(Ok(done)) => Ok(done),
                // The first change already shows that the user is not an admin.
                Ok(Err(error)) if error.is_not_permitted() && rows.is_empty() => return Err(error.into()),
                Ok(Err(error)) => Err(in_words(error)),
                Err(_) => {
                    Err("The time limit was reached. The change may or may not have been made.".to_owned())
                }
            }
        } else {
            Err("Not changed, because the time limit was reached.".to_owned())
        };
        rows.push(Row { id, name, outcome });
    }
    let page = ChangedAccounts { page: session.page(), action, rows };
    session.show(page)
}

/// Changes an account. Returns what was done.
async fn change(api: AdminApi<'_>, action: Action, id: AccountId) -> ApiResult<String> {
    match action {
        Action::Disable => {
            let changes = UpdateServiceAccountRequest {
                enabled: Some(false),
                ..UpdateServiceAccountRequest::default()
            };
            api.update_account(id, &changes, "*").await?;
            Ok("Disabled. All of its keys and tokens are refused.".to_owned())
        }
        Action::Revoke => {
            let revoked = api.revoke_all_keys(id).await?;
            Ok(format!("{}.", revoked_words(&revoked)))
        }
    }
}

fn in_words(error: ApiError) -> String {
    match error {
        ApiError::NotPermitted => "Not changed, because you are no longer an admin.".to_owned(),
        ApiError::Problem(problem) if problem.status == 404 => {
            "Not changed, because the account no longer exists.".to_owned()
        }
        ApiError::Problem(problem) => format!("Not changed. {}. {}", problem.title, problem.detail),
        ApiError::Unavailable { request_id, cause } => {
            let id = request_id::report(request_id, &cause);
            format!("Keyward did not respond. The change may or may not have been made (request {id}).")
        }
    }
}
