//! Recipes that are right, and every line that a wrong one gets.

use super::*;

/// The seed program, line by line as in `examples/cifar10.toml` but shorter.
const SEED: &str = r#"data = "cifar10"
preprocessing = [{ class_name = "Rescaling", scale = "1/255" }]
layers = [
  { class_name = "Conv2D", filters = 32, kernel_size = 3, activation = "relu" },
  { class_name = "MaxPooling2D", pool_size = 2 },
  { class_name = "Conv2D", filters = 64, kernel_size = 3, activation = "relu" },
  { class_name = "MaxPooling2D", pool_size = 2 },
  { class_name = "Flatten" },
  { class_name = "Dense", units = 64, activation = "relu" },
  { class_name = "Dense", units = 10, activation = "softmax" },
]
[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 10
batch_size = 32
validation_data = "test"
"#;

fn read(text: &str) -> Result<Recipe, Failure> {
    Recipe::read("r.toml", text, "r", Path::new(""))
}

/// The one line that the seed program gets after a replacement.
fn error(from: &str, to: &str) -> String {
    assert!(SEED.contains(from), "{from}");
    let failure = read(&SEED.replacen(from, to, 1)).expect_err(to);
    assert_eq!(failure.code(), 2);
    let line = failure.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[track_caller]
fn check(from: &str, to: &str, place: &str, words: &[&str]) {
    let line = error(from, to);
    assert!(line.starts_with(&format!("r.toml:{place}: ")), "{line}\nexpected at {place}");
    for word in words {
        assert!(line.contains(word), "{line}\nlacks: {word}");
    }
}

#[test]
fn the_seed_program() {
    let recipe = read(SEED).unwrap();
    assert_eq!(recipe.name, "r");
    assert_eq!(recipe.network.summary().params, 167_562);
    assert_eq!(recipe.network.outputs()[0].shape, [10]);
    assert_eq!(recipe.optimizer.name(), "adam");
    assert_eq!(recipe.fit.validation, Validation::Test);
    assert_eq!((recipe.fit.epochs, recipe.fit.batch_size, recipe.fit.seed), (10, 32, 0));
}

#[test]
fn the_example_is_the_seed_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/cifar10.toml");
    let (example, here) = (Recipe::open(&path).unwrap(), read(SEED).unwrap());
    assert_eq!(example.name, "cifar10");
    assert_eq!(example.network.config().layers, here.network.config().layers);
    assert_eq!(example.fit, here.fit);
    assert_eq!((example.optimizer, example.loss), (here.optimizer, here.loss));
}

/// What `crates/thalweg/examples/cifar10.rs` builds.
#[test]
fn the_rust_api_builds_the_same_configuration() {
    use thalweg::prelude::*;
    let config = Sequential::new()
        .name("r")
        .add(InputLayer::new([32, 32, 3]).dtype("uint8"))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new().pool_size(2))
        .add(Conv2D::new(64, 3).activation("relu"))
        .add(MaxPooling2D::new().pool_size(2))
        .add(Flatten::new())
        .add(Dense::new(64).activation("relu"))
        .add(Dense::new(10).activation("softmax"))
        .build()
        .unwrap();
    let recipe = read(SEED).unwrap();
    assert_eq!(recipe.network.config().to_json(), config.to_json());
    assert_eq!(recipe.optimizer, Adam::default().into());
    assert_eq!(recipe.loss, SparseCategoricalCrossentropy::default().into());
}

#[test]
fn typo_keys_name_the_nearest() {
    check("batch_size", "bach_size", "18:1", &["[fit] has no key 'bach_size'; did you mean 'batch_size'?"]);
    check("[compile]", "[compil]", "12:2", &["the recipe has no key 'compil'; did you mean 'compile'?"]);
    check("filters", "filtrs", "4:28", &["layer 'conv2d'", "'filtrs'", "did you mean 'filters'?"]);
    check("optimizer = ", "optimiser = ", "13:1", &["did you mean 'optimizer'?"]);
}

