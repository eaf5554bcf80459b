//! Converts the schemas of a document to JSON Schema 2020-12 without references.
//!
//! Clients differ in what they support, and a document can contain cycles and schemas that
//! double at each level. So the result is a finite tree of a bounded size, with known keywords
//! only. Where the tree ends, every value of the right type is valid: a call is refused only for
//! what the document says, and the API itself checks the rest.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::JsonObject;
use super::keywords::{Keywords, has_at_most, types};
use super::patterns::Patterns;
use super::text::clean;
use crate::openapi::{Document, DocumentError, Located, Version};

/// The maximum number of schemas in a tree.
const MAX_SCHEMAS: usize = 1_000;
/// The maximum depth of a tree, including references.
const MAX_DEPTH: usize = 24;
/// The maximum length of a tree as JSON, in bytes.
const MAX_BYTES: usize = 24_000;
/// What a schema without keywords takes in the tree, apart from its name: its type, quotes and a
/// comma, in bytes.
const BARE_BYTES: usize = 24;
/// The maximum number of members of a reference that are looked at to find keywords.
const MAX_ANNOTATIONS: usize = 50;
pub(super) const MAX_DESCRIPTION_CHARS: usize = 300;

/// The side on which a schema describes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Requests, which do not contain `readOnly` properties.
    Input,
    /// Responses, which do not contain `writeOnly` properties.
    Output,
}

/// A tree of schemas that is being built, breadth first, so that what is cut is deep in the tree.
pub(super) struct Tree<'a, 'p> {
    document: &'a Document,
    direction: Direction,
    patterns: &'p mut Patterns,
    /// Patterns in this tree.
    pattern_count: usize,
    nodes: Vec<Node>,
    queue: VecDeque<Job<'a>>,
    /// What is left of [`MAX_BYTES`].
    bytes: usize,
    errors: Vec<DocumentError>,
}

/// A schema of the tree.
#[derive(Default)]
struct Node {
    /// The schema without the schemas that it contains.
    schema: Value,
    /// The schemas that it contains.
    children: Vec<(Slot, usize)>,
    /// Whether null is valid too.
    or_null: bool,
}

