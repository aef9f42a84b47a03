//! Checked reading and writing of bytes.
