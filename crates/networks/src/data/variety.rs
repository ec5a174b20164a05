//! How images differ from the planes that they are made of.

/// How images differ from the atlas's planes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variety {
    /// Largest pitch and yaw, degrees.
    pub tilt_deg: f64,
    /// Largest turn in the image, degrees.
    pub turn_deg: f64,
    /// Largest stretch along one axis with as much shrinkage along the other.
    pub stretch: f64,
    /// Root mean square of the warp, as a part of the image's edge.
    pub warp: f64,
    /// Least and largest edge of the image, as a part of the tissue's: below 1 it is a crop.
    pub zoom: [f64; 2],
    /// Whether images are mirrored along either axis, half of the time each.
    pub flips: bool,
    /// Whether masks get blobs of a wrong class and are halved; holes come in any case.
    pub wrong_masks: bool,
}

impl Variety {
    /// Of images.
    pub const IMAGES: Self = Self {
        tilt_deg: 6.0,
        turn_deg: 20.0,
        stretch: 0.1,
        warp: 0.012,
        zoom: [0.75, 1.4],
        flips: true,
        wrong_masks: false,
    };
    /// Of masks whose plane is to be found: not mirrored, and with mistakes.
    pub const MASKS: Self = Self {
        zoom: [1.0, 1.35],
        flips: false,
        wrong_masks: true,
        ..Self::IMAGES
    };
}
