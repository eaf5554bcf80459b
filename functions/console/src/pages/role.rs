//! `GET /roles/{name}`: a role.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Redirect;
use shared::api::{Role, RoleUserList};
use shared::domain::RoleName;

use super::request::Cursor;
use crate::api::ApiError;
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::layout::Page;
use crate::view::permissions::{PermissionExample, widest_first};
use crate::view::role_chooser;

#[derive(Template)]
#[template(path = "role.html")]
struct RolePage {
    page: Page,
    /// Permissions that permit most come first.
    matches: Vec<PermissionExample>,
    role: Role,
    /// A page of the accounts and keys with the role. `None` if they are not available.
    users: Option<RoleUserList>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

/// Reads a custom role and its version. A built-in role cannot be changed, so it is not found.
pub(super) async fn custom(session: &Session, name: &RoleName) -> PageResult<(Role, String)> {
    let (role, version) = session.api().role_with_version(name).await?;
    if role.built_in { Err(PageError::PageNotFound) } else { Ok((role, version)) }
}

/// Reads the first accounts and keys with the role. `None` if they are not available.
pub(super) async fn users(
    session: &Session,
    name: &RoleName,
    cursor: &str,
) -> Result<Option<RoleUserList>, ApiError> {
    match session.api().role_users(name, cursor).await {
        Ok(users) => Ok(Some(users)),
        Err(ApiError::Unavailable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn redirect(Path(name): Path<RoleName>) -> Redirect {
    Redirect::to(&format!("/roles/{name}"))
}

pub(super) async fn show(
    session: Session,
    Path(name): Path<RoleName>,
    Query(Cursor { cursor }): Query<Cursor>,
) -> PageResult {
    let (role, users) = tokio::join!(session.api().role(&name), users(&session, &name, &cursor));
    let (mut role, users) = (role?, users?);
    if let Some(built_in) = name.built_in() {
        role.description = role_chooser::summary(&session.console, built_in);
    }
    widest_first(&mut role.permissions);
    let path = format!("/roles/{name}");
    let next = users.as_ref().and_then(|users| users.next_cursor.as_ref());
    let page = RolePage {
        page: session.page(),
        matches: PermissionExample::parse_all(&role.permissions),
        role,
        first: (!cursor.is_empty()).then(|| format!("{path}#users")),
        next: next.map(|next| format!("{path}?cursor={next}#users")),
        users,
    };
    session.show(page)
}
