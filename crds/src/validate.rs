//! From the objects users wrote to the configuration the program holds.

mod problem;

pub use problem::{ObjectRef, Problem};
