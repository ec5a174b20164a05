//! libtorch's own step of Adam, which reads and writes every number once.
//!
//! tch has no binding for it, so it is called by name through libtorch's stable C interface.

use crate::MapError;
use std::ffi::{CStr, c_char, c_void};
use tch::Tensor;

/// Settings that all steps share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FusedAdam {
    pub(crate) learning_rate: f64,
    pub(crate) beta_1: f64,
    pub(crate) beta_2: f64,
    /// Added after the bias correction.
    pub(crate) epsilon: f64,
}

/// Tensors of a step, all of one shape.
pub(crate) struct Stepped<'a> {
    pub(crate) values: &'a Tensor,
    pub(crate) gradient: &'a Tensor,
    pub(crate) first_moment: &'a Tensor,
    pub(crate) second_moment: &'a Tensor,
    /// Number of this step, from 1: one f32 on the same device.
    pub(crate) step: &'a Tensor,
}

/// libtorch refused; it prints the reason on standard error.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("libtorch's fused step of Adam failed; it says why above")]
pub(crate) struct FusedAdamError;

impl From<FusedAdamError> for MapError {
    fn from(error: FusedAdamError) -> Self {
        Self::Torch(error.to_string())
    }
}

/// A value as libtorch's stable interface passes it: a number's bits, or an owned handle.
type Value = u64;

unsafe extern "C" {
    fn aoti_torch_new_tensor_handle(tensor: *mut c_void, new: *mut *mut c_void) -> i32;
    fn torch_new_list_reserve_size(size: usize, list: *mut *mut c_void) -> i32;
    fn torch_list_push_back(list: *mut c_void, element: Value) -> i32;
    fn torch_call_dispatcher(
        operator: *const c_char,
        overload: *const c_char,
        stack: *mut Value,
        version: u64,
    ) -> i32;
    safe fn aoti_torch_abi_version() -> u64;
}

const OPERATOR: &CStr = c"aten::_fused_adam_";

impl FusedAdam {
    /// One step, in place.
    pub(crate) fn step(self, of: &Stepped<'_>) -> Result<(), FusedAdamError> {
        let lists = [
            Some(of.values),
            Some(of.gradient),
            Some(of.first_moment),
            Some(of.second_moment),
            None, // largest second moments so far
            Some(of.step),
        ];
        let mut stack: Vec<Value> = Vec::with_capacity(15);
        for tensor in lists {
            stack.push(list(tensor)?);
        }
        let (weight_decay, no, none) = (0.0f64, 0, 0);
        stack
            .extend([self.learning_rate, self.beta_1, self.beta_2, weight_decay].map(f64::to_bits));
        stack.push(self.epsilon.to_bits());
        // amsgrad, maximize, grad_scale, found_inf.
        stack.extend([no, no, none, none]);
        // SAFETY: the stack holds the operator's 15 arguments in order; handles on it are owned, and taken by the call.
        let failed = unsafe {
            torch_call_dispatcher(
                OPERATOR.as_ptr(),
                c"".as_ptr(),
                stack.as_mut_ptr(),
                aoti_torch_abi_version(),
            )
        };
        done(failed)
    }
}

/// An owned list of one tensor, or none.
fn list(tensor: Option<&Tensor>) -> Result<Value, FusedAdamError> {
    let mut list = std::ptr::null_mut();
    // SAFETY: a tensor of tch is a pointer to libtorch's tensor, which is what a handle is; the list takes the new handle.
    unsafe {
        done(torch_new_list_reserve_size(1, &mut list))?;
        if let Some(tensor) = tensor {
            let mut handle = std::ptr::null_mut();
            done(aoti_torch_new_tensor_handle(
                tensor.as_ptr().cast_mut().cast(),
                &mut handle,
            ))?;
            done(torch_list_push_back(list, handle as Value))?;
        }
    }
    Ok(list as Value)
}

fn done(failed: i32) -> Result<(), FusedAdamError> {
    match failed {
        0 => Ok(()),
        _ => Err(FusedAdamError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    const ADAM: FusedAdam = FusedAdam {
        learning_rate: 0.1,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
    };

    #[test]
    fn three_steps_follow_the_formula() {
        for (kind, rounding) in [(Kind::Double, 1e-13), (Kind::Float, 1e-6)] {
            let options = (kind, Device::Cpu);
            // Gradients from far below ε to far above: where ε is added matters.
            let gradients: Vec<f64> = (0..37).map(|i| 10f64.powi(i / 3 - 11)).collect();
            let gradient = Tensor::from_slice(&gradients).to_kind(kind);
            let values = Tensor::zeros([37], options);
            let moments = [0, 1].map(|_| Tensor::zeros([37], options));
            let mut expected = vec![[0.0f64; 3]; 37];
            for t in 1..=3 {
                let step = Tensor::from_slice(&[t as f32]);
                let of = Stepped {
                    values: &values,
                    gradient: &gradient,
                    first_moment: &moments[0],
                    second_moment: &moments[1],
                    step: &step,
                };
                ADAM.step(&of).unwrap();
                for ([x, m, v], g) in expected.iter_mut().zip(&gradients) {
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let root = (*v / (1.0 - 0.999f64.powi(t))).sqrt();
                    *x -= 0.1 * *m / (1.0 - 0.9f64.powi(t)) / (root + 1e-8);
                }
            }
            for (i, [x, ..]) in expected.iter().enumerate() {
                let found = values.double_value(&[i as i64]);
                assert!((found - x).abs() < rounding, "{i}: {found} {x}");
            }
        }
    }
}
