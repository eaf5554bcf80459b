//! The first items of a list, for pages that do not show the whole list.

use crate::view::permissions::widest_first;

/// How many permissions a summary of a role shows.
const PERMISSIONS: usize = 8;

/// The first items of a list, and how many more the list has.
pub(crate) struct Excerpt<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: usize,
}

impl<T> Excerpt<T> {
    /// The first `count` of `items`.
    pub(crate) fn first(mut items: Vec<T>, count: usize) -> Self {
        let more = items.len().saturating_sub(count);
        items.truncate(count);
        Self { items, more }
    }
}

/// The first permissions of a role or, if the role has more, those that permit most.
pub(crate) fn permissions(permissions: &[String]) -> Excerpt<String> {
    let mut permissions = permissions.to_vec();
    if permissions.len() > PERMISSIONS {
        widest_first(&mut permissions);
    }
    Excerpt::first(permissions, PERMISSIONS)
}
