//! `thalweg data get|list|info|stats|sheet`.

use super::annotated;
use super::devices::is_there;
use crate::args::{DataAction, DataArgs};
use crate::environment::Environment;
use crate::error::{Failure, Result};
use crate::sets::{self, Data};
use crate::show::{Console, Table, counted, grouped};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use thalweg::data::detection;
use thalweg::data::{DataError, NAMES, Split, class_counts, decode, dir_of, folder, open_named};
use thalweg::nn::suggest;

/// Runs it.
pub fn data(args: &DataArgs, environment: &Environment, console: &Console) -> Result<()> {
    let root = environment.data_root(args.data.as_deref());
    match &args.action {
        DataAction::Get { name } => get(name, root, console),
        DataAction::List => list(root, console),
        DataAction::Info { name } => info(name, root, console),
        DataAction::Stats { name } if detection::Format::of(Path::new(name)).is_some() => {
            annotated::stats(Path::new(name), console)
        }
        DataAction::Stats { name } => stats(name, root, console),
        DataAction::Sheet { path, output, split, count, recipe } => {
            let wanted =
                annotated::Wanted { split: split.as_deref(), count: *count, recipe: recipe.as_deref() };
            annotated::draw(path, output, &wanted, console)
        }
    }
}

fn unknown(name: &str) -> Failure {
    let what = suggest::unknown("data set", name, &NAMES);
    Failure::Usage(format!("{what}; for your own images name a folder"))
}

fn get(name: &str, root: &Path, console: &Console) -> Result<()> {
    // The classes of CIFAR-100 come in two sorts from the same files.
    let name = if name == "cifar100-coarse" { "cifar100" } else { name };
    if name == "cifar10-sample" {
        console.say("cifar10-sample is part of the program: there is nothing to fetch");
        console.event(&json!({ "event": "done", "name": name, "dir": null }));
        return Ok(());
    }
    if !NAMES.contains(&name) {
        return Err(unknown(name));
    }
    sets::fetch(name, root, console)?;
    let dir = dir_of(name, root)?;
    console.say(format!("{name} is in {}", dir.display()));
    console.event(&json!({ "event": "done", "name": name, "dir": dir }));
    Ok(())
}

fn list(root: &Path, console: &Console) -> Result<()> {
    let mut table = Table::new(3, &["name", "there", "folder"]);
    for name in NAMES {
        let there = is_there(name, root);
        let dir = dir_of(name, root).ok();
        let shown = dir.as_ref().map_or("built in".into(), |d| d.display().to_string());
        table.row([name.to_owned(), if there { "yes" } else { "no" }.to_owned(), shown]);
        console.event(&json!({ "event": "dataset", "name": name, "there": there, "dir": dir }));
    }
    table.lines().iter().for_each(|line| console.say(line));
    console.say("fetch one with `thalweg data get NAME`");
    Ok(())
}

/// The splits of a named set that is there, or a folder of images.
fn splits(name: &str, root: &Path) -> Result<Vec<(String, Data)>> {
    if NAMES.contains(&name) {
        let open = |split: Split| {
            let data = open_named(name, root, split).map_err(|e| match e {
                DataError::Missing { path, .. } => Failure::Data(format!(
                    "{} is not there; fetch it with `thalweg data get {}`",
                    path.display(),
                    name.trim_end_matches("-coarse")
                )),
                other => other.into(),
            })?;
            Ok((split.to_string(), data))
        };
        return [Split::Train, Split::Test].into_iter().map(open).collect();
    }
    let dir = Path::new(name);
    if !dir.is_dir() {
        return Err(unknown(name));
    }
    // The size does not matter to what is told here.
    let folder = folder::open(dir, folder::FolderOptions::new(32, 32))?;
    Ok(vec![("all".into(), Arc::new(folder))])
}

fn info(name: &str, root: &Path, console: &Console) -> Result<()> {
    for (split, data) in splits(name, root)? {
        console.say(console.bold(&format!("{split}: {}", data.describe())));
        for field in data.fields() {
            let role = format!("{:?}", field.role).to_lowercase();
            console.say(format!("  {role:<8}{:<8}{} {:?}", field.name, field.dtype, field.shape));
        }
        let names = data.class_names();
        console.say(format!("  {}: {}", counted(names.len(), "class"), names.join(", ")));
        let fields: Vec<_> = data
            .fields()
            .iter()
            .map(|f| json!({ "name": f.name, "role": format!("{:?}", f.role).to_lowercase(), "dtype": f.dtype.to_string(), "shape": f.shape }))
            .collect();
        console.event(&json!({
            "event": "dataset", "split": split, "examples": data.len(), "description": data.describe(),
            "fields": fields, "class_names": names,
        }));
    }
    console.say(format!("images are read from .{}", decode::EXTENSIONS.join(", .")));
    Ok(())
}

fn stats(name: &str, root: &Path, console: &Console) -> Result<()> {
    let splits = splits(name, root)?;
    let counts = splits.iter().map(|(_, d)| class_counts(&**d)).collect::<Result<Vec<_>, _>>()?;
    let mut head = vec!["class"];
    head.extend(splits.iter().map(|(split, _)| split.as_str()));
    let mut table = Table::new(1, &head);
    let classes = counts.iter().map(Vec::len).max().unwrap_or(0);
    let names = splits.first().map(|(_, d)| d.class_names().to_vec()).unwrap_or_default();
    for class in 0..classes {
        let mut row = vec![names.get(class).cloned().unwrap_or_else(|| class.to_string())];
        row.extend(counts.iter().map(|c| grouped(c.get(class).copied().unwrap_or(0))));
        table.row(row);
    }
    let mut sum = vec!["all".to_owned()];
    sum.extend(counts.iter().map(|c| grouped(c.iter().sum())));
    table.row(sum);
    table.lines().iter().for_each(|line| console.say(line));
    for ((split, _), counts) in splits.iter().zip(&counts) {
        console.event(&json!({ "event": "stats", "split": split, "class_names": names, "counts": counts }));
    }
    Ok(())
}
