//! `GET /roles/{name}`: a role.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use jiff::Timestamp;
use shared::api::Role;
use shared::domain::{Actor, RoleName};

use super::request::id;
use crate::api::VersionedRole;
use crate::auth::session::Session;
use crate::error::PageError;
use crate::view::formatting::TimeText;
use crate::view::layout::{Page, Rendered};
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

/// Reads a custom role. A built-in role cannot be changed, so it is not found.
pub(super) async fn custom(session: &Session, name: &RoleName) -> Result<VersionedRole, PageError> {
    let read = session.api().role(name).await?;
    if read.role.built_in { Err(PageError::PageNotFound) } else { Ok(read) }
}

pub(super) async fn show(session: Session, Path(name): Path<String>) -> Result<Response, PageError> {
    let name: RoleName = id(&name)?;
    let mut role = session.api().role(&name).await?.role;
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
    Ok(session.show(Rendered(page)))
}
