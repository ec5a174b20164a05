//! What a mapping takes before it is tried: memory, operations, bytes between ranks.

pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod tally;
pub(crate) mod traffic;
