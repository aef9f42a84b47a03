//! The shared vocabulary: the objects users write, what they mean, and how they arrive.
//!
//! ```text
//! source ──▶ api objects ──▶ validate ──▶ model::Config ─┐
//!    │                          └─▶ Problems             ├─▶ source::Change ──▶ controller, speaker
//!    └─────▶ resource ──▶ model::{Service, Node, …} ─────┘
//! ```

pub mod api;
pub mod definition;
pub mod duration;
pub mod model;
pub mod pace;
mod parallel;
pub mod rank;
pub mod serve;
pub mod source;
pub mod state;
pub mod store;
pub mod validate;
