//! Agents: clients of the MCP server of one API.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::to_bytes;
use lambda_http::Service as _;
use mcp::Mcp;
use serde_json::{Map, Value, json};
use shared::config::{Variables, variable};
use tests::{Harness, Key};

/// The current revision of the protocol.
pub(crate) const MODERN: &str = "2026-07-28";
/// The last revision with a handshake.
pub(crate) const LEGACY: &str = "2025-11-25";

/// The name of the API in most tests.
pub(crate) const API: &str = "teams";

/// A client of an API's MCP server.
pub(crate) struct Agent<'a> {
    pub(crate) harness: &'a Harness,
    pub(crate) api: String,
    pub(crate) credential: String,
    /// The capabilities that the client declares.
    pub(crate) capabilities: Value,
}

/// A response of the MCP server.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Response {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The result of the method.
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let body = self.json();
        assert!(body["error"].is_null(), "{body}");
        body["result"].clone()
    }

    /// The code of the protocol's error.
    pub(crate) fn error_code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    /// The text of a call's result, and whether it is an error.
    pub(crate) fn called(&self) -> (String, bool) {
        let result = self.result();
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {result}"));
        (text.to_owned(), result["isError"].as_bool().unwrap())
    }

    /// The names of the listed tools.
    pub(crate) fn tools(&self) -> Vec<String> {
        let result = self.result();
        let tools = result["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The whole response for a snapshot: status, body, and headers except those of the connection.
    /// Replaces the request id and the address of the server, because they differ in each run.
    pub(crate) fn snapshot(&self, harness: &Harness) -> Value {
        let own = harness.system.facts().mcp.trim_end_matches("/mcp").to_owned();
        let api = &harness.system.facts().api;
        let replace = |text: &str| text.replace(&own, "[mcp]").replace(api, "[iam]");
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            if !["content-length", "date"].contains(&name.as_str()) {
                headers.insert(name.clone(), replace(value).into());
            }
        }
        let mut body = match serde_json::from_str(&replace(&self.text)) {
            Ok(body) => body,
            Err(_) => Value::from(replace(&self.text)),
        };
        if let Some(id) = body.get_mut("requestId") {
            assert!(!id.as_str().unwrap().is_empty());
            *id = "[request id]".into();
        }
        json!({ "status": self.status, "headers": headers, "body": body })
    }
}

impl<'a> Agent<'a> {
    /// A client of [`API`] with this key.
    pub(crate) fn new(harness: &'a Harness, key: &Key) -> Self {
        Self::with_credential(harness, &key.secret)
    }

    /// A client of [`API`] with this credential, which cannot ask its user.
    pub(crate) fn with_credential(harness: &'a Harness, credential: &str) -> Self {
        let capabilities = json!({});
        Self { harness, api: API.to_owned(), credential: credential.to_owned(), capabilities }
    }

    /// A client that can ask its user.
    #[must_use]
    pub(crate) fn that_can_ask(mut self) -> Self {
        self.capabilities = json!({ "elicitation": {} });
        self
    }

    /// The message of a method in the current revision.
    pub(crate) fn message(&self, method: &str, params: &Value) -> Value {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        });
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
    }

    /// Calls a method in the current revision.
    pub(crate) async fn ask(&self, method: &str, params: &Value) -> Response {
        let message = self.message(method, params);
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
        if !name.is_empty() {
            headers.push(("mcp-name", &name));
        }
        self.post(&headers, &message.to_string()).await
    }

    /// Calls a method in the revision with a handshake.
    pub(crate) async fn ask_legacy(&self, method: &str, params: &Value) -> Response {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let headers: &[_] = if method == "initialize" { &[] } else { &[("mcp-protocol-version", LEGACY)] };
        self.post(headers, &message.to_string()).await
    }

    /// Lists the names of all tools, page by page.
    pub(crate) async fn list(&self) -> Vec<String> {
        let (mut names, mut params) = (Vec::new(), json!({}));
        loop {
            let page = self.ask("tools/list", &params).await;
            names.extend(page.tools());
            match page.result()["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return names,
            }
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value) -> Response {
        self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })).await
    }

    /// Posts a body with the headers that every client sends, and these.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &str) -> Response {
        let authorization = format!("Bearer {}", self.credential);
        let mut all = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("authorization", authorization.as_str()),
        ];
        all.extend_from_slice(headers);
        send(self.harness, "POST", &format!("/mcp/{}", self.api), &all, body).await
    }
}

