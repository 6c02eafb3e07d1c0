//! The arguments of the command: one table that drives parsing, `--help` and completions.
//!
//! Invariant: the forms in the README's "Fixed forms" never lose a flag; scripts rely on them.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use thalweg::nn::DTypePolicy;

/// Train, judge and use vision models.
///
/// A recipe is a TOML file in Keras' words: data, preprocessing, layers, compile, fit, callbacks. A model is the
/// one .safetensors file that training leaves.
#[derive(Parser, Debug)]
#[command(name = "thalweg", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "First steps:
  thalweg fit examples/cifar10.toml            train the seed CNN on CIFAR-10 (fetched once)
  thalweg evaluate runs/cifar10/model.safetensors
  thalweg predict runs/cifar10/model.safetensors cat.jpg

Exit codes: 0 done, 1 failed, 2 wrong usage or recipe, 3 data, 4 device, 130 interrupted.

Environment:
  THALWEG_DATA            the folder of data sets
  THALWEG_NVRTC           CUDA's compiler NVRTC: its file or its folder, tried first
  THALWEG_CUDA_LIBRARIES  the only folders of cuBLASLt and cuDNN, as in PATH; none: not used
  CUDA_PATH, CUDA_HOME, VIRTUAL_ENV, CONDA_PREFIX
                          where else NVIDIA's libraries are looked for
  XDG_CACHE_HOME          the folder of caches, instead of the system's
  NO_COLOR                switches colours off")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train a model by a recipe
    Fit(FitArgs),
    /// Judge a model on test data
    Evaluate(EvaluateArgs),
    /// Use a model on image files
    Predict(PredictArgs),
    /// Show a model's layers, shapes, parameters and costs
    Summary(SummaryArgs),
    /// Show what a recipe is compiled to, pass by pass
    Explain(ExplainArgs),
    /// Say what a run will need, before running it
    Plan(PlanArgs),
    /// List the devices that can be used
    Devices(OnlyJson),
    /// Explain every device, the data folder and the disk
    Doctor(DoctorArgs),
    /// Get, list and describe data sets
    Data(DataArgs),
    /// Measure the speed of training or prediction
    Bench(BenchArgs),
    /// Find the fastest way of every product on a GPU, once; later commands with the same batch size use it
    Tune(TuneArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
}

impl Command {
    /// Whether events go to standard output as JSON.
    pub fn json(&self) -> bool {
        match self {
            Command::Fit(a) => a.json,
            Command::Evaluate(a) => a.json,
            Command::Predict(a) => a.json,
            Command::Summary(a) => a.json,
            Command::Explain(a) => a.json,
            Command::Plan(a) => a.json,
            Command::Devices(a) => a.json,
            Command::Doctor(a) => a.json,
            Command::Data(a) => a.json,
            Command::Bench(a) => a.json,
            Command::Tune(a) => a.json,
            Command::Completions(_) => false,
        }
    }
}

/// The device and how much of it.
#[derive(Args, Debug, Clone)]
pub struct DeviceArgs {
    /// Device: auto, cpu, cuda, cuda:1, cuda:tf32, wgpu, wgpu:1, wgpu:coop (see `thalweg devices`); cpu:avx2, cpu:portable
    /// hold it to instructions, cpu:exact to exact sums
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Worker threads; 0 leaves it to the device
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
}

/// What layers compute in.
#[derive(Args, Debug, Clone)]
pub struct DTypeArgs {
    /// Keras' dtype policy: float32, mixed_bfloat16 or mixed_float16, instead of the recipe's
    #[arg(long, value_name = "POLICY", value_parser = DTypePolicy::from_name)]
    pub dtype_policy: Option<DTypePolicy>,
}

/// `fit`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  thalweg fit examples/cifar10.toml --epochs 3
  thalweg fit examples/cifar10.toml --limit 2000 --run trial   uses 2,000 training images only
  thalweg fit examples/cifar10.toml --run trial --resume       go on after Ctrl-C or a crash

A run writes runs/NAME: the model, history.csv, curves.svg, TensorBoard events, checkpoints, the log. An earlier
run of that name is kept beside it as NAME.1, NAME.2 and so on.

With --json every event is one object on its own line of standard output; the last is
  {\"event\":\"done\",\"epochs\",\"steps\",\"images_per_second\",\"loss\",\"accuracy\",\"val_loss\",\"val_accuracy\",\"model\",\"weights_sha256\"}")]
