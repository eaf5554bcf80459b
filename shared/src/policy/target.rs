//! The method and path that the backend will see.

use percent_encoding::percent_decode_str;

use crate::domain::is_control;

/// Everything below this path is for admin users.
pub const RESERVED_PREFIX: &str = "/iam";

/// The one operation below [`RESERVED_PREFIX`] that a key may call.
const WHOAMI_PATH: &str = "/iam/v1/whoami";

/// A request's method. Those that API Gateway's `ANY` covers, and no others:
/// HTTP methods are case-sensitive (RFC 9110, section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    Get = 1,
    Head = 1 << 1,
    Options = 1 << 2,
    Post = 1 << 3,
    Put = 1 << 4,
    Patch = 1 << 5,
    Delete = 1 << 6,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Get, Self::Head, Self::Options, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// A method or path that could mean one thing here and another at the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the method or path is ambiguous")]
pub struct AmbiguousPath;

/// What a request is for: a method and a path that mean one thing only.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    method: Method,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// Reads a method and a path: the API's own path, without a stage or a
    /// custom domain's base path. Nothing is decoded. A path that further
    /// decoding could change is refused.
    ///
    /// # Errors
    /// When the method is none that API Gateway routes, or the path does not
    /// begin with `/`, or holds `%2F`, `%5C`, `%2E` (in any case), an escaped
    /// letter or digit, escapes that are no UTF-8, a `%` that is no valid
    /// escape, a backslash, a dot segment, an empty segment (other than a
    /// trailing slash), a control character, `*`, `?`, `$` or `#` (escaped or
    /// not), or, below `/iam`, anything but letters, digits and `-._~/`. A
    /// segment counts as dot or empty by what stands before a `;` in it.
    pub fn parse(method: &str, path: &'a str) -> Result<Self, AmbiguousPath> {
        let method = Method::parse(method).ok_or(AmbiguousPath)?;
        check(path)?;
        let target = Self { method, path };
        // No id or name of the IAM API needs an escape. This also keeps away
        // what lambda_http cannot turn into a URI.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
        if target.is_reserved() && !path.bytes().all(plain) {
            return Err(AmbiguousPath);
        }
        Ok(target)
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The path. It begins with `/`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Whether it is the reserved prefix or below it. Neither case nor `;…`
    /// matters here: whatever might be routed there is kept from keys.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_reserved_segment(self.path.split('/').nth(1).unwrap_or_default())
    }

    /// Whether it is below the reserved prefix, exactly as written.
    #[must_use]
    pub fn is_iam_api(&self) -> bool {
        self.path.strip_prefix(RESERVED_PREFIX).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether it asks who the caller is.
    #[must_use]
    pub fn is_whoami(&self) -> bool {
        self.method == Method::Get && self.path == WHOAMI_PATH
    }
}

/// Whether paths that begin with this segment are reserved.
pub(super) fn is_reserved_segment(first: &str) -> bool {
    RESERVED_PREFIX
        .strip_prefix('/')
        .is_some_and(|reserved| without_parameters(first).eq_ignore_ascii_case(reserved))
}

fn check(path: &str) -> Result<(), AmbiguousPath> {
    let rest = path.strip_prefix('/').ok_or(AmbiguousPath)?;
    if rest.is_empty() {
        return Ok(());
    }
    // A trailing slash makes another path, and is no empty segment.
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.split('/').any(|segment| matches!(without_parameters(segment), "" | "." | "..")) {
        return Err(AmbiguousPath);
    }
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' | b'*' | b'?' | b'$' | b'#' => return Err(AmbiguousPath),
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else {
                    return Err(AmbiguousPath);
                };
                let escape = [high.to_ascii_uppercase(), low.to_ascii_uppercase()];
                let valid = escape.iter().all(u8::is_ascii_hexdigit);
                // An escaped separator or dot; an escaped percent sign, which a
                // second decoding would open; and what begins a query, a
                // fragment, a parameter, or a wildcard or variable of IAM.
                let harmful =
                    matches!(&escape, b"2F" | b"5C" | b"2E" | b"25" | b"3F" | b"23" | b"3B" | b"2A" | b"24");
                // A letter or digit needs no escape: it hides a word.
                let hides = matches!(&escape, [b'3', b'0'..=b'9'])
                    || matches!(&escape, [b'4' | b'6', b'1'..=b'9' | b'A'..=b'F'])
                    || matches!(&escape, [b'5' | b'7', b'0'..=b'9' | b'A']);
                if !valid || harmful || hides {
                    return Err(AmbiguousPath);
                }
            }
            _ => {}
        }
    }
    // Escapes that are no UTF-8 mean something else to each decoder (an overlong
    // `/` among them). Control characters include those of more than a byte.
    let decoded = percent_decode_str(rest).decode_utf8().map_err(|_| AmbiguousPath)?;
    if decoded.chars().any(is_control) {
        return Err(AmbiguousPath);
    }
    Ok(())
}

/// What some backends take a segment for: all of it up to a `;`, so that `..;`
/// is `..` to them. (RFC 3986, section 3.3.)
fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}
