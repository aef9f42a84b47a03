//! Everything that should be true on this node.
