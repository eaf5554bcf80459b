//! How much of a list a page shows. A page and the stylesheet together are under
//! 60 KB, whatever the data: of what does not fit the first are shown, and how
//! many more there are is said.

use askama::Template;

use crate::view::assets;
use crate::view::permissions::widest_first;

/// The most bytes of a page and the stylesheet together.
const MOST_BYTES: usize = 60_000;
/// Kept free of them for what is on a page besides its list: the address of the
/// next page, whose cursor holds a name.
const SPARE_BYTES: usize = 2_000;
/// Of a role so many permissions are shown in a list of roles, and so many
/// bytes of them.
const PERMISSIONS: usize = 8;
const PERMISSIONS_BYTES: usize = 1_600;

/// The first items of a list, and how many more there are.
pub(crate) struct Excerpt<T> {
    items: Vec<T>,
    shown: usize,
}

impl<T> Default for Excerpt<T> {
    fn default() -> Self {
        Self::whole(Vec::new())
    }
}

impl<T> Excerpt<T> {
    /// All of them.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { shown: items.len(), items }
    }

    /// As many as have at most `bytes` together, as `bytes_of` says of each: at
    /// most `most` of them, and the first in any case.
    pub(crate) fn of(items: Vec<T>, most: usize, bytes: usize, bytes_of: impl Fn(&T) -> usize) -> Self {
        let mut left = bytes;
        let fitting = items.iter().take(most).take_while(|item| {
            let fits = bytes_of(item) <= left;
            left = left.saturating_sub(bytes_of(item));
            fits
        });
        let shown = fitting.count().max(1).min(items.len());
        Self { items, shown }
    }

    pub(crate) fn shown(&self) -> &[T] {
        self.items.get(..self.shown).unwrap_or_default()
    }

    pub(crate) fn all(&self) -> &[T] {
        &self.items
    }

    /// Those that are not.
    pub(crate) fn rest(&self) -> &[T] {
        self.items.get(self.shown..).unwrap_or_default()
    }

    /// How many more there are.
    pub(crate) fn more(&self) -> usize {
        self.items.len().saturating_sub(self.shown)
    }

    /// How many are shown, as the API takes it for a page.
    pub(crate) fn limit(&self) -> u8 {
        u8::try_from(self.shown).unwrap_or(u8::MAX)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// The first of a role's permissions: where they are not all shown, what permits
/// most.
pub(crate) fn permissions(permissions: &[String]) -> Excerpt<String> {
    let shown = |permissions| texts(permissions, PERMISSIONS, PERMISSIONS_BYTES);
    let all = shown(permissions.to_vec());
    if all.more() == 0 {
        return all;
    }
    let mut permissions = permissions.to_vec();
    widest_first(&mut permissions);
    shown(permissions)
}

/// The first of these texts: at most `most`, with at most `bytes` in a page.
pub(crate) fn texts(texts: Vec<String>, most: usize, bytes: usize) -> Excerpt<String> {
    Excerpt::of(texts, most, bytes, |text| escaped(text))
}

/// Of a list as long as a page of the API, those from the `after`th on.
pub(crate) fn after<T>(items: Vec<T>, after: usize) -> Excerpt<T> {
    Excerpt::whole(items.into_iter().skip(after).collect())
}

/// How many bytes `text` has in a page, where four are written for what HTML
/// reads as its own.
pub(crate) fn escaped(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count()
}

/// `text` in a textarea, where nothing else can be HTML's own (RCDATA; HTML
/// Standard, sections 13.2.5.2 and 13.2.5.72): what is typed stays as light as it
/// is.
pub(crate) fn in_textarea(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let begins_reference = rest.peek().is_some_and(|next| next.is_ascii_alphanumeric() || *next == '#');
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' if begins_reference => escaped.push_str("&amp;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Shows of the list of `page` as much as fits into it, and one item at least.
pub(crate) fn fit<P: Template, T>(page: &mut P, list: impl Fn(&mut P) -> &mut Excerpt<T>) {
    let most = MOST_BYTES.saturating_sub(SPARE_BYTES + assets::css_bytes());
    // One that cannot be rendered says so when it is shown.
    let fits = |page: &P| page.render().is_ok_and(|html| html.len() <= most);
    let all = list(page).items.len();
    let (mut fitting, mut candidates) = (0, all);
    list(page).shown = all;
    if fits(page) {
        return;
    }
    while fitting < candidates {
        let count = (fitting + candidates).div_ceil(2);
        list(page).shown = count;
        if fits(page) {
            fitting = count;
        } else {
            candidates = count.saturating_sub(1);
        }
    }
    list(page).shown = fitting.max(1).min(all);
}