pub struct FitArgs {
    /// The recipe, a TOML file
    pub recipe: PathBuf,
    /// Passes over the data, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,
    /// Examples per step, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// Which device computes, and with how many threads
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What layers compute in
    #[command(flatten)]
    pub dtype: DTypeArgs,
    /// Seed of weights, order and dropout, instead of the recipe's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Use the first IMAGES training images only (validation_split takes its share of them); other sets stay whole
    #[arg(long, value_name = "IMAGES", value_parser = positive)]
    pub limit: Option<usize>,
    /// Folder of data sets, instead of THALWEG_DATA
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Name of the run's folder under runs/; default: the recipe's name
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    pub run: Option<String>,
    /// Go on from the run's last checkpoint, bit by bit as if never stopped
    #[arg(long)]
    pub resume: bool,
    /// Print events as JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `evaluate`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  thalweg evaluate runs/cifar10/model.safetensors
  thalweg evaluate model.safetensors --data photos    photos/CLASS/*.jpg, brought to the model's size
  thalweg evaluate detector.safetensors --data data --output judged    the recipe's test split, below data")]
pub struct EvaluateArgs {
    /// The model, a .safetensors file
    pub model: PathBuf,
    /// Folder of data sets, the data set's own folder, or a folder with one folder of images per class
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Detectors: write the worst pictures, curves and detections there
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Examples per step; detectors have their own
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 128)]
    pub batch_size: usize,
    /// Judge by the first IMAGES images only
    #[arg(long, value_name = "IMAGES", value_parser = positive)]
    pub limit: Option<usize>,
    /// Which device computes, and with how many threads
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the result as a JSON line
    #[arg(long)]
    pub json: bool,
}

/// `predict`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  thalweg predict model.safetensors cat.jpg dog.png
  thalweg predict model.safetensors photos/ --top 5 --json
  thalweg predict detector.safetensors frames/ --confidence 0.4 --output found    pictures with boxes, COCO JSON")]
pub struct PredictArgs {
    /// The model, a .safetensors file
    pub model: PathBuf,
    /// Images (JPEG, PNG, WebP), or folders of them
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Detectors: the least score of a box [default: 0.25]
    #[arg(long, value_name = "SCORE", value_parser = share)]
    pub confidence: Option<f64>,
    /// Detectors: where pictures with boxes and detections.json (COCO) go [default: runs/detections]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Classifiers: how many classes to show [default: 3]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top: Option<usize>,
    /// Which device computes, and with how many threads
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON line per image
    #[arg(long)]
    pub json: bool,
}

/// `summary`.
#[derive(Args, Debug)]
pub struct SummaryArgs {
    /// A recipe (.toml) or a model (.safetensors)
    #[arg(value_name = "RECIPE|MODEL")]
    pub file: PathBuf,
    /// Print it as a JSON line
    #[arg(long)]
    pub json: bool,
}

/// What is compiled.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A training step
    Train,
    /// An evaluation step
    Evaluate,
    /// A prediction
    Predict,
}

/// `explain`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  thalweg explain examples/cifar10.toml                  every pass, the kernels, the memory map
  thalweg explain examples/cifar10.toml --pass kernels   what runs, and what it costs
  thalweg explain examples/cifar10.toml --what predict --pass lower")]
pub struct ExplainArgs {
    /// The recipe, a TOML file
    pub recipe: PathBuf,
    /// What to compile
    #[arg(long, value_enum, default_value_t = What::Train)]
    pub what: What,
    /// Only this: a pass by its name, `kernels` or `memory-map`
    #[arg(long, value_name = "NAME")]
    pub pass: Option<String>,
    /// Examples per step, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// What layers compute in
    #[command(flatten)]
    pub dtype: DTypeArgs,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `plan`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  thalweg plan examples/cifar10.toml --batch-size 256    does it fit into memory?")]
pub struct PlanArgs {
    /// The recipe, a TOML file
    pub recipe: PathBuf,
    /// Examples per step, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// What layers compute in
    #[command(flatten)]
    pub dtype: DTypeArgs,
    /// The device it is for
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Worker threads, instead of one per core
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// What to plan; default: all three
    #[arg(long, value_enum)]
    pub what: Option<What>,
    /// Print one JSON line per plan
    #[arg(long)]
    pub json: bool,
}

/// Commands without arguments of their own.
#[derive(Args, Debug)]
pub struct OnlyJson {
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `doctor`.
#[derive(Args, Debug)]
#[command(
    after_help = "With --json: one {\"event\":\"host\",..}, a {\"event\":\"device\",\"name\",\"usable\",\"description\"} for each device, a
{\"event\":\"library\",\"name\",\"usable\",\"description\"} for each library that a device may use and none needs, and one
{\"event\":\"data\",\"root\",\"there\",\"free_bytes\",\"free_bytes_here\"}."
)]
pub struct DoctorArgs {
    /// Folder of data sets, instead of THALWEG_DATA
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `data`.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: DataAction,
    /// Folder of data sets, instead of THALWEG_DATA
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Print JSON lines
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `data` does.
#[derive(Subcommand, Debug)]
pub enum DataAction {
    /// Fetch a data set, unless it is there
    Get {
        /// cifar10, cifar100 or mnist
        name: String,
    },
    /// The data sets that are known by name, and which are there
    List,
    /// What a data set is
    Info {
        /// Its name, or a folder with one folder of images per class
        name: String,
    },
    /// Examples per class; of annotated pictures (Pascal VOC, COCO, YOLO) their objects, and what is wrong with them
    Stats {
        /// Its name, a folder with one folder of images per class, or annotated pictures
        name: String,
    },
    /// A sheet of annotated pictures with their boxes
    Sheet {
        /// The folder or file of annotated pictures
        path: PathBuf,
        /// The PNG file to write
        #[arg(long, value_name = "FILE", default_value = "sheet.png")]
        output: PathBuf,
        /// Which split, where there are several
        #[arg(long, value_name = "NAME")]
        split: Option<String>,
        /// How many pictures, spread over the set
        #[arg(long, value_name = "N", value_parser = positive, default_value_t = 16)]
        count: usize,
        /// As training sees them: augmented by this recipe, in its size
        #[arg(long, value_name = "RECIPE")]
        recipe: Option<PathBuf>,
    },
}

/// What is measured.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// Training steps
    Train,
    /// Predictions
    Predict,
}

/// `bench`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  thalweg bench train examples/cifar10.toml --batch-size 128 --seconds 10

With --json: {\"images_per_second\":{\"median\",\"min\",\"max\"},\"step_us\",\"latency_us\",\"peak_mb\",\"planned_mb\",\"device\"};
latency_us is for one image and only of predict; a megabyte is 1,000,000 bytes.")]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    pub what: Measured,
    /// The recipe, a TOML file
    pub recipe: PathBuf,
    /// Examples per step, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// Which device computes, and with how many threads
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What layers compute in
    #[command(flatten)]
    pub dtype: DTypeArgs,
    /// Measure these one after another and compare them with the CPU: `all`, or names with commas between
    #[arg(long, value_name = "LIST", conflicts_with = "device")]
    pub devices: Option<String>,
    /// How long to measure, on each device
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "5")]
    pub seconds: f64,
    /// Print the result as a JSON line
    #[arg(long)]
    pub json: bool,
}

/// `tune`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  thalweg tune examples/cifar10.toml --device cuda    then fit and bench with the same batch size and policy

What is found is kept with the compiled kernels (~/.cache/thalweg/tuned) by the device, its driver and compiler, and this
release; products that are known are not measured again. It is for products of just these sizes and types: those of programs
with the same batch size and policy. Such a program may need up to 256 MiB more memory, and with a library 32 MiB and a
copy of a filter besides; its results differ from untuned ones by rounding alone. Where nothing can be kept the command fails.

On cuda, cuBLASLt and cuDNN 9 are measured beside our own kernels where they are found (`thalweg doctor` says so); only a tuned
product uses them, and where they are gone it runs as if it were not tuned. THALWEG_CUDA_LIBRARIES names their folder, or
several as in PATH, and they are looked for nowhere else then; with `none` they are left alone.

With --json: {\"event\":\"tuned\",\"products\",\"known\",\"measured\",\"faster\",\"refused\",\"left\",\"device\",\"library_refused\"} behind
one {\"event\":\"product\",\"label\",\"product\",\"ways\",\"way\",\"account_us\",\"us\"} each.")]
pub struct TuneArgs {
    /// The recipe, a TOML file
    pub recipe: PathBuf,
    /// Examples per step, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// The device: cuda, cuda:1, cuda:tf32, wgpu, wgpu:1, wgpu:coop (see `thalweg devices`)
    #[arg(long, value_name = "D")]
    pub device: String,
    /// What layers compute in
    #[command(flatten)]
    pub dtype: DTypeArgs,
    /// What to tune; default: all three
    #[arg(long, value_enum)]
    pub what: Option<What>,
    /// About how long to measure, the largest products first; tuning once more goes on
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "60")]
    pub seconds: f64,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `completions`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  thalweg completions bash > ~/.local/share/bash-completion/completions/thalweg")]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

fn positive(text: &str) -> Result<usize, String> {
    let fits = |n: &usize| (1..=1_000_000_000).contains(n);
    text.parse().ok().filter(fits).ok_or_else(|| "give a whole number, from 1 to 1,000,000,000".into())
}

fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|s| (0.0..=1.0).contains(s)).ok_or_else(|| "give a number from 0 to 1".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|s| (0.1..=86_400.0).contains(s)).ok_or_else(|| "give seconds, from 0.1".into())
}

fn run_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !text.is_empty() && text.chars().all(plain) && !text.starts_with('.') {
        true => Ok(text.to_owned()),
        false => Err("give a plain name: letters, digits, '-', '_' and '.'".into()),
    }
}
