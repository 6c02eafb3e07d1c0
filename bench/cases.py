"""What is compared: the cases, our command for each, the peers and theirs.

Input: nothing. Output: CASES and PEERS, from which compare.py makes command lines. Invariants:
a peer's variant differs from its siblings in settings only; every program prints one JSON line
with images_per_second, latency_us (batch 1), peak_mb, data_mb, version.
"""

import os
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = "../../examples/cifar10.toml"  # from bench/recipes
RUST = os.path.join(HERE, "peers/rust/target/release")
CIFAR_TRAIN_MB = 50_000 * 3073 / 1e6


@dataclass(frozen=True)
class Case:
    """A network, what is done with it, and how much faster than the best peer we want to be."""

    title: str
    model: str
    mode: str  # train, predict, latency (of one image), cold (from process start)
    batch_size: int
    target: str
    recipe: str = SEED
    image_size: int = 32
    classes: int = 10
    avx2: bool = False

    @property
    def does(self):
        """The mode of the programs: a latency is that of predicting."""
        return "predict" if self.mode == "latency" else self.mode

    @property
    def unit(self):
        return {"latency": "us", "cold": "ms"}.get(self.mode, "images/s")

    def value(self, line):
        """The compared number in a program's JSON line."""
        if self.mode in ("latency", "cold"):
            return line[f"{self.mode}_{self.unit}"]
        return line["images_per_second"]["median"]

    def times_faster(self, ours, theirs):
        return ours / theirs if self.unit == "images/s" else theirs / ours

    def command(self, binary, seconds, python):
        """Ours."""
        if self.mode == "cold":
            return [python, os.path.join(HERE, "peers/cold_start.py"), binary, "--seconds", str(seconds)]
        options = ["--batch-size", str(self.batch_size), "--seconds", str(seconds), "--json"]
        isa = ["--device", "cpu:avx2"] if self.avx2 else []
        return [binary, "bench", self.does, os.path.normpath(os.path.join(HERE, "recipes", self.recipe)), *options, *isa]

    def our_data_mb(self):
        """Size of the data set that `thalweg bench` holds: CIFAR-10's training images, or noise."""
        if self.image_size == 32:
            return CIFAR_TRAIN_MB
        return max(4 * self.batch_size, 256) * (3 * self.image_size**2 + 4) / 1e6


RESNET = {"model": "resnet18", "image_size": 224, "classes": 1000, "recipe": "resnet18_224.toml"}
MOBILENET = {"model": "mobilenet_v2", "image_size": 224, "classes": 1000, "recipe": "mobilenet_v2_224.toml"}
DETECTOR = {"image_size": 256, "classes": 3, "recipe": "../../examples/bccd.toml"}
CASES = {
    "seed-train-b32": Case("seed CNN, training, batch 32", "seed", "train", 32, "5"),
    "seed-train-b128": Case("seed CNN, training, batch 128", "seed", "train", 128, "5"),
    "seed-predict-b128": Case("seed CNN, prediction, batch 128", "seed", "predict", 128, "3"),
    "seed-latency": Case("seed CNN, latency of one image", "seed", "latency", 1, "1"),
    "resnet18-train-b64": Case("ResNet-18, 32 x 32, training, batch 64", "resnet18", "train", 64, "1.3", "resnet18_32.toml"),
    "mobilenet-train-b32": Case(
        "MobileNetV2, 96 x 96, training, batch 32", "mobilenet_v2", "train", 32, "2", "mobilenet_v2_96.toml", 96
    ),
    "resnet18-predict-b1": Case("ResNet-18, 224 x 224, prediction, batch 1", mode="predict", batch_size=1, target="1", **RESNET),
    "resnet18-predict-b16": Case("ResNet-18, 224 x 224, prediction, batch 16", mode="predict", batch_size=16, target="1", **RESNET),
    "mobilenet-predict-b1": Case("MobileNetV2, 224 x 224, prediction, batch 1", mode="predict", batch_size=1, target="1", **MOBILENET),
    "mobilenet-predict-b16": Case("MobileNetV2, 224 x 224, prediction, batch 16", mode="predict", batch_size=16, target="1", **MOBILENET),
    "seed-train-avx2": Case("seed CNN, training, batch 32, AVX2 only", "seed", "train", 32, "2", avx2=True),
    "detector-train-b8": Case("detector_nano, 256 x 256, training, batch 8", "detector_nano", "train", 8, "1.3", **DETECTOR),
    "detector-predict-b1": Case("detector_nano, 256 x 256, prediction with NMS, batch 1", "detector_nano", "predict", 1, "1", **DETECTOR),
    "cold-start": Case("seed CNN, process start to first prediction", "seed", "cold", 1, "under 30 ms"),
}


