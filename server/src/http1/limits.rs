//! Every bound of the protocol core, in one struct.

/// The most fields that a head or a trailer section can hold, whatever [`Limits`] say.
///
/// The array that a head is parsed into lives on the stack, so its size is fixed.
pub const FIELD_COUNT_CAP: usize = 128;

/// The most bytes that a head or a trailer section can have, whatever [`Limits`] say.
///
/// Positions inside a head are kept as `u32`; a mebibyte is far below that and far above any use.
pub const HEAD_BYTES_CAP: usize = 1 << 20;

/// Every bound of the protocol core. Hitting one refuses the request and closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request line with all its fields and line ends. Default 16 KiB: four times what a
    /// browser with many cookies sends. Beyond it: 431. At most [`HEAD_BYTES_CAP`].
    pub head_bytes_max: usize,
    /// Number of fields in a head. Default 100: browsers send about 20, a chain of proxies adds a
    /// few. Beyond it: 431. At most [`FIELD_COUNT_CAP`].
    pub field_count_max: usize,
    /// Bytes of one field line without its line end. Default 8 KiB: half a head, so that one cookie
    /// cannot crowd out everything else. Beyond it: 431.
    pub field_line_bytes_max: usize,
    /// Bytes of the request target. Default 8 KiB: RFC 9112 section 3 recommends at least 8000.
    /// Beyond it: 414.
    pub target_bytes_max: usize,
    /// Bytes of the method. Default 32: the longest registered method has 17. Beyond it: 501, as
    /// RFC 9112 section 3 asks for a method longer than any that is implemented; 400 where it does
    /// not end within eight times as many bytes.
    pub method_bytes_max: usize,
    /// Bytes of one chunk size line, extensions included, without its line end. Default 256: a size
    /// takes 16 and a signature extension about 100. Beyond it: 400.
    pub chunk_line_bytes_max: usize,
    /// Bytes of all chunk extensions of one body. Default 4 KiB: extensions are read and thrown
    /// away, so a peer that sends more of them than content is refused. Beyond it: 400.
    pub chunk_extension_bytes_max: usize,
    /// Bytes of a trailer section with its line ends. Default 4 KiB: checksums and timings fit.
    /// Beyond it: 431. At most [`HEAD_BYTES_CAP`].
    pub trailer_bytes_max: usize,
    /// Number of fields in a trailer section. Default 32. Beyond it: 431. At most
    /// [`FIELD_COUNT_CAP`].
    pub trailer_count_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            field_count_max: 100,
            field_line_bytes_max: 8 * 1024,
            target_bytes_max: 8 * 1024,
            method_bytes_max: 32,
            chunk_line_bytes_max: 256,
            chunk_extension_bytes_max: 4 * 1024,
            trailer_bytes_max: 4 * 1024,
            trailer_count_max: 32,
        }
    }
}
