//! Variable-length integers of the record format (zigzag, as in Protocol Buffers).
