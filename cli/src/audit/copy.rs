//! What COPY sends in its binary form, read row by row.

use crate::error::{Error, Kind, Result};
use std::io::Read;

/// From 1970, where we count from, to 2000, where PostgreSQL does.
pub const MICROSECONDS_TO_2000: i64 = 946_684_800_000_000;

/// Rows of COPY … (FORMAT binary), field by field.
pub struct Rows<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: Read> Rows<R> {
    pub(super) fn new(mut reader: R) -> Result<Self> {
        let mut header = [0; 19];
        reader.read_exact(&mut header)?;
        if !header.starts_with(b"PGCOPY\n\xff\r\n\0") {
            return Err(odd("the server's COPY data has no valid header"));
        }
        Ok(Self { reader, buffer: Vec::new() })
    }

    /// Goes to the next row; false at the end.
    pub(super) fn next(&mut self) -> Result<bool> {
        let mut count = [0; 2];
        self.reader.read_exact(&mut count)?;
        if i16::from_be_bytes(count) >= 0 {
            return Ok(true);
        }
        std::io::copy(&mut self.reader, &mut std::io::sink())?;
        Ok(false)
    }

    pub(super) fn field(&mut self) -> Result<&[u8]> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| odd("a column of the ledger is NULL"))?;
        self.buffer.resize(length, 0);
        self.reader.read_exact(&mut self.buffer)?;
        Ok(&self.buffer)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.field()?.try_into().map_err(|_| odd("a column of the ledger has the wrong type"))
    }
}

/// Rows as record_send writes them: the number of columns, and of each its type, length and value.
pub struct Records<'a>(pub(super) &'a [u8]);

impl<'a> Records<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| odd("the server's rows end too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<i32> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn row(&mut self, columns: i32) -> Result<()> {
        if self.number()? == columns { Ok(()) } else { Err(odd("the server's rows have the wrong number of columns")) }
    }

    pub(super) fn field(&mut self) -> Result<&'a [u8]> {
        self.number()?;
        let length = usize::try_from(self.number()?).map_err(|_| odd("a column of the ledger is NULL"))?;
        self.take(length)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.field()?.try_into().map_err(|_| odd("a column of the ledger has the wrong type"))
    }
}

/// The error for an answer that no intact ledger gives.
pub fn odd(what: &str) -> Error {
    Error::new(Kind::Check, what, "The tables of schema \"runbook\" are not as the extension created them.")
}