#[test]
fn the_dtype_policy_is_the_models() {
    let policy = |line: &str| read(&format!("{line}\n{SEED}")).map(|r| r.network.dtype_policy());
    assert_eq!(read(SEED).unwrap().network.dtype_policy(), DTypePolicy::Float32);
    let mixed = DTypePolicy::MixedBfloat16;
    assert_eq!(policy("dtype_policy = \"mixed_bfloat16\"").unwrap(), mixed);
    let line = policy("dtype_policy = \"mixed_bfloat\"").unwrap_err().to_string();
    assert!(line.starts_with("r.toml:1:16: ") && line.contains("did you mean 'mixed_bfloat16'?"), "{line}");
    let other = read(SEED).unwrap().in_policy(Some(DTypePolicy::MixedFloat16));
    assert_eq!(other.network.dtype_policy(), DTypePolicy::MixedFloat16);
}

#[test]
fn wrong_types_and_numbers() {
    check(
        "epochs = 10",
        "epochs = \"ten\"",
        "17:10",
        &["epochs of [fit]", "1 or more, not the text \"ten\""],
    );
    check("epochs = 10", "epochs = -1", "17:10", &["1 or more, not -1"]);
    check("batch_size = 32", "batch_size = 0", "18:14", &["1 or more, not 0"]);
    check("batch_size = 32", "batch_size = 1.5", "18:14", &["not 1.5"]);
    check("filters = 32", "filters = -32", "4:28", &["filters", "-32"]);
    check("filters = 32", "filters = \"many\"", "4:28", &["filters", "many"]);
    check(
        "metrics = [\"accuracy\"]",
        "metrics = \"accuracy\"",
        "15:11",
        &["metrics of [compile] must be a list"],
    );
    check(
        "\"adam\"",
        "{ name = \"adam\", learning_rate = -0.1 }",
        "13:30",
        &["learning_rate must be > 0; got -0.1"],
    );
    check("\"adam\"", "{ name = \"adam\", beta_3 = 0.1 }", "13:30", &["did you mean 'beta_"]);
}

#[test]
fn unknown_names() {
    check(
        "\"Conv2D\", filters = 64",
        "\"Conv3D\", filters = 64",
        "6:5",
        &["'Conv3D' is not known; did you mean 'Conv2D'?"],
    );
    check("\"adam\"", "\"adm\"", "13:13", &["optimizer 'adm' is not known; did you mean 'adam'?"]);
    check(
        "loss = \"sparse_c",
        "loss = \"spase_c",
        "14:8",
        &["loss 'spase_categorical_crossentropy' is not known; did you"],
    );
    check(
        "[\"accuracy\"]",
        "[\"acuracy\"]",
        "15:12",
        &["metric 'acuracy' is not known; did you mean 'accuracy'?"],
    );
    check("\"cifar10\"", "\"cifar11\"", "1:8", &["data set 'cifar11' is not known; did you mean 'cifar10'?"]);
    check("activation = \"relu\"", "activation = \"rely\"", "4:59", &["'rely'", "did you mean 'relu'?"]);
    check("\"test\"", "\"tset\"", "19:19", &["validation_data must be \"test\" or"]);
    check(
        "[fit]",
        "[[callbacks]]\nname = \"EarlyStoping\"\n[fit]",
        "17:1",
        &["did you mean 'EarlyStopping'?"],
    );
    check(
        "[fit]",
        "[[callbacks]]\nname = \"EarlyStopping\"\npatiense = 3\n[fit]",
        "18:1",
        &["no argument 'patiense'; did you mean 'patience'?"],
    );
}

#[test]
fn wrong_models() {
    check("  { class_name = \"Flatten\" },\n", "", "8:3", &["Dense got [N, 6, 6, 64]", "Flatten"]);
    check(
        "  { class_name = \"Conv2D\", filters = 32",
        "  { class_name = \"InputLayer\", shape = [28, 28, 1] },\n  { class_name = \"Conv2D\", filters = 32",
        "4:3",
        &["the model takes [N, 28, 28, 1], but cifar10 gives [N, 32, 32, 3]"],
    );
    check(
        "class_name = \"Flatten\"",
        "clas_name = \"Flatten\"",
        "8:3",
        &["needs a class_name ('clas_name' is not it)"],
    );
    check(
        "kernel_size = 3, activation",
        "kernel_size = 64, activation",
        "4:3",
        &["does not fit into 32 x 32"],
    );
}

