//! The blood cells: a real data set of 364 pictures.

use crate::support::bccd;
use thalweg_data::detection::{self, Fault, Options};

#[test]
fn the_official_split_is_read() {
    let Some(root) = bccd() else { return };
    assert_eq!(detection::splits(&root), ["train", "val", "test", "trainval"]);
    let read = |split| detection::open(&root, split, &Options::default()).unwrap();
    let sizes = ["train", "val", "test"].map(|s| read(Some(s)).images.len());
    assert_eq!(sizes, [205, 87, 72]);
    let all = read(None);
    assert_eq!(all.class_names, ["Platelets", "RBC", "WBC"]);
    assert_eq!((all.images.len(), all.objects() + all.problems.len()), (364, 4888));
    let problems: Vec<_> =
        all.problems.iter().map(|p| (p.fault, p.place.path.file_stem().unwrap())).collect();
    assert_eq!(
        problems,
        ["BloodImage_00338", "BloodImage_00343"].map(|name| (Fault::ZeroArea, std::ffi::OsStr::new(name)))
    );
}
