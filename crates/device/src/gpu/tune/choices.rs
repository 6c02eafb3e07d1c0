//! [`Choices`]: products and the ways that were chosen for them; [`Tuning`]: those of a device.

use super::Shelf;
use crate::DeviceError;
use crate::Plan;
use crate::gpu::call::{Call, Libraries, Refusal};
use crate::gpu::launch::{Abilities, Launches};
use crate::gpu::lower::lower;
use std::collections::BTreeMap;

/// Between a way and the libraries that were measured beside it.
const BESIDE: &str = " beside ";

/// Ways ([`Way`](crate::gpu::lower::Way)) as text, by the lines of their products
/// ([`products`](crate::gpu::lower::products)). They are only believed where they are ways of the product.
/// Behind a way may stand which libraries were measured beside it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choices {
    ways: BTreeMap<String, String>,
    /// What libraries have refused, and what they said; not kept.
    refused: Vec<(Call, Refusal)>,
}

impl Choices {
    /// The way of a product.
    pub fn get(&self, product: &str) -> Option<&str> {
        self.text(product).map(|text| text.split_once(BESIDE).map_or(text, |(way, _)| way))
    }

    /// The libraries that were measured when it was chosen; empty if there were none.
    pub fn beside(&self, product: &str) -> &str {
        self.text(product).and_then(|text| text.split_once(BESIDE)).map_or("", |(_, libraries)| libraries)
    }

    /// All that is known of a product.
    pub fn text(&self, product: &str) -> Option<&str> {
        self.ways.get(product).map(String::as_str)
    }

    /// Chooses a product's way, which was measured beside these libraries.
    pub fn set_beside(&mut self, product: &str, way: &str, libraries: &str) {
        let behind = if libraries.is_empty() { "" } else { BESIDE };
        self.set(product, format!("{way}{behind}{libraries}"));
    }

    /// Chooses a product's way.
    pub fn set(&mut self, product: impl Into<String>, way: impl Into<String>) {
        self.ways.insert(product.into(), way.into());
    }

    /// Forgets a product's way.
    pub fn forget(&mut self, product: &str) {
        self.ways.remove(product);
    }

    /// A library does not compute this: whoever has chosen it gets the account's way.
    pub fn refuse(&mut self, call: Call, why: Refusal) {
        self.refused.push((call, why));
    }

    /// Whether a library has refused this.
    pub fn refuses(&self, call: &Call) -> bool {
        self.refused.iter().any(|(refused, _)| refused == call)
    }

    /// What libraries said to what they refused, the first of it first.
    pub fn refusals(&self) -> impl Iterator<Item = &str> + Clone {
        self.refused.iter().map(|(_, refusal)| refusal.why.as_str())
    }

    /// What libraries have refused is asked again.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused).into_iter().map(|(_, refusal)| refusal).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ways.len()
    }

    /// Products and what is known of them, in the order of the products.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ways.iter().map(|(product, way)| (product.as_str(), way.as_str()))
    }
}

/// How a device's programs are lowered: what it can do, what was chosen for it, and where that is kept.
#[derive(Debug)]
pub struct Tuning {
    abilities: Abilities,
    choices: Choices,
    /// Those that were on the shelf.
    found: Choices,
    shelf: Option<Shelf>,
}

impl Tuning {
    /// Of a device that can do this; with the choices on the shelf, if there is one.
    pub fn new(abilities: Abilities, shelf: Option<Shelf>) -> Tuning {
        let found = shelf.as_ref().map(Shelf::read).unwrap_or_default();
        Tuning { abilities, choices: found.clone(), found, shelf }
    }

    /// What the device can do.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Libraries that were found on the way.
    pub fn set_libraries(&mut self, libraries: Libraries) {
        self.abilities.libraries = libraries;
    }

    /// What is chosen now.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// To choose otherwise, until the device is closed. Programs that are loaded stay as they are.
    pub fn choices_mut(&mut self) -> &mut Choices {
        &mut self.choices
    }

    /// Keeps what was chosen since the device was opened. The error is a line that says where it could not be kept and why.
    pub fn keep(&self) -> Result<(), String> {
        let Some(shelf) = &self.shelf else {
            return Err("could not be kept: there is no folder for it; set HOME or XDG_CACHE_HOME".into());
        };
        let mut new = Choices::default();
        for (product, way) in
            self.choices.iter().filter(|(product, way)| self.found.text(product) != Some(*way))
        {
            new.set(product, way);
        }
        shelf.write(&new)
    }

    /// Lowers a plan for the device.
    pub fn lower(&self, plan: &Plan) -> Result<Launches, DeviceError> {
        lower(plan, &self.abilities, &self.choices)
    }
}
