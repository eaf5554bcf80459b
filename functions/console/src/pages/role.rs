//! `GET /roles/{name}`: a role.

use askama::Template;
use axum::extract::Path;
use jiff::Timestamp;
use shared::api::Role;
use shared::domain::{Actor, RoleName};

use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::formatting::TimeText;
use crate::view::layout::Page;
use crate::view::permissions::{PermissionExample, widest_first};

#[derive(Template)]
#[template(path = "role.html")]
struct RolePage {
    page: Page,
    /// When and by whom the role was created. `None` for a built-in role.
    created: Option<(TimeText, String)>,
    updated: Option<(TimeText, String)>,
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
    let at_and_by = |at: Option<Timestamp>, by: &Option<Actor>| {
        Some((TimeText::new(at?, session.now()), by.as_ref()?.name.clone()))
    };
    let page = RolePage {
        page: session.page(),
        created: at_and_by(role.created_at, &role.created_by),
        updated: at_and_by(role.updated_at, &role.updated_by),
        matches: PermissionExample::parse_all(&role.permissions),
        role,
    };
    session.show(page)
}