#[test]
fn sections_of_a_wrong_kind() {
    let layers = "data = \"cifar10\"\nlayers = [{ class_name = \"Flatten\" }]\n";
    let line = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(line(&format!("{layers}compile = 3")), "r.toml:3:11: [compile] must be a table, not 3");
    assert_eq!(
        line("data = \"cifar10\"\nlayers = 3"),
        "r.toml:2:10: layers must be a list: write [[layers]] before each layer, not 3"
    );
    assert_eq!(
        line("data = \"cifar10\"\nlayers = []"),
        "r.toml:2:10: layers is empty; add [[layers]] tables"
    );
}

#[test]
fn named_models() {
    let named = |model: &str, data: &str| {
        read(&format!(
            "data = {data}\nmodel = {model}\npreprocessing = [{{ class_name = \"Rescaling\", scale = \"1/255\" }}]\n\
             compile = {{ optimizer = \"adam\", loss = \"sparse_categorical_crossentropy\" }}"
        ))
    };
    let recipe = named("\"simple_cnn\"", "\"cifar10\"").unwrap();
    assert_eq!(recipe.network.summary().params, 167_562);
    assert_eq!(recipe.network.summary().rows[1].class_name, "Rescaling");
    assert_eq!(recipe.network.summary().rows[2].connected_to, ["rescaling"]);
    assert_eq!(named("\"simple_cnn\"", "\"cifar100\"").unwrap().network.outputs()[0].shape, [100]);
    let folder = "{ train = \"x\", image_size = 32 }";
    assert_eq!(
        named("{ name = \"simple_cnn\", classes = 3 }", folder).unwrap().network.outputs()[0].shape,
        [3]
    );
    let line = |model: &str, data: &str| named(model, data).unwrap_err().to_string();
    assert!(
        line("\"simple_cn\"", "\"cifar10\"")
            .starts_with("r.toml:2:9: model 'simple_cn' is not known; did you mean")
    );
    assert!(line("\"simple_cnn\"", folder).contains("[model] of a folder needs classes"));
}

#[test]
fn labels_suit_loss_and_outputs() {
    check("units = 10", "units = 5", "10:3", &["layer 'dense_1' has 5 outputs, but cifar10 has 10 classes"]);
    check("units = 10", "units = 1", "14:8", &["[N,1]", "use binary_crossentropy"]);
    check("loss = \"sparse_", "loss = \"", "14:8", &["sparse_categorical_crossentropy"]);
}

#[test]
fn what_is_missing() {
    check("data = \"cifar10\"", "", "1:1", &["the recipe has no data; add data = \"cifar10\""]);
    check("loss = \"sparse_categorical_crossentropy\"", "", "12:1", &["[compile] needs loss"]);
    let line = read("data = \"cifar10\"").unwrap_err().to_string();
    assert!(line.starts_with("r.toml:1:1: the recipe has no layers and no model; add"), "{line}");
    check("data = \"cifar10\"", "data = { train = \"x\" }", "1:8", &["needs image_size"]);
    let folder = "data = { train = \"x\", image_size = [32, 32] }";
    check("data = \"cifar10\"", folder, "16:1", &["needs a test folder"]);
}

#[test]
fn branches_are_connected_by_name() {
    let text = r#"data = { train = "x", image_size = 8 }
preprocessing = [{ class_name = "Rescaling", scale = 0.5 }]
layers = [
  { class_name = "Conv2D", filters = 4, kernel_size = 3, padding = "same", name = "a" },
  { class_name = "Conv2D", filters = 4, kernel_size = 1, inbound = ["input"], name = "b" },
  { class_name = "Add", inbound = ["a", "b"] },
  { class_name = "Flatten" },
  { class_name = "Dense", units = 2 },
]
compile = { optimizer = "sgd", loss = "sparse_categorical_crossentropy" }
"#;
    let recipe = read(text).unwrap();
    assert_eq!(recipe.network.outputs()[0].shape, [2]);
    assert_eq!(recipe.fit.validation, Validation::None);
}
