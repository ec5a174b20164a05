//! Files of weights: safetensors, with torchvision's names.

use crate::NetworkError;
use crate::torch::parameters::Parameters;
use safetensors::tensor::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use tangram_store::{Existing, StoreError, open_file, write_aside};
use tch::{Kind, Tensor};

/// The key of the metadata under which this program keeps its own.
const ABOUT: &str = "tangram";
/// A larger file is refused before it is read; DenseNet169 has 57 MB, a full checkpoint of the U-Net 400 MB.
const MOST_BYTES: u64 = 8 << 30;

/// A file of weights in memory.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    /// What this program wrote about them.
    pub about: Option<String>,
}

impl WeightsFile {
    /// Reads a file of safetensors; numbers become f32.
    ///
    /// # Errors
    /// [`NetworkError::Weights`] if it is none, [`NetworkError::Store`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let wrong = |reason: String| NetworkError::weights(path, reason);
        let mut file = open_file(path)?;
        let unread = |e: std::io::Error| StoreError::Read {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        let length = file.metadata().map_err(unread)?.len();
        if length > MOST_BYTES {
            return Err(wrong(format!(
                "{length} bytes; weights have at most {MOST_BYTES}"
            )));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unread)?;
        let no_safetensors = |e: &dyn std::fmt::Display| {
            wrong(format!(
                "not a file of safetensors that can be read ({e}); convert PyTorch's own format with `safetensors.torch.save_file`"
            ))
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| no_safetensors(&e))?;
        let about = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get(ABOUT))
            .cloned();
        let all = SafeTensors::deserialize(&bytes).map_err(|e| no_safetensors(&e))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in all.tensors() {
            let kind = match view.dtype() {
                Dtype::F32 => Kind::Float,
                Dtype::F64 => Kind::Double,
                Dtype::F16 => Kind::Half,
                Dtype::BF16 => Kind::BFloat16,
                // Counters, such as num_batches_tracked.
                _ => continue,
            };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)
                .map_err(|e| no_safetensors(&e))?;
            tensors.insert(current_name(&name), tensor.to_kind(Kind::Float));
        }
        Ok(Self {
            path: path.to_owned(),
            tensors,
            about,
        })
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies into the parameters whose names begin with `to` what the file has under the rest of their names after `from`.
    ///
    /// * `unused`: beginnings of names in the file, after `from`, that the network need not have
    ///
    /// # Returns
    /// The number of tensors copied.
    ///
    /// # Errors
    /// [`NetworkError::Weights`] if one is missing, of another shape, not finite, or not of this network; then nothing was copied.
    pub fn load(
        &self,
        parameters: &Parameters,
        from: &str,
        to: &str,
        unused: &[&str],
    ) -> Result<usize, NetworkError> {
        let wrong = |reason: String| Err(NetworkError::weights(&self.path, reason));
        let mut due = Vec::new();
        for parameter in parameters.all() {
            let Some(rest) = parameter.name.strip_prefix(to) else {
                continue;
            };
            let name = format!("{from}{rest}");
            let Some(found) = self.tensors.get(&name) else {
                return wrong(format!(
                    "the tensor `{name}` is missing; the file must hold this network with torchvision's names{}",
                    self.hint()
                ));
            };
            let (shape, expected) = (found.size(), parameter.value.size());
            if shape != expected {
                return wrong(format!(
                    "the tensor `{name}` has the shape {shape:?}, this network's {expected:?}"
                ));
            }
            if found.isfinite().all().int64_value(&[]) == 0 {
                return wrong(format!(
                    "the tensor `{name}` has values that are not finite"
                ));
            }
            due.push((name, found, parameter));
        }
        let is_due = |name: &String| due.iter().any(|(due, ..)| due == name);
        let extra = self.tensors.keys().find(|name| {
            name.strip_prefix(from).is_some_and(|rest| {
                !is_due(name) && !unused.iter().any(|unused| rest.starts_with(unused))
            })
        });
        if let Some(name) = extra {
            return wrong(format!(
                "the tensor `{name}` is none of this network's{}",
                self.hint()
            ));
        }
        tch::no_grad(|| {
            for (_, found, parameter) in &due {
                parameter.value.shallow_clone().copy_(found);
            }
        });
        Ok(due.len())
    }

    /// A tensor that is not a parameter's.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    fn hint(&self) -> &'static str {
        match self.tensors.keys().any(|name| name.contains("bn_data")) {
            true => {
                "; it is segmentation_models' ResNet with normalisation before the convolutions, which is another network"
            }
            false => "",
        }
    }
}

