//! The same pictures in every format are the same annotations.

use crate::support::Place;
use std::collections::BTreeMap;
use thalweg_data::detection::{
    self, Annotations, ClassMap, Detection, Fault, Format, Options, coco, results,
};

/// A picture's file and its objects: class and corners.
type Content = (String, Vec<(usize, [f64; 4])>);

/// Names, then what is in the pictures.
fn content(a: &Annotations) -> (Vec<String>, Vec<Content>) {
    let file = |p: &std::path::Path| p.file_stem().unwrap().to_string_lossy().into_owned();
    let objects =
        |i: &detection::AnnotatedImage| i.objects.iter().map(|o| (o.class, o.rect.corners())).collect();
    (a.class_names.clone(), a.images.iter().map(|i| (file(&i.path), objects(i))).collect())
}

fn voc() -> Place {
    let place = Place::new();
    place.voc("b", (32, 16), &[("dog", [4, 2, 12, 10]), ("cat", [0, 0, 32, 16])]);
    place.voc("a", (20, 20), &[]);
    place.voc("c", (8, 64), &[("dog", [1, 1, 5, 33])]);
    place.write("ImageSets/Main/train.txt", "c\nb\n\n");
    place.write("ImageSets/Main/dog_train.txt", "c  1\n");
    place.write("ImageSets/Main/test.txt", "a -1\n");
    place
}

fn open(place: &Place, split: Option<&str>) -> Annotations {
    let found = detection::open(place.root(), split, &Options::default()).unwrap();
    assert_eq!(found.problems, []);
    found
}

#[test]
fn voc_is_read_by_list_or_whole() {
    let place = voc();
    assert_eq!(detection::splits(place.root()), ["train", "test"]);
    let all = open(&place, None);
    let names = vec!["cat".to_owned(), "dog".to_owned()];
    let b = vec![(1, [4.0, 2.0, 12.0, 10.0]), (0, [0.0, 0.0, 32.0, 16.0])];
    let c = vec![(1, [1.0, 1.0, 5.0, 33.0])];
    let (a, b, c) = (("a".to_owned(), vec![]), ("b".to_owned(), b), ("c".to_owned(), c));
    assert_eq!(content(&all), (names.clone(), vec![a.clone(), b.clone(), c.clone()]));
    assert_eq!(content(&open(&place, Some("train"))), (names, vec![c, b]));
    assert_eq!(content(&open(&place, Some("test"))), (vec![], vec![a]));
    assert_eq!(
        all.images.iter().map(|i| (i.id, i.width, i.height)).collect::<Vec<_>>(),
        [(1, 20, 20), (2, 32, 16), (3, 8, 64)]
    );
    let error = detection::open(place.root(), Some("trian"), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("splits of this data set: train, test"), "{error}");
}

#[test]
fn coco_gives_back_what_it_was_given() {
    let place = voc();
    let all = open(&place, None);
    place.write("coco/instances_all.json", coco::write(&all));
    let options = Options { images: Some(place.path("JPEGImages")), ..Options::default() };
    let again = detection::open(&place.path("coco"), Some("all"), &options).unwrap();
    assert_eq!((again.problems.clone(), content(&again)), (vec![], content(&all)));
    assert_eq!(again.category_ids, [1, 2]);
    assert_eq!(coco::write(&again), coco::write(&all));
}

#[test]
fn coco_has_crowds_areas_outlines_and_its_own_numbers() {
    let place = Place::new();
    place.picture("val/x.png", 40, 30);
    place.picture("val/y.png", 10, 10);
    place.write(
        "annotations/instances_val.json",
        r#"{"info": {"year": 2017}, "images": [
            {"id": 9, "file_name": "x.png", "width": 40, "height": 30, "license": 4},
            {"id": 4, "file_name": "y.png", "width": 10, "height": 10}],
          "annotations": [
            {"id": 1, "image_id": 9, "category_id": 90, "bbox": [0.1, 0.2, 10.3, 7.7], "area": 55.5, "iscrowd": 0,
             "segmentation": [[1, 1, 2, 2, 3, 1]]},
            {"id": 2, "image_id": 9, "category_id": 3, "bbox": [5, 5, 20, 20], "iscrowd": 1,
             "segmentation": {"counts": [1, 2], "size": [30, 40]}},
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [5, 5, 2, 2], "area": 4, "segmentation": []}],
          "categories": [{"id": 90, "name": "brush"}, {"id": 3, "name": "car", "supercategory": "vehicle"},
                         {"id": 7, "name": "train"}]}"#,
    );
    let found = open(&place, None);
    assert_eq!(
        (&found.class_names[..], &found.category_ids[..]),
        (&["car", "train", "brush"].map(String::from)[..], &[3, 7, 90][..])
    );
    assert_eq!(found.segmentations, 2);
    assert_eq!(found.images.iter().map(|i| (i.id, i.objects.len())).collect::<Vec<_>>(), [(4, 0), (9, 3)]);
    let [brush, crowd, car] = found.images[1].objects[..] else { panic!() };
    assert_eq!((brush.class, brush.area, brush.crowd, brush.rect.width), (2, 55.5, false, 10.3));
    assert_eq!((crowd.class, crowd.area, crowd.crowd), (0, 400.0, true));
    assert_eq!((car.class, car.area), (0, 4.0));
}

