//! The method and path that the backend sees.

use percent_encoding::percent_decode_str;

use crate::domain::is_control;

/// The path prefix of the IAM API, which is reserved for admin users.
pub const RESERVED_PREFIX: &str = "/iam";

/// The path of the only operation below [`RESERVED_PREFIX`] that a key can call.
const WHOAMI_PATH: &str = "/iam/v1/whoami";

/// A request's method: one of those that API Gateway's `ANY` covers. HTTP methods are
/// case-sensitive (RFC 9110, section 9.1).
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
    /// All methods.
    pub const ALL: [Self; 7] =
        [Self::Get, Self::Head, Self::Options, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The method's name.
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

    /// The method with this name.
    ///
    /// # Errors
    /// The method is unknown.
    pub fn parse(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or(UnknownMethod)
    }
}

/// Text that is not the name of a [`Method`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE, in upper case")]
pub struct UnknownMethod;

/// Why a text is not the path of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("must start with `/`")]
    Start,
    #[error("must not contain a query or fragment")]
    Query,
}

/// Checks that `text` has the form of a request's path, so that a caller who asks about a
/// mistyped path gets an error and not a refusal.
///
/// # Errors
/// See [`InvalidPath`].
pub fn check_path_form(text: &str) -> Result<&str, InvalidPath> {
    if !text.starts_with('/') {
        Err(InvalidPath::Start)
    } else if text.contains(['?', '#']) {
        Err(InvalidPath::Query)
    } else {
        Ok(text)
    }
}

/// A method or path that the backend could interpret differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the method or path is ambiguous")]
pub struct AmbiguousPath;

/// The target of a request: a method and a path with only one interpretation.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    method: Method,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// Parses a method and a path of the API, without a stage or a custom domain's base
    /// path. Does not decode the path, and refuses a path that further decoding could
    /// change.
    ///
    /// # Errors
    /// The method is not one of [`Method::ALL`], or the path does one of the following:
    ///
    /// - It does not start with `/`.
    /// - It contains a dot segment, or an empty segment other than a trailing slash. Only
    ///   the part of a segment before `;` counts.
    /// - It contains a control character, a backslash, `*`, `?`, `$` or `#`, escaped or
    ///   not.
    /// - It contains an escaped `/`, `.`, `%` or `;`, or an escaped letter or digit.
    /// - It contains a `%` that is not part of a valid escape, or escapes that are not
    ///   UTF-8.
    /// - It is below `/iam` and contains other characters than letters, digits and
    ///   `-._~/`.
    pub fn parse(method: &str, path: &'a str) -> Result<Self, AmbiguousPath> {
        let method = Method::parse(method).map_err(|_| AmbiguousPath)?;
        check(path)?;
        let target = Self { method, path };
        // No id or name in the IAM API needs an escape. This also refuses paths that
        // lambda_http cannot convert to a URI.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
        if target.is_reserved() && !path.bytes().all(plain) {
            return Err(AmbiguousPath);
        }
        Ok(target)
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The path, which starts with `/`.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Whether the path is the reserved prefix or below it. Ignores case and `;…`, so that
    /// no path that could be routed there is open to keys.
    pub fn is_reserved(&self) -> bool {
        is_reserved_segment(self.path.split('/').nth(1).unwrap_or_default())
    }

    /// Whether the path is below the exact reserved prefix.
    pub fn is_iam_api(&self) -> bool {
        self.path.strip_prefix(RESERVED_PREFIX).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether this is the operation `whoami`.
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
    // A trailing slash is part of the path and does not count as an empty segment.
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
                // Escaped separators and dots, a percent sign, which a second decoding
                // would turn into another escape, and characters that start a query, a
                // fragment or a parameter, or an IAM wildcard or variable.
                let harmful =
                    matches!(&escape, b"2F" | b"5C" | b"2E" | b"25" | b"3F" | b"23" | b"3B" | b"2A" | b"24");
                // A letter or digit needs no escape, so the escape only hides a word.
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
    // Decoders disagree about escapes that are not UTF-8, such as an overlong `/`.
    // Control characters can have more than one byte.
    let decoded = percent_decode_str(rest).decode_utf8().map_err(|_| AmbiguousPath)?;
    if decoded.chars().any(is_control) {
        return Err(AmbiguousPath);
    }
    Ok(())
}

/// The segment without its parameters (RFC 3986, section 3.3). Some backends ignore
/// everything from the first `;` on, so `..;` means `..` to them.
fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
}
