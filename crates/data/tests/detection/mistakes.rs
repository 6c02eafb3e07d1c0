//! What is wrong with annotations is told by file and line, and dropped or refused.

use crate::support::{Place, voc_xml};
use std::fs;
use std::path::Path;
use thalweg_base::philox::Sequence;
use thalweg_data::detection::{self, Annotations, BadAnnotations, Fault, Options};

fn read(root: &Path, bad: BadAnnotations) -> thalweg_data::Result<Annotations> {
    detection::open(root, None, &Options { bad, ..Options::default() })
}

/// The problems of a data set as (fault, "file:line:column: words"), and how many objects are left.
fn problems(root: &Path) -> (Vec<(Fault, String)>, usize) {
    let found = read(root, BadAnnotations::Drop).unwrap();
    let shorter = |p: &detection::Problem| {
        let text = p.to_string();
        let folder = format!("{}/", root.display());
        (p.fault, text.replace(&folder, ""))
    };
    let objects = found.objects();
    (found.problems.iter().map(shorter).collect(), objects)
}

#[track_caller]
fn is(found: &[(Fault, String)], at: usize, fault: Fault, words: &str) {
    assert_eq!(found[at].0, fault, "{found:#?}");
    assert!(found[at].1.starts_with(words), "{:?}\nis not\n{words:?}", found[at].1);
}

#[test]
fn voc_boxes() {
    let place = Place::new();
    let good = ("a", [1, 1, 5, 5]);
    place.voc(
        "x",
        (20, 10),
        &[
            good,
            ("a", [7, 7, 7, 7]),
            ("a", [9, 1, 3, 5]),
            ("a", [30, 1, 40, 5]),
            ("a", [10, 1, 23, 5]),
            ("a", [0, 0, 21, 11]),
        ],
    );
    let (found, left) = problems(place.root());
    is(&found, 0, Fault::ZeroArea, "Annotations/x.xml:12:5: the box from 7, 7 to 7, 7 is 0 x 0 pixels");
    is(&found, 1, Fault::ZeroArea, "Annotations/x.xml:17:5: the box from 9, 1 to 3, 5 is -6 x 4 pixels");
    is(
        &found,
        2,
        Fault::Outside,
        "Annotations/x.xml:22:5: the box from 30, 1 to 40, 5 lies outside the picture",
    );
    is(
        &found,
        3,
        Fault::ReachesOutside,
        "Annotations/x.xml:27:5: the box from 10, 1 to 23, 5 reaches outside",
    );
    assert_eq!((found.len(), left), (4, 3), "a pixel too far is none, and what reaches outside stays");
    let error = read(place.root(), BadAnnotations::Error).unwrap_err().to_string();
    assert!(error.contains("x.xml:12:5: ") && error.contains("(and 3 more problems); correct"), "{error}");
    place.voc("x", (20, 10), &[good]);
    assert_eq!(read(place.root(), BadAnnotations::Error).unwrap().objects(), 1);
}

#[test]
fn voc_files() {
    let place = Place::new();
    place.voc("good", (20, 10), &[("a", [1, 1, 5, 5])]);
    let with = |name: &str, text: &str| {
        place.picture(&format!("JPEGImages/{name}.png"), 20, 10);
        place.write(&format!("Annotations/{name}.xml"), text);
    };
    let whole = voc_xml("x", (20, 10), &[("a", [1, 1, 5, 5])]);
    with("a-number", &whole.replace("<xmin>1<", "<xmin>one<"));
    with("b-part", &whole.replace("<ymax>5</ymax>", ""));
    with("c-cut", &whole[..whole.len() - 15]);
    with("d-other", "<html></html>");
    let bomb = "<!DOCTYPE annotation [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>\n";
    with("e-bomb", &format!("{bomb}{}", whole.replace(">a<", ">&b;<")));
    with("f-size", &whole.replace("<width>20<", "<width>200<"));
    place.write("Annotations/g-gone.xml", whole.replace("x.png", "../../../etc/x.png"));
    with("h-picture", &whole);
    fs::write(place.path("JPEGImages/h-picture.png"), b"no picture").unwrap();
    with("i-nan", &whole.replace("<xmax>5<", "<xmax>inf<"));
    place.write("Annotations/j-bytes.xml", b"<annotation>\xff\xfe</annotation>");
    with("k-entity", &whole.replace(">a<", ">&b;<"));
    let (found, left) = problems(place.root());
    assert_eq!((found.len(), left), (11, 1), "{found:#?}");
    is(&found, 0, Fault::Malformed, "Annotations/a-number.xml:7:13: xmin is 'one', not a number");
    is(&found, 1, Fault::Malformed, "Annotations/b-part.xml:7:5: <bndbox> has no <ymax>");
    is(
        &found,
        2,
        Fault::Malformed,
        "Annotations/c-cut.xml:1:1: not XML: the root node was opened but never closed",
    );
    is(&found, 3, Fault::Malformed, "Annotations/d-other.xml:1:1: <annotation> was expected, not <html>");
    is(&found, 4, Fault::Malformed, "Annotations/e-bomb.xml:1:1: has a DTD, which could define entities");
    is(&found, 5, Fault::SizeMismatch, "Annotations/f-size.xml: the picture is said to have 200 x 10 pixels");
    is(&found, 6, Fault::MissingImage, "Annotations/g-gone.xml: the picture JPEGImages/x.png is not there");
    is(
        &found,
        7,
        Fault::BadImage,
        "Annotations/h-picture.xml: JPEGImages/h-picture.png: not a readable image",
    );
    is(&found, 8, Fault::Malformed, "Annotations/i-nan.xml:7:5: the box from 1, 1 to inf, 5 holds a number");
    is(&found, 9, Fault::Malformed, "Annotations/j-bytes.xml: not UTF-8");
    is(&found, 10, Fault::Malformed, "Annotations/k-entity.xml:5:");
}

