//! Tools in the form in which agents see them.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};

use crate::catalog::ApiTool;

/// The published form of a tool.
pub(crate) fn publish(tool: &ApiTool) -> Tool {
    let tool = &tool.tool;
    let mut published = Tool::new(
        tool.name.as_str().to_owned(),
        tool.description.clone(),
        Arc::new(tool.input_schema.clone()),
    );
    published.title.clone_from(&tool.title);
    published.output_schema = tool.output_schema.clone().map(Arc::new);
    let hints = tool.hints;
    let mut annotations = ToolAnnotations::new().read_only(hints.read_only).open_world(false);
    if !hints.read_only {
        annotations = annotations.destructive(hints.destructive).idempotent(hints.idempotent);
    }
    published.annotations = Some(annotations);
    published
}
