//! `GET, POST /accounts/{id}/edit`: changes an account. Another role is saved
//! only once it was shown what comes and what goes by it.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shared::domain::{AccountId, AccountName, Description, Owner};

use super::request::id;
use crate::api::AccountChanges;
use crate::auth::session::{Posted, Visit};
use crate::error::PageError;
use crate::view::excerpt::{self, Excerpt};
use crate::view::form::Faults;
use crate::view::layout::{Page, Shown, with_status};
use crate::view::permissions as matching;
use crate::view::role_chooser::{self as roles, Chooser};

/// Of what comes, and of what goes, so many bytes are shown.
const DIFFERENCE_BYTES: usize = 13_000;

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that was seen: a change by somebody else is not overwritten.
    version: String,
    name: String,
    description: String,
    owner: String,
    role: String,
    /// The name of a further role, which is shown before it can be chosen.
    other_role: String,
    /// The role that it had when it was read.
    role_was: String,
    /// What was shown of the other role: [`Difference::mark`]. A role may be
    /// replaced meanwhile, of which the account's version says nothing.
    shown: String,
    /// Which button was pressed: in the form `role`, which shows the further one,
    /// and on the page that shows what another role changes `confirm` or `back`.
    /// Or nothing.
    button: String,
}

/// What another role changes, before it is saved.
#[derive(Template)]
#[template(path = "change_role.html")]
struct ChangeRole {
    page: Page,
    id: String,
    form: Form,
    /// Whether another difference was shown before, and confirmed.
    is_other: bool,
    difference: Difference,
}

/// What another role changes.
struct Difference {
    /// What its keys may do that they might not.
    come: Excerpt<String>,
    /// What they may do no longer.
    gone: Excerpt<String>,
    /// What the new role permits.
    permissions: Vec<String>,
}

impl Difference {
    /// Between what is permitted `before` and `after`.
    fn between(before: &[String], after: Vec<String>) -> Self {
        Self {
            come: some(matching::beyond(&after, before)),
            gone: some(matching::beyond(before, &after)),
            permissions: after,
        }
    }

    /// A text that differs where anything of it does.
    fn mark(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.come.all(), self.gone.all(), &self.permissions] {
            for permission in part {
                // No permission has a line's end in it.
                hash.update(permission);
                hash.update("\n");
            }
            hash.update("\n");
        }
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }
}

#[derive(Template)]
#[template(path = "edit_account.html")]
struct EditAccount {
    page: Page,
    id: String,
    form: Form,
    faults: Faults,
    roles: Chooser,
}

pub(super) async fn show(visit: Visit, Path(account): Path<String>) -> Result<Response, PageError> {
    let account: AccountId = id(&account)?;
    let (read, roles) = tokio::join!(visit.api().account(account), roles::known(&visit));
    let read = read?;
    let account = read.account.account;
    let page = EditAccount {
        page: visit.page(),
        roles: roles?
            .chooser(&visit, &account.role, "The present role. There is no such role any more.")
            .await,
        id: account.id,
        form: Form {
            version: read.version,
            name: account.name,
            description: account.description,
            owner: account.owner,
            role_was: account.role.clone(),
            role: account.role,
            shown: String::new(),
            other_role: String::new(),
            button: String::new(),
        },
        faults: Faults::default(),
    };
    Ok(visit.show(Shown(page)))
}

pub(super) async fn submit(
    Path(account): Path<String>,
    Posted(visit, mut form): Posted<Form>,
) -> Result<Response, PageError> {
    let account_id: AccountId = id(&account)?;
    if form.button == "back" {
        return Ok(again(&visit, account, form, Faults::default()).await);
    }
    if roles::is_asked_for(&form.button, &form.other_role) {
        let known = roles::known_again(&visit).await;
        let (roles, faults) = known.choose(&visit, &mut form.role, &mut form.other_role).await?;
        let page = EditAccount { page: visit.page(), id: account, form, faults, roles };
        return Ok(with_status(page.faults.status(), page));
    }
    if form.role != form.role_was {
        let difference = match difference(&visit, &form).await {
            Ok(difference) => difference,
            Err(faults) => return Ok(again(&visit, account, form, faults?).await),
        };
        let (mark, is_confirmed) = (difference.mark(), form.button == "confirm");
        if !(is_confirmed && mark == form.shown) {
            // Nothing is saved yet.
            let form = Form { shown: mark, ..form };
            let page =
                ChangeRole { page: visit.page(), id: account, form, is_other: is_confirmed, difference };
            return Ok(with_status(if is_confirmed { 409 } else { 200 }, page));
        }
    }
    let changes = AccountChanges {
        name: Some(&form.name),
        description: Some(&form.description),
        owner: Some(&form.owner),
        role: Some(&form.role),
        enabled: None,
    };
    match visit.api().update_account(account_id, &changes, &form.version).await {
        Ok(saved) => Ok(visit.go(&format!("/accounts/{}", saved.id), &format!("{} is saved.", saved.name))),
        Err(error) => Ok(again(&visit, account, form, Faults::of(error)?).await),
    }
}

/// The form again, with what was typed.
async fn again(visit: &Visit, id: String, form: Form, faults: Faults) -> Response {
    let roles = roles::known_again(visit).await.chooser(visit, &form.role, roles::CHOSEN_BEFORE).await;
    with_status(faults.status(), EditAccount { page: visit.page(), id, form, faults, roles })
}

/// What the other role changes, or why that cannot be told.
async fn difference(visit: &Visit, form: &Form) -> Result<Difference, Result<Faults, PageError>> {
    let (before, after) = tokio::join!(roles::find(visit, &form.role_was), roles::find(visit, &form.role));
    let before = before.map_err(Faults::of)?;
    let after = after.map_err(Faults::of)?;
    let after =
        after.ok_or_else(|| Ok(Faults::field("role", "is no role (any more): choose another one")))?;
    // A role that is not there permits nothing.
    let before = before.map(|role| role.permissions).unwrap_or_default();
    Ok(Difference::between(&before, after.permissions))
}

fn some(difference: Vec<String>) -> Excerpt<String> {
    excerpt::texts(difference, usize::MAX, DIFFERENCE_BYTES)
}
