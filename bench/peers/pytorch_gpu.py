"""Training steps of a compared network in PyTorch on a GPU, in its fastest ways.

Input: a network, a batch size, a way: eager; compiled (`torch.compile(mode="max-autotune")`); graph
(the whole step, optimizer and all, captured into one CUDA graph). The images lie on the device as
uint8 and each batch is gathered there. Output: one JSON line with images per second and the time of a
step. Invariant: a window is closed only when the device is done.

Made of noise: the time of a step does not depend on what is in the images. `--device cpu` runs the
eager way without a GPU, to try the script.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

import networks

IMAGES = 50_000
WARM_UP_STEPS = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["seed", "resnet18"], default="seed")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--way", choices=["eager", "compiled", "graph"], default="eager")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


class Training:
    """A network with its optimizer and images on a device."""

    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        memory = {"device": self.device, "memory_format": torch.channels_last}
        self.model = networks.network(args.model, 32, 10).to(**memory)
        self.images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8).to(**memory)
        self.labels = torch.randint(0, 10, (IMAGES,), device=self.device)
        graph = args.way == "graph"
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True, capturable=graph)
        self.loss = torch.compile(self.loss_of, mode="max-autotune") if args.way == "compiled" else self.loss_of
        self.pick = torch.zeros(args.batch_size, dtype=torch.int64, device=self.device)

    def loss_of(self, x, y):
        x = x.float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.bf16):
            return F.cross_entropy(self.model(x).float(), y)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.images[self.pick], self.labels[self.pick]).backward()
        self.optimizer.step()

    def picks(self):
        """Batches of shuffled epochs, on the device."""
        while True:
            order = torch.randperm(IMAGES, device=self.device)
            for pick in order.split(self.args.batch_size):
                if len(pick) == self.args.batch_size:
                    yield pick

    def steps(self):
        """A function that does one step."""
        picks = self.picks()

        def plain():
            self.pick.copy_(next(picks))
            self.step()

        if self.args.way != "graph":
            return plain
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                plain()
        torch.cuda.current_stream().wait_stream(stream)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            self.step()

        def replay():
            self.pick.copy_(next(picks))
            captured.replay()

        return replay

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main():
    args = arguments()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    training = Training(args)
    step = training.steps()
    for _ in range(WARM_UP_STEPS):
        step()
    training.wait()
    speeds, began = [], time.perf_counter()
    while time.perf_counter() - began < args.seconds:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < 0.5:
            step()
            count += 1
        training.wait()
        speeds.append(count * args.batch_size / (time.perf_counter() - start))
    median = statistics.median(speeds)
    print(json.dumps({
        "images_per_second": {"median": round(median, 1), "min": round(min(speeds), 1), "max": round(max(speeds), 1)},
        "step_us": round(args.batch_size / median * 1e6, 2),
        "way": args.way, "bf16": args.bf16, "model": args.model, "batch_size": args.batch_size,
        "version": f"torch {torch.__version__}",
    }))


if __name__ == "__main__":
    main()
