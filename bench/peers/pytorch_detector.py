"""The twin of `thalweg fit examples/bccd.toml` in PyTorch, and the speed of its step.

    python pytorch_detector.py train --data data/bccd --recipe examples/bccd.toml --seed 0
    python pytorch_detector.py step --mode train --batch-size 8 --image-size 256 [--channels-last] [--compile] [--fused]

`train` takes the recipe's model, data, augmentation, optimizer, means of weights and epochs, judges the test split with
pycocotools and prints one JSON line. `step` measures as every peer does (measure.py), on noise with 12 boxes a picture.
"""

import argparse
import contextlib
import io
import json
import math
import random
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import torch

import detector_data as data
import detector_network as net
import measure

OBJECTS = 12


def rate(s):
    def at(step):
        if step < s["warmup_steps"]:
            return s["warmup_target"] * step / s["warmup_steps"]
        share = min((step - s["warmup_steps"]) / s["decay_steps"], 1.0)
        return s["warmup_target"] * ((1 - s["alpha"]) * 0.5 * (1 + math.cos(math.pi * share)) + s["alpha"])

    return at


def prepared(x, channels_last):
    x = x.float().mul_(1 / 255)
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def train(args):
    recipe = tomllib.loads(Path(args.recipe).read_text())
    r, fit, o = recipe["data"], recipe["fit"], recipe["compile"]["optimizer"]
    side, names = r["image_size"], r["classes"]
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.set_num_threads(args.threads)
    epochs = args.epochs or fit["epochs"]
    pictures = data.Pictures(data.read(args.data, r["train"], names, side), side, recipe["augmentation"], epochs, r["max_boxes"])

    def worker(number):
        random.seed(args.seed * 1000 + number)

    loader = torch.utils.data.DataLoader(
        pictures, fit["batch_size"], shuffle=True, num_workers=args.workers, worker_init_fn=worker, persistent_workers=args.workers > 0
    )
    model = net.Detector(recipe["model"], len(names), side)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, eps=1e-7, weight_decay=o["weight_decay"], fused=True)
    at, step, means = rate(o["learning_rate"]), 0, None
    began, cpu = time.perf_counter(), time.process_time()
    for epoch in range(epochs):
        pictures.epoch.fill_(epoch)
        total = 0.0
        for x, truth, classes in loader:
            optimizer.param_groups[0]["lr"] = at(step)
            optimizer.zero_grad(set_to_none=True)
            boxes, logits = model(prepared(x, args.channels_last))
            loss = net.loss(model.points, boxes, logits, truth, classes)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                if means is None:
                    means = [p.clone() for p in model.parameters()]
                else:
                    torch._foreach_lerp_(means, list(model.parameters()), 1 - o["ema_momentum"])
            step += 1
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs} loss {total / len(loader):.4f} {time.perf_counter() - began:.0f} s", file=sys.stderr)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    with torch.no_grad():
        for p, mean in zip(model.parameters(), means):
            p.copy_(mean)
    ap, ap50 = judge(model.eval(), args, r)
    versions = f"PyTorch {torch.__version__}"
    print(json.dumps({"AP50": ap50, "AP": ap, "seconds": seconds, "cpu_seconds": cpu, "epochs": epochs, "seed": args.seed, "version": versions}))


def judge(model, args, r):
    """AP and AP50 on the test split."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, truths, found = [], [], []
    for number, entry in enumerate(data.read(args.data, r["test"], r["classes"], r["image_size"]), 1):
        _, picture, boxes, classes, (width, height) = entry
        factor = np.array([picture.width / width, picture.height / height] * 2)
        images.append({"id": number, "width": width, "height": height})
        for b, c in zip(boxes / factor, classes):
            w, h = float(b[2] - b[0]), float(b[3] - b[1])
            box = [float(b[0]), float(b[1]), w, h]
            truths.append({"id": len(truths) + 1, "image_id": number, "category_id": int(c) + 1, "bbox": box, "area": w * h, "iscrowd": 0})
        boxed, (left, top) = data.letterbox(entry, r["image_size"])
        with torch.no_grad():
            predicted = model(prepared(data.tensor(boxed)[None], args.channels_last))
        corners, scores, kinds = net.detections(*predicted)[0]
        corners = (corners.numpy() - [left, top, left, top]) / factor
        corners = corners.clip(0, [width, height, width, height])
        for b, s, c in zip(corners, scores, kinds):
            box = [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]
            found.append({"image_id": number, "category_id": int(c) + 1, "bbox": box, "score": float(s)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truths, "categories": [{"id": i + 1, "name": n} for i, n in enumerate(r["classes"])]}
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


def step(args):
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    batch, side = args.batch_size, args.image_size
    count = max(64, 4 * batch)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    sizes = side * (0.05 + 0.25 * torch.rand(count, OBJECTS, 2))
    corner = (side - sizes) * torch.rand(count, OBJECTS, 2)
    truth, classes = torch.zeros(count, args.boxes, 4), torch.full((count, args.boxes), -1)
    truth[:, :OBJECTS] = torch.cat([corner, corner + sizes], 2)
    classes[:, :OBJECTS] = torch.randint(0, args.classes, (count, OBJECTS))
    model = net.Detector(args.model, args.classes, side)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
    means = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-7, weight_decay=0.05, fused=args.fused or None)

    def loss_of(x, truth, classes):
        boxes, logits = model(x)
        return net.loss(model.points, boxes, logits, truth, classes)

    def predict(x):
        return model(x)

    if args.compile:
        loss_of, predict = torch.compile(loss_of), torch.compile(predict)

    def training(pick):
        x = prepared(images[pick], args.channels_last)
        optimizer.zero_grad(set_to_none=True)
        loss_of(x, truth[pick], classes[pick]).backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(means, list(model.parameters()), 0.005)

    def predicting(pick):
        with torch.inference_mode():
            net.detections(*predict(prepared(images[pick], args.channels_last)))

    def batches():
        while True:
            for pick in torch.randperm(count)[: count // batch * batch].split(batch):
                yield (pick,)

    model.train(args.mode == "train")
    windows, seconds = measure.run(args, batches(), training if args.mode == "train" else predicting)
    measure.report(args, windows, f"PyTorch {torch.__version__}", images.numpy(), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    t = commands.add_parser("train")
    t.add_argument("--data", required=True, help="folder of the VOC data set")
    t.add_argument("--recipe", required=True)
    t.add_argument("--seed", type=int, default=0)
    t.add_argument("--epochs", type=int, default=0, help="instead of the recipe's")
    t.add_argument("--threads", type=int, default=2)
    t.add_argument("--workers", type=int, default=1, help="processes that prepare pictures")
    t.add_argument("--channels-last", action="store_true")
    t.set_defaults(run=train)
    s = commands.add_parser("step")
    s.add_argument("--model", choices=net.SIZES, default="detector_nano")
    s.add_argument("--mode", choices=["train", "predict"], default="train")
    s.add_argument("--batch-size", type=int, default=8)
    s.add_argument("--image-size", type=int, default=256)
    s.add_argument("--classes", type=int, default=3)
    s.add_argument("--boxes", type=int, default=64)
    s.add_argument("--seconds", type=float, default=10.0)
    s.add_argument("--threads", type=int, default=0)
    for option in ("--channels-last", "--fused", "--compile"):
        s.add_argument(option, action="store_true")
    s.set_defaults(run=step)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
