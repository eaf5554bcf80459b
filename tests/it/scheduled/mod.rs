//! The scheduled functions.

mod pepper_rotation;
mod sweep_keys;
