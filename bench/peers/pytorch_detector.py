"""The detector in PyTorch: a training to be judged beside ours, and the speed of its step and its predictions.

    python pytorch_detector.py train --data data/bccd --recipe examples/bccd.toml --seed 0
    python pytorch_detector.py step --model detector_nano --mode train --image-size 256 --batch-size 8 --channels-last

`train` does what `thalweg fit` does with a recipe: its network, augmentation, AdamW with warm-up and cosine, mean of the
weights; options replace the recipe's numbers. It judges the test pictures with pycocotools and prints one JSON line. `step` is
measured as the other peers are (measure.py), on noise with a dozen boxes a picture: training from bytes to updated weights and
means; predicting from scaled floats to detections. Its windows of stride 2 begin where PyTorch's own padding begins, which costs
less than Keras'; `--keras-padding` is exactly ours.
"""

import argparse
import json
import math
import os
import sys
import time
import tomllib

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import detector_data as data
import detector_loss
import detector_network
import measure

# As many and as large as `thalweg bench` makes them: shares of the picture's sides.
OBJECTS, LEAST_SIDE, MOST_SIDE = 12, 0.05, 0.3
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    train = commands.add_parser("train", help="train and judge")
    train.add_argument("--data", required=True, help="folder of the VOC data set")
    train.add_argument("--recipe", default=os.path.join(ROOT, "examples/bccd.toml"))
    train.add_argument("--model", choices=detector_network.SIZES, help="instead of the recipe's, as all below")
    train.add_argument("--size", type=int)
    train.add_argument("--epochs", type=int)
    train.add_argument("--batch", type=int)
    train.add_argument("--learning-rate", type=float)
    train.add_argument("--weight-decay", type=float)
    train.add_argument("--ema", type=float, help="momentum of the mean of the weights")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--threads", type=int, default=2)
    train.add_argument("--workers", type=int, default=0, help="processes that make pictures; 0: between the steps")
    train.add_argument("--device", default="cpu")
    train.add_argument("--out", help="file for the JSON line")
    step = commands.add_parser("step", help="measure")
    measure.add_arguments(step, models=list(detector_network.SIZES))
    step.set_defaults(image_size=256, classes=3, batch_size=8)
    step.add_argument("--keras-padding", action="store_true", help="windows of stride 2 begin at the first pixel, as ours")
    for each in (train, step):
        each.add_argument("--channels-last", action="store_true", help="NHWC in memory")
        each.add_argument("--compile", action="store_true", help="torch.compile in its default mode")
        each.add_argument("--fused", action="store_true", help="the fused AdamW (not PyTorch's default)")
    return parser.parse_args()


class Learner:
    """A network with its optimizer and the mean of its weights."""

    def __init__(self, args, model, weight_decay, momentum):
        self.memory = memory_format(args)
        self.model = model.to(memory_format=self.memory)
        # As Keras: of the weights alone; the statistics of the normalisation are the last ones.
        self.mean = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(momentum))
        rule = {"lr": 1e-3, "eps": 1e-7, "weight_decay": weight_decay, "fused": args.fused or None}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **rule)
        self.loss = torch.compile(self.loss_of) if args.compile else self.loss_of

    def loss_of(self, x, boxes, classes):
        return detector_loss.loss(self.model(x), boxes, classes)

    def step(self, images, boxes, classes):
        """From bytes to new weights; the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(scaled(images, self.memory), boxes, classes)
        loss.backward()
        self.optimizer.step()
        self.mean.update_parameters(self.model)
        return loss.detach()


def memory_format(args):
    return torch.channels_last if args.channels_last else torch.contiguous_format


def scaled(images, memory):
    return images.contiguous(memory_format=memory).float().mul_(1 / 255)


def recipe(args):
    """The recipe's numbers that matter here, with those of the command line in their place."""
    with open(args.recipe, "rb") as file:
        words = tomllib.load(file)
    optimizer = words["compile"]["optimizer"]
    if optimizer["name"] != "adamw" or not optimizer.get("use_ema"):
        raise SystemExit(f"{args.recipe}: this program does adamw with use_ema")
    rate = optimizer["learning_rate"]
    own = {
        "model": args.model or words["model"], "size": args.size or words["data"]["image_size"],
        "epochs": args.epochs or words["fit"]["epochs"], "batch": args.batch or words["fit"]["batch_size"],
        "learning_rate": args.learning_rate or rate["warmup_target"], "warmup_steps": rate["warmup_steps"],
        # Of a training of another length, all that the warm-up leaves.
        "decay_steps": None if args.epochs or args.batch else rate["decay_steps"],
        "last_rate": rate.get("alpha", 0.0), "weight_decay": optimizer.get("weight_decay", 0.004),
        "ema": args.ema or optimizer.get("ema_momentum", 0.99), "augmentation": words.get("augmentation", {}),
    }
    if args.weight_decay is not None:
        own["weight_decay"] = args.weight_decay
    return own, words["data"]


