//! A key in a pasted text: a leaked one as people find it, with whatever stands
//! around it.

use super::key::KEY_PREFIX;
use super::{ApiKey, Environment, KeyError};

/// The regular expression that finds keys of every environment in a text: for
/// scanners (`infra/scanning/`), which know no checksum.
pub const KEY_PATTERN: &str = r"kwsa_[a-z0-9]{1,12}_[0-9A-Za-z]{16}_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\b";

/// No key has more characters.
const MAX_LENGTH: usize = 5 + 12 + 1 + 16 + 1 + 16 + 1 + 49;

/// Why a text does not hold one key of this environment. No message quotes the
/// text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOneKey {
    /// Nothing in it begins like a key.
    #[error("holds no key: a key begins with `{KEY_PREFIX}`")]
    None,
    /// What begins like a key has not its form, or its checksum is wrong.
    #[error("holds no whole key: what begins like one is cut off, too long or mistyped")]
    NotWhole,
    /// The only keys in it are of another environment.
    #[error("is a key of the environment `{}`, and this is `{}`: look it up there", .there.as_str(), .here.as_str())]
    ForeignEnvironment {
        /// The environment of the first of them.
        there: Environment,
        /// This one.
        here: Environment,
    },
    /// It holds more than one key of this environment.
    #[error("holds several keys: look them up one at a time")]
    Several,
}

impl ApiKey {
    /// The one key of `environment` in `text`, whatever stands around it: a
    /// header, quotes, a line of a file.
    ///
    /// # Errors
    /// See [`NotOneKey`].
    pub fn find_in(text: &str, environment: &Environment) -> Result<Self, NotOneKey> {
        let mut found: Option<(&str, Self)> = None;
        let mut none = NotOneKey::None;
        for (start, _) in text.match_indices(KEY_PREFIX) {
            let rest = text.get(start..).unwrap_or_default();
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            // One character more than the longest key shows that it is none.
            let length = rest.bytes().take(MAX_LENGTH + 1).take_while(is_part).count();
            let candidate = rest.get(..length).unwrap_or_default();
            match Self::parse(candidate, environment) {
                Ok(key) => match &found {
                    Some((other, _)) if *other != candidate => return Err(NotOneKey::Several),
                    _ => found = Some((candidate, key)),
                },
                Err(KeyError::ForeignEnvironment) => {
                    let label = candidate.split('_').nth(1).unwrap_or_default();
                    if let (Ok(there), NotOneKey::None | NotOneKey::NotWhole) =
                        (Environment::parse(label), &none)
                    {
                        none = NotOneKey::ForeignEnvironment { there, here: environment.clone() };
                    }
                }
                Err(KeyError::Malformed) => {
                    if none == NotOneKey::None {
                        none = NotOneKey::NotWhole;
                    }
                }
            }
        }
        found.map(|(_, key)| key).ok_or(none)
    }
}
