//! The tools of protected APIs, and the roles that can call them.

use serde::{Deserialize, Serialize};
use shared::api::ToolSummary;
use shared::policy::{Permission, Role, can_permit};

use crate::view::role_chooser::RoleChoice;

/// How many pairs of a tool and a role's permission are compared for one page. More would take
/// too long.
const MAX_COMPARISONS: usize = 500_000;

/// A tool, and the permissions for its calls.
pub(crate) struct Tool {
    pub(crate) summary: ToolSummary,
    /// The permission for all calls. `None` if the API's permission cannot be read.
    wanted: Option<Permission>,
    /// The permissions of which one is enough to see the tool.
    enough: Vec<Permission>,
}

impl Tool {
    pub(crate) fn all(summaries: Vec<ToolSummary>) -> Vec<Self> {
        let parse = |text: &String| Permission::parse(text).ok();
        let tool = |summary: ToolSummary| {
            let wanted = parse(&summary.permission);
            let enough: Vec<_> = summary.narrower_permissions.iter().filter_map(parse).collect();
            let enough = if enough.is_empty() { wanted.clone().into_iter().collect() } else { enough };
            Self { summary, wanted, enough }
        };
        summaries.into_iter().map(tool).collect()
    }

    /// Whether all `roles` together permit a call of the tool.
    pub(crate) fn is_permitted_by(&self, roles: &[&Role]) -> bool {
        self.enough.iter().any(|wanted| can_permit(roles, wanted))
    }

    pub(crate) fn wanted(&self) -> Option<&Permission> {
        self.wanted.as_ref()
    }

    /// The first line of the description. Empty if the title or the request says the same.
    pub(crate) fn description(&self) -> &str {
        let ToolSummary { title, description, method, path, .. } = &self.summary;
        let first = description.lines().next().unwrap_or_default();
        let is_request = first.strip_prefix(method.as_str()).is_some_and(|rest| rest.trim() == path);
        if is_request || title.as_deref() == Some(first) { "" } else { first }
    }

    /// The CSS class and the label of what a call can do.
    pub(crate) fn effect(&self) -> (&'static str, &'static str) {
        match (self.summary.read_only, self.summary.destructive) {
            (true, _) => ("good", "Read-only"),
            (false, true) => ("warn", "Overwrites or deletes"),
            (false, false) => ("", "Adds or changes"),
        }
    }
}

/// The filters of a list of tools.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct ToolFilter {
    /// A part of the name, the title, the description or the permission.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) find: String,
    /// `read`, `write` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) effect: String,
    /// The name of a role that can call the tools.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) role: String,
}

impl ToolFilter {
    /// Whether the list has filters.
    pub(crate) fn is_set(&self) -> bool {
        let Self { find, effect, role } = self;
        [find, effect, role].iter().any(|value| !value.trim().is_empty())
    }

    /// Whether the filters other than the role list `tool`.
    pub(crate) fn lists(&self, tool: &Tool) -> bool {
        let ToolSummary { name, title, description, permission, .. } = &tool.summary;
        let find = self.find.trim().to_lowercase();
        let mut texts = [name, description, permission].into_iter().chain(title);
        let has_effect = match self.effect.as_str() {
            "read" => tool.summary.read_only,
            "write" => !tool.summary.read_only,
            _ => true,
        };
        has_effect && texts.any(|text| text.to_lowercase().contains(&find))
    }
}

/// A role, and whether it can call each tool of an API.
pub(crate) struct ToolAccess {
    pub(crate) role: String,
    /// In the order of the tools.
    pub(crate) can_call: Vec<bool>,
}

impl ToolAccess {
    /// Checks `roles` in their order, until the checks would take too long. Returns also whether
    /// all roles were checked.
    pub(crate) fn check(roles: &[RoleChoice], tools: &[Tool]) -> (Vec<Self>, bool) {
        let mut left = MAX_COMPARISONS;
        let permissions: usize = tools.iter().map(|tool| tool.enough.len()).sum();
        let mut checked = Vec::new();
        for choice in roles {
            let Some(role) = policy_role(choice) else { continue };
            match left.checked_sub(role.permissions.len().saturating_mul(permissions)) {
                Some(rest) => left = rest,
                None => return (checked, false),
            }
            let can_call = tools.iter().map(|tool| tool.is_permitted_by(&[&role])).collect();
            checked.push(Self { role: choice.name.clone(), can_call });
        }
        (checked, true)
    }

    /// How many tools the role can call.
    pub(crate) fn count(&self) -> usize {
        self.can_call.iter().filter(|can_call| **can_call).count()
    }

    pub(crate) fn can_call(&self, position: usize) -> bool {
        self.can_call.get(position).copied().unwrap_or_default()
    }
}

/// The role as policies have it.
pub(crate) fn policy_role(choice: &RoleChoice) -> Option<Role> {
    let permissions = choice.permissions.iter().filter_map(|text| Permission::parse(text).ok()).collect();
    Some(Role { name: choice.name.parse().ok()?, permissions })
}
