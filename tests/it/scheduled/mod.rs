//! The scheduled functions.

mod pepper_rotation;
mod sweep_keys;
mod token_key_rotation;