#[test]
fn voc_lists() {
    let place = Place::new();
    place.voc("a", (20, 10), &[("a", [1, 1, 5, 5])]);
    place.write("ImageSets/Main/train.txt", "a\nghost\na\n");
    let found = detection::open(place.root(), Some("train"), &Options::default()).unwrap();
    let lines: Vec<_> = found.problems.iter().map(|p| (p.fault, p.place.at)).collect();
    assert_eq!(lines, [(Fault::MissingAnnotation, Some((2, 1))), (Fault::Duplicate, Some((3, 1)))]);
}

#[test]
fn nesting_and_breadth_end_nothing() {
    let place = Place::new();
    place.voc("good", (20, 10), &[("a", [1, 1, 5, 5])]);
    place.write("Annotations/deep.xml", "<a>".repeat(500_000));
    place.write("Annotations/deeper.xml", format!("{}{}", "<a>".repeat(300_000), "</a>".repeat(300_000)));
    place.write("Annotations/large.xml", " ".repeat((16 << 20) + 1));
    place.picture("JPEGImages/many.png", 20, 10);
    place.write("Annotations/many.xml", voc_xml("many", (20, 10), &vec![("a", [3, 3, 3, 3]); 20_000]));
    let (found, left) = problems(place.root());
    assert_eq!((found.len(), left), (20_003, 1));
    is(&found, 2, Fault::Malformed, "Annotations/large.xml: 16777217 bytes are too many");
}

fn coco(images: &str, annotations: &str) -> Place {
    let place = Place::new();
    place.picture("a.png", 20, 10);
    place.write(
        "a.json",
        format!(
            "{{\"images\": [\n{{\"id\": 1, \"file_name\": \"a.png\"}}{images}],\n\"annotations\": [\n{annotations}],\n\
             \"categories\": [{{\"id\": 5, \"name\": \"cell\"}},\n{{\"id\": 5, \"name\": \"again\"}}, {{\"name\": 3}}]}}"
        ),
    );
    place
}

#[test]
fn coco_parts() {
    let part = |id: u32, rest: &str| format!("{{\"id\": {id}, \"image_id\": 1, \"category_id\": 5, {rest}}}");
    let annotations = [
        part(1, "\"bbox\": [1, 1, 4, 4]"),
        part(1, "\"bbox\": [1, 1, 4, 4]"),
        part(2, "\"bbox\": [1, 1, 0, 4]"),
        part(3, "\"bbox\": [1, 1, 4]"),
        part(4, "\"bbox\": [1, 1, null, 4]"),
        part(5, "\"area\": 3"),
        "{\"id\": 6, \"image_id\": 77, \"category_id\": 5, \"bbox\": [1, 1, 4, 4]}".into(),
        "{\"id\": 7, \"image_id\": 1, \"category_id\": 6, \"bbox\": [1, 1, 4, 4]}".into(),
        "{\"id\": 8, \"image_id\": 2, \"category_id\": 5, \"bbox\": [1, 1, 4, 4]}".into(),
        part(9, "\"bbox\": [1, 1, 1e999, 4]"),
    ];
    let images = ",\n{\"id\": 2, \"file_name\": \"b.png\"},\n{\"id\": 1, \"file_name\": \"a.png\"},\n\
                  {\"id\": 3, \"file_name\": \"../a.png\"},\n{\"id\": 4, \"file_name\": \"a.png\"}, 12";
    let place = coco(images, &annotations.join(",\n"));
    let (found, left) = problems(place.root());
    assert_eq!((found.len(), left), (15, 1), "{found:#?}");
    is(&found, 0, Fault::Duplicate, "a.json:19:1: there is a category 5 already");
    is(&found, 1, Fault::Malformed, "a.json:19:29: this is not a category: ");
    is(&found, 2, Fault::MissingImage, "a.json:3:1: the picture b.png is not there");
    is(&found, 3, Fault::Duplicate, "a.json:4:1: there is an image 1 already");
    is(&found, 4, Fault::Malformed, "a.json:5:1: file_name '../a.png' leads out of the folder");
    is(&found, 5, Fault::Duplicate, "a.json:6:1: the picture a.png has been annotated in a.json:2:1 already");
    is(&found, 6, Fault::Malformed, "a.json:6:34: this is not an image: ");
    is(&found, 7, Fault::Duplicate, "a.json:9:1: there is an annotation 1 already");
    is(&found, 8, Fault::ZeroArea, "a.json:10:1: the box from 1, 1 to 1, 5 is 0 x 4 pixels");
    is(&found, 9, Fault::Malformed, "a.json:11:1: this is not an annotation: invalid length 3");
    is(&found, 10, Fault::Malformed, "a.json:12:1: this is not an annotation: invalid type: null");
    is(&found, 11, Fault::Malformed, "a.json:13:1: this is not an annotation: missing field `bbox`");
    is(&found, 12, Fault::MissingImage, "a.json:14:1: image_id 77 is none of the images");
    is(&found, 13, Fault::UnknownClass, "a.json:15:1: category_id 6 is none of the categories");
    is(&found, 14, Fault::Malformed, "a.json:17:1: this is not an annotation: number out of range");
}

