//! Text that people enter: names, descriptions, owners and tags.
//!
//! Lengths are limited so that an account with ten keys and typical names fits into one
//! read unit (4 KB) of DynamoDB.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use super::contains_credential;

/// Why a text is invalid. The message is for the person who entered the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// The text is empty or only white space.
    #[error("must not be empty")]
    Empty,
    /// The text has more characters than allowed. Contains the limit.
    #[error("must be at most {0} characters")]
    TooLong(usize),
    /// There are more entries than allowed. Contains the limit.
    #[error("must have at most {0} entries")]
    TooMany(usize),
    /// The text contains a control character. See [`is_control`].
    #[error("must not contain control characters, such as line breaks and tabs")]
    ControlCharacter,
    /// The text contains an invisible character. See [`is_invisible`].
    #[error("must not contain invisible characters or text direction marks")]
    Invisible,
    /// The text contains a key or a token, which the message does not quote.
    #[error("must not contain a key or token (revoke it if it is real)")]
    Credential,
    /// The text contains other characters than these.
    #[error("must contain only {0}")]
    Alphabet(&'static str),
}

/// The maximum size of a text that is searched for credentials, in bytes. No field
/// accepts a longer text.
const MAX_SEARCHED_BYTES: usize = 4096;

/// Trims a text, normalizes it to NFC, and checks its length (at most `max` characters)
/// and its characters.
fn clean(text: &str, max: usize) -> Result<String, InvalidText> {
    // A character has at most four bytes, and NFC joins only a few characters into one.
    // A text above this size is too long in any case and is not normalized.
    if text.len() > max.saturating_mul(16) {
        return Err(InvalidText::TooLong(max));
    }
    let text: String = text.trim().nfc().collect();
    if text.chars().count() > max {
        return Err(InvalidText::TooLong(max));
    }
    if text.chars().any(is_control) {
        return Err(InvalidText::ControlCharacter);
    }
    if text.chars().any(is_invisible) {
        return Err(InvalidText::Invisible);
    }
    Ok(text)
}

/// Refuses a text that contains a credential, even with joiners inside the credential.
/// Stored texts are exempt: an account must stay readable if its description has
/// contained a key since before this rule existed.
fn without_credential(text: &str) -> Result<(), InvalidText> {
    let visible: String = text.chars().filter(|c| !is_joiner(*c)).collect();
    if contains_credential(&visible) { Err(InvalidText::Credential) } else { Ok(()) }
}

/// Whether a character is a control character, or a line or paragraph separator.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character is invisible or changes the direction of other characters. Such a
/// character makes a text look like another text. These are direction marks, embeddings,
/// overrides and isolates, zero-width spaces, soft hyphens, fillers, and tags (Unicode
/// Technical Standard 39, section 3.1; `Default_Ignorable_Code_Point`). The two joiners
/// are allowed, because some scripts need them.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'
            | '\u{200E}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// Whether a character is a joiner or a variation selector. These hardly change how a
/// text looks, so names that differ only in them count as the same name.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $max:literal, $can_be_empty:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct $name(String);

        impl $name {
            /// The maximum length, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Trims `text`, normalizes it (NFC) and checks it.
            ///
            /// # Errors
            /// The text is empty where it must not be, is too long, or contains a
            /// control character, an invisible character or a credential.
            pub fn parse(text: &str) -> Result<Self, InvalidText> {
                // `from_stored` refuses a longer text for its length.
                if text.len() <= MAX_SEARCHED_BYTES {
                    without_credential(text)?;
                }
                Self::from_stored(text)
            }

            /// Reads a stored text, which can contain a credential.
            ///
            /// # Errors
            /// The errors of [`Self::parse`], except [`InvalidText::Credential`].
            pub fn from_stored(text: &str) -> Result<Self, InvalidText> {
                let text = clean(text, Self::MAX_CHARS)?;
                if text.chars().all(is_joiner) && !$can_be_empty {
                    return Err(InvalidText::Empty);
                }
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A service account's name: 1–64 characters.
    AccountName, 64, false
);
text!(
    /// A key's name: 1–64 characters.
    KeyName, 64, false
);
text!(
    /// A federated identity's name: 1–64 characters.
    IdentityName, 64, false
);
text!(
    /// What an account is for: at most 256 characters.
    #[derive(Default)]
    Description, 256, true
);
text!(
    /// The team or person responsible for an account: at most 128 characters.
    #[derive(Default)]
    Owner, 128, true
);
text!(
    /// A protected API's title: 1–128 characters.
    ApiTitle, 128, false
);
text!(
    /// The reason for the answer of an access review: at most 256 characters.
    ReviewNote, 256, true
);
text!(
    /// A tag's value: at most 64 characters.
    TagValue, 64, true
);

impl AccountName {
    /// The form in which names are compared for uniqueness.
    pub fn folded(&self) -> FoldedName {
        FoldedName::new(&self.0)
    }
}

/// A name, or the start of a name, in the form in which names are compared and sorted:
/// NFC, lower case, without joiners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedName(String);

impl FoldedName {
    /// Folds `text`.
    pub fn new(text: &str) -> Self {
        // The same, but much faster: a search folds all names.
        if text.is_ascii() {
            return Self(text.to_ascii_lowercase());
        }
        Self(text.nfc().filter(|c| !is_joiner(*c)).flat_map(char::to_lowercase).nfc().collect())
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tag's key: 1–32 letters, digits, `.`, `_`, `:`, `/` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct TagKey(String);

impl TagKey {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Checks `text`.
    ///
    /// # Errors
    /// The text is empty, is too long, or contains another character or a credential.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        without_credential(text)?;
        Self::from_stored(text)
    }

    /// Reads a stored text, which can contain a credential.
    ///
    /// # Errors
    /// The errors of [`Self::parse`], except [`InvalidText::Credential`].
    pub fn from_stored(text: &str) -> Result<Self, InvalidText> {
        if text.is_empty() {
            return Err(InvalidText::Empty);
        }
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidText::TooLong(Self::MAX_CHARS));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b)) {
            return Err(InvalidText::Alphabet("letters, digits and . _ : / -"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
