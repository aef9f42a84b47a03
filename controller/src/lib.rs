//! Gives addresses to Services.
//!
//! ```text
//! source ──▶ Change ──▶ reconcile ──▶ Status ──▶ state directory
//!                        │     │
//!                   decide ──▶ allocator
//! ```

pub mod allocator;
pub mod decide;
#[cfg(test)]
mod fixture;
pub mod plan;
pub mod reconcile;
