//! The methods of the protocol.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, DiscoverResult, ErrorData,
    ExtensionCapabilities, Implementation, InitializeRequestParams, InitializeResult, InputRequiredResult,
    JsonObject, ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};

use crate::catalog::RegisteredApi;
use crate::guard::Caller;
use crate::record::Outcome;
use crate::refusal::Refusal;
use crate::services::Services;
use crate::{call, list, search};

/// The versions of the protocol that are served.
const VERSIONS: &[ProtocolVersion] =
    &[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];

/// How long a client may keep a list of tools, in milliseconds. Each call is decided when it
/// is made.
pub(crate) const TTL_MS: u64 = 60_000;

/// The extension for clients that get tokens with a key.
/// (<https://github.com/modelcontextprotocol/ext-auth>)
const CLIENT_CREDENTIALS: &str = "io.modelcontextprotocol/oauth-client-credentials";

/// The member of results that names the server.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// Why a method has no result.
pub(crate) enum Stop {
    /// The whole HTTP response is replaced.
    Refusal(Refusal),
    /// An error of the protocol.
    Error(ErrorData),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// What a client can do.
pub(crate) struct Client {
    /// Whether the client's version of the protocol is 2026-07-28 or later.
    pub(crate) is_modern: bool,
    /// Whether the client can ask its user a question with a form.
    pub(crate) can_ask: bool,
}

impl Client {
    fn new(context: &RequestContext<RoleServer>) -> Self {
        let is_modern = context
            .protocol_version()
            .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        let elicitation = context.client_capabilities().and_then(|capabilities| capabilities.elicitation);
        // Without modes, the client supports forms.
        let has_forms = elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none());
        Self { is_modern, can_ask: is_modern && has_forms }
    }
}

/// Handles the messages of all requests.
#[derive(Clone)]
pub(crate) struct Handler(pub(crate) Arc<Services>);

impl Handler {
    /// Describes the API of a caller whose credential is valid, for the model.
    async fn describe(&self, caller: &Caller) -> Result<String, ErrorData> {
        let found = self.0.find_permitted(caller).await;
        let (permitted, api) = found.map_err(|refusal| stopped(caller, refusal.into()))?;
        caller.record.end(Outcome::Described);
        Ok(instructions(&api, api.permitted(&permitted.roles).count()))
    }
}

/// The caller of a request, whose method is recorded.
fn caller(context: &RequestContext<RoleServer>, method: &'static str) -> Result<Arc<Caller>, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Arc<Caller>>()).cloned();
    let caller = caller.ok_or_else(|| ErrorData::internal_error("the request has no caller", None))?;
    caller.record.entry().method = Some(method);
    Ok(caller)
}

/// Records a refusal, whose response then replaces this error.
fn stopped(caller: &Caller, stop: Stop) -> ErrorData {
    match stop {
        Stop::Error(error) => error,
        Stop::Refusal(refusal) => {
            caller.refuse(refusal);
            ErrorData::internal_error("the response is replaced", None)
        }
    }
}

/// The name and version of this server.
fn implementation() -> Implementation {
    Implementation::new("keyward", env!("CARGO_PKG_VERSION"))
}

/// Adds the name and version of this server to a result.
fn add_server_info(meta: &mut Option<MetaObject>) {
    let info = serde_json::to_value(implementation()).unwrap_or_default();
    meta.get_or_insert_default().insert(SERVER_INFO.to_owned(), info);
}

/// Instructions for the model.
fn instructions(api: &RegisteredApi, permitted: usize) -> String {
    let title = &api.choices.title;
    if permitted == 0 {
        return format!(
            "Your role permits none of the {} tools of the API \"{title}\". Tell the user to ask an admin for a role \
             that permits the tools you need.",
            api.tools.len()
        );
    }
    let search = if search::is_offered(permitted) {
        format!(" There are {permitted} tools. Find the right ones with {} first.", search::NAME)
    } else {
        String::new()
    };
    format!(
        "The tools of the API \"{title}\" that your role permits. If a call is not permitted, tell the user which \
         permission is missing.{search}"
    )
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let extensions = ExtensionCapabilities::from([(CLIENT_CREDENTIALS.to_owned(), JsonObject::new())]);
        let mut capabilities = ServerCapabilities::builder().enable_tools().build();
        capabilities.extensions = Some(extensions);
        ServerConfig::new(capabilities).with_server_info(implementation())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let caller = caller(&context, "initialize")?;
        let mut result = self.negotiate_initialize(&request)?;
        context.peer.set_peer_info(request);
        result.instructions = Some(self.describe(&caller).await?);
        Ok(result)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let caller = caller(&context, "server/discover")?;
        let info = self.get_info().with_instructions(self.describe(&caller).await?);
        let result = DiscoverResult::from_server_info(VERSIONS.to_vec(), info);
        Ok(result.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Private))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context, "tools/list")?;
        let cursor = request.and_then(|request| request.cursor);
        let listed = list::list(&self.0, &caller, cursor.as_deref()).await;
        let mut result = listed.map_err(|stop| stopped(&caller, stop))?;
        add_server_info(&mut result.meta);
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = caller(&context, "tools/call")?;
        let client = Client::new(&context);
        let response = call::call(&self.0, &caller, &client, request).await;
        let mut response = response.map_err(|stop| stopped(&caller, stop))?;
        if let CallToolResponse::Complete(CallToolResult { meta, .. })
        | CallToolResponse::InputRequired(InputRequiredResult { meta, .. }) = &mut response
        {
            add_server_info(meta);
        }
        Ok(response)
    }
}
