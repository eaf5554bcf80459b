//! Who is signed in, and how they sign in.

pub(crate) mod csrf;
pub(crate) mod oidc;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod token;
