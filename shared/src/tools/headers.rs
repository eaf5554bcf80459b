//! The headers that arguments can set.

/// Header names that arguments never set: those that frame or route a request, carry credentials
/// or identities, or that the client itself sets.
const REFUSED: [&str; 25] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-method-override",
    "x-real-ip",
];

/// The starts of further such names.
const REFUSED_STARTS: [&str; 13] = [
    "cf-",
    "content-",
    "mcp-",
    "proxy-",
    "sec-",
    "x-amz-",
    "x-amzn-",
    "x-authorization",
    "x-forwarded",
    "x-http-method",
    "x-keyward-",
    "x-original-",
    "x-rewrite-",
];

/// The maximum length of a header's name, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Whether arguments can set this header. The name must be a token (RFC 9110, section 5.6.2).
/// Some servers treat `_` in names like `-`.
pub(super) fn is_allowed_header(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let plain = name.to_ascii_lowercase().replace('_', "-");
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.bytes().all(is_token)
        && !REFUSED.contains(&&*plain)
        && !REFUSED_STARTS.iter().any(|start| plain.starts_with(start))
}

/// Whether a header parameter with this name is ignored, because every request sets the header
/// anyway. These are the headers that the specification ignores
/// (<https://spec.openapis.org/oas/v3.1.1.html#parameter-object>), and the request id.
pub(super) fn is_ignored_header(name: &str) -> bool {
    ["accept", "authorization", "content-type", "x-request-id"]
        .iter()
        .any(|ignored| name.eq_ignore_ascii_case(ignored))
}
