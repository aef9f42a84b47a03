//! From the objects users wrote to the configuration the program holds: parse, don't validate.
//!
//! ```text
//! Object ─▶ schema ─▶ draft (pools, peers, advertisements) ─▶ judge ─▶ Config
//!           types,    what one object says and breaks by      │  contradictions between objects,
//!           ranges    itself                                  │  references, the last good version
//!                                                             └▶ Problems, all of them
//! ```
//!
//! Nothing in here stops at the first problem, and no problem of one object touches another (design
//! invariant I5). What a rule is about is the FRR column of the reference: nothing is refused for
//! being beyond a simpler implementation.

mod advertisements;
mod annotations;
mod contradictions;
mod draft;
mod fault;
mod judge;
pub(crate) mod path;
mod peers;
mod pools;
mod problem;
mod rule;
mod schema;
mod selectors;
mod statement;

pub use judge::{Facts, Judge, SecretFacts, Verdict};
pub use problem::{ObjectRef, Problem};
pub use statement::Statement;

#[cfg(test)]
mod tests;
