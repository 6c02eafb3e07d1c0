//! From a recipe or a file to a model that is ready on its device.

use crate::args::{DeviceArgs, What};
use crate::error::{Failure, Result};
use crate::recipe::{DataRecipe, Recipe};
use crate::show::Console;
use std::path::Path;
use thalweg::data::detection::NO_CLASS;
use thalweg::data::{Arrays, Dataset};
use thalweg::device::auto;
use thalweg::train::{Compile, Kind, Model, ProgramSpec};

/// A new model by a recipe, compiled, with its first weights.
pub fn model_of(recipe: &Recipe, seed: u64) -> Result<Model> {
    let mut model = Model::from_config(recipe.network.config().clone(), seed)?;
    let compile = Compile::new(recipe.optimizer.clone(), recipe.loss.clone());
    model.compile(recipe.metrics.iter().fold(compile, |c, m| c.metric(m.clone())))?;
    Ok(model)
}

/// A model from a file.
pub fn model_from(path: &Path) -> Result<Model> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
        return Err(Failure::Usage(format!(
            "{} is a recipe, and a model is needed: the .safetensors file that `thalweg fit` leaves in runs/",
            path.display()
        )));
    }
    Ok(Model::load(path)?)
}

/// Refuses the device that computes nothing, where what is computed is wanted.
pub fn computes(device: &DeviceArgs) -> Result<()> {
    match device.device.as_str() {
        "null" => Err(Failure::Device(
            "null computes nothing, so there is nothing to learn or to tell; it is for `thalweg plan` and `thalweg bench`: \
             choose another --device here (see `thalweg devices`)"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// Puts a model on its device now, so that a device that is not there is told before anything long begins; says
/// which it is, and why where the user left the choice.
pub fn place(model: &mut Model, device: &DeviceArgs, console: &Console) -> Result<()> {
    place_quietly(model, device)?;
    let info = model.device_info()?;
    let why = if device.device == "auto" { format!(" (auto: {})", auto()) } else { String::new() };
    console.say(format!("computing on   {}{why}: {}", info.name, info.description));
    Ok(())
}

/// The same without a word, where only results are wanted.
pub fn place_quietly(model: &mut Model, device: &DeviceArgs) -> Result<()> {
    model.set_device(&device.device, (device.threads > 0).then_some(device.threads))?;
    model.session()?;
    Ok(())
}

/// What a program is for.
pub fn kind(what: What) -> Kind {
    match what {
        What::Train => Kind::Train,
        What::Evaluate => Kind::Evaluate,
        What::Predict => Kind::Predict,
    }
}

/// One example of zeros with the recipe's shapes: enough to build graphs with no data at hand.
pub fn blank(recipe: &Recipe) -> Result<Arrays> {
    let shape = recipe.data.shape();
    let pixels = vec![0u8; shape.iter().product()];
    let blank = Arrays::new().name("no data").input("image", &shape, pixels);
    Ok(match &recipe.data {
        DataRecipe::Detection(d) => blank.target("boxes", &[d.boxes, 4], vec![0f32; 4 * d.boxes]).target(
            "classes",
            &[d.boxes],
            vec![NO_CLASS; d.boxes],
        ),
        DataRecipe::Named(_) | DataRecipe::Folder { .. } => blank.target("label", &[], vec![0i32]),
    }
    .build()?)
}

/// The program of a kind for so many examples.
pub fn spec(model: &Model, what: What, data: &dyn Dataset, batch: usize) -> Result<ProgramSpec> {
    Ok(match what {
        What::Predict => model.predict_spec(data, batch)?,
        _ => model.program_spec(data, batch, false, model.seed())?,
    })
}
