//! Compiles a document into tools.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::name::Names;
use super::parameters::{BODY, Obstacle};
use super::patterns::{Patterns, check_schema};
use super::schema::{Direction, Tree};
use super::template::Segment;
use super::text::clean;
use super::{Hints, JsonObject, Template, Tool, ToolName, body, output, parameters};
use crate::domain::RoutePrefix;
use crate::openapi::{Document, DocumentError, Operation};
use crate::policy::{Method, Permission};

const MAX_TITLE_CHARS: usize = 100;
const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// The maximum size of the tools of a document, as JSON in bytes.
const MAX_TOOLS_BYTES: usize = 4_000_000;
/// The maximum number of errors in a document that are listed.
const MAX_ERRORS: usize = 20;
/// With more tools than this, none has an output schema: most of the bytes of tools are output
/// schemas, and agents read all of them.
const MAX_WITH_OUTPUT: usize = 60;

/// Which operations become tools.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Only operations whose requests one of these permissions covers. `None` for all operations.
    pub include: Option<&'a [Permission]>,
    /// No operations whose requests one of these permissions covers.
    pub exclude: &'a [Permission],
    /// What permissions have before the paths of the document.
    pub route_prefix: &'a RoutePrefix,
}

impl Selection<'_> {
    fn selects(&self, permission: &Permission) -> bool {
        let covers = |selected: &Permission| {
            let has_method = permission.methods().all(|method| selected.methods().any(|own| own == method));
            has_method && selected.covers_paths_of(permission)
        };
        self.include.is_none_or(|include| include.iter().any(covers)) && !self.exclude.iter().any(covers)
    }
}

/// The tools of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// In the order of their paths, and then of their methods.
    pub tools: Vec<Tool>,
    pub skipped: Vec<Skipped>,
}

/// A selected operation that is not a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The position in the document, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The reason, as a sentence.
    pub reason: String,
}

/// Compiles the selected operations of a document.
///
/// # Errors
/// What is wrong with the document: at most 20 errors.
pub fn compile(document: &Document, selection: &Selection<'_>) -> Result<Compiled, Vec<DocumentError>> {
    let mut compiler = Compiler {
        document,
        selection,
        names: Names::new(),
        patterns: Patterns::default(),
        routes: HashSet::new(),
    };
    let mut operations: Vec<_> = document.operations().collect();
    operations.sort_by_key(|operation| operation.path);
    let (mut tools, mut skipped, mut errors, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for operation in operations {
        match compiler.tool(&operation) {
            Ok(Some(tool)) => {
                bytes += size(&tool);
                tools.push((operation, tool));
            }
            Ok(None) => {}
            Err(Obstacle::Unsupported(reason)) => {
                skipped.push(Skipped { pointer: operation.pointer, reason });
            }
            // Operations with the same path share its parameters, and so their errors.
            Err(Obstacle::Invalid(found)) => {
                errors.extend(found.into_iter().filter(|error| !errors.contains(error)).collect::<Vec<_>>());
            }
        }
        if errors.len() >= MAX_ERRORS || bytes > MAX_TOOLS_BYTES {
            break;
        }
    }
    if tools.len() <= MAX_WITH_OUTPUT && errors.is_empty() {
        for (operation, tool) in &mut tools {
            match compiler.output(operation) {
                Ok(schema) => tool.output_schema = schema,
                Err(found) => errors.extend(found),
            }
        }
    }
    if bytes > MAX_TOOLS_BYTES && errors.is_empty() {
        let detail = "has operations whose tools are too large in total. Select fewer operations with `include` or `exclude`";
        errors.push(DocumentError { pointer: "/paths".to_owned(), detail: detail.to_owned() });
    }
    errors.truncate(MAX_ERRORS);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Compiled { tools: tools.into_iter().map(|(_, tool)| tool).collect(), skipped })
}

struct Compiler<'c, 'a> {
    document: &'a Document,
    selection: &'c Selection<'c>,
    names: Names,
    patterns: Patterns,
    /// The methods and paths of the tools so far, without the names of variables.
    routes: HashSet<String>,
}

