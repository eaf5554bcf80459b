//! Reads the request that an admin entered or pasted: a path, a URL, or either after a method.

use shared::policy::{Method, PathPrefix};

/// The host of an API Gateway API without a custom domain contains this text.
const API_GATEWAY_HOST: &str = ".execute-api.";

/// The parts of an entered request.
pub(crate) struct RequestText<'a> {
    /// The method, if the text starts with one.
    pub(crate) method: Option<Method>,
    pub(crate) path: &'a str,
    /// The parts of the text that are not part of the path, in words.
    pub(crate) removed: Vec<&'static str>,
    /// The first segment of the path, if it could be the stage of the API.
    pub(crate) possible_stage: Option<&'a str>,
}

impl<'a> RequestText<'a> {
    /// Reads `text`. Removes what the API's routes do not contain: the scheme and the host, one
    /// of the `base_paths` of custom domains, the query and the fragment. A text that is
    /// neither a path nor a URL stays as it is, so that the API can say what is wrong.
    pub(crate) fn new(text: &'a str, base_paths: &[PathPrefix]) -> Self {
        let text = text.trim();
        let (method, text) = match text.split_once(' ') {
            Some((first, rest)) => match Method::parse(&first.to_ascii_uppercase()) {
                Ok(method) => (Some(method), rest.trim_start()),
                Err(_) => (None, text),
            },
            None => (None, text),
        };
        let mut removed = Vec::new();
        let (host, text) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => {
                removed.push("the scheme and the host");
                let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                (Some(host), path)
            }
            _ => (None, text),
        };
        let (text, has_fragment) = without(text, '#');
        let (mut path, has_query) = without(text, '?');
        if has_query {
            removed.push("the query");
        }
        if has_fragment {
            removed.push("the fragment");
        }
        let mut possible_stage = None;
        if let Some(host) = host {
            let below = base_paths.iter().filter_map(|base| below(path, base.as_str()));
            // The longest base path leaves the shortest rest.
            if let Some(rest) = below.min_by_key(|rest| rest.len()) {
                removed.push("the base path");
                path = rest;
            } else if host.contains(API_GATEWAY_HOST) {
                possible_stage = path.split('/').nth(1).filter(|segment| !segment.is_empty());
            }
            // A URL without a path has the path `/`.
            path = if path.is_empty() { "/" } else { path };
        }
        Self { method, path, removed, possible_stage }
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// The text before `end`, and whether the text contains `end`.
fn without(text: &str, end: char) -> (&str, bool) {
    text.split_once(end).map_or((text, false), |(before, _)| (before, true))
}

/// The rest of `path` below the base path `base`.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}
