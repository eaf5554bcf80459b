//! One permission: `METHODS PATH`, the path in API Gateway's route syntax.

use std::fmt;

use super::target::is_reserved_segment;
use super::{Method, Target};

/// The most permissions a role can have.
pub const MAX_PERMISSIONS: usize = 100;

/// The most characters of a permission.
const MAX_LENGTH: usize = 256;

/// `GET /organizations/{id}`, `POST,PUT /teams`, `ANY /teams/{proxy+}`:
/// methods separated by commas or `ANY`, one space, and a path in API
/// Gateway's route syntax, where `{name}` is exactly one segment and `{name+}`
/// one or more at the end.
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    text: String,
    methods: u8,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// This text exactly. The last one is empty where the path ends in `/`.
    Literal(String),
    /// Any one segment.
    One,
    /// One or more segments, to the end.
    Rest,
}

impl Segment {
    /// Whether it is the empty one behind a slash at the end, which no segment
    /// in braces covers.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Literal(text) if text.is_empty())
    }
}

/// Why a text is no permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPermission {
    /// It has not the form `METHODS PATH`.
    #[error("must be methods, one space and a path, such as `GET,POST /teams/{{id}}`")]
    Form,
    /// A method is unknown, written twice, or stands beside `ANY`.
    #[error(
        "must name methods among GET, HEAD, OPTIONS, POST, PUT, PATCH and DELETE, each once, or ANY alone"
    )]
    Methods,
    /// The path is not in the route syntax.
    #[error(
        "must have a path that begins with `/`, with plain segments or `{{name}}`, and `{{name+}}` at most as the last"
    )]
    Path,
    /// It is too long.
    #[error("must be at most {MAX_LENGTH} characters")]
    TooLong,
}

/// Why a permission could never permit anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// It lies in the reserved prefix.
    #[error("lies below /iam, which no role opens: it could never permit anything")]
    Reserved,
    /// Whatever its path fits is refused as ambiguous.
    #[error("has a path that is always refused as ambiguous: it could never permit anything")]
    Ambiguous,
}

/// What is wrong with a list of permissions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPermissions {
    /// There are too many.
    #[error("must be at most {MAX_PERMISSIONS} permissions")]
    TooMany,
    /// The one at this position is none.
    #[error("{1}")]
    Invalid(usize, InvalidPermission),
    /// The one at this position could never permit anything.
    #[error("{1}")]
    Unreachable(usize, Unreachable),
    /// The one at the first position means what the one at the second does.
    #[error("means the same as /permissions/{1}: leave one of them out")]
    Duplicate(usize, usize),
}

impl InvalidPermissions {
    /// Which of the list is meant, if it is one.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::TooMany => None,
            Self::Invalid(at, _) | Self::Unreachable(at, _) | Self::Duplicate(at, _) => Some(*at),
        }
    }
}

/// The permissions of a role that an admin registers: at most
/// [`MAX_PERMISSIONS`], each of which can permit something, and no two of the
/// same meaning. They are a set, kept in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// Reads `texts`.
    ///
    /// # Errors
    /// All that is wrong with them.
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

    /// Each of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<Permission> {
        self.0
    }
}

impl Permission {
    /// The maximum number of characters. All of them are ASCII.
    pub const MAX_CHARS: usize = MAX_LENGTH;

    /// Reads `text`.
    ///
    /// # Errors
    /// See [`InvalidPermission`].
    pub fn parse(text: &str) -> Result<Self, InvalidPermission> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidPermission::TooLong);
        }
        let (methods, path) = text.split_once(' ').ok_or(InvalidPermission::Form)?;
        Ok(Self { text: text.to_owned(), methods: parse_methods(methods)?, segments: parse_path(path)? })
    }

    /// Whether it covers `target`.
    #[must_use]
    pub fn covers(&self, target: &Target<'_>) -> bool {
        self.methods & target.method() as u8 != 0 && self.matches(target.path())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The methods that it covers.
    pub fn methods(&self) -> impl Iterator<Item = Method> + use<> {
        let methods = self.methods;
        Method::ALL.into_iter().filter(move |method| methods & *method as u8 != 0)
    }

    /// Its path, in the route syntax.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.split_once(' ').unwrap_or_default().1
    }

    /// Whether it covers every path that `other` does, whatever the methods.
    #[must_use]
    pub fn covers_paths_of(&self, other: &Self) -> bool {
        let mut others = other.segments.iter();
        for segment in &self.segments {
            let is_covered = match (segment, others.next()) {
                (_, None) => false,
                (Segment::Rest, Some(first)) => return !first.is_empty(),
                (Segment::One, Some(one)) => !one.is_empty() && *one != Segment::Rest,
                (Segment::Literal(_), Some(literal)) => segment == literal,
            };
            if !is_covered {
                return false;
            }
        }
        others.next().is_none()
    }

    /// Whether it permits exactly what `other` does: the order of methods and
    /// the names in braces do not matter.
    fn means(&self, other: &Self) -> bool {
        self.methods == other.methods && self.segments == other.segments
    }

    /// By path, then by methods.
    fn sort_key(&self) -> (&str, &str) {
        (self.path(), &self.text)
    }

    /// Whether there is any request that it covers and that passes the checks
    /// before it. What stands in braces can be filled with anything, so one
    /// filling tells of all.
    ///
    /// # Errors
    /// Why there is none.
    pub fn check_reachable(&self) -> Result<(), Unreachable> {
        if let Some(Segment::Literal(first)) = self.segments.first()
            && is_reserved_segment(first)
        {
            return Err(Unreachable::Reserved);
        }
        let mut path = String::new();
        for segment in &self.segments {
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
        for segment in &self.segments {
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

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn parse_methods(text: &str) -> Result<u8, InvalidPermission> {
    if text == "ANY" {
        return Ok(Method::ALL.into_iter().fold(0, |all, method| all | method as u8));
    }
    text.split(',').try_fold(0, |methods, name| {
        let method = Method::parse(name).ok_or(InvalidPermission::Methods)? as u8;
        if methods & method == 0 { Ok(methods | method) } else { Err(InvalidPermission::Methods) }
    })
}

fn parse_path(text: &str) -> Result<Vec<Segment>, InvalidPermission> {
    let path = text.strip_prefix('/').ok_or(InvalidPermission::Path)?;
    let count = path.split('/').count();
    path.split('/')
        .enumerate()
        .map(|(at, segment)| {
            let is_last = at + 1 == count;
            parse_segment(segment, is_last).ok_or(InvalidPermission::Path)
        })
        .collect()
}

fn parse_segment(text: &str, is_last: bool) -> Option<Segment> {
    if let Some(name) = text.strip_prefix('{') {
        let name = name.strip_suffix('}')?;
        let (name, segment) = match name.strip_suffix('+') {
            Some(name) if is_last => (name, Segment::Rest),
            Some(_) => return None,
            None => (name, Segment::One),
        };
        let form = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        return form.then_some(segment);
    }
    // Unreserved characters and sub-delimiters of RFC 3986 that no policy or
    // decoding reads as anything else.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!&'(),;=:@".contains(&b);
    let form = text.bytes().all(plain) && !matches!(text, "." | "..") && (is_last || !text.is_empty());
    form.then(|| Segment::Literal(text.to_owned()))
}
