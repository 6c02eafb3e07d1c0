//! Changed pictures: boxes follow pixels, nothing depends on threads, what cannot be seen is not labelled.

use crate::support::{Place, bccd};
use image::{Rgb, RgbImage};
use std::sync::Arc;
use thalweg_base::philox::Sequence;
use thalweg_data::detection::{self, Annotations, Augment, DetectionSet, GRAY, NO_CLASS, Options, Shape};
use thalweg_data::{Dataset, Epoch, Loader, LoaderOptions, Picture, Subset, epoch_order};

/// The colour of the object of each picture, far from each other and from everything else.
const COLOURS: [[u8; 3]; 6] =
    [[250, 10, 10], [10, 250, 10], [10, 10, 250], [250, 250, 10], [250, 10, 250], [10, 250, 250]];
const GROUND: [u8; 3] = [60, 60, 60];

/// Pictures of different shapes, each with one object of its own class and colour.
fn scenes() -> Place {
    let place = Place::new();
    let objects = [
        ((64, 64), [20, 24, 44, 40]),
        ((96, 48), [6, 6, 40, 30]),
        ((40, 80), [10, 30, 34, 70]),
        ((64, 48), [6, 5, 58, 43]),
        ((32, 32), [10, 12, 20, 30]),
        ((128, 96), [64, 46, 120, 88]),
    ];
    for (i, (size, at)) in objects.into_iter().enumerate() {
        place.voc(&format!("{i}"), size, &[(&format!("class {i}"), at)]);
        let inside =
            |x: u32, y: u32| (at[0]..at[2]).contains(&(x as i32)) && (at[1]..at[3]).contains(&(y as i32));
        let colour = |x, y| Rgb(if inside(x, y) { COLOURS[i] } else { GROUND });
        let picture = RgbImage::from_fn(size.0, size.1, colour);
        picture.save(place.path(&format!("JPEGImages/{i}.png"))).unwrap();
    }
    place
}

fn annotations(place: &Place) -> Annotations {
    detection::open(place.root(), None, &Options::default()).unwrap()
}

/// Every box is labelled that can be seen at all.
fn keep_all(augment: Augment) -> Augment {
    Augment { min_visibility: 0.0, min_side: 0.0, ..augment }
}

fn set(annotations: Annotations, augment: Augment) -> DetectionSet {
    DetectionSet::new(annotations, Shape::new(80, 96)).unwrap().augmented(augment, 7).unwrap()
}

/// An example as a picture and its boxes.
fn example(set: &dyn Dataset, index: usize) -> (Picture, Vec<(usize, [f32; 4])>) {
    let mut fields: Vec<Vec<u8>> = set.fields().iter().map(|f| vec![0; f.bytes()]).collect();
    set.read(index, &mut fields.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
    let shape = &set.fields()[0].shape;
    let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    let boxes = fields[1].chunks_exact(16).map(|row| [0, 4, 8, 12].map(|i| float(&row[i..i + 4])));
    let classes = fields[2].chunks_exact(4).map(|c| i32::from_le_bytes(c.try_into().unwrap()));
    let rows: Vec<(i32, [f32; 4])> = classes.zip(boxes).collect();
    let used = rows.iter().take_while(|r| r.0 != NO_CLASS).count();
    assert!(rows[used..].iter().all(|r| *r == (NO_CLASS, [0.0; 4])), "unused rows come last");
    let labels = rows[..used].iter().map(|r| (r.0 as usize, r.1)).collect();
    (Picture::from_pixels(shape[1], shape[0], fields[0].clone()), labels)
}

fn in_epoch(set: &DetectionSet, index: u32) -> Arc<dyn Dataset> {
    set.in_epoch(Epoch { index, of: 1000 }).unwrap()
}

/// Left, top, right, bottom.
type Corners = [f32; 4];

/// The pixels of about a colour.
fn pixels(picture: &Picture, colour: [u8; 3]) -> Vec<(f32, f32)> {
    let near = |x, y| picture.at(x, y).iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 95);
    let all = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
    all.filter(|&(x, y)| near(x, y)).map(|(x, y)| (x as f32, y as f32)).collect()
}

