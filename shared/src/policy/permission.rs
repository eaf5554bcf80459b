//! One permission: `METHODS PATH`, the path in API Gateway's route syntax.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::target::is_reserved_segment;
use super::{Method, Target};
use crate::domain::{contains_credential, is_literal_segment};

/// The maximum number of permissions per role.
pub const MAX_PERMISSIONS: usize = 100;

/// The maximum length of a permission, in bytes.
const MAX_LENGTH: usize = 256;

/// The segment of [`Permission::for_target`] where a literal is not possible.
const ANY_SEGMENT: &str = "{name}";

/// The end of [`Permission::for_target`] where the text would be too long.
const ANY_TAIL: &str = "/{proxy+}";

/// A permission such as `GET /organizations/{id}`, `POST,PUT /teams` or
/// `ANY /teams/{proxy+}`: methods separated by commas (or `ANY`), one space, and a path
/// in API Gateway's route syntax, where `{name}` is exactly one segment and `{name+}` is
/// one or more segments at the end.
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>)
#[derive(Clone)]
pub struct Permission {
    /// The text of this permission, and possibly of others, so that a role's permissions
    /// do not need an allocation each.
    source: Arc<str>,
    start: usize,
    end: usize,
    methods: u8,
}

/// A segment of a permission's path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment<'a> {
    /// Exactly this text. If the path ends in `/`, the last segment is an empty literal.
    Literal(&'a str),
    /// Any one segment that is not empty: `{name}`.
    One,
    /// All remaining segments, at least one: `{name+}`.
    Rest,
}

impl<'a> Segment<'a> {
    /// The segment with this text, which is valid.
    fn new(text: &'a str) -> Self {
        match text.strip_prefix('{') {
            None => Self::Literal(text),
            Some(name) if name.ends_with("+}") => Self::Rest,
            Some(_) => Self::One,
        }
    }

    /// Whether this is the empty segment after a trailing slash. Segments in braces do not
    /// cover it.
    fn is_empty(self) -> bool {
        self == Self::Literal("")
    }
}

/// Why a text is not a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPermission {
    /// The text does not have the form `METHODS PATH`.
    #[error("must be methods, one space and a path, such as `GET,POST /teams/{{id}}`")]
    Form,
    /// A method is unknown, repeated, or combined with `ANY`.
    #[error(
        "must start with ANY or with a comma-separated list of GET, HEAD, OPTIONS, POST, PUT, PATCH and DELETE, each \
         at most once"
    )]
    Methods,
    /// The path is not in the route syntax.
    #[error(
        "must have a path that starts with `/`. A segment is `{{name}}` or consists of letters, digits and \
         -._~!&'(),;=:@, and the last segment can be `{{name+}}`"
    )]
    Path,
    #[error("must be at most {MAX_LENGTH} characters")]
    TooLong,
}

/// Why a permission can never permit a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The path is below the reserved prefix.
    #[error("must have a path outside of /iam, because no role can permit requests below /iam")]
    Reserved,
    /// Every request that the path covers is refused as ambiguous.
    #[error(
        "must have a path without segments such as `..;a` or `;a`, because such requests are always refused"
    )]
    Ambiguous,
}

/// An error in a list of permissions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPermissions {
    #[error("must have at most {MAX_PERMISSIONS} permissions")]
    TooMany,
    /// The text at this position is not a permission.
    #[error("{1}")]
    Invalid(usize, InvalidPermission),
    /// The permission at this position can never permit a request.
    #[error("{1}")]
    Unreachable(usize, Unreachable),
    /// The permission at the first position means the same as the one at the second.
    #[error("means the same as /permissions/{1}: remove one of them")]
    Duplicate(usize, usize),
}

impl InvalidPermissions {
    /// The position of the invalid permission, if the error is about only one.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::TooMany => None,
            Self::Invalid(at, _) | Self::Unreachable(at, _) | Self::Duplicate(at, _) => Some(*at),
        }
    }
}

