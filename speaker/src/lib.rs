//! Makes this node answer for the addresses.
