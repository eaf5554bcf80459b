//! The parameters of an operation.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::body::media_types;
use super::headers::{is_allowed_header, is_ignored_header};
use super::schema::Tree;
use super::template::Template;
use super::text::{clean, identifier};
use crate::openapi::{Document, DocumentError, Located, Operation};

/// The maximum number of parameters of an operation.
const MAX_PARAMETERS: usize = 100;
/// The maximum length of a property's name, in characters.
const MAX_PROPERTY_CHARS: usize = 64;
/// The property of the arguments that is the request body.
pub const BODY: &str = "body";

/// Where a property of the arguments goes in the request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Parameter {
    /// The name in the input schema.
    pub(super) property: String,
    /// The name in the request.
    pub(super) name: String,
    pub(super) place: Place,
}

/// The part of the request that contains a parameter, and how the parameter is written there
/// (<https://spec.openapis.org/oas/v3.1.1.html#style-values>).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Place {
    /// Arrays are joined with commas.
    Path,
    /// Arrays are joined with commas.
    Header,
    /// Arrays repeat the parameter, and the properties of objects are parameters.
    Query,
    /// Arrays and objects are joined with commas.
    QueryCommas,
    /// Arrays are joined with spaces.
    QuerySpaces,
    /// Arrays are joined with `|`.
    QueryPipes,
    /// The properties of an object are parameters such as `filter[name]`.
    QueryDeepObject,
    /// The value is JSON.
    QueryJson,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Header => "header",
            Self::Query
            | Self::QueryCommas
            | Self::QuerySpaces
            | Self::QueryPipes
            | Self::QueryDeepObject
            | Self::QueryJson => "query",
        }
    }
}

/// Why an operation is not a tool.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// The document is not valid.
    Invalid(Vec<DocumentError>),
    /// Tools do not support what the operation needs. The reason, as a sentence.
    Unsupported(String),
}

impl From<DocumentError> for Obstacle {
    fn from(error: DocumentError) -> Self {
        Self::Invalid(vec![error])
    }
}

/// A parameter as the document declares it.
pub(super) struct Declared<'a> {
    pub(super) parameter: Parameter,
    pub(super) is_required: bool,
    description: Option<&'a str>,
    /// `None` if any text is allowed.
    schema: Option<Located<'a>>,
}

impl<'a> Declared<'a> {
    /// Adds the parameter to the input schema.
    pub(super) fn add_to(&self, tree: &mut Tree<'a, '_>) {
        match &self.schema {
            Some(schema) => tree.add_property(&self.parameter.property, schema.clone(), self.description),
            None => tree.add_text_property(&self.parameter.property, self.description),
        }
    }
}

/// Reads the parameters of an operation that tools have: those of the path first, and then the
/// others in the order of the document. An optional parameter that cannot be sent is left out.
///
/// # Errors
/// A parameter is not valid, or is required and cannot be sent.
pub(super) fn declared<'a>(
    document: &'a Document,
    operation: &Operation<'a>,
    template: &Template,
) -> Result<Vec<Declared<'a>>, Obstacle> {
    let sources = sources(document, operation)?;
    let mut properties = HashSet::from([BODY.to_owned()]);
    let mut all = Vec::new();
    // A document can leave out the parameters of the path.
    for variable in template.variables() {
        let source = sources
            .iter()
            .find(|(name, place, _)| *place == "path" && template.variable_for(name) == Some(variable));
        let schema = match source {
            Some((_, _, source)) => path_schema(document, source, variable)?,
            None => None,
        };
        let description = source.and_then(|(_, _, source)| source.text("description"));
        let property = property(&mut properties, variable, Place::Path);
        let parameter = Parameter { property, name: variable.to_owned(), place: Place::Path };
        all.push(Declared { parameter, is_required: true, description, schema });
    }
    let mut headers = HashSet::new();
    for (name, place, source) in &sources {
        let is_required = source.is_set("required");
        if *place == "header" && is_ignored_header(name) {
            continue;
        }
        let supported = match *place {
            // Parameters of the path that the path does not have cannot be sent.
            "path" => continue,
            "query" => query_place(source),
            // Names of headers are not case-sensitive.
            "header" if !headers.insert(name.to_ascii_lowercase()) => continue,
            "header" => header_place(name, source),
            _ => None,
        };
        let Some((place, schema)) = supported else {
            if is_required {
                let name = clean(name, MAX_PROPERTY_CHARS).unwrap_or_default();
                return Err(Obstacle::Unsupported(format!(
                    "Tools cannot send the required parameter {name}."
                )));
            }
            continue;
        };
        let property = property(&mut properties, name, place);
        let parameter = Parameter { property, name: (*name).to_owned(), place };
        all.push(Declared { parameter, is_required, description: source.text("description"), schema });
    }
    Ok(all)
}

