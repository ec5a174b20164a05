//! What a mapping takes before it is tried: memory, operations, bytes between ranks.

pub(crate) mod memory;
pub(crate) mod traffic;
