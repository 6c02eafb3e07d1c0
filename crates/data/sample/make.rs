//! Makes the sample of CIFAR-10 that is kept beside this file and built into the program.
//!
//! Input: the folder of the official binary files (`thalweg data get cifar10`). Output, in the folder of this
//! file: `cifar10-sample.{train,test}.png`, one column of 32 x 32 images, lossless, and
//! `cifar10-sample.{train,test}.txt`, their labels as one digit each. Invariant: the first 100 (test: 20)
//! images of every class in the official order, kept in that order; the same files every time.
//!
//! Run: `cargo run -p thalweg-data --example make-sample -- ~/.cache/cifar-10-batches-bin`
//! (the library embeds the four files, so where they do not exist yet, put empty ones there first).

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use thalweg_data::{Dataset, Split, cifar};

fn main() -> Result<(), Box<dyn Error>> {
    let source = std::env::args_os().nth(1).ok_or("give the folder of the CIFAR-10 binary files")?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    for (split, per_class) in [(Split::Train, 100), (Split::Test, 20)] {
        let set = cifar::open(&PathBuf::from(&source), cifar::Variant::Cifar10, split)?;
        let size = set.images().len() / set.len();
        let (mut taken, mut pixels, mut labels) = ([0; 10], Vec::new(), String::new());
        for (&label, image) in set.labels().iter().zip(set.images().chunks_exact(size)) {
            let class = usize::try_from(label)?;
            if taken[class] < per_class {
                taken[class] += 1;
                pixels.extend_from_slice(image);
                labels.push_str(&label.to_string());
            }
        }
        let mut png = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
        encoder.write_image(&pixels, 32, 32 * labels.len() as u32, ExtendedColorType::Rgb8)?;
        println!("{split}: {} images, {} bytes", labels.len(), png.len());
        fs::write(here.join(format!("cifar10-sample.{split}.png")), png)?;
        fs::write(here.join(format!("cifar10-sample.{split}.txt")), labels + "\n")?;
    }
    Ok(())
}
