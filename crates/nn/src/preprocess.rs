//! Layers put between a model's input and what was there: conversion of raw bytes, augmentation.

use crate::config::{LayerConfig, ModelConfig, TensorRef};
use crate::layers::AnyLayer;
use crate::naming::Names;

impl ModelConfig {
    /// The model with its (first) input taking `dtype` (`"uint8"` for raw images) and going through `layers`
    /// first: `Rescaling::new(1.0 / 255.0)`, `RandomFlip::new()`. Unnamed layers are numbered as usual.
    pub fn preprocess(mut self, dtype: &str, layers: Vec<AnyLayer>) -> ModelConfig {
        let Some(at) = self.layers.iter().position(|l| self.inputs.first() == Some(&l.name)) else {
            return self;
        };
        let mut names = Names::default();
        for layer in &self.layers {
            names.reserve(&layer.name);
        }
        self.layers[at].config.insert("dtype".into(), dtype.into());
        let input = self.layers[at].name.clone();
        let mut last = input.clone();
        let mut added: Vec<LayerConfig> = Vec::new();
        for layer in &layers {
            let layer = layer.get();
            let class_name = layer.class_name().to_string();
            let name = layer.given_name().map_or_else(|| names.next(&class_name), str::to_string);
            let inbound = vec![vec![TensorRef::first(&last)]];
            last.clone_from(&name);
            added.push(LayerConfig { class_name, name, config: layer.config(), inbound });
        }
        let users = self.layers.iter_mut().flat_map(|l| l.inbound.iter_mut().flatten());
        for reference in users.chain(&mut self.outputs).filter(|r| r.layer == input) {
            reference.layer.clone_from(&last);
        }
        self.layers.splice(at + 1..at + 1, added);
        self
    }
}
