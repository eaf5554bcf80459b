//! `GET /roles/{name}`: a role.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use jiff::Timestamp;
use shared::api::Role;
use shared::domain::{Actor, RoleName};

use super::request::id;
use crate::api::VersionedRole;
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::formatting::When;
use crate::view::layout::{Page, Shown};
use crate::view::permissions::{Matched, widest_first};

#[derive(Template)]
#[template(path = "role.html")]
struct RolePage {
    page: Page,
    /// When, and by whom. A built-in one was not.
    created: Option<(When, String)>,
    updated: Option<(When, String)>,
    /// What permits most comes first.
    matches: Vec<Matched>,
    role: Role,
}

/// A custom role, which can be changed. Nothing of a built-in one can.
pub(super) async fn custom(visit: &Visit, name: &RoleName) -> Result<VersionedRole, PageError> {
    let read = visit.api().role(name).await?;
    if read.role.built_in { Err(PageError::NoPage) } else { Ok(read) }
}

pub(super) async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, PageError> {
    let name: RoleName = id(&name)?;
    let mut role = visit.api().role(&name).await?.role;
    widest_first(&mut role.permissions);
    let told = |at: Option<Timestamp>, by: &Option<Actor>| {
        Some((When::of(at?, visit.now()), by.as_ref()?.name.clone()))
    };
    let page = RolePage {
        page: visit.page(),
        created: told(role.created_at, &role.created_by),
        updated: told(role.updated_at, &role.updated_by),
        matches: Matched::of_all(&role.permissions),
        role,
    };
    Ok(visit.show(Shown(page)))
}
