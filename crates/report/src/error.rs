//! Why a picture cannot be made.

use plotters::drawing::DrawingAreaErrorKind;

/// Why a picture cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A figure that does not fit its area, or has nothing to show.
    #[error("the figure cannot be drawn: {0}")]
    Drawing(String),
    /// A drawing that cannot be turned into pixels.
    #[error("the figure cannot be turned into {format}: {reason}")]
    Conversion {
        /// `PNG` or `PDF`.
        format: &'static str,
        /// What the library says.
        reason: String,
    },
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PictureError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::Drawing(error.to_string())
    }
}
