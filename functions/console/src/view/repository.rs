//! The URL of a repository that an admin pastes.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A repository on GitHub or a project on GitLab. The host and the path contain only characters
/// that have no meaning in a shell, because pages show commands with them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// For example, `gitlab.com`.
    pub(crate) host: String,
    /// For example, `octo-org/octo-repo`.
    pub(crate) path: String,
}

impl Repository {
    /// Reads the URL of a page, an HTTPS or SSH address to clone from, or only the path.
    /// `default_host` is the host of a path. Without its first and last segments, the path has at
    /// most `max_groups` segments.
    pub(crate) fn parse(text: &str, default_host: &str, max_groups: usize) -> Option<Self> {
        let text = text.trim().trim_end_matches('/');
        let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let ssh = text.strip_prefix("ssh://git@").or_else(|| text.strip_prefix("git@"));
        let (host, path) = match (address, ssh) {
            (Some(address), _) => address.split_once('/')?,
            (None, Some(ssh)) => ssh.split_once([':', '/'])?,
            (None, None) => (default_host, text),
        };
        // The addresses of pages of a repository continue after the path.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.split("/-/").next().unwrap_or_default();
        let path = path.strip_suffix(".git").unwrap_or(path);
        let segments: Vec<_> = path.split('/').collect();
        let is_host = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'))
            && host.starts_with(|first: char| first.is_ascii_alphanumeric());
        let is_path =
            (2..=2 + max_groups).contains(&segments.len()) && segments.iter().all(|name| is_name(name));
        (is_host && is_path).then(|| Self { host: host.to_ascii_lowercase(), path: path.to_owned() })
    }

    /// The path as one segment of another path.
    pub(crate) fn encoded(&self) -> String {
        self.path
            .split('/')
            .map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string())
            .collect::<Vec<_>>()
            .join("%2F")
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
