//! Gives addresses to Services.
//!
//! ```text
//! source ──▶ Change ──▶ reconcile ──▶ ledger ──▶ status ──▶ state directory
//!                        │     │
//!                   decide ──▶ allocator, placement
//! ```

pub mod allocator;
pub mod cli;
pub mod cluster;
pub mod decide;
pub mod events;
#[cfg(test)]
mod fixture;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod office;
pub mod placement;
pub mod plan;
mod pools;
pub mod publication;
pub mod reconcile;
pub mod run;
mod status;
pub mod telemetry;
mod verdict;
