//! Runs the command in a folder of its own, on tiny data.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with a recipe, and the command to run in it.
pub struct Place {
    folder: TempDir,
}

/// What a run of the command gave.
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Every line of standard output as JSON: with `--json` there is nothing else.
    pub fn events(&self) -> Vec<Value> {
        let parse = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"));
        self.out.lines().map(parse).collect()
    }

    /// The last event.
    pub fn last(&self) -> Value {
        self.events().pop().unwrap_or_else(|| panic!("no events; {}", self.err))
    }

    /// The same, of a run that must have gone well.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }
}

impl Place {
    /// An empty one.
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The command, ready to run here, with nothing of the tester's environment that it reads.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(args).current_dir(self.folder.path());
        command.env_remove("THALWEG_DATA").env_remove("XDG_CACHE_HOME").env_remove("NO_COLOR");
        command.env("HOME", self.folder.path());
        command
    }

    /// Runs the command.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Starts the command.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for a started command.
    pub fn wait(&self, child: Child) -> Ran {
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Two classes of 8 x 8 images that colour tells apart, with some noise.
    pub fn images(&self, folder: &str, each: usize) {
        for (class, name) in ["blue", "red"].into_iter().enumerate() {
            let dir = self.path(folder).join(name);
            fs::create_dir_all(&dir).unwrap();
            for i in 0..each {
                png(&dir.join(format!("{i:03}.png")), class, i);
            }
        }
    }

    /// A recipe for [`Place::images`] in `train` and `test`.
    pub fn recipe(&self) {
        self.images("train", 40);
        self.images("test", 10);
        self.write("tiny.toml", TINY);
    }
}

/// Learns [`Place::images`].
pub const TINY: &str = r#"
[data]
train = "train"
test = "test"
image_size = [8, 8]

[[preprocessing]]
class_name = "Rescaling"
scale = "1/255"

[[layers]]
class_name = "Conv2D"
filters = 4
kernel_size = 3
activation = "relu"

[[layers]]
class_name = "MaxPooling2D"

[[layers]]
class_name = "Flatten"

[[layers]]
class_name = "Dense"
units = 2
activation = "softmax"

[compile]
optimizer = { name = "adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 4
batch_size = 16
validation_data = "test"
"#;

fn png(path: &Path, class: usize, i: usize) {
    let mut state = (class * 1000 + i) as u32 + 1;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 26) as u8
    };
    let image = image::RgbImage::from_fn(8, 8, |_, _| match class {
        0 => image::Rgb([noise(), noise(), 190 + noise()]),
        _ => image::Rgb([190 + noise(), noise(), noise()]),
    });
    image.save(path).unwrap();
}