@dataclass(frozen=True)
class Peer:
    """One way of running one framework."""

    framework: str
    variant: str
    program: tuple
    modes: tuple = ("train", "predict")
    models: tuple = ("seed", "resnet18", "mobilenet_v2")
    # Whether its kernels can be held to AVX2.
    held: bool = False

    @property
    def name(self):
        return f"{self.framework}, {self.variant}" if self.variant else self.framework

    def fits(self, case):
        return (self.held or not case.avx2) and case.does in self.modes and case.model in self.models

    def command(self, case, threads, seconds, python, data):
        program, *options = self.program
        run = [python, os.path.join(HERE, "peers", program)] if program.endswith(".py") else [os.path.join(RUST, program)]
        if case.mode == "cold":
            return [*run, *options, "--seconds", str(seconds)]
        sizes = {"model": case.model, "mode": case.does, "batch-size": case.batch_size, "image-size": case.image_size}
        sizes |= {"classes": case.classes, "threads": threads, "seconds": seconds, **({"data": data} if data and case.image_size == 32 else {})}
        return [*run, *options, *(word for key, value in sizes.items() for word in (f"--{key}", str(value)))]

    def environment(self, case, threads):
        """What holds rayon to its threads, and PyTorch, oneDNN, MKL and the C++ of torch.compile to AVX2."""
        rayon = {"RAYON_NUM_THREADS": str(threads)}
        if not case.avx2:
            return rayon
        return rayon | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def pytorch(variant, *options, modes=("train", "predict")):
    return Peer("PyTorch", variant, ("pytorch.py", *options), modes, held=True)


def detector(variant, *options, modes=("train", "predict")):
    return Peer("PyTorch", variant, ("pytorch_detector.py", "step", *options), modes, models=("detector_nano",))


def keras(framework, backend, variant, *options, modes=("train", "predict")):
    return Peer(framework, variant, ("keras3.py", "--backend", backend, *options), modes)


PEERS = [
    pytorch("eager"),
    pytorch("channels_last", "--channels-last"),
    pytorch("channels_last and fused Adam", "--channels-last", "--fused", modes=("train",)),
    pytorch("compiled, fused Adam", "--compile", "--fused", modes=("train",)),
    pytorch("compiled, channels_last and fused Adam", "--compile", "--channels-last", "--fused", modes=("train",)),
    pytorch("compiled", "--compile", modes=("predict",)),
    pytorch("compiled, channels_last", "--compile", "--channels-last", modes=("predict",)),
    pytorch("compiled and frozen", "--freeze", modes=("predict",)),
    pytorch("compiled and frozen, channels_last", "--freeze", "--channels-last", modes=("predict",)),
    detector("detector, eager", modes=("predict",)),
    detector("detector, channels_last", "--channels-last", modes=("predict",)),
    detector("detector, compiled, channels_last", "--compile", "--channels-last", modes=("predict",)),
    detector("detector, fused AdamW", "--fused", modes=("train",)),
    detector("detector, channels_last and fused AdamW", "--channels-last", "--fused", modes=("train",)),
    detector("detector, compiled, fused AdamW", "--compile", "--fused", modes=("train",)),
    detector("detector, compiled, channels_last and fused AdamW", "--compile", "--channels-last", "--fused", modes=("train",)),
    Peer("ONNX Runtime", "", ("onnx_runtime.py",), ("predict",)),
    keras("Keras on TensorFlow", "tensorflow", "", modes=("train",)),
    keras("Keras on TensorFlow", "tensorflow", "16 steps per execution", "--steps-per-execution", "16", modes=("train",)),
    keras("Keras on TensorFlow", "tensorflow", "16 steps, XLA", "--steps-per-execution", "16", "--jit", modes=("train",)),
    keras("Keras on TensorFlow", "tensorflow", "predict_on_batch", modes=("predict",)),
    keras("Keras on TensorFlow", "tensorflow", "tf.function", "--function", modes=("predict",)),
    keras("Keras on TensorFlow", "tensorflow", "tf.function, XLA", "--function", "--jit", modes=("predict",)),
    keras("Keras on JAX", "jax", "", modes=("train",)),
    keras("Keras on JAX", "jax", "16 steps per execution", "--steps-per-execution", "16", modes=("train",)),
    keras("Keras on JAX", "jax", "predict_on_batch", modes=("predict",)),
    keras("Keras on JAX", "jax", "jax.jit", "--function", modes=("predict",)),
    Peer("PyTorch", "from Python", ("cold_start.py", "pytorch"), ("cold",)),
    Peer("ONNX Runtime", "from Python", ("cold_start.py", "onnxruntime"), ("cold",)),
    Peer("burn", "flex", ("burn-peer",), models=("seed",)),
    Peer("candle", "", ("candle-peer",), models=("seed",)),
]
