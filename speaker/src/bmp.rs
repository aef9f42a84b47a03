//! BMP (RFC 7854): what BGP peers are sent, told to monitoring stations.
//!
//! It dials the stations that it is given and tells each which sessions there are, why they end, and
//! what their peers hold: Adj-RIB-Out after policy (RFC 8671). What peers send is not told, because
//! nobody here keeps it.
//!
//! ```text
//!   sessions ─┐                                ┌─ codec ──▶ octets
//!             ├─▶ news ──▶ station ──▶ driver ─┤
//!   routes ───┘            (a machine each)    └─▶ TCP, report
//! ```
//!
//! A station is told of each session by an Adj-RIB-Out of its own, which composes what the peer's does.
//! So a station that reads slowly costs one entry per prefix, and delays no peer and no other station.

pub mod codec;