#[test]
fn yolo_is_read_with_its_names() {
    let place = Place::new();
    place.picture("images/train/a.png", 100, 50);
    place.picture("images/train/b.PNG", 10, 10);
    place.picture("images/val/c.jpg", 16, 16);
    place.write("labels/train/a.txt", "1 0.5 0.5 0.5 0.5\n\n0 0.25 0.5 0.5 1.0\n");
    place.write("classes.txt", "zebra\nant\n\n");
    assert_eq!(Format::of(place.root()), Some(Format::Yolo));
    assert_eq!(detection::splits(place.root()), ["train", "val"]);
    let found = open(&place, Some("train"));
    let a = vec![(1, [25.0, 12.5, 75.0, 37.5]), (0, [0.0, 0.0, 50.0, 50.0])];
    assert_eq!(
        content(&found),
        (vec!["zebra".into(), "ant".into()], vec![("a".into(), a), ("b".into(), vec![])])
    );
    assert_eq!(content(&open(&place, Some("val"))).1, [("c".to_owned(), vec![])]);
}

#[test]
fn files_may_lie_in_one_folder() {
    let place = Place::new();
    place.picture("x.png", 10, 10);
    place.write("x.txt", "0 0.5 0.5 1 1");
    place.write("classes.txt", "one");
    assert_eq!(open(&place, None).objects(), 1);
    let place = Place::new();
    place.picture("x.png", 10, 10);
    place.write("x.xml", crate::support::voc_xml("x", (10, 10), &[("one", [1, 1, 4, 4])]));
    assert_eq!(open(&place, None).objects(), 1);
    let place = Place::new();
    place.picture("train/x.png", 10, 10);
    place.write(
        "train/_annotations.coco.json",
        r#"{"images": [{"id": 0, "file_name": "x.png"}], "categories": []}"#,
    );
    assert_eq!(detection::splits(place.root()), ["train"]);
    assert_eq!(open(&place, Some("train")).images[0].width, 10);
}

#[test]
fn classes_can_be_given_and_renamed() {
    let place = voc();
    let read = |names: Option<&[&str]>, renamed: &[(&str, &str)]| {
        let classes = ClassMap {
            names: names.map(|n| n.iter().map(|s| s.to_string()).collect()),
            renamed: renamed.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<BTreeMap<_, _>>(),
        };
        detection::open(place.root(), None, &Options { classes, ..Options::default() })
    };
    let classes = |a: &Annotations| content(a).1.iter().flat_map(|i| &i.1).map(|o| o.0).collect::<Vec<_>>();
    let given = read(Some(&["dog", "cow", "cat"]), &[]).unwrap();
    assert_eq!((given.class_names.len(), classes(&given)), (3, vec![0, 2, 0]));
    let merged = read(None, &[("cat", "pet"), ("dog", "pet")]).unwrap();
    assert_eq!((merged.class_names.clone(), classes(&merged)), (vec!["pet".into()], vec![0, 0, 0]));
    let fewer = read(Some(&["dog"]), &[]).unwrap();
    assert_eq!((fewer.problems.len(), fewer.problems[0].fault), (1, Fault::UnknownClass));
    assert!(fewer.problems[0].to_string().ends_with("b.xml:10:5: the class 'cat' is not known; known: dog"));
    assert!(
        read(Some(&["dog", "cat", "dog"]), &[]).unwrap_err().to_string().contains("'dog' is named twice")
    );
}

#[test]
fn detections_are_read_as_they_were_written() {
    let place = voc();
    let all = open(&place, None);
    let at = |x: f64| detection::Rect { x, y: 0.1, width: 1.0 / 3.0, height: 1e-7 };
    let found = vec![
        vec![],
        vec![
            Detection { rect: at(0.2), class: 1, score: 0.7 },
            Detection { rect: at(-5.5), class: 0, score: f64::from(0.1f32) },
        ],
        vec![Detection { rect: at(f64::from(0.3f32)), class: 1, score: 1.0 }],
    ];
    let text = results::to_json(&all, &found);
    place.write("found.json", &text);
    assert_eq!(results::read(&place.path("found.json"), &all).unwrap(), found);
    for (wrong, words) in [
        (text.replace("\"image_id\":2", "\"image_id\":20"), "detection 0 has image_id 20, which is unknown"),
        (text.replace("\"category_id\":1", "\"category_id\":7"), "has category_id 7"),
        (text[1..].to_owned(), "found.json"),
        ("{}".to_owned(), "it should be a list"),
    ] {
        place.write("found.json", wrong);
        let error = results::read(&place.path("found.json"), &all).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
