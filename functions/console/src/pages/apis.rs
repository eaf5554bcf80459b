//! `GET /apis`: the protected APIs.

use askama::Template;
use shared::api::ApiSettings;

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::count;
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "apis.html")]
struct Apis {
    page: Page,
    /// In the order of their names.
    apis: Vec<ApiSettings>,
}

pub(super) async fn show(session: Session) -> PageResult {
    let apis = session.api().protected_apis().await?;
    let page = Apis { page: session.page(), apis };
    session.show(page)
}

/// For example, `1,204 tools`.
pub(super) fn tools(number: usize) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX), "tool")
}
