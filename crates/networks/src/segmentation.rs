//! The result of a segmentation.

/// The classes that a network gives to a photograph.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// The most probable class of every pixel, row after row.
    pub classes: Vec<u8>,
    /// Mean probability of the most probable class.
    pub mean_probability: f64,
    /// Share of the pixels of all views whose class is not that of the average.
    pub disagreement: f64,
}
