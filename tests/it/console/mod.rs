//! The console, as a browser sees it. What takes a real browser is in
//! `tests/browser`.

mod access;
mod keys;
mod roles;
mod sizes;