/// The box around pixels.
fn around<'a>(pixels: impl Iterator<Item = &'a (f32, f32)>) -> Corners {
    let grow =
        |b: Corners, p: &(f32, f32)| [b[0].min(p.0), b[1].min(p.1), b[2].max(p.0 + 1.0), b[3].max(p.1 + 1.0)];
    pixels.fold([f32::MAX, f32::MAX, 0.0, 0.0], grow)
}

fn apart(a: &Corners, b: &Corners) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Boxes must be around the pixels of their objects, and all such pixels in boxes, in every example of many epochs.
/// Returns how many boxes were compared.
#[track_caller]
fn boxes_follow_pixels(augment: Augment, tolerance: f32) -> usize {
    let place = scenes();
    let set = set(annotations(&place), keep_all(augment));
    let mut compared = 0;
    for epoch in 0..30 {
        let changed = in_epoch(&set, epoch);
        for index in 0..changed.len() {
            let (picture, labels) = example(&*changed, index);
            for (class, colour) in COLOURS.into_iter().enumerate() {
                let own: Vec<Corners> = labels.iter().filter(|l| l.0 == class).map(|l| l.1).collect();
                compared += compare(&own, &pixels(&picture, colour), tolerance)
                    .unwrap_or_else(|e| panic!("class {class} of example {index}, epoch {epoch}: {e}"));
            }
        }
    }
    compared
}

fn compare(boxes: &[Corners], pixels: &[(f32, f32)], tolerance: f32) -> Result<usize, String> {
    let near = |b: &Corners, p: &(f32, f32)| {
        let inside = |v: f32, low: f32, high: f32| (low - tolerance..=high + tolerance).contains(&(v + 0.5));
        inside(p.0, b[0], b[2]) && inside(p.1, b[1], b[3])
    };
    if let Some(p) = pixels.iter().find(|p| !boxes.iter().any(|b| near(b, p))) {
        return Err(format!("the pixel {p:?} is in no box of {boxes:?}"));
    }
    // What is thinner may have no pixel of its own.
    let large = |b: &&Corners| b[2] - b[0] >= 3.0 && b[3] - b[1] >= 3.0;
    for b in boxes.iter().filter(large) {
        let seen = around(pixels.iter().filter(|p| near(b, p)));
        if apart(b, &seen) > tolerance {
            return Err(format!("the box {b:?}, but the pixels {seen:?}"));
        }
    }
    Ok(boxes.iter().filter(large).count())
}

#[test]
fn boxes_follow_flips() {
    assert_eq!(boxes_follow_pixels(Augment { horizontal_flip: 0.5, ..Augment::none() }, 1.0), 180);
    assert_eq!(boxes_follow_pixels(Augment { vertical_flip: 0.5, ..Augment::none() }, 1.0), 180);
}

#[test]
fn boxes_follow_moves() {
    assert!(boxes_follow_pixels(Augment { translation: 0.6, ..Augment::none() }, 1.0) > 140);
    assert!(boxes_follow_pixels(Augment { scale: 0.7, ..Augment::none() }, 1.6) > 170);
    assert!(boxes_follow_pixels(Augment { shear: 20.0, ..Augment::none() }, 1.6) > 170);
    assert!(boxes_follow_pixels(Augment { perspective: 0.3, ..Augment::none() }, 1.6) > 170);
}

#[test]
fn boxes_follow_turns() {
    assert!(boxes_follow_pixels(Augment { rotation: 180.0, ..Augment::none() }, 2.5) > 170);
    let all = Augment { rotation: 30.0, shear: 10.0, perspective: 0.2, scale: 0.3, ..Augment::none() };
    assert!(boxes_follow_pixels(all, 2.5) > 170);
}

#[test]
fn boxes_follow_crops() {
    let augment = Augment { crop: 1.0, crop_area: 0.2, ..Augment::none() };
    assert!(boxes_follow_pixels(augment, 1.6) > 170);
    let place = scenes();
    // A part is only taken if something in it can still be seen.
    let set = set(annotations(&place), Augment { min_visibility: 0.5, ..augment });
    for epoch in 0..30 {
        let changed = in_epoch(&set, epoch);
        assert!((0..changed.len()).all(|i| example(&*changed, i).1.len() == 1));
    }
}

#[test]
fn boxes_follow_mosaics() {
    assert!(boxes_follow_pixels(Augment { mosaic: 1.0, ..Augment::none() }, 1.0) > 300);
    let augment =
        Augment { mosaic: 1.0, scale: 0.5, translation: 0.1, horizontal_flip: 0.5, ..Augment::none() };
    assert!(boxes_follow_pixels(augment, 1.6) > 300);
}

