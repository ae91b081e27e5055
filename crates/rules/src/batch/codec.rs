//! Packing and unpacking of records.
