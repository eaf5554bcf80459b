//! The stylesheet, the script and the icon.

use axum::http::{HeaderName, header};

/// A response with a file.
type Asset = ([(HeaderName, &'static str); 2], &'static str);

pub(crate) const CSS: Asset = asset("text/css; charset=utf-8", include_str!("../../assets/console.css"));
pub(crate) const JS: Asset = asset("text/javascript; charset=utf-8", include_str!("../../assets/console.js"));
pub(crate) const ICON: Asset = asset("image/svg+xml", include_str!("../../assets/icon.svg"));

/// The version of the assets. It is in their addresses, so a browser can cache them
/// forever.
pub(crate) fn version() -> String {
    let mut hasher = crc32fast::Hasher::new();
    for (_, text) in [CSS, JS, ICON] {
        hasher.update(text.as_bytes());
    }
    format!("{:08x}", hasher.finalize())
}

const fn asset(media_type: &'static str, text: &'static str) -> Asset {
    let cache_control = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, cache_control)], text)
}
