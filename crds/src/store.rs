//! The pure index of objects.
