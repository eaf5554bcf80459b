//! The permissions that a tool needs.

use serde_json::Value;

use super::Tool;
use super::parameters::Place;
use super::path::segment;
use super::template::Segment;
use super::value::text;
use crate::domain::RoutePrefix;
use crate::policy::Permission;

/// The maximum number of permissions of a tool.
const MAX_PERMISSIONS: usize = 64;

impl Tool {
    /// The permission that covers all requests of the tool. `None` only if the tool was
    /// compiled with another prefix.
    #[must_use]
    pub fn permission(&self, prefix: &RoutePrefix) -> Option<Permission> {
        self.permission_for(prefix, self.template.as_str())
    }

    /// The permissions that could allow the tool's requests: one, or one for each combination of
    /// the values that the input schema lists for variables of the path, if there are at most 64.
    #[must_use]
    pub fn permissions(&self, prefix: &RoutePrefix) -> Vec<Permission> {
        let mut paths = vec![String::new()];
        for part in self.template.segments() {
            let (variable, values) = match part {
                Segment::Literal(text) => (text.to_owned(), None),
                Segment::One(name) => (format!("{{{name}}}"), self.values(name)),
                Segment::Tail(name) => (format!("{{{name}+}}"), None),
            };
            let values = values.filter(|values| paths.len() * values.len() <= MAX_PERMISSIONS);
            let values = values.unwrap_or_else(|| vec![variable]);
            paths = paths
                .iter()
                .flat_map(|path| values.iter().map(move |value| format!("{path}/{value}")))
                .collect();
        }
        let permissions: Option<Vec<_>> =
            paths.iter().map(|path| self.permission_for(prefix, path)).collect();
        // A literal can make a permission too long.
        permissions.unwrap_or_else(|| self.permission(prefix).into_iter().collect())
    }

    fn permission_for(&self, prefix: &RoutePrefix, path: &str) -> Option<Permission> {
        Permission::parse(&format!("{} {prefix}{path}", self.method.name())).ok()
    }

    /// The segments that a variable of the path can be, if the schema lists them and a permission
    /// can contain them. Values that no path can contain are left out.
    fn values(&self, variable: &str) -> Option<Vec<String>> {
        let parameter =
            self.parameters.iter().find(|own| own.place == Place::Path && own.name == variable)?;
        let listed =
            self.input_schema.get("properties")?.get(&parameter.property)?.get("enum")?.as_array()?;
        let mut values = Vec::new();
        for value in listed.iter().filter_map(text) {
            match segment(&value) {
                Ok(escaped) if escaped == value => values.push(value),
                Ok(_) => return None,
                Err(_) => {}
            }
        }
        values.sort();
        values.dedup();
        let is_plain = listed.iter().all(|value| !matches!(value, Value::Array(_) | Value::Object(_)));
        is_plain.then_some(values)
    }
}
