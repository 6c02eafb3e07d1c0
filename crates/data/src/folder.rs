//! Images in class folders: `<dir>/<class>/*.{jpg,jpeg,png,webp}`.
//!
//! Input: a folder with one folder per class. Output: images as U8 NHWC [height, width, channels], decoded
//! when they are read, and the class as an I32 scalar. Invariant: classes and files are sorted by name, so
//! labels and order are the same on every machine; hidden files and folders are left out.

use crate::dataset::{Dataset, Field, check_read};
use crate::decode::{self, Size};
use crate::error::{DataError, Result};
use std::fs;
use std::path::{Path, PathBuf};
use thalweg_base::{DType, counted};

/// How images are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Rows of the served image.
    pub height: usize,
    /// Columns of the served image.
    pub width: usize,
    /// 1 = gray, 3 = RGB, 4 = RGBA.
    pub channels: usize,
    /// Images with more pixels than this are refused before they are decoded.
    pub max_pixels: u64,
    /// The classes, in the order of their labels, when they must be those of another folder (a test set
    /// served with the labels of its training set); `None` takes the sorted names of the folders.
    pub class_names: Option<Vec<String>>,
}

impl FolderOptions {
    /// RGB images of a size; everything else by default.
    pub fn new(height: usize, width: usize) -> FolderOptions {
        FolderOptions { height, width, ..FolderOptions::default() }
    }
}

impl Default for FolderOptions {
    /// RGB images of 224 x 224.
    fn default() -> FolderOptions {
        FolderOptions {
            height: 224,
            width: 224,
            channels: 3,
            max_pixels: decode::MAX_PIXELS,
            class_names: None,
        }
    }
}

/// An image folder.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    fields: [Field; 2],
    size: Size,
    max_pixels: u64,
    class_names: Vec<String>,
    files: Vec<(PathBuf, i32)>,
}

/// Lists the images of a folder; none is opened yet.
pub fn open(dir: &Path, options: FolderOptions) -> Result<Folder> {
    let FolderOptions { height, width, channels, max_pixels, class_names } = options;
    let size = Size { height, width, channels };
    size.check()?;
    let folders: Vec<String> = sorted(dir, |p| p.is_dir())?;
    if folders.is_empty() {
        return Err(DataError::NoImages { path: dir.to_path_buf(), what: "no class folders in it".into() });
    }
    let class_names = class_names.unwrap_or_else(|| folders.clone());
    if let Some(unknown) = folders.iter().find(|f| !class_names.contains(f)) {
        return Err(DataError::NoImages {
            path: dir.join(unknown),
            what: format!("this folder is none of the {} known classes", class_names.len()),
        });
    }
    let mut files = Vec::new();
    for (label, class) in class_names.iter().enumerate().filter(|(_, c)| folders.contains(c)) {
        let folder = dir.join(class);
        let images = sorted(&folder, is_image)?;
        if images.is_empty() {
            return Err(DataError::NoImages { path: folder, what: "no images in this class folder".into() });
        }
        files.extend(images.into_iter().map(|f| (folder.join(f), label as i32)));
    }
    let fields = [
        Field::input("image", &[height, width, channels], DType::U8),
        Field::target("label", &[], DType::I32),
    ];
    Ok(Folder { dir: dir.to_path_buf(), fields, size, max_pixels, class_names, files })
}

/// The names in a folder that pass `keep`, sorted; hidden ones are left out.
fn sorted(dir: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<String>> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => DataError::Missing {
            path: dir.to_path_buf(),
            fix: "give a folder that holds one folder of images per class".into(),
        },
        _ => DataError::io("list", dir)(e),
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(DataError::io("list", dir))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(DataError::Format {
                path: entry.path(),
                what: "the name is not valid UTF-8".into(),
                fix: "rename it: class names are written to model files",
            });
        };
        if !name.starts_with('.') && keep(&entry.path()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| decode::EXTENSIONS.contains(&e.as_str())) && path.is_file()
}

impl Folder {
    /// The file of an example and its label.
    pub fn file(&self, index: usize) -> Option<(&Path, i32)> {
        self.files.get(index).map(|(path, label)| (path.as_path(), *label))
    }
}

impl Dataset for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn describe(&self) -> String {
        format!(
            "{} of {} from {}, served as {} x {} x {}",
            counted(self.files.len(), "image"),
            counted(self.class_names.len(), "class"),
            self.dir.display(),
            self.size.height,
            self.size.width,
            self.size.channels
        )
    }

    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()> {
        check_read(self, index, out)?;
        let (path, label) = &self.files[index];
        decode::file_into(path, self.size, self.max_pixels, out[0])?;
        out[1].copy_from_slice(&label.to_le_bytes());
        Ok(())
    }

    fn label(&self, index: usize) -> Option<i64> {
        self.files.get(index).map(|(_, label)| i64::from(*label))
    }
}