/// Sends a request to the MCP server.
pub(crate) async fn send(
    harness: &Harness,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let url = format!("{}{path}", harness.system.facts().mcp.trim_end_matches("/mcp"));
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = harness.client.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    Response { status, headers, text: response.text().await.unwrap() }
}

/// The event of API Gateway for a method of the API's MCP server.
pub(crate) fn event(harness: &Harness, key: &str, source: &str, method: &str, params: &Value) -> Value {
    let message = Agent::with_credential(harness, key).message(method, params);
    let path = format!("/mcp/{API}");
    let mut event = json!({
        "version": "2.0",
        "routeKey": "POST /mcp/{name}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "mcp.example.com",
            "authorization": format!("Bearer {key}"),
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MODERN,
            "mcp-method": method,
        },
        "pathParameters": { "name": API },
        "requestContext": {
            "domainName": "mcp.example.com",
            "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": source },
            "requestId": "request-1",
            "routeKey": "POST /mcp/{name}",
            "stage": "$default",
        },
        "body": message.to_string(),
        "isBase64Encoded": false,
    });
    if let Some(name) = params["name"].as_str() {
        event["headers"]["mcp-name"] = name.into();
    }
    event
}

/// An instance of the function as on AWS, whose host is mcp.example.com.
pub(crate) struct Deployed(Router);

impl Deployed {
    pub(crate) fn new(harness: &Harness) -> Self {
        Self::without(harness, &[variable::MCP_HOSTS, variable::LOOPBACK_HOSTS])
    }

    /// An instance for which APIs can be on this machine.
    pub(crate) fn with_loopback_hosts(harness: &Harness) -> Self {
        Self::without(harness, &[variable::MCP_HOSTS])
    }

    fn without(harness: &Harness, names: &[&str]) -> Self {
        let mut setup = harness.system.setup_for("Mcp").unwrap();
        let others = setup.variables.iter().filter(|(name, _)| !names.contains(name));
        let hosts = [(variable::MCP_HOSTS, "mcp.example.com")];
        setup.variables = Variables::from_iter(others.chain(hosts).collect::<Vec<_>>());
        Self(Mcp::new(&setup).unwrap().router())
    }

    /// The response to an event of API Gateway.
    pub(crate) async fn invoke(&self, event: &Value) -> Response {
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let (parts, body) = self.0.clone().call(request).await.unwrap().into_parts();
        let headers = parts.headers.iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Response { status: parts.status.as_u16(), headers, text: String::from_utf8(body.into()).unwrap() }
    }
}

/// The document of most tests.
pub(crate) fn document() -> Value {
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } });
    let organization = json!({
        "type": "object",
        "properties": { "id": { "type": "string" }, "name": { "type": "string" } },
    });
    let ok = json!({ "200": { "description": "OK" } });
    let json_ok = json!({
        "200": { "description": "OK", "content": { "application/json": { "schema": organization } } },
    });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Teams", "version": "1" },
        "paths": {
            "/organizations": {
                "get": {
                    "operationId": "list_organizations",
                    "summary": "List organizations",
                    "parameters": [{ "name": "limit", "in": "query", "schema": { "type": "integer" } }],
                    "responses": ok,
                },
                "post": {
                    "operationId": "create_organization",
                    "summary": "Create an organization",
                    "requestBody": {
                        "required": true,
                        "content": { "application/json": { "schema": {
                            "type": "object",
                            "properties": { "name": { "type": "string" } },
                            "required": ["name"],
                        } } },
                    },
                    "responses": ok,
                },
            },
            "/organizations/{id}": {
                "parameters": [id],
                "get": {
                    "operationId": "get_organization",
                    "summary": "Get an organization",
                    "responses": json_ok,
                },
                "delete": {
                    "operationId": "delete_organization",
                    "summary": "Delete an organization",
                    "responses": ok,
                },
            },
        },
    })
}

/// Registers [`document`] as [`API`], whose operations the business API of local mode serves.
pub(crate) async fn register(harness: &Harness) {
    let base = harness.system.facts().api.clone();
    register_with(harness, &json!({ "title": "Teams", "baseUrl": base, "openapi": document() })).await;
}

/// Registers an API with this request body as [`API`].
pub(crate) async fn register_with(harness: &Harness, body: &Value) {
    let request = harness.request("PUT", &format!("/iam/v1/apis/{API}")).admin();
    let reply = request.json(body).send().await;
    assert!([200, 201].contains(&reply.status), "{reply:?}");
}
