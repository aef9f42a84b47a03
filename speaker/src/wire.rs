//! Checked reading and writing of bytes.
//!
//! Everything that comes from the network is read through [`Reader`], which cannot index past its
//! end, and everything that goes out is written through [`Writer`]. The formats live in the
//! submodules: each has a `parse` that can fail and an `emit` that cannot.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod arp;
pub mod ethernet;
pub mod ndisc;
pub mod radv;
pub mod udp;

use std::ops::Deref;

use thiserror::Error;

/// Fewer bytes than the format needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("truncated")]
pub struct Truncated;

/// Reads big-endian values from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }
}

/// What can be written to.
pub trait Buffer: Default {
    /// Appends bytes.
    fn append(&mut self, bytes: &[u8]);
    /// What has been written so far.
    fn as_slice(&self) -> &[u8];
}

impl Buffer for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn as_slice(&self) -> &[u8] {
        self
    }
}

/// A frame of at most [`SHORT`] bytes, for which nothing is allocated: every answer is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; SHORT],
    length: usize,
}

/// More than an ARP packet or a neighbour advertisement takes.
pub const SHORT: usize = 96;

impl Default for Short {
    fn default() -> Self {
        Self {
            bytes: [0; SHORT],
            length: 0,
        }
    }
}

impl Buffer for Short {
    /// What does not fit is left out.
    fn append(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Appends big-endian values to a buffer.
#[derive(Debug, Clone, Default)]
pub struct Writer<B = Vec<u8>> {
    bytes: B,
}

impl Writer {
    /// Starts empty, with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
        }
    }
}

impl<B: Buffer> Writer<B> {
    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.append(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// What has been written so far.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// All that was written.
    pub fn finish(self) -> B {
        self.bytes
    }
}

/// The Internet checksum (RFC 1071) over several pieces; all but the last have an even length.
///
/// Over a message that contains its own checksum the result is 0 if it is right.
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let sum = pieces
        .iter()
        .flat_map(|piece| piece.chunks(2))
        .map(|pair| match *pair {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(u16::from_be_bytes([high, 0])),
            _ => 0,
        })
        .fold(0u32, fold);
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// One's complement addition of 16-bit words.
fn fold(sum: u32, word: u32) -> u32 {
    let sum = sum.saturating_add(word);
    (sum & 0xffff).saturating_add(sum >> 16)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
pub(crate) mod tests;