#[test]
fn what_is_no_coco_at_all() {
    for (text, words) in [
        ("", "EOF while parsing"),
        ("{\"images\": [}", "at line 1 column 13"),
        ("{\"images\": []}", "missing field `categories`"),
        ("[1, 2]", "invalid type"),
        ("{\"images\": [], \"categories\": []}", "no pictures"),
    ] {
        let place = Place::new();
        place.write("a.json", text);
        let error = read(&place.path("a.json"), BadAnnotations::Drop).unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains(words), "{text}: {error}");
    }
    let place = Place::new();
    place.write("a.json", format!("{{\"images\": {}", "[".repeat(400_000)));
    assert!(read(&place.path("a.json"), BadAnnotations::Drop).is_err());
}

#[test]
fn yolo_lines() {
    let place = Place::new();
    place.picture("images/a.png", 20, 10);
    place.picture("images/a.jpg", 20, 10);
    place.write(
        "labels/a.txt",
        "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0 0.5\n7 0.5 0.5 0.5 0.5\n0 0.5\n0 1.5 0.5 0.2 0.2\n",
    );
    place.write("labels/ghost.txt", "");
    place.write("classes.txt", "cell\n");
    let (found, left) = problems(place.root());
    assert_eq!((found.len(), left), (6, 1), "{found:#?}");
    is(&found, 0, Fault::ZeroArea, "labels/a.txt:2:1: the box from 10, 2.5 to 10, 7.5 is 0 x 5 pixels");
    is(&found, 1, Fault::UnknownClass, "labels/a.txt:3:1: class 7 has no name; there are 1 (from 0)");
    is(&found, 2, Fault::Malformed, "labels/a.txt:4:1: 1 numbers after the class");
    is(&found, 3, Fault::Outside, "labels/a.txt:5:1: the box from 28, 4 to 32, 6 lies outside");
    is(&found, 4, Fault::Duplicate, "labels/a.txt: images/a.png is annotated by the same file");
    is(&found, 5, Fault::MissingImage, "labels/ghost.txt: there is no picture images/ghost");
    fs::remove_file(place.path("classes.txt")).unwrap();
    let error = read(place.root(), BadAnnotations::Drop).unwrap_err().to_string();
    assert!(error.contains("classes.txt is not there; write the names"), "{error}");
    place.write("classes.txt", "a\n\nb");
    let error = read(place.root(), BadAnnotations::Drop).unwrap_err().to_string();
    assert!(error.contains("line 2 is empty"), "{error}");
}

#[test]
fn what_is_no_data_set() {
    let place = Place::new();
    let error = read(place.root(), BadAnnotations::Drop).unwrap_err().to_string();
    assert!(error.contains("no annotated pictures"), "{error}");
    let error = read(&place.path("nowhere"), BadAnnotations::Drop).unwrap_err().to_string();
    assert!(error.contains("nowhere is not there"), "{error}");
}

/// Damaged files give problems or errors, never panics.
#[test]
fn damage_ends_nothing() {
    let mut random = Sequence::new(3, 0, 0);
    let xml = voc_xml("a", (20, 10), &[("a", [1, 1, 5, 5]), ("b", [2, 2, 9, 9])]);
    let json = fs::read_to_string(
        coco("", "{\"image_id\": 1, \"category_id\": 5, \"bbox\": [1, 1, 4, 4]}").path("a.json"),
    );
    let yolo = "0 0.5 0.5 0.25 0.25\n1 0.25 0.25 0.125 0.125\n".to_owned();
    for (file, text, other) in [
        ("Annotations/a.xml", xml, None),
        ("a.json", json.unwrap(), None),
        ("labels/a.txt", yolo, Some("classes.txt")),
    ] {
        let place = Place::new();
        place.picture(if other.is_some() { "images/a.png" } else { "a.png" }, 20, 10);
        place.picture("JPEGImages/a.png", 20, 10);
        other.iter().for_each(|file| place.write(file, "one\ntwo\n"));
        for _ in 0..300 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len() as u32) as usize;
                bytes[at] = random.next_word() as u8 & 0x7f;
            }
            bytes
                .truncate(bytes.len() - random.below(2) as usize * random.below(bytes.len() as u32) as usize);
            place.write(file, &bytes);
            // Either outcome is right.
            let _ = read(place.root(), BadAnnotations::Drop);
        }
    }
}