#[test]
fn a_mosaic_covers_the_picture_with_four() {
    let place = scenes();
    let set = set(annotations(&place), keep_all(Augment { mosaic: 1.0, ..Augment::none() }));
    let mut most = 0;
    for epoch in 0..20 {
        let (_, labels) = example(&*in_epoch(&set, epoch), 1);
        most = most.max(labels.len());
    }
    assert_eq!(most, 4);
    let plain = DetectionSet::new(annotations(&place), Shape::new(80, 96)).unwrap();
    let ends =
        plain.clone().augmented(Augment { mosaic: 1.0, mixup: 1.0, plain_epochs: 3, ..Augment::none() }, 7);
    let ends = ends.unwrap();
    let at = |index| ends.in_epoch(Epoch { index, of: 10 }).unwrap();
    assert!((0..6).any(|i| example(&*at(6), i) != example(&plain, i)));
    for epoch in [7, 8, 9] {
        assert!((0..6).all(|i| example(&*at(epoch), i) == example(&plain, i)), "epoch {epoch}");
    }
}

#[test]
fn mixed_pictures_show_both() {
    let place = scenes();
    let plain = DetectionSet::new(annotations(&place), Shape::new(80, 96)).unwrap();
    let mixed = plain.clone().augmented(Augment { mixup: 1.0, ..Augment::none() }, 3).unwrap();
    let mixed = in_epoch(&mixed, 0);
    for index in 0..6 {
        let (picture, labels) = example(&*mixed, index);
        let (first, second) = (example(&plain, index), example(&plain, labels[1].0));
        assert_eq!(labels, [first.1[0], second.1[0]]);
        let between = |((m, a), b): ((&u8, &u8), &u8)| {
            let share = (f64::from(*m) - f64::from(*b)) / (f64::from(*a) - f64::from(*b));
            a.abs_diff(*b) < 50 && a != b || a == b && m == a || (0.37..0.63).contains(&share)
        };
        let pixels = picture.pixels().iter().zip(first.0.pixels()).zip(second.0.pixels());
        assert!(pixels.into_iter().all(between), "example {index}");
    }
}

#[test]
fn no_change_is_the_letterbox() {
    let place = scenes();
    let plain = DetectionSet::new(annotations(&place), Shape::new(80, 96)).unwrap();
    let same = plain.clone().augmented(Augment::none(), 1).unwrap();
    for (index, colour) in COLOURS.into_iter().enumerate().take(6) {
        let (picture, labels) = example(&plain, index);
        assert_eq!(example(&same, index), (picture.clone(), labels.clone()));
        assert_eq!(compare(&[labels[0].1], &pixels(&picture, colour), 1.0), Ok(1));
    }
    // 40 x 80 in 96 x 80: gray on both sides.
    let (picture, _) = example(&plain, 2);
    assert_eq!([picture.at(27, 40), picture.at(28, 40), picture.at(68, 40)], [[GRAY; 3], GROUND, [GRAY; 3]]);
    let geometry = plain.letterbox(2);
    assert_eq!((geometry.content, geometry.left, geometry.top), ((40, 80), 28, 0));
}

#[test]
fn colours_change_and_boxes_do_not() {
    let place = scenes();
    let plain = DetectionSet::new(annotations(&place), Shape::new(80, 96)).unwrap();
    let jitter = Augment { hue: 0.1, saturation: 0.5, value: 0.5, ..Augment::none() };
    let jittered = in_epoch(&plain.clone().augmented(jitter, 5).unwrap(), 4);
    for index in 0..6 {
        let (before, after) = (example(&plain, index), example(&*jittered, index));
        assert_eq!(before.1, after.1);
        assert_ne!(before.0, after.0);
        let gray = after.0.at(48, 1);
        assert!(before.0.at(48, 1) != [GRAY; 3] || gray[0] == gray[1] && gray[1] == gray[2], "{gray:?}");
    }
}