/// Where a schema contains another one.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// The value of a keyword.
    Keyword(&'static str),
    /// A member of the object that is the value of a keyword.
    Member(&'static str, String),
    /// The next item of the array that is the value of a keyword.
    Item(&'static str),
}

impl Slot {
    fn bytes(&self) -> usize {
        BARE_BYTES
            + match self {
                Self::Keyword(name) | Self::Item(name) => name.len(),
                Self::Member(_, name) => name.len(),
            }
    }
}

/// A schema of the document that is not converted yet.
struct Job<'a> {
    node: usize,
    source: Located<'a>,
    depth: usize,
    /// The description, if not the schema's own.
    description: Option<&'a str>,
    trail: Option<Rc<Trail>>,
}

/// The references that lead to a schema, the last one first.
struct Trail {
    pointer: String,
    before: Option<Rc<Trail>>,
}

impl Trail {
    fn contains(trail: Option<&Rc<Self>>, pointer: &str) -> bool {
        let mut next = trail;
        while let Some(trail) = next {
            if trail.pointer == pointer {
                return true;
            }
            next = trail.before.as_ref();
        }
        false
    }
}

impl<'a, 'p> Tree<'a, 'p> {
    /// A tree whose root has these keywords.
    pub(super) fn new(
        document: &'a Document,
        direction: Direction,
        patterns: &'p mut Patterns,
        root: JsonObject,
    ) -> Self {
        let node = Node { schema: Value::Object(root), ..Node::default() };
        let (nodes, queue, errors) = (vec![node], VecDeque::new(), Vec::new());
        Self { document, direction, patterns, pattern_count: 0, nodes, queue, bytes: MAX_BYTES, errors }
    }

    /// Adds a property of the root. Its description replaces that of the schema.
    pub(super) fn add_property(&mut self, name: &str, source: Located<'a>, description: Option<&'a str>) {
        let child = self.add_child(0, Slot::Member("properties", name.to_owned()));
        self.queue.push_back(Job { node: child, source, depth: 1, description, trail: None });
    }

    /// Adds a property of the root that can be any text.
    pub(super) fn add_text_property(&mut self, name: &str, description: Option<&str>) {
        self.add_plain_property(name, json!({ "type": "string" }), description);
    }

    /// Adds a property of the root that can be any value.
    pub(super) fn add_any_property(&mut self, name: &str, description: Option<&str>) {
        self.add_plain_property(name, json!({}), description);
    }

    fn add_plain_property(&mut self, name: &str, mut schema: Value, description: Option<&str>) {
        let child = self.add_child(0, Slot::Member("properties", name.to_owned()));
        if let Some(description) = description.and_then(|text| clean(text, MAX_DESCRIPTION_CHARS))
            && self.spend(description.len() + BARE_BYTES)
            && let Some(schema) = schema.as_object_mut()
        {
            schema.insert("description".to_owned(), Value::String(description));
        }
        if let Some(node) = self.nodes.get_mut(child) {
            node.schema = schema;
        }
    }

    /// Makes the schema of the document a part of the root's `anyOf`.
    pub(super) fn add_alternative(&mut self, source: Located<'a>) {
        let child = self.add_child(0, Slot::Item("anyOf"));
        self.queue.push_back(Job { node: child, source, depth: 1, description: None, trail: None });
    }

    /// Converts the schemas.
    ///
    /// # Errors
    /// What is wrong with the schemas.
    pub(super) fn finish(mut self) -> Result<JsonObject, Vec<DocumentError>> {
        while let Some(job) = self.queue.pop_front() {
            self.convert(job);
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        match assemble(&mut self.nodes, 0) {
            Value::Object(root) => Ok(root),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Ok(JsonObject::new())
            }
        }
    }

    fn add_child(&mut self, parent: usize, slot: Slot) -> usize {
        let child = self.nodes.len();
        self.bytes = self.bytes.saturating_sub(slot.bytes());
        self.nodes.push(Node { schema: json!({}), ..Node::default() });
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.push((slot, child));
        }
        child
    }

    /// Takes bytes of the budget, if there are as many.
    fn spend(&mut self, bytes: usize) -> bool {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                true
            }
            None => false,
        }
    }

    fn convert(&mut self, mut job: Job<'a>) {
        loop {
            if job.depth > MAX_DEPTH {
                return self.cut(&job, None);
            }
            match self.document.reference(&job.source) {
                Ok(None) => return self.convert_schema(&job, None),
                Ok(Some(target)) => {
                    if Trail::contains(job.trail.as_ref(), &target.pointer) {
                        return self.cut(&job, Some(&target));
                    }
                    if self.has_own_keywords(&job.source) {
                        return self.convert_schema(&job, Some(target));
                    }
                    let own =
                        (self.document.version() == Version::V3_1).then(|| job.source.text("description"));
                    let description = job.description.or(own.flatten());
                    let trail = Trail { pointer: target.pointer.clone(), before: job.trail.take() };
                    job = Job {
                        source: target,
                        depth: job.depth + 1,
                        description,
                        trail: Some(Rc::new(trail)),
                        ..job
                    };
                }
                Err(error) => {
                    self.errors.push(error);
                    return;
                }
            }
        }
    }

    /// Whether a reference has keywords next to it that restrict it. Up to `OpenAPI` 3.0, what is
    /// next to a reference is ignored.
    fn has_own_keywords(&self, source: &Located<'_>) -> bool {
        let is_annotation = |name: &str| {
            matches!(
                name,
                "$ref" | "title" | "description" | "default" | "deprecated" | "readOnly" | "writeOnly"
            ) || matches!(name, "example" | "examples" | "$comment")
                || name.starts_with("x-")
        };
        let mut names = source.value.as_object().into_iter().flat_map(Map::keys);
        let is_long = source.value.as_object().is_some_and(|members| members.len() > MAX_ANNOTATIONS);
        self.document.version() == Version::V3_1 && (is_long || !names.all(|name| is_annotation(name)))
    }

    /// Converts a schema that is not a reference, or the keywords next to a reference.
    fn convert_schema(&mut self, job: &Job<'a>, reference: Option<Located<'a>>) {
        if let Value::Bool(any) = job.source.value {
            if !any && let Some(node) = self.nodes.get_mut(job.node) {
                node.schema = Value::Bool(false);
            }
            return;
        }
        // Schemas that do not fit are not read: many places in a document can refer to them.
        let schemas = MAX_SCHEMAS.saturating_sub(self.nodes.len());
        if self.bytes < BARE_BYTES || !has_at_most(job.source.value, schemas, self.bytes) {
            return self.cut(job, None);
        }
        let mut keywords = match Keywords::read(self.document, self.direction, &job.source, job.description) {
            Ok(keywords) => keywords,
            Err(errors) => return self.errors.extend(errors),
        };
        if let Some(target) = reference {
            keywords.children.push((Slot::Item("allOf"), target));
        }
        self.keep_usable_pattern(&mut keywords.schema);
        let own = serde_json::to_string(&keywords.schema).map_or(MAX_BYTES, |text| text.len());
        let children: usize = keywords.children.iter().map(|(slot, _)| slot.bytes()).sum();
        if own + children > self.bytes || keywords.children.len() > schemas {
            // Halving the rest bounds the number of schemas that are read in vain.
            self.bytes /= 2;
            return self.cut(job, None);
        }
        self.bytes -= own;
        let Some(node) = self.nodes.get_mut(job.node) else { return };
        node.schema = Value::Object(keywords.schema);
        node.or_null = keywords.or_null;
        for (slot, source) in keywords.children {
            let (trail, depth) = (job.trail.clone(), job.depth + 1);
            let node = self.add_child(job.node, slot);
            self.queue.push_back(Job { node, source, depth, description: None, trail });
        }
    }

    /// Removes a `pattern` that cannot be checked at a bounded cost.
    fn keep_usable_pattern(&mut self, schema: &mut JsonObject) {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
        if self.patterns.is_usable(pattern, self.pattern_count) {
            self.pattern_count += 1;
        } else {
            schema.remove("pattern");
        }
    }

    /// Ends the tree at a schema: every value of its type is valid. `cycle` is the schema that
    /// would contain itself.
    fn cut(&mut self, job: &Job<'a>, cycle: Option<&Located<'a>>) {
        let source = cycle.unwrap_or(&job.source);
        let types = types(source).unwrap_or_default();
        let mut schema = JsonObject::new();
        if let Some(types) = types {
            schema.insert("type".to_owned(), types);
        }
        let description = match cycle {
            Some(target) => {
                let name = target.pointer.rsplit('/').next().unwrap_or_default();
                clean(&format!("The same schema as that of the enclosing {name}."), MAX_DESCRIPTION_CHARS)
            }
            None if self.bytes < MAX_DESCRIPTION_CHARS => None,
            None => job
                .description
                .or_else(|| source.text("description"))
                .and_then(|text| clean(text, MAX_DESCRIPTION_CHARS)),
        };
        if let Some(description) = description
            && self.spend(description.len() + BARE_BYTES)
        {
            schema.insert("description".to_owned(), Value::String(description));
        }
        if let Some(node) = self.nodes.get_mut(job.node) {
            node.schema = Value::Object(schema);
        }
    }
}

/// Puts the schemas that a schema contains in their places. The tree is at most [`MAX_DEPTH`]
/// schemas deep.
fn assemble(nodes: &mut [Node], at: usize) -> Value {
    let Some(Node { mut schema, children, or_null }) = nodes.get_mut(at).map(std::mem::take) else {
        return Value::Bool(true);
    };
    for (slot, child) in children {
        let child = assemble(nodes, child);
        let Some(schema) = schema.as_object_mut() else { continue };
        match slot {
            Slot::Keyword(keyword) => {
                schema.insert(keyword.to_owned(), child);
            }
            Slot::Member(keyword, name) => {
                let members = schema.entry(keyword).or_insert_with(|| json!({}));
                if let Some(members) = members.as_object_mut() {
                    members.insert(name, child);
                }
            }
            Slot::Item(keyword) => {
                let items = schema.entry(keyword).or_insert_with(|| json!([]));
                if let Some(items) = items.as_array_mut() {
                    items.push(child);
                }
            }
        }
    }
    if or_null { json!({ "anyOf": [schema, { "type": "null" }] }) } else { schema }
}
