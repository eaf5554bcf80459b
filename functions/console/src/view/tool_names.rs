//! The names of the tools whose calls recorded requests can be.

use futures::StreamExt as _;
use shared::api::RequestRecord;
use shared::domain::ApiName;
use shared::policy::{Permission, Target};

use crate::auth::session::Session;
use crate::view::tools::Tool;

/// How many APIs are read for a page, in the order of their names.
const APIS: usize = 10;
/// How many APIs are read at the same time.
const CALLS_AT_A_TIME: usize = 5;

/// A tool of an API.
pub(crate) struct ToolName<'a> {
    pub(crate) api: &'a ApiName,
    pub(crate) tool: &'a str,
}

/// The tools of the first APIs.
#[derive(Default)]
pub(crate) struct ToolNames {
    apis: Vec<(ApiName, Vec<Tool>)>,
    /// Whether there are more APIs than were read.
    has_more: bool,
}

impl ToolNames {
    /// Reads the tools. APIs that are not available have no tools: the page works without them.
    pub(crate) async fn read(session: &Session) -> Self {
        let apis = session.api().protected_apis().await.unwrap_or_default();
        let tools = async |name: ApiName| {
            let (api, _) = session.api().protected_api_with_version(&name).await.ok()?;
            Some((name, Tool::all(api.tools)))
        };
        let has_more = apis.len() > APIS;
        let names = apis.into_iter().take(APIS).map(|api| api.name);
        let read: Vec<_> = futures::stream::iter(names).map(tools).buffered(CALLS_AT_A_TIME).collect().await;
        Self { apis: read.into_iter().flatten().collect(), has_more }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.apis.is_empty()
    }

    /// What a page without some tools says. `None` if the tools of all APIs were read.
    pub(crate) fn hint(&self) -> Option<String> {
        self.has_more.then(|| format!("Tools are shown only for the first {APIS} APIs, sorted by name."))
    }

    /// The tools that can have sent this request: at most one of each API.
    pub(crate) fn of_request(&self, request: &RequestRecord) -> Vec<ToolName<'_>> {
        let (method, path) = (request.method.as_deref(), request.path.as_deref());
        let target = method.zip(path).and_then(|(method, path)| Target::parse(method, path).ok());
        target.map(|target| self.matching(|wanted| wanted.covers(&target))).unwrap_or_default()
    }

    /// The tools with exactly this method and route.
    pub(crate) fn of_route(&self, route: &str) -> Vec<ToolName<'_>> {
        let Ok(route) = Permission::parse(route) else { return Vec::new() };
        let is_same = |wanted: &Permission| {
            wanted.methods().eq(route.methods())
                && wanted.covers_paths_of(&route)
                && route.covers_paths_of(wanted)
        };
        self.matching(is_same)
    }

    /// The tool of each API whose permission matches. The tool with the fewest variables takes
    /// precedence, as in API Gateway.
    fn matching(&self, matches: impl Fn(&Permission) -> bool) -> Vec<ToolName<'_>> {
        let in_apis = self.apis.iter().filter_map(|(api, tools)| {
            let matching = tools.iter().filter(|tool| tool.wanted().is_some_and(&matches));
            let tool = matching.min_by_key(|tool| tool.summary.path.matches('{').count())?;
            Some(ToolName { api, tool: &tool.summary.name })
        });
        in_apis.collect()
    }
}
