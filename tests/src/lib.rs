//! What the proofs share: a laboratory of network namespaces, reference peers, the two programs as
//! black boxes, and probes that say how long an address was out of reach.
//!
//! Everything here belongs to the outside world and is therefore no model for the product's code:
//! it reads clocks, opens files and starts processes wherever a proof needs that.

pub mod announcing;
pub mod answers;
pub mod capture;
pub mod crowd;
pub mod kubernetes;
pub mod lab;
pub mod netns;
pub mod objects;
pub mod patience;
pub mod peer;
pub mod probe;
pub mod process;
pub mod programs;
pub mod segment;
pub mod served;
