//! What this speaker knows.
