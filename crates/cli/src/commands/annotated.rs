//! `thalweg data stats` and `sheet` of annotated pictures.
//!
//! In: a folder or file in Pascal VOC, COCO or YOLO form. Out: how many pictures, objects and sizes by split, every problem
//! with its place; or a picture of pictures. Invariant: nothing is dropped in silence.

use crate::annotated::one;
use crate::error::{Failure, Result};
use crate::recipe::{DataRecipe, Recipe};
use crate::show::{Console, Table, counted, grouped};
use serde_json::json;
use std::path::Path;
use thalweg::data::detection::evaluate::Area;
use thalweg::data::detection::{self, Annotations, DetectionSet, Object, Options, Rect};
use thalweg::data::draw::{Mark, Sheet, Tile, class_colour, sheet};
use thalweg::data::{DataError, Dataset, Epoch, Picture};

/// What a sheet shows.
pub struct Wanted<'a> {
    /// The split.
    pub split: Option<&'a str>,
    /// How many pictures.
    pub count: usize,
    /// The recipe by which they are changed.
    pub recipe: Option<&'a Path>,
}

/// Every split of a data set, or all of it.
fn open_all(path: &Path) -> Result<Vec<(String, Annotations)>> {
    let splits = detection::splits(path);
    if splits.is_empty() {
        return Ok(vec![("all".into(), detection::open(path, None, &Options::default())?)]);
    }
    let open = |s: String| Ok((s.clone(), detection::open(path, Some(&s), &Options::default())?));
    splits.into_iter().map(open).collect()
}

/// Pictures, objects, sizes, problems.
pub fn stats(path: &Path, console: &Console) -> Result<()> {
    let splits = open_all(path)?;
    let mut table = Table::new(
        2,
        &["split", "class", "objects", "pictures", "small", "medium", "large", "width", "height"],
    );
    for (split, all) in &splits {
        let mut names: Vec<(Option<usize>, &str)> = vec![(None, "all")];
        names.extend(all.class_names.iter().enumerate().map(|(i, n)| (Some(i), n.as_str())));
        let rows: Vec<_> = names.iter().map(|(class, name)| (*name, Counts::of(all, *class))).collect();
        for (name, counts) in &rows {
            let mut row =
                vec![split.clone(), (*name).to_owned(), grouped(counts.objects), grouped(counts.pictures)];
            row.extend(counts.by_area.map(grouped));
            row.extend(counts.median.map(|v| format!("{v:.0}")));
            table.row(row);
        }
        let class = |(name, c): &(&str, Counts)| {
            json!({ "class": name, "objects": c.objects, "pictures": c.pictures, "by_area": c.by_area,
                    "median_size": c.median })
        };
        let problems: Vec<String> = all.problems.iter().map(ToString::to_string).collect();
        console.event(&json!({
            "event": "stats", "split": split, "pictures": all.images.len(), "objects": all.objects(),
            "segmentations": all.segmentations, "classes": rows.iter().map(class).collect::<Vec<_>>(),
            "problems": problems,
        }));
    }
    table.lines().iter().for_each(|line| console.say(line));
    console.say(
        "small, medium and large are COCO's: up to 32 x 32 and 96 x 96 pixels; width and height are medians",
    );
    for (split, all) in &splits {
        if all.segmentations > 0 {
            console.say(format!("{split}: {} not used", counted(all.segmentations, "outline")));
        }
        if !all.problems.is_empty() {
            console.say(format!("{split}, bad annotations ({}):", grouped(all.problems.len() as u64)));
            all.problems.iter().for_each(|p| console.say(format!("  {p}")));
        }
    }
    Ok(())
}

/// Objects of a class, or of all.
struct Counts {
    objects: u64,
    pictures: u64,
    by_area: [u64; 3],
    /// Width and height.
    median: [f64; 2],
}

