//! Names, configs and messages: what users write and what they are told.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::{Debug, Display};
use thalweg_graph::DType;
use thalweg_nn::Logits;
use thalweg_nn::losses::Loss;
use thalweg_nn::metrics::Metric;
use thalweg_nn::optimizers::{Adam, Optimizer, Rule};
use thalweg_nn::schedules::{CosineDecay, Schedule};

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(x: &T) -> Value {
    let value = serde_json::to_value(x).unwrap();
    assert_eq!(serde_json::from_value::<T>(value.clone()).unwrap(), *x);
    value
}

#[test]
fn every_default_survives_its_file() {
    for name in Loss::NAMES {
        let loss: Loss = name.parse().unwrap();
        let value = round_trip(&loss);
        assert_eq!(loss.name(), *name);
        assert_eq!(value["class_name"].as_str().unwrap().parse::<Loss>().unwrap(), loss);
    }
    for name in Metric::NAMES {
        round_trip(&name.parse::<Metric>().unwrap());
    }
    for name in Rule::NAMES {
        let optimizer: Optimizer = name.parse().unwrap();
        let value = round_trip(&optimizer);
        assert_eq!(optimizer.rule.class_name().parse::<Optimizer>().unwrap(), optimizer);
        let keys: Vec<&str> = value["config"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, Optimizer::arguments(name).unwrap());
    }
    let warm = json!({"name": "linear_warmup", "warmup_steps": 5, "schedule":
        {"name": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 10}});
    let optimizer = Optimizer::from_value(json!({"name": "SGD", "momentum": 0.9, "learning_rate": warm}));
    let value = round_trip(&optimizer.unwrap());
    assert_eq!(value["config"]["learning_rate"]["config"]["schedule"]["class_name"], "CosineDecay");
}

