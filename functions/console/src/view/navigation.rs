//! The main navigation and the keyboard shortcuts. `console.js` reads the shortcuts from the
//! attribute `data-keys` of links and fields.

/// A link in the main navigation.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) path: &'static str,
    pub(crate) label: &'static str,
    /// The shortcut: two keys, pressed one after the other.
    pub(crate) keys: &'static str,
}

const LINKS: [Link; 9] = [
    Link { path: OVERVIEW, label: "Overview", keys: "g o" },
    Link { path: "/accounts", label: "Service accounts", keys: "g a" },
    Link { path: ROLES, label: "Roles", keys: "g r" },
    Link { path: APIS, label: "APIs", keys: "g p" },
    Link { path: ISSUERS, label: "Issuers", keys: "g i" },
    Link { path: "/review", label: "Access review", keys: "g v" },
    Link { path: "/history", label: "History", keys: "g h" },
    Link { path: "/explain", label: "Check access", keys: "g c" },
    Link { path: "/leaked", label: "Report a leaked key", keys: "g l" },
];

const OVERVIEW: &str = "/";
const ROLES: &str = "/roles";
const APIS: &str = "/apis";
const ISSUERS: &str = "/issuers";

/// The other shortcuts and what they do. The templates set them.
const OTHER_SHORTCUTS: [(&str, &str); 3] = [
    ("/", "Search accounts, keys and identities"),
    (
        "n",
        "Create a service account, a key, a role, an API or a trusted issuer, on a page that has a button for it",
    ),
    ("?", "Open this page"),
];

/// The links in their order. The value says whether the page at `path` is in the link's
/// section.
pub(crate) fn links(path: &str) -> impl Iterator<Item = (Link, bool)> {
    let first = path.split('/').nth(1).unwrap_or_default();
    LINKS.into_iter().map(move |link| (link, link.contains(first)))
}

/// All shortcuts and what they do.
pub(crate) fn shortcuts() -> impl Iterator<Item = (&'static str, String)> {
    let links = LINKS.into_iter().map(|link| (link.keys, format!("Go to {}", link.label)));
    links.chain(OTHER_SHORTCUTS.into_iter().map(|(keys, action)| (keys, action.to_owned())))
}

impl Link {
    /// Whether pages whose paths begin with the segment `first` are in the link's section.
    fn contains(&self, first: &str) -> bool {
        match first {
            "attention" => self.path == OVERVIEW,
            "new-role" => self.path == ROLES,
            "new-api" | "agent-tools" => self.path == APIS,
            "new-issuer" => self.path == ISSUERS,
            first => self.path.strip_prefix('/') == Some(first),
        }
    }
}
