//! How to multiply 16-bit numbers with sums in single precision: not every device or version of libtorch supports each form.

#[cfg(feature = "torch")]
use crate::rounding::{Format, Rounding};
#[cfg(feature = "torch")]
use crate::{Engine, MapError, TorchEngine};
use crate::{Precision, TorchDevice};
use std::fmt;
#[cfg(feature = "torch")]
use tch::{Device, Kind, Tensor};

/// How a product is added to its sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductForm {
    /// Factors and sums are of one kind: `addmm_`, in place.
    OneKind,
    /// 16-bit factors, added in place to a sum of single precision: `addmm.dtype_out`.
    AddedInPlace,
    /// 16-bit factors, a product of single precision in a buffer of its own (`mm.dtype_out`), which is then added.
    AddedAfterwards,
    /// libtorch has neither: 16-bit factors are converted to single precision block by block, and multiplied there (`addmm_`).
    Widened,
}

impl fmt::Display for ProductForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneKind => "addmm_, in place",
            Self::AddedInPlace => "addmm.dtype_out, in place",
            Self::AddedAfterwards => "mm.dtype_out, then added",
            Self::Widened => "converted to single precision, then addmm_, in place",
        })
    }
}

#[cfg(feature = "torch")]
impl ProductForm {
    /// Finds the best form that works, by trying each.
    pub(crate) fn probe(format: Format, wide: Kind, device: Device) -> Self {
        let factor = factor_kind(format, wide);
        if factor == wide {
            return Self::OneKind;
        }
        let forms = [Self::AddedInPlace, Self::AddedAfterwards];
        let works = |form: &Self| form.works(factor, wide, device).unwrap_or(false);
        forms.into_iter().find(works).unwrap_or(Self::Widened)
    }

    /// Whether Σ 3·3 over 8 terms and 5 + Σ 3·3 are computed correctly.
    fn works(self, factor: Kind, wide: Kind, device: Device) -> Result<bool, tch::TchError> {
        let full = |x: f64, kind| Tensor::f_full([8, 8], x, (kind, device));
        let (mut sums, mut product) = (full(5.0, wide)?, full(0.0, wide)?);
        let factors = full(3.0, factor)?;
        let written = full(0.0, wide)?;
        self.try_write(&written, &factors, &factors)?;
        self.try_add(&mut sums, &mut product, &factors.tr(), &factors)?;
        let both = sums.f_add(&written)?;
        let apart = both.f_sub_scalar(77.0 + 72.0)?.f_abs()?.f_max()?;
        Ok(apart.f_double_value(&[])? == 0.0)
    }

    /// `sums += a · b`.
    ///
    /// * `product`: room like `sums`, used by [`AddedAfterwards`](Self::AddedAfterwards) alone
    pub(crate) fn add(
        self,
        sums: &mut Tensor,
        product: &mut Tensor,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<(), MapError> {
        Ok(self.try_add(sums, product, a, b)?)
    }

    fn try_add(
        self,
        sums: &mut Tensor,
        product: &mut Tensor,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<(), tch::TchError> {
        let wide = sums.kind();
        let _ = match self {
            Self::OneKind => sums.f_addmm_(a, b)?,
            Self::AddedInPlace => sums.f_addmm_dtype_out(sums, a, b, wide)?,
            Self::AddedAfterwards => {
                if product.size() != sums.size() {
                    *product = Tensor::f_empty(sums.size(), (wide, sums.device()))?;
                }
                let _ = a.f_mm_dtype_out(product, b, wide)?;
                sums.f_add_(product)?
            }
            Self::Widened => sums.f_addmm_(&a.f_to_kind(wide)?, &b.f_to_kind(wide)?)?,
        };
        Ok(())
    }

    /// Writes `a · b`.
    pub(crate) fn write(self, to: &Tensor, a: &Tensor, b: &Tensor) -> Result<(), MapError> {
        Ok(self.try_write(to, a, b)?)
    }

    fn try_write(self, to: &Tensor, a: &Tensor, b: &Tensor) -> Result<(), tch::TchError> {
        let wide = to.kind();
        let _ = match self {
            Self::OneKind => a.f_mm_out(to, b)?,
            Self::AddedInPlace | Self::AddedAfterwards => a.f_mm_dtype_out(to, b, wide)?,
            Self::Widened => a.f_to_kind(wide)?.f_mm_out(to, &b.f_to_kind(wide)?)?,
        };
        Ok(())
    }

    /// The kind in which weights lie on the device: read by every block, they are converted once.
    pub(crate) fn weights_kind(self, format: Format, wide: Kind) -> Kind {
        match self {
            Self::Widened => wide,
            _ => factor_kind(format, wide),
        }
    }
}

/// How a device multiplies in a precision, tried on it; `None` in a build without libtorch.
#[cfg(not(feature = "torch"))]
#[must_use]
pub fn product_form(_: TorchDevice, _: Precision) -> Option<ProductForm> {
    None
}

/// How a device multiplies in a precision, tried on it; `None` in a build without libtorch.
#[cfg(feature = "torch")]
#[must_use]
pub fn product_form(device: TorchDevice, precision: Precision) -> Option<ProductForm> {
    let engine = Engine::Torch(TorchEngine {
        device,
        memory: None,
        block: None,
    });
    let format = Rounding::of_gradients(precision, &engine, false, None).format();
    let wide = match format {
        Format::Double => Kind::Double,
        _ => Kind::Float,
    };
    Some(ProductForm::probe(format, wide, device.into()))
}

/// The kind of tensor that holds factors of a format.
#[cfg(feature = "torch")]
pub(crate) fn factor_kind(format: Format, wide: Kind) -> Kind {
    match format {
        Format::Bf16 => Kind::BFloat16,
        Format::Fp16 => Kind::Half,
        Format::Single | Format::Double | Format::Tf32 => wide,
    }
}
