//! tmp
use std::time::Instant;
use thalweg_data::detection::{self, *};
use thalweg_data::draw::*;
use thalweg_data::*;
fn main() {
    let a = detection::open(std::path::Path::new("/work/shared/data/bccd"), Some("train"), &Options::default()).unwrap();
    let names = a.class_names.clone();
    let base = DetectionSet::new(a, Shape::new(320, 320)).unwrap();
    let aug = |x: Augment| base.clone().augmented(x, 1).unwrap().in_epoch(Epoch { index: 0, of: 1000 }).unwrap();
    let show = |set: &dyn Dataset, i: usize, caption: &str| {
        let mut f: Vec<Vec<u8>> = set.fields().iter().map(|f| vec![0; f.bytes()]).collect();
        set.read(i, &mut f.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
        let fl = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap()));
        let marks = f[1].chunks(16).zip(f[2].chunks(4)).filter_map(|(b, c)| {
            let class = i32::from_le_bytes(c.try_into().unwrap());
            (class >= 0).then(|| Mark::object(&Object { rect: Rect::from_corners([0, 4, 8, 12].map(|k| fl(&b[k..k + 4]))), class: class as usize, area: 0.0, crowd: false, difficult: false }, &names))
        }).collect();
        Tile { picture: Picture::from_pixels(320, 320, f[0].clone()), marks, caption: caption.into() }
    };
    let n = Augment::none();
    let sets = [("none", n), ("default", Augment::default()), ("rotation shear perspective", Augment { rotation: 30.0, shear: 10.0, perspective: 0.3, ..n }), ("crop", Augment { crop: 1.0, ..n }), ("mixup", Augment { mixup: 1.0, ..n }), ("mosaic only", Augment { mosaic: 1.0, ..n })];
    let mut tiles = vec![];
    for (name, x) in sets { let s = aug(x); for i in 0..3 { tiles.push(show(&*s, 10 + i, name)); } }
    sheet(&tiles, &Sheet { title: "changed".into(), columns: 6, ..Sheet::default() }).save(std::path::Path::new("/tmp/aug.png")).unwrap();
    for (name, x) in sets {
        let s = aug(x);
        let mut f: Vec<Vec<u8>> = s.fields().iter().map(|f| vec![0; f.bytes()]).collect();
        let mut all = vec![];
        for i in (0..s.len()).chain(0..s.len()) { let t = Instant::now(); s.read(i, &mut f.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap(); all.push(t.elapsed().as_secs_f64() * 1e3); }
        all.sort_by(f64::total_cmp);
        println!("{name}: min {:.2}, quarter {:.2}, median {:.2} ms", all[0], all[all.len() / 4], all[all.len() / 2]);
    }
}