/// The permissions of a custom role: at most [`MAX_PERMISSIONS`]. Each permission can
/// permit a request, and no two permissions mean the same. They are a set and are sorted
/// by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// Parses `texts`.
    ///
    /// # Errors
    /// All errors in the list.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, Vec<InvalidPermissions>> {
        if texts.len() > MAX_PERMISSIONS {
            return Err(vec![InvalidPermissions::TooMany]);
        }
        let (mut parsed, mut problems) = (Vec::<(usize, Permission)>::new(), Vec::new());
        for (at, text) in texts.iter().enumerate() {
            match Permission::parse(text.as_ref()) {
                Ok(permission) => {
                    if let Err(unreachable) = permission.check_reachable() {
                        problems.push(InvalidPermissions::Unreachable(at, unreachable));
                    }
                    if let Some((first, _)) = parsed.iter().find(|(_, other)| other.means(&permission)) {
                        problems.push(InvalidPermissions::Duplicate(at, *first));
                    }
                    parsed.push((at, permission));
                }
                Err(invalid) => problems.push(InvalidPermissions::Invalid(at, invalid)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut permissions: Vec<Permission> = parsed.into_iter().map(|(_, permission)| permission).collect();
        permissions.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        Ok(Self(permissions))
    }

    /// The permissions, sorted by path.
    #[must_use]
    pub fn into_vec(self) -> Vec<Permission> {
        self.0
    }
}

impl Permission {
    /// The maximum number of characters. All of them are ASCII.
    pub const MAX_CHARS: usize = MAX_LENGTH;

    /// Parses `text`.
    ///
    /// # Errors
    /// See [`InvalidPermission`].
    pub fn parse(text: &str) -> Result<Self, InvalidPermission> {
        Ok(Self { methods: parse_methods_and_path(text)?, source: text.into(), start: 0, end: text.len() })
    }

    /// Parses each of `texts`, with a fixed number of allocations.
    ///
    /// # Errors
    /// See [`InvalidPermission`].
    pub fn parse_all(texts: &[&str]) -> Result<Vec<Self>, InvalidPermission> {
        let source = Arc::<str>::from(texts.concat());
        let mut start = 0;
        let parse = |text: &&str| {
            let methods = parse_methods_and_path(text)?;
            let (source, begin) = (Arc::clone(&source), start);
            start += text.len();
            Ok(Self { source, start: begin, end: start, methods })
        };
        texts.iter().map(parse).collect()
    }

    /// The narrowest permission that covers `target`.
    ///
    /// Its segments are those of the path. It has `{name}` for a segment that the syntax
    /// cannot express, such as one with an escape, and for a segment that contains a
    /// credential, so that the text can be stored and shown. It ends in `{proxy+}` if the
    /// text would be too long.
    #[must_use]
    pub fn for_target(target: &Target<'_>) -> Self {
        let mut text = format!("{} ", target.method().name());
        // The length of the longest text so far that leaves room for the tail. The tail
        // does not cover the empty segment after a trailing slash, but that segment needs
        // less room than the tail, so the tail never takes its place.
        let mut shortened = text.len();
        let mut segments = target.path().split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            if text.len() + ANY_TAIL.len() <= MAX_LENGTH {
                shortened = text.len();
            }
            let is_literal = !segment.starts_with('{')
                && is_segment(segment, segments.peek().is_none())
                && !contains_credential(segment);
            text.push('/');
            text.push_str(if is_literal { segment } else { ANY_SEGMENT });
            if text.len() > MAX_LENGTH {
                text.truncate(shortened);
                text.push_str(ANY_TAIL);
                break;
            }
        }
        Self { methods: target.method() as u8, start: 0, end: text.len(), source: text.into() }
    }

    /// Whether this permission covers `target`.
    #[must_use]
    pub fn covers(&self, target: &Target<'_>) -> bool {
        self.methods & target.method() as u8 != 0 && self.matches(target.path())
    }

    /// The permission's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both ends are those of a text that was put there.
        self.source.get(self.start..self.end).unwrap_or_default()
    }

    /// The methods that this permission covers.
    pub fn methods(&self) -> impl Iterator<Item = Method> + use<> {
        let methods = self.methods;
        Method::ALL.into_iter().filter(move |method| methods & *method as u8 != 0)
    }

    /// The path, in the route syntax.
    #[must_use]
    pub fn path(&self) -> &str {
        self.as_str().split_once(' ').unwrap_or_default().1
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.path().split('/').skip(1).map(Segment::new)
    }

    /// Whether this permission covers every path that `other` covers. Ignores methods.
    #[must_use]
    pub fn covers_paths_of(&self, other: &Self) -> bool {
        let mut others = other.segments();
        for segment in self.segments() {
            let is_covered = match (segment, others.next()) {
                (_, None) => false,
                (Segment::Rest, Some(first)) => return !first.is_empty(),
                (Segment::One, Some(one)) => !one.is_empty() && one != Segment::Rest,
                (Segment::Literal(_), Some(literal)) => segment == literal,
            };
            if !is_covered {
                return false;
            }
        }
        others.next().is_none()
    }

    /// Whether this permission covers every request that `other` covers.
    #[must_use]
    pub(super) fn covers_all_of(&self, other: &Self) -> bool {
        self.methods & other.methods == other.methods && self.covers_paths_of(other)
    }

    /// Whether a request exists that both this permission and `other` cover.
    #[must_use]
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.methods & other.methods != 0 && self.common_path(other).is_some()
    }

    /// The permission that covers exactly the requests that both this permission and
    /// `other` cover. `None` if there is no such request, or if the text would be too long.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        self.common(other).filter(Self::is_within_limit)
    }

    /// The same as [`Permission::intersection`], of any length. `None` only if no request is
    /// covered by both.
    #[must_use]
    pub(super) fn common(&self, other: &Self) -> Option<Self> {
        let methods = self.methods & other.methods;
        if methods == 0 {
            return None;
        }
        Self::with_any_length(methods, &self.common_path(other)?)
    }

    /// The permission for the methods of this permission or of `other`, on the paths of
    /// this permission. `None` if `other` has other paths, or if the text would be too long.
    #[must_use]
    pub(super) fn with_methods_of(&self, other: &Self) -> Option<Self> {
        let methods = self.methods | other.methods;
        if methods == self.methods {
            return self.has_paths_of(other).then(|| self.clone());
        }
        self.has_paths_of(other).then(|| Self::from_parts(methods, self.path()))?
    }

    /// This permission without the methods that none of `others` has. `None` if no method
    /// is left, or if the text would be too long.
    #[must_use]
    pub(super) fn with_methods_in<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let methods = self.methods & others.fold(0, |methods, other| methods | other.methods);
        if methods == self.methods { Some(self.clone()) } else { Self::from_parts(methods, self.path()) }
    }

    /// Whether the path ends in `{name+}`.
    #[must_use]
    pub(super) fn has_open_end(&self) -> bool {
        self.segments().any(|segment| segment == Segment::Rest)
    }

    /// The number of segments in braces.
    #[must_use]
    pub(super) fn variable_segments(&self) -> usize {
        self.segments().filter(|segment| !matches!(segment, Segment::Literal(_))).count()
    }

    /// The permission with these methods and this path. `None` if there is no method, or if
    /// the text would be too long.
    fn from_parts(methods: u8, path: &str) -> Option<Self> {
        Self::with_any_length(methods, path).filter(Self::is_within_limit)
    }

    fn is_within_limit(&self) -> bool {
        self.as_str().len() <= MAX_LENGTH
    }

    /// The permission with these methods and this path. `None` if there is no method.
    fn with_any_length(methods: u8, path: &str) -> Option<Self> {
        let mut names = Vec::new();
        for method in Method::ALL {
            if methods & method as u8 != 0 {
                names.push(method.name());
            }
        }
        let names = if names.len() == Method::ALL.len() { "ANY".to_owned() } else { names.join(",") };
        let text = format!("{names} {path}");
        (methods != 0).then(|| Self { methods, start: 0, end: text.len(), source: text.into() })
    }

    /// The path pattern that matches exactly the paths that both permissions cover. Two
    /// patterns overlap in one pattern, because `{name+}` can only be at the end.
    fn common_path(&self, other: &Self) -> Option<String> {
        let (mut ours, mut others) = (self.path().split('/').skip(1), other.path().split('/').skip(1));
        let mut path = String::new();
        let mut push = |segment: &str| {
            path.push('/');
            path.push_str(segment);
        };
        loop {
            let (our, other) = match (ours.next(), others.next()) {
                (None, None) => return Some(path),
                (None, Some(_)) | (Some(_), None) => return None,
                (Some(our), Some(other)) => (our, other),
            };
            match (Segment::new(our), Segment::new(other)) {
                // The empty segment after a trailing slash.
                (Segment::Rest | Segment::One, Segment::Literal(""))
                | (Segment::Literal(""), Segment::Rest | Segment::One) => return None,
                (Segment::Rest, Segment::Literal(_) | Segment::One | Segment::Rest) => {
                    std::iter::once(other).chain(others).for_each(push);
                    return Some(path);
                }
                (Segment::Literal(_) | Segment::One, Segment::Rest) => {
                    std::iter::once(our).chain(ours).for_each(push);
                    return Some(path);
                }
                (Segment::One, Segment::Literal(_)) => push(other),
                (Segment::Literal(_) | Segment::One, Segment::One) => push(our),
                (Segment::Literal(text), Segment::Literal(same)) if text == same => push(our),
                (Segment::Literal(_), Segment::Literal(_)) => return None,
            }
        }
    }

    /// Whether this permission covers the same paths as `other`. Ignores methods.
    fn has_paths_of(&self, other: &Self) -> bool {
        self.segments().eq(other.segments())
    }

    /// Whether this permission covers the same requests as `other`. The order of the
    /// methods and the names in braces do not matter.
    fn means(&self, other: &Self) -> bool {
        self.methods == other.methods && self.has_paths_of(other)
    }

    /// The sort key: path, then methods.
    fn sort_key(&self) -> (&str, &str) {
        (self.path(), self.as_str())
    }

    /// Checks that this permission covers at least one request that passes the checks
    /// before the role's. A segment in braces can have any value, so the check uses one
    /// example value.
    ///
    /// # Errors
    /// The reason why the permission can never permit a request.
    pub fn check_reachable(&self) -> Result<(), Unreachable> {
        if let Some(Segment::Literal(first)) = self.segments().next()
            && is_reserved_segment(first)
        {
            return Err(Unreachable::Reserved);
        }
        let mut path = String::new();
        for segment in self.segments() {
            path.push('/');
            path.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::One | Segment::Rest => "x",
            });
        }
        let target = self.methods().next().and_then(|method| Target::parse(method.name(), &path).ok());
        match target {
            Some(target) if self.covers(&target) => Ok(()),
            _ => Err(Unreachable::Ambiguous),
        }
    }

    fn matches(&self, path: &str) -> bool {
        let mut rest = path.strip_prefix('/').map(|path| path.split('/'));
        for segment in self.segments() {
            let Some(actual) = rest.as_mut().and_then(Iterator::next) else {
                return false;
            };
            match segment {
                Segment::Literal(expected) if expected == actual => {}
                Segment::One if !actual.is_empty() => {}
                Segment::Rest => return !actual.is_empty(),
                Segment::Literal(_) | Segment::One => return false,
            }
        }
        rest.is_some_and(|mut rest| rest.next().is_none())
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Permission").field(&self.as_str()).finish()
    }
}