/// Torchvision's name now for the one that its old files of DenseNet have: `denselayer1.norm.1.weight` → `denselayer1.norm1.weight`.
fn current_name(name: &str) -> String {
    let is_old = |part: &str| {
        let (layer, number) = part.rsplit_once('.').unwrap_or_default();
        let of_layer = layer.rsplit_once('.').map_or(layer, |(_, last)| last);
        ["norm", "conv"].contains(&of_layer) && ["1", "2"].contains(&number)
    };
    if name.contains("denselayer")
        && let Some((before, last)) = name.rsplit_once('.')
        && is_old(before)
        && let Some((layer, number)) = before.rsplit_once('.')
    {
        return format!("{layer}{number}.{last}");
    }
    name.to_owned()
}

/// Numbers to be written.
struct Values {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Values {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes tensors as a file of safetensors, whole or not at all.
///
/// * `about`: kept in the file's metadata
///
/// # Errors
/// [`NetworkError::Store`] if it cannot be written.
pub fn write_weights<'a>(
    path: &Path,
    existing: Existing,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    about: &str,
) -> Result<(), NetworkError> {
    let values = tensors.into_iter().map(|(name, tensor)| {
        let flat = tensor.detach().to_device(tch::Device::Cpu);
        let flat = Vec::<f32>::try_from(flat.contiguous().flatten(0, -1)).expect("f32");
        let values = Values {
            shape: tensor.size().iter().map(|&n| n as usize).collect(),
            bytes: flat.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        (name, values)
    });
    let about = Some(HashMap::from([(ABOUT.to_owned(), about.to_owned())]));
    write_aside(path, existing, |partial| {
        safetensors::serialize_to_file(values, &about, partial).map_err(|e| StoreError::Write {
            path: path.to_owned(),
            reason: e.to_string(),
        })
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::DenseNetShape;
    use crate::torch::densenet::DenseNet;
    use tch::Device;

    fn network(seed: u64) -> Parameters {
        let shape = DenseNetShape {
            first: 4,
            growth: 2,
            layers: vec![1, 2],
        };
        let mut parameters = Parameters::new(seed, Device::Cpu);
        let _ = DenseNet::new(&mut parameters, "encoder.", &shape);
        parameters
    }

    /// The name in torchvision's old files.
    fn old_name(name: &str) -> String {
        let old = ["norm1", "norm2", "conv1", "conv2"]
            .iter()
            .find(|n| name.contains("denselayer") && name.contains(&format!(".{n}.")));
        old.map_or(name.to_owned(), |n| {
            name.replace(&format!(".{n}."), &format!(".{}.{}.", &n[..4], &n[4..]))
        })
    }

    fn same(a: &Parameters, b: &Parameters) -> bool {
        let mut pairs = a.all().iter().zip(b.all());
        pairs.all(|(a, b)| a.value.equal(&b.value))
    }

    #[test]
    fn old_names_and_a_classifier_load() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("densenet.safetensors");
        let from = network(1);
        let classifier = Tensor::zeros([3, 5], (Kind::Float, Device::Cpu));
        let strip = |name: &str| name.strip_prefix("encoder.").unwrap().to_owned();
        let all = from
            .all()
            .iter()
            .map(|p| (old_name(&strip(&p.name)), &p.value));
        let all = all.chain([("classifier.weight".to_owned(), &classifier)]);
        write_weights(&path, Existing::Refuse, all, "").unwrap();
        let to = network(2);
        assert!(!same(&from, &to));
        let file = WeightsFile::read(&path).unwrap();
        let n = file.load(&to, "", "encoder.", &["classifier."]).unwrap();
        assert_eq!(n, from.all().len());
        assert!(same(&from, &to));
        let extra = file.load(&to, "", "encoder.", &[]).unwrap_err();
        assert!(extra.to_string().contains("`classifier.weight` is none"));
    }

    type Tensors = Vec<(String, Tensor)>;

    #[test]
    fn what_is_not_this_network_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.safetensors");
        let check = |change: &dyn Fn(&mut Tensors), expected: &str| {
            let from = network(1);
            let mut all: Tensors = (from.all().iter())
                .map(|p| (p.name.clone(), p.value.detach()))
                .collect();
            change(&mut all);
            let all = all.iter().map(|(name, value)| (name.clone(), value));
            write_weights(&path, Existing::Replace, all, "").unwrap();
            let (to, untouched) = (network(2), network(2));
            let file = WeightsFile::read(&path).unwrap();
            let error = file.load(&to, "encoder.", "encoder.", &[]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(same(&to, &untouched));
        };
        check(&|all| _ = all.pop(), "is missing");
        check(
            &|all| all[0].1 = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)),
            "has the shape [2, 2]",
        );
        check(&|all| _ = all[3].1.fill_(f64::NAN), "not finite");
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let from = network(1);
        let all = from.all().iter().map(|p| (p.name.clone(), &p.value));
        write_weights(&path, Existing::Refuse, all, "x").unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(
            WeightsFile::read(&path).unwrap().about.as_deref(),
            Some("x")
        );
        for length in [0, 7, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = WeightsFile::read(&path).unwrap_err().to_string();
            assert!(error.contains("not a file of safetensors"), "{error}");
        }
    }
}