#[test]
fn defaults_and_spellings_are_keras() {
    let adamw: Optimizer = "AdamW".parse().unwrap();
    assert_eq!(adamw.weight_decay, Some(0.004));
    assert_eq!("sgd".parse::<Optimizer>().unwrap().learning_rate, Schedule::from(0.01));
    assert_eq!("RMSprop".parse::<Optimizer>().unwrap(), "rms_prop".parse().unwrap());
    assert_eq!("MSE".parse::<Loss>().unwrap().name(), "mean_squared_error");
    assert_eq!("acc".parse::<Metric>().unwrap().name(), "accuracy");
    let built = Optimizer::from(Adam { beta_2: 0.99, ..Adam::default() }).learning_rate(0.01).clipnorm(1.0);
    let read = json!({"name": "adam", "beta_2": 0.99, "learning_rate": 0.01, "clipnorm": 1.0});
    assert_eq!(Optimizer::from_value(read).unwrap(), built);
    // What Keras 3 writes into its files.
    let keras = json!({"module": "keras.optimizers", "class_name": "Adam", "registered_name": null, "config": {
        "name": "adam", "learning_rate": 0.0010000000474974513, "weight_decay": null, "clipnorm": null,
        "global_clipnorm": null, "clipvalue": null, "use_ema": false, "ema_momentum": 0.99,
        "ema_overwrite_frequency": null, "loss_scale_factor": null, "gradient_accumulation_steps": null,
        "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07, "amsgrad": false}});
    assert_eq!(Optimizer::from_value(keras).unwrap().rule, Adam::default().into());
    let keras = json!({"class_name": "SparseCategoricalCrossentropy", "config": {"name": "x", "ignore_class": null,
        "reduction": "sum_over_batch_size", "from_logits": true, "axis": -1}});
    assert!(Loss::from_value(keras).is_ok());
}

fn refused<T: Debug, E: Display>(result: Result<T, E>, line: &str) {
    let message = result.expect_err(line).to_string();
    assert!(message.starts_with(line), "{message}");
    assert!(!message.contains('\n'));
}

#[test]
fn wrong_words_get_the_right_one() {
    refused(
        "nadm".parse::<Optimizer>(),
        "optimizer 'nadm' is not known; did you mean 'nadam'? known: sgd, adam",
    );
    refused(
        "sparse_crossentropy".parse::<Loss>(),
        "loss 'sparse_crossentropy' is not known; did you mean 'sparse_",
    );
    refused("acuracy".parse::<Metric>(), "metric 'acuracy' is not known; did you mean 'accuracy'?");
    refused(
        Schedule::from_value(json!("cosine")),
        "schedule 'cosine' is not known; did you mean 'cosine_decay'",
    );
    refused(
        Optimizer::from_value(json!({"name": "adam", "beta2": 0.9})),
        "adam has no argument 'beta2'; did you mean 'beta_2'? known: learning_rate, weight_decay",
    );
    refused(
        Loss::from_value(json!({"name": "huber", "detla": 2})),
        "huber has no argument 'detla'; did you mean 'delta'?",
    );
    refused(Loss::from_value(json!(3)), "loss must be a name or a table with a name; got 3");
    refused(Loss::from_value(json!({"delta": 3})), "loss needs a name");
}

#[test]
fn impossible_values_are_refused_in_one_line() {
    let optimizer = |config: Value| {
        let Value::Object(config) = config else { panic!() };
        Optimizer::from_config("adam", config)
    };
    refused(optimizer(json!({"learning_rate": -1.0})), "adam: learning_rate must be > 0; got -1");
    refused(optimizer(json!({"learning_rate": 0})), "adam: learning_rate must be > 0; got 0");
    refused(optimizer(json!({"beta_1": 1.0})), "adam: beta_1 must be in [0, 1); got 1");
    refused(optimizer(json!({"epsilon": 0.0})), "adam: epsilon must be > 0; got 0");
    refused(optimizer(json!({"clipnorm": 0.0})), "adam: clipnorm must be > 0; got 0");
    refused(optimizer(json!({"weight_decay": -0.1})), "adam: weight_decay must be >= 0; got -0.1");
    refused(
        optimizer(json!({"clipnorm": 1.0, "clipvalue": 2.0})),
        "adam: only one of clipnorm, clipvalue and global_clipnorm may be set; got clipnorm and clipvalue",
    );
    refused(optimizer(json!({"beta_1": "x"})), "adam: ");
    refused(
        optimizer(json!({"learning_rate": {"name": "cosine_decay", "initial_learning_rate": 0.1}})),
        "adam: cosine_decay: missing field `decay_steps`",
    );
    refused(Loss::from_value(json!({"name": "huber", "delta": 0})), "huber: delta must be > 0; got 0");
    let smooth = json!({"name": "bce", "label_smoothing": 1.5});
    refused(Loss::from_value(smooth), "binary_crossentropy: label_smoothing must be in [0, 1]; got 1.5");
    let k = json!({"name": "top_k_categorical_accuracy", "k": 0});
    refused(Metric::from_value(k), "top_k_categorical_accuracy: k must be >= 1; got 0");
    let steps = json!({"name": "piecewise_constant_decay", "boundaries": [5, 5], "values": [1, 2, 3]});
    refused(Schedule::from_value(steps), "piecewise_constant_decay: boundaries must ascend; got [5, 5]");
    let warm = CosineDecay {
        initial_learning_rate: 0.1,
        decay_steps: 5,
        alpha: 0.0,
        warmup_target: None,
        warmup_steps: 3,
    };
    refused(Schedule::from(warm).validate(), "cosine_decay: warmup_steps needs a warmup_target");
}

#[test]
fn targets_that_do_not_fit() {
    let loss = |name: &str| Loss::from_config(name, Map::new()).unwrap();
    let (f32, i32) = (DType::F32, DType::I32);
    let sparse = loss("sparse_categorical_crossentropy");
    assert_eq!((sparse.target_shape(&[8, 10]), sparse.target_dtype()), (vec![8], i32));
    assert_eq!(sparse.check(&[8, 10], &[8], i32), Ok(()));
    assert_eq!(sparse.check(&[8, 10], &[8, 1], DType::U8), Ok(()));
    assert_eq!(sparse.check(&[8, 4, 4, 3], &[8, 4, 4], i32), Ok(()));
    refused(
        sparse.check(&[8, 10], &[8, 10], f32),
        "sparse_categorical_crossentropy needs integer labels i32[8]; got f32[8,10]: use categorical_crossentropy",
    );
    refused(
        sparse.check(&[8, 10], &[8], f32),
        "sparse_categorical_crossentropy needs integer labels i32[8]; got f32[8]",
    );
    refused(
        sparse.check(&[8, 1], &[8], i32),
        "sparse_categorical_crossentropy needs predictions [.., classes]",
    );
    refused(
        loss("categorical_crossentropy").check(&[8, 10], &[8], i32),
        "categorical_crossentropy needs one-hot targets f32[8,10], the shape of the predictions; got i32[8]: use \
         sparse_categorical_crossentropy",
    );
    let binary = loss("binary_crossentropy");
    assert_eq!(binary.check(&[8, 1], &[8], i32), Ok(()));
    refused(binary.check(&[8, 10], &[8], i32), "binary_crossentropy needs targets f32[8,10]");
    refused(loss("mse").check(&[8, 3], &[8, 2], f32), "mean_squared_error needs targets f32[8,3]");
    let accuracy: Metric = "accuracy".parse().unwrap();
    assert_eq!(accuracy.resolve(&[8, 10], &[8]).name(), "sparse_categorical_accuracy");
    assert_eq!(accuracy.check(&[8, 10], &[8], i32), Ok(()));
    refused(accuracy.check(&[8, 10], &[8, 3], f32), "accuracy needs one-hot targets f32[8,10]");
    assert!(accuracy.higher_is_better() && !"mse".parse::<Metric>().unwrap().higher_is_better());
}

#[test]
fn advice_on_the_last_activation() {
    let sparse: Loss = "sparse_categorical_crossentropy".parse().unwrap();
    assert_eq!(sparse.advice(Some(Logits::Softmax)), None);
    assert!(sparse.advice(None).unwrap().contains("from_logits=true"));
    assert!(sparse.advice(Some(Logits::Sigmoid)).unwrap().contains("activation=\"softmax\""));
    assert_eq!("mse".parse::<Loss>().unwrap().advice(None), None);
}