impl<'a> Compiler<'_, 'a> {
    /// The tool of an operation. `None` if the operation is not selected.
    fn tool(&mut self, operation: &Operation<'a>) -> Result<Option<Tool>, Obstacle> {
        // Operations that are not selected have names too, so a name does not change with the
        // selection.
        let id = operation.object.as_ref().ok().and_then(|object| object.text("operationId"));
        let name = self.names.add(id, operation.method, operation.path);
        let route = match self.route(operation) {
            Ok(Some(route)) => route,
            Ok(None) => return Ok(None),
            // Nothing says that the admin wants this operation.
            Err(Obstacle::Unsupported(_)) if self.selection.include.is_some() => return Ok(None),
            Err(obstacle) => return Err(obstacle),
        };
        let (method, template) = route;
        let key = template.segments().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::One(_) => "/{}".to_owned(),
            Segment::Tail(_) => "/{+}".to_owned(),
        });
        if !self.routes.insert(format!("{} {}", method.name(), key.collect::<String>())) {
            let reason = "Another operation has the same method and path.";
            return Err(Obstacle::Unsupported(reason.to_owned()));
        }
        self.described(operation, name, method, template).map(Some)
    }

    /// The method and path of an operation that is selected and that permissions can permit.
    fn route(&self, operation: &Operation<'a>) -> Result<Option<(Method, Template)>, Obstacle> {
        let template = Template::from_document(operation.path)
            .map_err(|error| Obstacle::Unsupported(format!("The path {error}.")))?;
        let unsupported =
            |error: &dyn std::fmt::Display| Obstacle::Unsupported(format!("The permission {error}."));
        let method = Method::parse(operation.method);
        let methods = method.map_or("ANY", Method::name);
        let permission = Permission::parse(&format!("{methods} {}{template}", self.selection.route_prefix))
            .map_err(|error| unsupported(&error))?;
        if !self.selection.selects(&permission) {
            return Ok(None);
        }
        if let Err(error) = &operation.object {
            return Err(error.clone().into());
        }
        permission.check_reachable().map_err(|error| unsupported(&error))?;
        let method = method.map_err(|_| {
            Obstacle::Unsupported(format!("Tools cannot use the method {}.", operation.method))
        })?;
        Ok(Some((method, template)))
    }

    fn described(
        &mut self,
        operation: &Operation<'a>,
        name: ToolName,
        method: Method,
        template: Template,
    ) -> Result<Tool, Obstacle> {
        let declared = parameters::declared(self.document, operation, &template)?;
        let body = body::declared(self.document, operation, method)?;
        let mut root = JsonObject::new();
        root.insert("type".to_owned(), json!("object"));
        root.insert("properties".to_owned(), json!({}));
        root.insert("additionalProperties".to_owned(), json!(false));
        let required = declared.iter().filter(|declared| declared.is_required);
        let mut required: Vec<_> = required.map(|declared| declared.parameter.property.clone()).collect();
        required.extend(body.as_ref().filter(|body| body.is_required).map(|_| BODY.to_owned()));
        if !required.is_empty() {
            root.insert("required".to_owned(), Value::from(required));
        }
        let mut tree = Tree::new(self.document, Direction::Input, &mut self.patterns, root);
        for declared in &declared {
            declared.add_to(&mut tree);
        }
        if let Some(body) = &body {
            body.add_to(&mut tree);
        }
        let input_schema = tree.finish().map_err(Obstacle::Invalid)?;
        check(operation, &input_schema)?;
        let (title, description) = texts(operation, &format!("{} {template}", method.name()));
        Ok(Tool {
            name,
            title,
            description,
            method,
            template,
            input_schema,
            output_schema: None,
            hints: Hints::new(method),
            parameters: declared.into_iter().map(|declared| declared.parameter).collect(),
            body: body.map(|body| body.body),
            validator: super::CachedValidator::default(),
        })
    }

    fn output(&mut self, operation: &Operation<'a>) -> Result<Option<JsonObject>, Vec<DocumentError>> {
        let schema = output::schema(self.document, operation, &mut self.patterns)?;
        if let Some(schema) = &schema {
            check(operation, schema).map_err(|error| vec![error])?;
        }
        Ok(schema)
    }
}

/// The title and the description, which ends with the method and path.
fn texts(operation: &Operation<'_>, route: &str) -> (Option<String>, String) {
    let object = operation.object.as_ref().ok();
    let text = |member| object.and_then(|object| object.text(member));
    let title = text("summary").and_then(|text| clean(text, MAX_TITLE_CHARS));
    let most = MAX_DESCRIPTION_CHARS.saturating_sub(route.len() + 20);
    let mut lines = Vec::new();
    lines.extend(object.filter(|object| object.is_set("deprecated")).map(|_| "Deprecated.".to_owned()));
    lines.extend(text("description").or_else(|| text("summary")).and_then(|text| clean(text, most)));
    lines.push(route.to_owned());
    (title, lines.join("\n"))
}

/// Checks that clients and Keyward can use a schema.
fn check(operation: &Operation<'_>, schema: &JsonObject) -> Result<(), DocumentError> {
    let error = |error: jsonschema::ValidationError<'_>| DocumentError {
        pointer: operation.pointer.clone(),
        detail: format!("has a schema that cannot be used: {}", error.masked()),
    };
    check_schema(schema).map_err(error)
}

/// The length of a tool as JSON, in bytes.
fn size(tool: &Tool) -> usize {
    serde_json::to_string(tool).map_or(MAX_TOOLS_BYTES, |text| text.len())
}
