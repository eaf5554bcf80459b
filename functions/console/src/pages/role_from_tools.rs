//! `POST /apis/{name}/role`: opens the form of a role with the permissions for tools of an API.
//! Saves nothing.

use axum::extract::Path;
use serde::Deserialize;
use shared::domain::{ApiName, RoleName};
use shared::policy::{Permission, permissions_for};

use super::{edit_role, import_permissions, protected_api, role};
use crate::auth::session::Posted;
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::tools::{Tool, ToolFilter};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The names of the selected tools.
    tool: Vec<String>,
    /// The custom role to which the permissions are added.
    extended: String,
    /// The pressed button: `create` or `add`, or `all` for a role from all tools that the filter
    /// lists.
    button: String,
    find: String,
    effect: String,
    role: String,
}

pub(super) async fn submit(Path(name): Path<ApiName>, Posted(session, form): Posted<Form>) -> PageResult {
    let Form { tool: selected, extended, button, find, effect, role } = form;
    let filter = ToolFilter { find, effect, role };
    let (api, _) = session.api().protected_api_with_version(&name).await?;
    let is_chosen = |tool: &Tool| match button.as_str() {
        "all" => filter.lists(tool),
        _ => selected.contains(&tool.summary.name),
    };
    let tools = Tool::all(api.tools);
    let wanted: Vec<_> =
        tools.iter().filter(|tool| is_chosen(tool)).filter_map(Tool::wanted).cloned().collect();
    if wanted.is_empty() {
        let errors =
            FormErrors::refused("No tool is selected", "Select the tools that the role should permit.");
        return protected_api::show_again(&session, &name, filter, errors).await;
    }
    let permissions: Vec<_> = permissions_for(wanted).iter().map(Permission::to_string).collect();
    if button != "add" {
        let form = edit_role::Form {
            description: format!("Tools of {}", api.settings.title),
            permissions: permissions.join("\n"),
            ..edit_role::Form::default()
        };
        return edit_role::show_imported(&session, None, form);
    }
    let Ok(extended) = RoleName::parse(&extended) else {
        let errors = FormErrors::refused("No role is selected", "Select the role to which to add the tools.");
        return protected_api::show_again(&session, &name, filter, errors).await;
    };
    let (role, version) = role::custom(&session, &extended).await?;
    let form = edit_role::Form {
        name: role.name.to_string(),
        version,
        description: role.description,
        permissions: import_permissions::merge(&role.permissions.join("\n"), &permissions),
        ..edit_role::Form::default()
    };
    edit_role::show_imported(&session, Some(extended), form)
}
