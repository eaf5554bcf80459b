//! The request body of an operation.

use serde::{Deserialize, Serialize};

use super::parameters::{BODY, Obstacle, essence};
use super::schema::Tree;
use crate::openapi::{Document, Located, Operation};
use crate::policy::Method;

/// The maximum number of media types that are looked at.
const MAX_MEDIA_TYPES: usize = 50;

/// The maximum length of a media type with its parameters, in bytes. Longer ones are ignored, because
/// the JSON pointer to each part of the schema contains the media type.
const MAX_MEDIA_TYPE_BYTES: usize = 200;

/// The body of a tool's requests.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Body {
    pub(super) content_type: String,
    pub(super) form: BodyForm,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum BodyForm {
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
    Text,
}

/// A body as the document declares it.
pub(super) struct DeclaredBody<'a> {
    pub(super) body: Body,
    pub(super) is_required: bool,
    description: Option<&'a str>,
    schema: Option<Located<'a>>,
}

impl<'a> DeclaredBody<'a> {
    /// Adds the body to the input schema.
    pub(super) fn add_to(&self, tree: &mut Tree<'a, '_>) {
        match (&self.schema, self.body.form) {
            (Some(schema), BodyForm::Json | BodyForm::Form) => {
                tree.add_property(BODY, schema.clone(), self.description);
            }
            (None, BodyForm::Json | BodyForm::Form) => tree.add_any_property(BODY, self.description),
            (_, BodyForm::Text) => tree.add_text_property(BODY, self.description),
        }
    }
}

/// Reads the body of an operation. `None` if the operation has none.
///
/// # Errors
/// The body is not valid, or tools cannot send it.
pub(super) fn declared<'a>(
    document: &'a Document,
    operation: &Operation<'a>,
    method: Method,
) -> Result<Option<DeclaredBody<'a>>, Obstacle> {
    let source = operation.object.as_ref().ok().and_then(|object| object.member("requestBody"));
    let Some(source) = source else { return Ok(None) };
    let source = document.resolve(source)?;
    let is_required = source.is_set("required");
    // Such a body has no defined meaning (RFC 9110, section 9.3).
    if matches!(method, Method::Get | Method::Head | Method::Options) {
        return if is_required {
            Err(Obstacle::Unsupported(format!("A tool cannot send a body in a {} request.", method.name())))
        } else {
            Ok(None)
        };
    }
    let media: Vec<_> =
        source.member("content").into_iter().flat_map(|content| media_types(&content)).collect();
    let Some((body, media)) = BodyForm::ALL.into_iter().find_map(|form| supported(form, &media)) else {
        let reason = "Tools can only send bodies that are JSON, URL-encoded forms or plain text.";
        return Err(Obstacle::Unsupported(reason.to_owned()));
    };
    let description = source.text("description");
    Ok(Some(DeclaredBody { body, is_required, description, schema: media.member("schema") }))
}

/// The media types of a `content` object, without their parameters and in lower case.
pub(super) fn media_types<'a>(content: &Located<'a>) -> Vec<(String, Located<'a>)> {
    let members = content.members().filter(|(name, _)| name.len() <= MAX_MEDIA_TYPE_BYTES);
    members.take(MAX_MEDIA_TYPES).map(|(name, media)| (essence(name), media)).collect()
}

impl BodyForm {
    /// In the order of preference.
    const ALL: [Self; 3] = [Self::Json, Self::Form, Self::Text];
}

/// The first of the media types that has this form.
fn supported<'a>(form: BodyForm, media: &[(String, Located<'a>)]) -> Option<(Body, Located<'a>)> {
    let find = |is_form: &dyn Fn(&str) -> bool| media.iter().find(|(name, _)| is_form(name));
    let (name, media) = match form {
        BodyForm::Json => find(&|name| name == "application/json").or_else(|| find(&is_json))?,
        BodyForm::Form => find(&|name| name == "application/x-www-form-urlencoded")?,
        BodyForm::Text => find(&|name| name == "text/plain")?,
    };
    let content_type = match &**name {
        "*/*" | "application/*" => "application/json".to_owned(),
        "text/plain" => "text/plain; charset=utf-8".to_owned(),
        name => name.to_owned(),
    };
    Some((Body { content_type, form }, media.clone()))
}

/// Whether values of a media type are JSON: `application/json`, types that end in `+json`, and
/// ranges that contain JSON.
pub(super) fn is_json(essence: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    let is_structured = essence.ends_with("+json")
        && essence.len() <= 100
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    matches!(essence, "application/json" | "*/*" | "application/*") || is_structured
}
