//! HTTP/1.1 without I/O: bytes in, steps out; responses in, bytes out.
