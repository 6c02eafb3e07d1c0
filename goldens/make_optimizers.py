"""Golden optimizer steps and learning rate schedules, from Keras in float64 on both backends.

Output: optimizers.safetensors beside this file (naming: README.md): every configuration takes
the same ten gradients from the same two variables; the variables after each step are kept.
Invariant: gradients range from far under to far over every clipping limit used.
"""

import numpy as np

from two_backends import f32, make, use_float64

STEPS = 10
SCHEDULE_STEPS = 61


def optimizer_cases():
    yield "sgd", "SGD", {"learning_rate": 0.01}
    yield "sgd_default", "SGD", {}
    yield "sgd_momentum", "SGD", {"learning_rate": 0.05, "momentum": 0.9}
    yield "sgd_nesterov", "SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}
    yield "sgd_nesterov_no_momentum", "SGD", {"learning_rate": 0.05, "nesterov": True}
    yield "sgd_weight_decay", "SGD", {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.02}
    yield "sgd_clipnorm", "SGD", {"learning_rate": 0.1, "clipnorm": 1.0}
    yield "sgd_clipvalue", "SGD", {"learning_rate": 0.1, "momentum": 0.9, "clipvalue": 0.5}
    yield "sgd_global_clipnorm", "SGD", {"learning_rate": 0.1, "global_clipnorm": 1.5}
    yield "adam_default", "Adam", {}
    yield "adam", "Adam", {"learning_rate": 0.02, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}
    yield "adam_amsgrad", "Adam", {"learning_rate": 0.02, "amsgrad": True}
    yield "adam_weight_decay", "Adam", {"learning_rate": 0.02, "weight_decay": 0.1}
    yield "adam_clipnorm", "Adam", {"learning_rate": 0.02, "clipnorm": 0.7}
    yield "adam_clipvalue", "Adam", {"learning_rate": 0.02, "clipvalue": 0.3}
    yield "adam_global_clipnorm", "Adam", {"learning_rate": 0.02, "global_clipnorm": 1.0}
    yield "adamw_default", "AdamW", {}
    yield "adamw", "AdamW", {"learning_rate": 0.02, "weight_decay": 0.1}
    yield "adamw_amsgrad", "AdamW", {"learning_rate": 0.02, "weight_decay": 0.05, "beta_2": 0.9, "amsgrad": True}
    yield "adamw_global_clipnorm", "AdamW", {"learning_rate": 0.02, "weight_decay": 0.1, "global_clipnorm": 1.0}
    yield "rmsprop_default", "RMSprop", {}
    yield "rmsprop", "RMSprop", {"learning_rate": 0.02, "rho": 0.8, "epsilon": 1e-5}
    yield "rmsprop_momentum", "RMSprop", {"learning_rate": 0.02, "momentum": 0.9}
    yield "rmsprop_centered", "RMSprop", {"learning_rate": 0.02, "centered": True}
    yield "rmsprop_centered_momentum", "RMSprop", {"learning_rate": 0.02, "momentum": 0.5, "centered": True}
    yield "rmsprop_weight_decay", "RMSprop", {"learning_rate": 0.02, "weight_decay": 0.1}
    yield "rmsprop_clipnorm", "RMSprop", {"learning_rate": 0.02, "clipnorm": 0.7}
    yield "rmsprop_clipvalue", "RMSprop", {"learning_rate": 0.02, "clipvalue": 0.3}
    # The first step must take the schedule's value at 0, and weight decay the rate of the same step.
    decay = {"class_name": "ExponentialDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5}}
    yield "sgd_schedule", "SGD", {"learning_rate": decay, "momentum": 0.9}
    # The mean shows where it overwrites the variables.
    yield "sgd_ema", "SGD", {"learning_rate": 0.05, "use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3}
    yield "adam_ema", "Adam", {"learning_rate": 0.02, "use_ema": True, "ema_overwrite_frequency": 4}
    yield "adamw_schedule", "AdamW", {"learning_rate": decay, "weight_decay": 0.1}


def schedule_cases():
    start = {"initial_learning_rate": 0.1}
    yield "exponential", "ExponentialDecay", {**start, "decay_steps": 20, "decay_rate": 0.5}
    yield "exponential_staircase", "ExponentialDecay", {**start, "decay_steps": 20, "decay_rate": 0.5, "staircase": True}
    yield "piecewise", "PiecewiseConstantDecay", {"boundaries": [10, 30], "values": [0.1, 0.01, 0.001]}
    yield "piecewise_three", "PiecewiseConstantDecay", {"boundaries": [1, 2, 50], "values": [1.0, 0.5, 0.25, 0.125]}
    yield "polynomial", "PolynomialDecay", {**start, "decay_steps": 40}
    yield "polynomial_power", "PolynomialDecay", {**start, "decay_steps": 40, "end_learning_rate": 0.01, "power": 2.0}
    yield "polynomial_cycle", "PolynomialDecay", {**start, "decay_steps": 20, "end_learning_rate": 0.01, "power": 0.5, "cycle": True}
    yield "cosine", "CosineDecay", {**start, "decay_steps": 50}
    yield "cosine_alpha", "CosineDecay", {**start, "decay_steps": 50, "alpha": 0.1}
    yield "cosine_warmup", "CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 40, "warmup_target": 0.1, "warmup_steps": 10}
    yield "cosine_warmup_alpha", "CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 30, "alpha": 0.2, "warmup_target": 0.1, "warmup_steps": 8}
    yield "cosine_restarts", "CosineDecayRestarts", {**start, "first_decay_steps": 10}
    yield "cosine_restarts_options", "CosineDecayRestarts", {**start, "first_decay_steps": 8, "t_mul": 1.5, "m_mul": 0.8, "alpha": 0.05}
    yield "cosine_restarts_equal", "CosineDecayRestarts", {**start, "first_decay_steps": 15, "t_mul": 1.0, "m_mul": 0.5}
    yield "inverse_time", "InverseTimeDecay", {**start, "decay_steps": 10, "decay_rate": 0.5}
    yield "inverse_time_staircase", "InverseTimeDecay", {**start, "decay_steps": 10, "decay_rate": 0.5, "staircase": True}


def compute_optimizers(keras, tensors):
    rng = np.random.default_rng(20261123)
    initial = {"a": f32(rng.standard_normal((3, 4))), "b": f32(rng.standard_normal(5))}
    scale = np.array([1, 0.1, 5, 0.01, 2, 0.5, 20, 1, 0.05, 3.0])
    gradients = {
        k: f32(rng.standard_normal((STEPS, *v.shape)) * scale.reshape(-1, *[1] * v.ndim)) for k, v in initial.items()
    }
    for k in initial:
        tensors[f"initial/{k}"] = initial[k].astype(np.float32)
        tensors[f"gradients/{k}"] = gradients[k].astype(np.float32)

    listed = []
    for name, cls, config in optimizer_cases():
        given = dict(config)
        if isinstance(given.get("learning_rate"), dict):
            schedule = given["learning_rate"]
            given["learning_rate"] = getattr(keras.optimizers.schedules, schedule["class_name"])(**schedule["config"])
        optimizer = getattr(keras.optimizers, cls)(**given)
        if optimizer.weight_decay is not None and keras.backend.backend() == "tensorflow":
            # A Python float would reach TensorFlow as float32.
            optimizer.weight_decay = np.array(optimizer.weight_decay)
        variables = {k: keras.Variable(v, name=k) for k, v in initial.items()}
        optimizer.build(list(variables.values()))
        kept = {k: [] for k in variables}
        for step in range(STEPS):
            grads = [keras.ops.convert_to_tensor(gradients[k][step]) for k in variables]
            optimizer.apply(grads, list(variables.values()))
            for k, v in variables.items():
                assert v.dtype == "float64"
                kept[k].append(np.array(keras.ops.convert_to_numpy(v)))
        for k in variables:
            tensors[f"{name}/{k}"] = np.stack(kept[k])
        listed.append({"name": name, "class_name": cls, "config": config})
    return listed


def compute_schedules(keras, tensors):
    listed = []
    for name, cls, config in schedule_cases():
        schedule = getattr(keras.optimizers.schedules, cls)(**config)
        values = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(SCHEDULE_STEPS)]
        tensors[f"schedule/{name}"] = np.array(values)
        listed.append({"name": name, "class_name": cls, "config": config, "values": values})
    return listed


def compute(backend):
    keras = use_float64(backend)
    tensors = {}
    optimizers = compute_optimizers(keras, tensors)
    return tensors, {"optimizers": optimizers, "schedules": compute_schedules(keras, tensors)}


if __name__ == "__main__":
    make(__file__, "optimizers.safetensors", compute)
