//! Signing in, sessions and forms.

pub(crate) mod csrf;
pub(crate) mod oidc;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod token;