impl PartialEq for Permission {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Permission {}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Checks the form of a permission, and returns its methods.
fn parse_methods_and_path(text: &str) -> Result<u8, InvalidPermission> {
    if text.len() > MAX_LENGTH {
        return Err(InvalidPermission::TooLong);
    }
    let (methods, path) = text.split_once(' ').ok_or(InvalidPermission::Form)?;
    let methods = parse_methods(methods)?;
    check_path(path)?;
    Ok(methods)
}

fn parse_methods(text: &str) -> Result<u8, InvalidPermission> {
    if text == "ANY" {
        return Ok(Method::ALL.into_iter().fold(0, |all, method| all | method as u8));
    }
    text.split(',').try_fold(0, |methods, name| {
        let method = Method::parse(name).map_err(|_| InvalidPermission::Methods)? as u8;
        if methods & method == 0 { Ok(methods | method) } else { Err(InvalidPermission::Methods) }
    })
}

fn check_path(text: &str) -> Result<(), InvalidPermission> {
    let mut segments = text.strip_prefix('/').ok_or(InvalidPermission::Path)?.split('/').peekable();
    while let Some(segment) = segments.next() {
        if !is_segment(segment, segments.peek().is_none()) {
            return Err(InvalidPermission::Path);
        }
    }
    Ok(())
}

fn is_segment(text: &str, is_last: bool) -> bool {
    if let Some(name) = text.strip_prefix('{') {
        let name = name.strip_suffix('}').unwrap_or_default();
        let name = if is_last { name.strip_suffix('+').unwrap_or(name) } else { name };
        return !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    }
    if text.is_empty() { is_last } else { is_literal_segment(text) }
}
