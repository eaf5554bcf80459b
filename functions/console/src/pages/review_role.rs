//! The page that shows added and removed permissions, and who is affected, before a custom
//! role is saved. It has no route: the edit form responds with it.

use askama::Template;
use axum::response::Response;
use shared::api::RoleUserList;
use shared::domain::{Description, RoleName};

use super::edit_role::{self, Form};
use super::role;
use crate::auth::session::Session;
use crate::view::difference::Difference;
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};

#[derive(Template)]
#[template(path = "review_role.html")]
struct ReviewRole {
    page: Page,
    name: RoleName,
    form: Form,
    difference: Difference,
    /// The first accounts and keys with the role. `None` if they are not available.
    users: Option<RoleUserList>,
}

/// Responds with the page, unless the form changes no permission. Saving the form depends on
/// the version whose permissions are shown.
pub(super) async fn review(
    session: &Session,
    name: &RoleName,
    form: &mut Form,
) -> Result<Option<Response>, FormError> {
    let permissions = edit_role::permissions(&form.permissions)?;
    Description::parse(&form.description)
        .map_err(|error| FormErrors::field("description", error.to_string()))?;
    let (current, users) = tokio::join!(role::custom(session, name), role::users(session, name, ""));
    let (current, version) = current.map_err(FormError::Page)?;
    if version != form.version {
        return Err(FormErrors::out_of_date().into());
    }
    let permissions = permissions.into_vec().iter().map(ToString::to_string).collect();
    let difference = Difference::new(&current.permissions, permissions);
    if difference.is_empty() {
        return Ok(None);
    }
    let (page, name, form) = (session.page(), name.clone(), std::mem::take(form));
    with_status(200, ReviewRole { page, name, form, difference, users: users? })
        .map(Some)
        .map_err(FormError::Page)
}
