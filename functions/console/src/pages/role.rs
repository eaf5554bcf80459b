//! `GET /roles/{name}`: a role.

use askama::Template;
use axum::extract::Path;
use shared::api::Role;
use shared::domain::RoleName;

use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::layout::Page;
use crate::view::permissions::{PermissionExample, widest_first};

#[derive(Template)]
#[template(path = "role.html")]
struct RolePage {
    page: Page,
    /// Permissions that permit most come first.
    matches: Vec<PermissionExample>,
    role: Role,
}

/// Reads a custom role and its version. A built-in role cannot be changed, so it is not found.
pub(super) async fn custom(session: &Session, name: &RoleName) -> PageResult<(Role, String)> {
    let (role, version) = session.api().role_with_version(name).await?;
    if role.built_in { Err(PageError::PageNotFound) } else { Ok((role, version)) }
}

pub(super) async fn show(session: Session, Path(name): Path<RoleName>) -> PageResult {
    let mut role = session.api().role(&name).await?;
    widest_first(&mut role.permissions);
    let matches = PermissionExample::parse_all(&role.permissions);
    let page = RolePage { page: session.page(), matches, role };
    session.show(page)
}
