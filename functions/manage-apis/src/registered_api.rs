//! Converts protected APIs to responses.

use shared::api::{ApiSettings, RegisteredApi, SkippedOperation, ToolSummary};
use shared::domain::RoutePrefix;
use shared::policy::Permission;
use shared::store::{ApiWithTools, StoredApi};
use shared::tools::Tool;

pub(crate) fn registered_api(found: ApiWithTools) -> RegisteredApi {
    let ApiWithTools { api, tools, skipped } = found;
    let skipped = skipped
        .into_iter()
        .map(|skipped| SkippedOperation { pointer: skipped.pointer, reason: skipped.reason });
    RegisteredApi {
        tools: summaries(&tools, &api.choices.route_prefix),
        skipped: skipped.collect(),
        settings: settings(api),
    }
}

pub(crate) fn summaries(tools: &[Tool], prefix: &RoutePrefix) -> Vec<ToolSummary> {
    let summary = |tool: &Tool| ToolSummary {
        name: tool.name.to_string(),
        title: tool.title.clone(),
        description: tool.description.clone(),
        method: tool.method.name().to_owned(),
        path: tool.template.to_string(),
        // Every tool that was compiled has one.
        permission: tool.permission(prefix).map(|permission| permission.to_string()).unwrap_or_default(),
        narrower_permissions: narrower_permissions(tool, prefix),
        read_only: tool.hints.read_only,
        destructive: tool.hints.destructive,
        idempotent: tool.hints.idempotent,
    };
    tools.iter().map(summary).collect()
}

/// The permissions for the listed values of the path. Empty if no values are listed.
fn narrower_permissions(tool: &Tool, prefix: &RoutePrefix) -> Vec<String> {
    let whole = tool.permission(prefix);
    let permissions = tool.permissions(prefix).into_iter();
    permissions.filter(|permission| whole.as_ref() != Some(permission)).map(|p| p.to_string()).collect()
}

pub(crate) fn settings(api: StoredApi) -> ApiSettings {
    let StoredApi { name, choices, content, created_at, created_by, updated_at, updated_by, .. } = api;
    let texts = |permissions: Vec<Permission>| permissions.iter().map(ToString::to_string).collect();
    ApiSettings {
        name,
        title: choices.title.to_string(),
        base_url: choices.base_url.to_string(),
        api_id: choices.api_id,
        route_prefix: choices.route_prefix.to_string(),
        include: choices.include.map(texts),
        exclude: texts(choices.exclude),
        confirmation: choices.confirmation,
        document_sha256: content.document_sha256,
        document_title: content.document_title,
        document_version: content.document_version,
        tool_count: content.tool_count,
        skipped_count: content.skipped_count,
        created_at,
        created_by,
        updated_at,
        updated_by,
    }
}