#[test]
fn what_is_hardly_visible_is_not_labelled() {
    let place = scenes();
    let augment = Augment { translation: 0.9, min_visibility: 0.0, min_side: 0.0, ..Augment::none() };
    let all = set(annotations(&place), augment);
    let strict = set(annotations(&place), Augment { min_visibility: 0.5, ..augment });
    let (mut kept, mut dropped) = (0, 0);
    for epoch in 0..40 {
        for index in 0..6 {
            let area = |b: &[f32; 4]| (b[2] - b[0]) * (b[3] - b[1]);
            let whole = area(
                &example(&DetectionSet::new(annotations(&place), Shape::new(80, 96)).unwrap(), index).1[0].1,
            );
            let (loose, tight) =
                (example(&*in_epoch(&all, epoch), index), example(&*in_epoch(&strict, epoch), index));
            assert_eq!(loose.0, tight.0);
            let visible = loose.1.first().map_or(0.0, |l| area(&l.1) / whole);
            assert_eq!(tight.1.is_empty(), visible < 0.5, "{visible}");
            *(if tight.1.is_empty() { &mut dropped } else { &mut kept }) += 1;
        }
    }
    assert!(kept > 50 && dropped > 50, "{kept} {dropped}");
}

#[test]
fn empty_pictures_crowds_and_too_many_boxes() {
    let place = Place::new();
    place.picture("none.png", 30, 20);
    place.picture("many.png", 30, 20);
    let object = |id: u32, side: u32, crowd: u32| {
        format!(
            "{{\"id\": {id}, \"image_id\": 2, \"category_id\": 1, \"iscrowd\": {crowd}, \"bbox\": [1, 1, {side}, {side}]}}"
        )
    };
    place.write(
        "a.json",
        format!(
            "{{\"images\": [{{\"id\": 1, \"file_name\": \"none.png\"}}, {{\"id\": 2, \"file_name\": \"many.png\"}}],
              \"annotations\": [{}, {}, {}, {}], \"categories\": [{{\"id\": 1, \"name\": \"a\"}}]}}",
            object(1, 4, 0),
            object(2, 9, 0),
            object(3, 19, 1),
            object(4, 6, 0)
        ),
    );
    let shape = Shape { boxes: 2, ..Shape::new(20, 30) };
    let plain = DetectionSet::new(annotations(&place), shape).unwrap();
    assert_eq!(example(&plain, 0).1, []);
    assert_eq!(example(&plain, 1).1, [(0, [1.0, 1.0, 10.0, 10.0]), (0, [1.0, 1.0, 7.0, 7.0])]);
    let mosaic =
        plain.augmented(Augment { crop: 1.0, mosaic: 0.5, mixup: 0.5, ..Augment::default() }, 1).unwrap();
    for epoch in 0..50 {
        let changed = in_epoch(&mosaic, epoch);
        assert!((0..2).all(|i| example(&*changed, i).1.len() <= 2));
    }
    let error =
        DetectionSet::new(Annotations::default(), Shape { boxes: 0, ..shape }).unwrap_err().to_string();
    assert!(error.contains("at least 1 box"), "{error}");
    let nothing = DetectionSet::new(Annotations::default(), shape).unwrap();
    assert!(nothing.read(0, &mut []).unwrap_err().to_string().contains("example 0 was asked for"));
}

#[test]
fn boxes_lie_in_the_picture_whatever_is_asked_for() {
    let place = scenes();
    let mut random = Sequence::new(11, 0, 0);
    for round in 0..60 {
        let mut share = |most: f64| f64::from(random.next_unit()) * most;
        let augment = Augment {
            horizontal_flip: share(1.0),
            vertical_flip: share(1.0),
            hue: share(0.5),
            saturation: share(1.0),
            value: share(1.0),
            rotation: share(180.0),
            translation: share(1.0),
            scale: share(0.95),
            shear: share(60.0),
            perspective: share(0.5),
            mosaic: share(1.0),
            mixup: share(1.0),
            crop: share(1.0),
            crop_area: 0.01 + share(0.99),
            min_visibility: share(1.0),
            min_side: share(4.0),
            plain_epochs: 0,
        };
        let changed = in_epoch(&set(annotations(&place), augment), round);
        for index in 0..6 {
            for (class, [x0, y0, x1, y1]) in example(&*changed, index).1 {
                assert!(
                    class < 6 && x0 >= 0.0 && y0 >= 0.0 && x1 <= 96.0 && y1 <= 80.0 && x1 > x0 && y1 > y0
                );
            }
        }
    }
}

