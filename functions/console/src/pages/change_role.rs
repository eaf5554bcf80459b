//! The page that shows what another role changes, before the edit of an account
//! is saved.

use askama::Template;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::auth::session::Visit;
use crate::view::form::{Faults, FormError};
use crate::view::layout::{Page, with_status};
use crate::view::permissions;
use crate::view::role_chooser as roles;

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The version that was seen: a change by somebody else is not overwritten.
    pub(super) version: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) owner: String,
    pub(super) role: String,
    /// The name of a further role, which is shown before it can be chosen.
    pub(super) other_role: String,
    /// The role that it had when it was read.
    pub(super) role_was: String,
    /// What was shown of the other role: [`Difference::mark`]. A role may be
    /// replaced meanwhile, of which the account's version says nothing.
    pub(super) shown: String,
    /// Which button was pressed: in the form `role`, which shows the further one,
    /// and on the page that shows what another role changes `confirm` or `back`.
    /// Or nothing.
    pub(super) button: String,
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
    come: Vec<String>,
    /// What they may do no longer.
    gone: Vec<String>,
    /// What the new role permits.
    permissions: Vec<String>,
}

impl Difference {
    /// Between what is permitted `before` and `after`.
    fn between(before: &[String], after: Vec<String>) -> Self {
        Self {
            come: permissions::beyond(&after, before),
            gone: permissions::beyond(before, &after),
            permissions: after,
        }
    }

    /// A text that differs where anything of it does.
    fn mark(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.come, &self.gone, &self.permissions] {
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

/// Asks to confirm another role, unless `form` confirms exactly this change.
pub(super) async fn confirm(
    visit: &Visit,
    account: &str,
    form: &mut Form,
) -> Result<Option<Response>, FormError> {
    let difference = difference(visit, form).await?;
    let (mark, is_confirmed) = (difference.mark(), form.button == "confirm");
    if is_confirmed && mark == form.shown {
        return Ok(None);
    }
    let form = Form { shown: mark, ..std::mem::take(form) };
    let page =
        ChangeRole { page: visit.page(), id: account.to_owned(), form, is_other: is_confirmed, difference };
    Ok(Some(with_status(if is_confirmed { 409 } else { 200 }, page)))
}

/// What the other role changes, or why that cannot be told.
async fn difference(visit: &Visit, form: &Form) -> Result<Difference, FormError> {
    let (before, after) = tokio::join!(roles::find(visit, &form.role_was), roles::find(visit, &form.role));
    let before = before?;
    let after = after?.ok_or_else(|| Faults::field("role", "role not found. Choose another role"))?;
    // A role that is not there permits nothing.
    let before = before.map(|role| role.permissions).unwrap_or_default();
    Ok(Difference::between(&before, after.permissions))
}
