//! The parts that pages share.

pub(crate) mod assets;
pub(crate) mod attention;
pub(crate) mod chart;
pub(crate) mod difference;
pub(crate) mod excerpt;
pub(crate) mod export;
pub(crate) mod find_account;
pub(crate) mod form;
pub(crate) mod formatting;
pub(crate) mod grant_activity;
pub(crate) mod grant_history;
pub(crate) mod impact;
pub(crate) mod layout;
pub(crate) mod navigation;
pub(crate) mod permissions;
pub(crate) mod platform;
pub(crate) mod refusal;
pub(crate) mod repository;
pub(crate) mod request_text;
pub(crate) mod required_claims;
pub(crate) mod role_chooser;
pub(crate) mod snippets;
pub(crate) mod tags;
pub(crate) mod tool_names;
pub(crate) mod tools;
pub(crate) mod usage;
