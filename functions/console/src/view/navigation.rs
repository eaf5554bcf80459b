//! The main navigation.

/// A link in the main navigation.
pub(crate) struct Link {
    pub(crate) path: &'static str,
    pub(crate) label: &'static str,
    /// Whether the link leads to the section of the current page.
    pub(crate) is_current: bool,
}

/// The paths and labels of all links.
const LINKS: [(&str, &str); 6] = [
    (OVERVIEW, "Overview"),
    (ACCOUNTS, "Service accounts"),
    (ROLES, "Roles"),
    ("/history", "History"),
    ("/explain", "Check access"),
    ("/leaked", "Report a leaked key"),
];

const OVERVIEW: &str = "/";
const ACCOUNTS: &str = "/accounts";
const ROLES: &str = "/roles";

/// The links, with the section of the page at `path` marked as current.
pub(crate) fn links(path: &str) -> impl Iterator<Item = Link> {
    let first = path.split('/').nth(1).unwrap_or_default();
    LINKS.into_iter().map(move |(path, label)| Link { path, label, is_current: is_in(first, path) })
}

/// Whether pages whose paths begin with the segment `first` belong to the section at `section`.
fn is_in(first: &str, section: &str) -> bool {
    match first {
        "attention" => section == OVERVIEW,
        "new-role" => section == ROLES,
        first => section.strip_prefix('/') == Some(first),
    }
}
