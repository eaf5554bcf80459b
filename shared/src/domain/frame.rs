//! Frames: lists of fields that are hashed together, so that different lists have different
//! hashes.

use sha2::digest::Update;

/// Hashes a frame. Each field is its length (4 bytes, big-endian) and its bytes, which are given
/// in parts.
pub(super) fn update_frame(hash: &mut impl Update, fields: &[&[&[u8]]]) {
    for parts in fields {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        hash.update(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        for part in *parts {
            hash.update(part);
        }
    }
}
