//! A second opinion about the plane of a mask, beside the comparison with all coronal planes.

use crate::Plane;
use std::fmt;

/// Something that calls a plane by looking at a mask, such as a network.
#[derive(Clone, Copy)]
pub struct PlaneCaller<'a> {
    /// Edge of the square masks that it looks at, pixels.
    pub edge: usize,
    /// From the classes of such a mask, row after row, to the plane. The section stands upright in the middle; of a half the missing half is
    /// background.
    pub call: &'a dyn Fn(&[u8]) -> Plane,
}

impl fmt::Debug for PlaneCaller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlaneCaller")
            .field("edge", &self.edge)
            .finish_non_exhaustive()
    }
}

/// What a [`PlaneCaller`] called, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalledPlane {
    /// The plane that was called.
    pub plane: Plane,
    /// Whether the result was fitted from the start in this plane, rather than from one of the comparison.
    pub won: bool,
}
