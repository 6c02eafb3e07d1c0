//! Training in mixed precision: it learns, its loss scale is part of a checkpoint, and a gradient that is not finite
//! changes nothing but the scale.

use crate::support::{blobs, mlp};
use thalweg_data::Arrays;
use thalweg_device::cpu::CpuDevice;
use thalweg_nn::{DTypePolicy, ModelConfig};
use thalweg_train::{Compile, Fit, Model};

fn config(policy: DTypePolicy) -> ModelConfig {
    ModelConfig { dtype_policy: policy, ..mlp(16, 3, true) }
}

fn model(policy: DTypePolicy) -> Model {
    let mut model = Model::from_config(config(policy), 7).unwrap();
    let mut compile = Compile::from_names("adam", "sparse_categorical_crossentropy", &["accuracy"]).unwrap();
    compile.optimizer = compile.optimizer.learning_rate(0.02);
    model.compile(compile).unwrap();
    model.use_device(Box::new(CpuDevice::new(Some(2), None).unwrap())).unwrap();
    model
}

#[test]
fn both_policies_train_to_a_threshold() {
    for policy in [DTypePolicy::MixedBfloat16, DTypePolicy::MixedFloat16] {
        let mut model = model(policy);
        let fit = Fit::epochs(12).batch_size(16).validation_data(blobs(31, 3, 2));
        let fitted = model.fit(blobs(90, 3, 1), fit).unwrap();
        let last = fitted.history.last().unwrap();
        assert!(last.get("val_accuracy").unwrap() > 0.9, "{policy:?}: {last:?}");
        // Weights stay f32: they are no 16-bit numbers.
        let weights: Vec<f32> = model.weights().unwrap().iter().flat_map(|(_, w)| w.to_f32()).collect();
        let dtype = policy.compute_dtype();
        let short = weights.iter().filter(|&&w| dtype.round(f64::from(w)) == f64::from(w)).count();
        assert!(2 * short < weights.len(), "{policy:?}: {short} of {} weights are short", weights.len());
        // Outputs are f32, and their rows add up to 1 as precisely.
        let y = model.predict(blobs(31, 3, 2), 8).unwrap().remove(0).to_f32();
        assert!(y.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6), "{policy:?}");
    }
}

/// Gradients of large inputs are beyond half precision until the scale is small enough: those steps are skipped.
#[test]
fn large_gradients_halve_the_scale_and_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("last.safetensors");
    let (x, y): (Vec<f32>, Vec<i32>) = (0..64)
        .flat_map(|i| {
            let side = if i % 2 == 0 { 3000.0 } else { -3000.0 };
            [side, side + i as f32].map(|v| (v, i % 2))
        })
        .unzip();
    let y: Vec<i32> = y.into_iter().step_by(2).collect();
    let data = Arrays::new().input("x", &[2], x).target("y", &[], y).name("large").build().unwrap();
    let mut model = model(DTypePolicy::MixedFloat16);
    let fit = Fit::epochs(6).batch_size(8).checkpoint_to(&checkpoint);
    let fitted = model.fit(std::sync::Arc::new(data), fit).unwrap();
    assert!(fitted.history.epochs.iter().all(|e| e.get("loss").unwrap().is_finite()), "{:?}", fitted.history);
    let bytes = std::fs::read(&checkpoint).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let word = |name: &str| {
        let found = file.names().into_iter().find(|n| n.ends_with(name)).unwrap_or_else(|| panic!("{name}"));
        let bytes: [u8; 4] = file.tensor(found).unwrap().data().try_into().unwrap();
        u32::from_le_bytes(bytes)
    };
    let scale = f32::from_bits(word("loss_scale/dynamic_scale"));
    let (skipped, iteration) = (word("loss_scale/skipped"), word("iteration"));
    assert!(skipped > 0 && scale == 32768.0 * 0.5_f32.powi(skipped as i32), "{scale} after {skipped} skips");
    assert_eq!(iteration, 48, "skipped steps are steps");
    assert!(word("loss_scale/step_counter") < 48 - skipped + 1);
}
