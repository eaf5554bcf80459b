//! The stylesheet, the script and the icon.

use axum::http::{HeaderName, header};

const CSS: &str = include_str!("../../assets/console.css");
const JS: &str = include_str!("../../assets/console.js");
const ICON: &str = include_str!("../../assets/icon.svg");

type Asset = ([(HeaderName, &'static str); 2], &'static str);

/// The version of the assets. It is in their addresses, so a browser can cache them
/// forever.
pub(crate) fn version() -> String {
    let mut hasher = crc32fast::Hasher::new();
    for asset in [CSS, JS, ICON] {
        hasher.update(asset.as_bytes());
    }
    format!("{:08x}", hasher.finalize())
}

pub(crate) async fn css() -> Asset {
    asset("text/css; charset=utf-8", CSS)
}

pub(crate) async fn js() -> Asset {
    asset("text/javascript; charset=utf-8", JS)
}

pub(crate) async fn icon() -> Asset {
    asset("image/svg+xml", ICON)
}

fn asset(media_type: &'static str, text: &'static str) -> Asset {
    let cache_control = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, cache_control)], text)
}
