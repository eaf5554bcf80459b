//! The functions that run on a schedule.

mod pepper_rotation;
mod sweep_keys;
