//! Text that people write: names, descriptions, owners, tags.
//!
//! Lengths are capped so that an account with ten keys stays within one read
//! unit (4 KB) of DynamoDB for ordinary names.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use super::contains_credential;

/// Why a text was not taken. The message is for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing is left once white space around it is gone.
    #[error("must not be empty")]
    Empty,
    /// It is longer than its limit.
    #[error("must be at most {0} characters")]
    TooLong(usize),
    /// There are more of them than its limit.
    #[error("must be at most {0} entries")]
    TooMany(usize),
    /// It holds a control character, a line break or a tab among them.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// It holds a character that is not seen, or one that turns the direction of
    /// what stands around it.
    #[error("must not contain invisible characters or marks of direction")]
    Invisible,
    /// It contains a key or a token, which the message does not quote.
    #[error("must not contain a key or a token: revoke it if it is real")]
    Credential,
    /// It holds something else than its alphabet.
    #[error("must consist of {0}")]
    Alphabet(&'static str),
}

/// The longest text that is searched for credentials: no field takes a longer
/// one.
const MAX_SEARCHED_BYTES: usize = 4096;

/// Trims, normalizes to NFC, and checks length (in characters) and characters.
fn clean(text: &str, most: usize) -> Result<String, InvalidText> {
    // A character is up to four bytes, and NFC makes one of a few: whatever is
    // longer than this is not worth normalizing.
    if text.len() > most.saturating_mul(16) {
        return Err(InvalidText::TooLong(most));
    }
    let text: String = text.trim().nfc().collect();
    if text.chars().count() > most {
        return Err(InvalidText::TooLong(most));
    }
    if text.chars().any(is_control) {
        return Err(InvalidText::ControlCharacter);
    }
    if text.chars().any(is_invisible) {
        return Err(InvalidText::Invisible);
    }
    Ok(text)
}

/// Refuses a text that contains a credential, even with joiners inside it. Stored
/// texts are exempt: an account whose description contained a key before this rule
/// existed must stay readable.
fn without_credential(text: &str) -> Result<(), InvalidText> {
    let visible: String = text.chars().filter(|c| !is_joiner(*c)).collect();
    if contains_credential(&visible) { Err(InvalidText::Credential) } else { Ok(()) }
}

/// Whether a character is a control character, or a line or paragraph separator.
#[must_use]
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character shows nothing or turns the direction of others, so that
/// a text that holds it could pass for another one: marks, embeddings, overrides
/// and isolates of direction, zero-width spaces, soft hyphens, fillers, and tags
/// (Unicode Technical Standard 39, section 3.1; `Default_Ignorable_Code_Point`).
/// The two joiners are not among them: some scripts need them.
#[must_use]
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

/// A joiner or a variation selector: it changes how others look, a little or
/// not at all, so names that differ in these alone are one name.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $most:literal, $may_be_empty:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct $name(String);

        impl $name {
            /// The most characters it can have.
            pub const MAX_CHARS: usize = $most;

            /// Trims and normalizes `text` (NFC).
            ///
            /// # Errors
            /// When it is empty though it must not be, too long, or holds a
            /// control character, an invisible one or a credential.
            pub fn parse(text: &str) -> Result<Self, InvalidText> {
                // A longer text is refused for its length.
                if text.len() <= MAX_SEARCHED_BYTES {
                    without_credential(text)?;
                }
                Self::from_stored(text)
            }

            /// The same of a text that was stored, in which a credential is no
            /// error.
            ///
            /// # Errors
            /// As [`Self::parse`], without credentials.
            pub fn from_stored(text: &str) -> Result<Self, InvalidText> {
                let text = clean(text, Self::MAX_CHARS)?;
                if text.chars().all(is_joiner) && !$may_be_empty {
                    return Err(InvalidText::Empty);
                }
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
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
    /// What an account is for: at most 256 characters.
    #[derive(Default)]
    Description, 256, true
);
text!(
    /// Who answers for an account, a team or a person: at most 128 characters.
    #[derive(Default)]
    Owner, 128, true
);
text!(
    /// A tag's value: at most 64 characters.
    TagValue, 64, true
);

impl AccountName {
    /// The form under which the name is unique.
    #[must_use]
    pub fn folded(&self) -> FoldedName {
        FoldedName::new(&self.0)
    }
}

/// A name, or the beginning of one, as names are compared and sorted: NFC,
/// lower case, and without joiners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedName(String);

impl FoldedName {
    /// Folds `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.nfc().filter(|c| !is_joiner(*c)).flat_map(char::to_lowercase).nfc().collect())
    }

    /// The folded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tag's key: 1–32 letters, digits, `.`, `_`, `:`, `/` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct TagKey(String);

impl TagKey {
    /// The most characters it can have.
    pub const MAX_CHARS: usize = 32;

    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty, too long, or holds another character or a credential.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        without_credential(text)?;
        Self::from_stored(text)
    }

    /// The same of a text that was stored, in which a credential is no error.
    ///
    /// # Errors
    /// As [`Self::parse`], without credentials.
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
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