impl Counts {
    fn of(all: &Annotations, class: Option<usize>) -> Counts {
        let is = |o: &&Object| class.is_none_or(|c| c == o.class);
        let objects: Vec<&Object> = all.images.iter().flat_map(|i| &i.objects).filter(is).collect();
        // Sides are inclusive at both ends, so that an object on a border counts twice in COCO; here it counts once.
        let [_, small, medium, _] = Area::EACH.map(|a| a.range().1);
        let size = |o: &&Object| usize::from(o.area > small) + usize::from(o.area > medium);
        let mut by_area = [0; 3];
        objects.iter().for_each(|o| by_area[size(o)] += 1);
        let median = |side: fn(&Rect) -> f64| {
            let mut sides: Vec<f64> = objects.iter().map(|o| side(&o.rect)).collect();
            sides.sort_by(f64::total_cmp);
            sides.get(sides.len() / 2).copied().unwrap_or(0.0)
        };
        Counts {
            objects: objects.len() as u64,
            pictures: match class {
                None => all.images.len() as u64,
                Some(_) => all.images.iter().filter(|i| i.objects.iter().any(|o| is(&o))).count() as u64,
            },
            by_area,
            median: [median(|r| r.width), median(|r| r.height)],
        }
    }
}

/// Draws pictures with their boxes.
pub fn draw(path: &Path, output: &Path, wanted: &Wanted<'_>, console: &Console) -> Result<()> {
    let first = || detection::splits(path).into_iter().next();
    let spread = |of: usize| (0..wanted.count.min(of)).map(move |i| i * of / wanted.count.min(of));
    let (tiles, names, of, origin) = match wanted.recipe {
        None => {
            let split = wanted.split.map(str::to_owned).or_else(first);
            let all = detection::open(path, split.as_deref(), &Options::default())?;
            let of = all.images.len();
            let tiles = spread(of).map(|i| as_it_is(&all, i)).collect::<Result<Vec<_>, DataError>>()?;
            (tiles, all.class_names, of, all.origin)
        }
        Some(recipe) => {
            let recipe = Recipe::open(recipe)?;
            let DataRecipe::Detection(data) = &recipe.data else {
                return Err(Failure::Usage(format!("the recipe {} is not one of detection", recipe.name)));
            };
            let split = wanted.split.map(str::to_owned).or(data.train.clone());
            let set = one(data, path, split.as_deref(), console)?;
            let (names, of) = (data.classes.clone(), set.len());
            let origin = set.annotations().origin.clone();
            let set = set.augmented(data.augment, recipe.fit.seed)?;
            (as_trained(&set, &recipe, data.size, spread(of))?, names, of, origin)
        }
    };
    let count = tiles.len();
    let legend = names.iter().enumerate().map(|(i, n)| (class_colour(i), n.clone())).collect();
    let of = counted(of, "picture");
    let title = format!("{count} of {of} of {origin}");
    sheet(&tiles, &Sheet { title, legend, ..Sheet::default() }).save(output)?;
    console.say(format!("{count} of {of}: {}", output.display()));
    console.event(&json!({ "event": "sheet", "file": output, "pictures": count }));
    Ok(())
}

fn as_it_is(all: &Annotations, index: usize) -> Result<Tile, DataError> {
    let image = &all.images[index];
    let marks = image.objects.iter().map(|o| Mark::object(o, &all.class_names)).collect();
    let caption = image.path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    Ok(Tile { picture: Picture::open(&image.path)?, marks, caption })
}

/// Pictures as the first epoch of a recipe's training has them.
fn as_trained(
    set: &DetectionSet,
    recipe: &Recipe,
    size: (usize, usize),
    chosen: impl Iterator<Item = usize>,
) -> Result<Vec<Tile>> {
    let names = set.class_names();
    let Some(served) = set.in_epoch(Epoch { index: 0, of: recipe.fit.epochs as u32 }) else {
        return Ok(Vec::new());
    };
    let mut fields: Vec<Vec<u8>> = served.fields().iter().map(|f| vec![0; f.bytes()]).collect();
    let mut tiles = Vec::new();
    for index in chosen {
        let mut views: Vec<&mut [u8]> = fields.iter_mut().map(Vec::as_mut_slice).collect();
        served.read(index, &mut views)?;
        let [pixels, boxes, classes] = fields.as_slice() else { break };
        let floats: Vec<f64> =
            boxes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
        let labels = classes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let objects = floats.chunks_exact(4).zip(labels).filter_map(|(corners, class)| {
            let rect = Rect::from_corners([corners[0], corners[1], corners[2], corners[3]]);
            let class = usize::try_from(class).ok()?;
            Some(Object { rect, class, area: rect.area(), crowd: false, difficult: false })
        });
        let marks = objects.map(|o| Mark::object(&o, names)).collect();
        let picture = Picture::from_pixels(size.1, size.0, pixels.clone());
        tiles.push(Tile { picture, marks, caption: format!("example {index}") });
    }
    Ok(tiles)
}
