//! Small data sets of every format, and where a real one may lie.

use image::{Rgb, RgbImage};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder that is removed after the test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A gray picture.
    pub fn picture(&self, name: &str, width: u32, height: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb([90, 90, 90])).save(path).unwrap();
    }

    /// A picture with its VOC file: objects are (class, xmin, ymin, xmax, ymax).
    pub fn voc(&self, name: &str, (width, height): (u32, u32), objects: &[(&str, [i32; 4])]) {
        self.picture(&format!("JPEGImages/{name}.png"), width, height);
        self.write(&format!("Annotations/{name}.xml"), voc_xml(name, (width, height), objects));
    }
}

pub fn voc_xml(name: &str, (width, height): (u32, u32), objects: &[(&str, [i32; 4])]) -> String {
    let object = |(class, [x0, y0, x1, y1]): &(&str, [i32; 4])| {
        format!(
            "  <object>\n    <name>{class}</name>\n    <difficult>0</difficult>\n    <bndbox><xmin>{x0}</xmin>\
             <ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>\n  </object>\n"
        )
    };
    format!(
        "<annotation>\n  <filename>{name}.png</filename>\n  <size><width>{width}</width><height>{height}</height>\
         </size>\n{}</annotation>\n",
        objects.iter().map(object).collect::<String>()
    )
}

/// The blood cells, where they are: 364 pictures in the format of VOC.
pub fn bccd() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bccd");
    let there = Some(path).filter(|p| p.is_dir());
    if there.is_none() {
        eprintln!("skipped: the blood cells are not there");
    }
    there
}