/// The parameters with their names and the parts of the request that contain them (`in`). A
/// parameter of the operation replaces one of the path item.
fn sources<'a>(
    document: &'a Document,
    operation: &Operation<'a>,
) -> Result<Vec<(&'a str, &'a str, Located<'a>)>, Obstacle> {
    let own = operation.object.as_ref().ok().and_then(|object| object.member("parameters"));
    let lists: Vec<_> = [operation.shared_parameters.clone(), own].into_iter().flatten().collect();
    let mut sources: Vec<(&str, &str, Located<'_>)> = Vec::new();
    for list in lists {
        let Some(items) = list.value.as_array() else {
            return Err(list.error("must be an array of parameters").into());
        };
        if items.len() > MAX_PARAMETERS {
            return Err(Obstacle::Unsupported(format!("Tools have at most {MAX_PARAMETERS} parameters.")));
        }
        for item in list.items() {
            let source = document.resolve(item)?;
            let (Some(name), Some(place)) = (source.text("name"), source.text("in")) else {
                return Err(source.error("must be a parameter with the strings `name` and `in`").into());
            };
            if !["path", "query", "header", "cookie"].contains(&place) {
                let place = source.member("in").unwrap_or(source);
                return Err(place.error("must be path, query, header or cookie").into());
            }
            match sources.iter_mut().find(|(other, position, _)| (*other, *position) == (name, place)) {
                Some(same) => *same = (name, place, source),
                None => sources.push((name, place, source)),
            }
        }
    }
    Ok(sources)
}

fn path_schema<'a>(
    document: &'a Document,
    source: &Located<'a>,
    variable: &str,
) -> Result<Option<Located<'a>>, Obstacle> {
    let schema = source.member("schema");
    let is_simple =
        source.text("style").is_none_or(|style| style == "simple") && source.member("content").is_none();
    let is_object = match &schema {
        Some(schema) => document.resolve(schema.clone())?.text("type") == Some("object"),
        None => false,
    };
    if is_object || !is_simple {
        return Err(Obstacle::Unsupported(format!(
            "Tools cannot send the path parameter {variable}, because of its style or type."
        )));
    }
    Ok(schema)
}

type PlaceAndSchema<'a> = Option<(Place, Option<Located<'a>>)>;

fn query_place<'a>(source: &Located<'a>) -> PlaceAndSchema<'a> {
    if let Some(content) = source.member("content") {
        let (_, media) = media_types(&content).into_iter().find(|(name, _)| name == "application/json")?;
        return Some((Place::QueryJson, media.member("schema")));
    }
    let style = source.text("style").unwrap_or("form");
    let explode = source.value.get("explode").and_then(serde_json::Value::as_bool);
    let place = match style {
        "form" if explode != Some(false) => Place::Query,
        "form" => Place::QueryCommas,
        "spaceDelimited" | "pipeDelimited" if explode == Some(true) => Place::Query,
        "spaceDelimited" => Place::QuerySpaces,
        "pipeDelimited" => Place::QueryPipes,
        "deepObject" => Place::QueryDeepObject,
        _ => return None,
    };
    Some((place, source.member("schema")))
}

fn header_place<'a>(name: &str, source: &Located<'a>) -> PlaceAndSchema<'a> {
    let is_simple =
        source.text("style").is_none_or(|style| style == "simple") && source.member("content").is_none();
    (is_simple && is_allowed_header(name)).then(|| (Place::Header, source.member("schema")))
}

/// The media type without its parameters, in lower case (RFC 9110, section 8.3.1).
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A name for a property that no other property has. Models accept only letters, digits and
/// `_.-`.
fn property(taken: &mut HashSet<String>, name: &str, place: Place) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let base = if !name.is_empty() && name.len() <= MAX_PROPERTY_CHARS && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        identifier(name, MAX_PROPERTY_CHARS, is_plain).unwrap_or_else(|| "parameter".to_owned())
    };
    let with_suffix = |suffix: &str| {
        let kept = base.len().min(MAX_PROPERTY_CHARS.saturating_sub(suffix.len() + 1));
        format!("{}_{suffix}", base.get(..kept).unwrap_or_default())
    };
    let mut unique = base.clone();
    let mut number = 1;
    while !taken.insert(unique.clone()) {
        unique = if number == 1 { with_suffix(place.name()) } else { with_suffix(&number.to_string()) };
        number += 1;
    }
    unique
}