fn batches(data: Arc<dyn Dataset>, workers: usize, from: usize) -> Vec<Vec<Vec<u8>>> {
    let order = epoch_order(data.len(), 1, 0, true);
    let options = LoaderOptions { workers, prefetch: 3 };
    let mut loader = Loader::new(data, order.into(), 2, options).starting_at(from);
    std::iter::from_fn(|| loader.next_batch().unwrap()).map(|b| b.fields).collect()
}

#[test]
fn a_resumed_run_sees_the_same_pictures() {
    let place = scenes();
    let augment = Augment { mixup: 0.5, crop: 0.5, mosaic: 0.5, rotation: 10.0, ..Augment::default() };
    let fresh = || set(annotations(&place), augment);
    let whole = batches(in_epoch(&fresh(), 5), 0, 0);
    for workers in [0, 1, 4] {
        assert_eq!(batches(in_epoch(&fresh(), 5), workers, 0), whole);
        assert_eq!(batches(in_epoch(&fresh(), 5), workers, 1)[..], whole[1..]);
    }
    assert_ne!(batches(in_epoch(&fresh(), 6), 0, 0), whole);
    let other = fresh().augmented(augment, 8).unwrap();
    assert_ne!(batches(in_epoch(&other, 5), 0, 0), whole);
    // What is not kept is decoded again, to the same.
    let shape = Shape { cache: 20_000, ..Shape::new(80, 96) };
    let forgetful = DetectionSet::new(annotations(&place), shape).unwrap().augmented(augment, 7).unwrap();
    assert_eq!(batches(in_epoch(&forgetful, 5), 2, 0), whole);
    let part = Subset::new(Arc::new(fresh()), vec![3, 1]).unwrap();
    let part = part.in_epoch(Epoch { index: 5, of: 1000 }).unwrap();
    assert_eq!(example(&*part, 1), example(&*in_epoch(&fresh(), 5), 1));
}

/// Pins the pictures: a change here would silently change every published run.
#[test]
fn the_pictures_never_change() {
    let place = scenes();
    let augment = Augment {
        mixup: 0.5,
        crop: 0.5,
        mosaic: 0.5,
        rotation: 10.0,
        perspective: 0.1,
        ..Augment::default()
    };
    let changed = in_epoch(&set(annotations(&place), augment), 2);
    let sum = |i| {
        example(&*changed, i)
            .0
            .pixels()
            .iter()
            .fold(0u32, |s, b| s.wrapping_mul(31).wrapping_add(u32::from(*b)))
    };
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(sum),
        [1954679488, 4045947817, 452594797, 731640959, 1983298658, 1448648015]
    );
}

#[test]
fn a_changed_file_is_an_error() {
    let place = scenes();
    let all = annotations(&place);
    place.picture("JPEGImages/2.png", 5, 5);
    let set = DetectionSet::new(all, Shape::new(80, 96)).unwrap();
    let mut fields: Vec<Vec<u8>> = set.fields().iter().map(|f| vec![0; f.bytes()]).collect();
    let mut views: Vec<&mut [u8]> = fields.iter_mut().map(Vec::as_mut_slice).collect();
    let error = set.read(2, &mut views).unwrap_err().to_string();
    assert!(error.contains("2.png") && error.contains("5 x 5 pixels, and had 40 x 80"), "{error}");
    set.read(3, &mut views).unwrap();
}

#[test]
fn the_blood_cells_are_served_and_judged() {
    let Some(root) = bccd() else { return };
    let annotations = detection::open(&root, Some("test"), &Options::default()).unwrap();
    let set = DetectionSet::new(annotations, Shape::new(320, 320)).unwrap();
    // What is served, brought back, is what was annotated.
    let mut evaluator = detection::evaluate::Evaluator::new(3);
    for (index, image) in set.annotations().images.iter().enumerate() {
        let (_, labels) = example(&set, index);
        let back = |(class, corners): &(usize, [f32; 4])| detection::Detection {
            rect: set.letterbox(index).back(&detection::Rect::from_corners(corners.map(f64::from))),
            class: *class,
            score: 1.0,
        };
        evaluator.add(&image.objects, &labels.iter().map(back).collect::<Vec<_>>()).unwrap();
    }
    let summary = evaluator.summary();
    assert!((summary.numbers[0] - 1.0).abs() < 1e-9, "{:?}", summary.numbers);
}
