//! The operations of a document.

use super::{Document, DocumentError, Located};

/// The members of a path item that are operations, and their methods. The last one is API
/// Gateway's extension for all methods.
const METHODS: [(&str, &str); 9] = [
    ("get", "GET"),
    ("head", "HEAD"),
    ("options", "OPTIONS"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("trace", "TRACE"),
    ("x-amazon-apigateway-any-method", "ANY"),
];

/// An operation of a document.
#[derive(Debug)]
pub struct Operation<'a> {
    /// The path as in the document.
    pub path: &'a str,
    /// The name of the method in upper case, `TRACE`, or `ANY`.
    pub method: &'static str,
    /// The position below `/paths`, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The operation object, or the reason why there is none.
    pub object: Result<Located<'a>, DocumentError>,
    /// The parameters of the path item.
    pub shared_parameters: Option<Located<'a>>,
}

impl Document {
    /// The operations, sorted by path, with the methods of a path in a
    /// fixed order. A path item that cannot be read counts as an operation.
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.root().member("paths");
        let items = paths.into_iter().flat_map(|paths| paths.members().collect::<Vec<_>>());
        items
            .filter(|(path, _)| !path.starts_with("x-"))
            .flat_map(|(path, item)| self.operations_of(path, &item))
    }

    fn operations_of<'a>(&'a self, path: &'a str, item: &Located<'a>) -> Vec<Operation<'a>> {
        let unreadable = |error: DocumentError| {
            let (pointer, object) = (error.pointer.clone(), Err(error));
            vec![Operation { path, method: "ANY", pointer, object, shared_parameters: None }]
        };
        if let Err(error) = item.object() {
            return unreadable(error);
        }
        // The members of an item and of the item to which it refers count together.
        let target = match self.resolve(item.clone()) {
            Ok(target) => target,
            Err(error) => return unreadable(error),
        };
        let member = |name: &str| item.member(name).or_else(|| target.member(name));
        let operation = |(name, method): (&str, &'static str)| {
            let object = member(name)?;
            let pointer = format!("{}/{name}", item.pointer);
            let object = object.object().map(|_| object.clone());
            Some(Operation { path, method, pointer, object, shared_parameters: member("parameters") })
        };
        METHODS.into_iter().filter_map(operation).collect()
    }
}
