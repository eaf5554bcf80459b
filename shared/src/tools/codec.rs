//! The stored form of tools and documents: deflated (RFC 1951).

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::Tool;
use crate::openapi::MAX_BYTES;

/// The largest JSON text of tools that is read, in bytes. Larger than what is compiled.
const MAX_TOOLS_BYTES: usize = 8_000_000;

/// Bytes that [`pack`] or [`pack_text`] did not write.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPack {
    #[error("the packed text cannot be inflated: {0}")]
    Deflate(std::io::Error),
    #[error("the packed text is longer than {0} bytes")]
    TooLong(usize),
    #[error("the packed text is not a list of tools: {0}")]
    Json(serde_json::Error),
}

/// The stored form of tools.
#[must_use]
pub fn pack(tools: &[Tool]) -> Vec<u8> {
    // Tools consist of texts, numbers and JSON values, which serialize without errors.
    deflate(&serde_json::to_vec(tools).unwrap_or_default())
}

/// Reads what [`pack`] wrote.
///
/// # Errors
/// See [`InvalidPack`].
pub fn unpack(packed: &[u8]) -> Result<Vec<Tool>, InvalidPack> {
    serde_json::from_slice(&inflate(packed, MAX_TOOLS_BYTES)?).map_err(InvalidPack::Json)
}

/// The stored form of a document.
#[must_use]
pub fn pack_text(text: &str) -> Vec<u8> {
    deflate(text.as_bytes())
}

/// Reads what [`pack_text`] wrote.
///
/// # Errors
/// See [`InvalidPack`].
pub fn unpack_text(packed: &[u8]) -> Result<String, InvalidPack> {
    let invalid = |error| InvalidPack::Deflate(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
    String::from_utf8(inflate(packed, MAX_BYTES)?).map_err(invalid)
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

fn inflate(packed: &[u8], most: usize) -> Result<Vec<u8>, InvalidPack> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    DeflateDecoder::new(packed).take(limit).read_to_end(&mut bytes).map_err(InvalidPack::Deflate)?;
    if bytes.len() > most { Err(InvalidPack::TooLong(most)) } else { Ok(bytes) }
}
