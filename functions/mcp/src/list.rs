//! `tools/list`: the tools that the caller's roles permit, in pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp::model::{CacheScope, ErrorData, ListToolsResult, Tool};
use shared::domain::BuildId;
use shared::policy::Role;

use crate::catalog::RegisteredApi;
use crate::guard::Caller;
use crate::handler::{Stop, TTL_MS};
use crate::published::publish;
use crate::record::Outcome;
use crate::search;
use crate::services::Services;

/// The maximum number of tools on a page.
const MAX_TOOLS: usize = 100;

/// The maximum size of the tools on a page, in bytes of JSON. A page has at least one tool.
const MAX_BYTES: usize = 512 * 1024;

/// Returns the page after `cursor`.
pub(crate) async fn list(
    services: &Services,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<ListToolsResult, Stop> {
    let (permitted, api) = services.find_permitted(caller).await?;
    let start = match cursor {
        Some(cursor) => decode(cursor, api.build).ok_or_else(|| invalid_cursor(caller))?,
        None => 0,
    };
    let (tools, next) = page(&api, &permitted.roles, start);
    caller.record.end(Outcome::Listed);
    let mut result = ListToolsResult::with_all_items(tools);
    result.next_cursor = next.map(|next| encode(next, api.build));
    result.ttl_ms = Some(TTL_MS);
    result.cache_scope = Some(CacheScope::Private);
    Ok(result)
}

/// The tools from position `start` on that fit on a page, and the position of the first tool that
/// does not.
fn page(api: &RegisteredApi, roles: &[Role], start: usize) -> (Vec<Tool>, Option<usize>) {
    let mut tools = Vec::new();
    let mut bytes = 0;
    if start == 0 && search::is_offered(api.permitted(roles).count()) {
        tools.push(search::tool());
    }
    for (at, tool) in api.permitted(roles).skip_while(|(at, _)| *at < start) {
        let tool = publish(tool);
        bytes += serde_json::to_vec(&tool).map_or(0, |json| json.len());
        if tools.len() == MAX_TOOLS || (bytes > MAX_BYTES && !tools.is_empty()) {
            return (tools, Some(at));
        }
        tools.push(tool);
    }
    (tools, None)
}

/// The cursor of the page that starts at a position of a build. Another build may have other
/// tools at its positions.
fn encode(position: usize, build: BuildId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{build}.{position}"))
}

fn decode(cursor: &str, build: BuildId) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (named, position) = text.rsplit_once('.')?;
    (named == build.to_string()).then(|| position.parse().ok()).flatten()
}

fn invalid_cursor(caller: &Caller) -> Stop {
    caller.record.end(Outcome::InvalidCursor);
    let message =
        "The cursor is not valid. The tools may have changed. List the tools again without a cursor.";
    Stop::Error(ErrorData::invalid_params(message, None))
}