def rate(own, step, steps):
    """Up in a line, down in half a cosine."""
    warm = min(own["warmup_steps"], steps // 2)
    if step < warm:
        return own["learning_rate"] * step / warm
    share = min(1.0, (step - warm) / (own["decay_steps"] or steps - warm))
    return own["learning_rate"] * (own["last_rate"] + (1 - own["last_rate"]) * (1 + math.cos(math.pi * share)) / 2)


def cpu_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def train(args):
    own, words = recipe(args)
    torch.manual_seed(args.seed)
    names, side = words["classes"], own["size"]
    began, cpu = time.perf_counter(), cpu_seconds()
    pictures = data.read(args.data, words["train"], names, side)
    changed = data.Training(pictures, side, own["augmentation"], args.seed, own["epochs"])
    loader = torch.utils.data.DataLoader(
        changed, own["batch"], shuffle=True, num_workers=args.workers, collate_fn=data.batch
    )
    model = detector_network.detector(own["model"], len(names)).to(args.device)
    learner, step = Learner(args, model, own["weight_decay"], own["ema"]), 0
    for epoch in range(own["epochs"]):
        # Workers start anew in every epoch, and so learn of it.
        changed.epoch, losses = epoch, []
        for images, boxes, classes in loader:
            learner.optimizer.param_groups[0]["lr"] = rate(own, step, own["epochs"] * len(loader))
            losses.append(learner.step(images.to(args.device), boxes.to(args.device), classes.to(args.device)))
            step += 1
        loss = torch.stack(losses).mean().item()
        print(f"epoch {epoch + 1}/{own['epochs']}: loss {loss:.4f}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    spent = {"seconds": round(time.perf_counter() - began, 2), "cpu_seconds": round(cpu_seconds() - cpu, 2)}
    tests = data.read(args.data, words["test"], names, side)
    judged = data.judge(tests, found(learner.mean.module, tests, side, args.device, learner.memory), names)
    settings = {key: getattr(args, key) for key in ("seed", "threads", "workers", "channels_last", "compile", "fused", "device")}
    line = json.dumps({**judged, **spent, "steps": step, **own, **settings, "version": f"torch {torch.__version__}"})
    if args.out:
        with open(args.out, "w") as file:
            file.write(line + "\n")
    print(line)


@torch.inference_mode()
def found(model, pictures, side, device, memory):
    """What a network finds in pictures, in the pixels of their files."""
    model.eval()
    for entry in pictures:
        image = data.letterbox(entry, side)[None].to(device)
        boxes, scores, classes = (part.cpu().numpy() for part in detector_loss.detections(model(scaled(image, memory)))[0])
        yield data.in_file(entry, boxes, side), scores, classes


def objects(count, side, classes):
    """OBJECTS boxes a picture, corners in pixels, and their classes."""
    sides = side * (LEAST_SIDE + (MOST_SIDE - LEAST_SIDE) * torch.rand(count, OBJECTS, 2))
    low = (side - sides) * torch.rand(count, OBJECTS, 2)
    return torch.cat([low, low + sides], 2), torch.randint(0, classes, (count, OBJECTS))


def training(args, model, images):
    boxes, classes = objects(len(images), args.image_size, args.classes)
    learner = Learner(args, model, 0.05, 0.995)

    def batches():
        while True:
            for pick in torch.randperm(len(images)).split(args.batch_size):
                yield (pick,)

    return batches(), lambda pick: learner.step(images[pick], boxes[pick], classes[pick])


def predicting(args, model, images):
    memory = memory_format(args)
    model = model.to(memory_format=memory).eval()
    floats = scaled(images, memory)
    predict = torch.compile(model) if args.compile else model

    def step(x):
        with torch.inference_mode():
            for part in (part for found in detector_loss.detections(predict(x)) for part in found):
                part.numpy()

    def batches():
        while True:
            for x in floats.split(args.batch_size):
                yield (x,)

    return batches(), step


def step(args):
    torch.manual_seed(0)
    pixels, _ = measure.images(args)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(memory_format=memory_format(args))
    model = detector_network.detector(args.model, args.classes, args.keras_padding)
    batches, step = (training if args.mode == "train" else predicting)(args, model, images)
    windows, seconds = measure.run(args, batches, step)
    measure.report(args, windows, f"torch {torch.__version__}", images, seconds)


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    {"train": train, "step": step}[args.command](args)


if __name__ == "__main__":
    main()
