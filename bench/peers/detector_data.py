"""Pictures with boxes for the PyTorch detector: Pascal VOC in, changed training pictures out, COCO's judgement at the end.

Input: a VOC folder, a split, names of classes, the `[augmentation]` of a recipe. Output: uint8 pictures [3, side, side], boxes
in pixels, classes. Invariants: corners are taken as they are written, and boxes without area left out, as our reader does;
words of the augmentation mean what they mean in crates/data, and a word that is not there is refused; a picture is a pure
function of (seed, epoch, number), whatever process makes it.

Pictures are decoded and scaled once and kept in memory. All moves are one call of Pillow per picture.
"""

import contextlib
import io
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

GRAY = (114, 114, 114)
# As crates/data/src/detection/augment/config.rs has them, less those whose default is never and which are not done here.
DEFAULTS = {
    "horizontal_flip": 0.5, "vertical_flip": 0.0, "hue": 0.015, "saturation": 0.7, "value": 0.4, "translation": 0.1,
    "scale": 0.5, "mosaic": 1.0, "min_visibility": 0.2, "min_side": 2.0, "plain_epochs": 10,
}


@dataclass
class Picture:
    """A picture as large as fits, with its boxes there and in the file."""

    small: Image.Image
    boxes: np.ndarray
    classes: np.ndarray
    written: np.ndarray
    size: tuple

    @property
    def scale(self):
        """What one column and one row of the file became, twice."""
        return np.array([self.small.width / self.size[0], self.small.height / self.size[1]] * 2)


def read(folder, split, names, side):
    """The pictures of a split, each at most `side` pixels wide and high."""
    with open(os.path.join(folder, "ImageSets/Main", f"{split}.txt")) as lines:
        return [picture(folder, stem, names, side) for stem in lines.read().split()]


def picture(folder, stem, names, side):
    image = Image.open(os.path.join(folder, "JPEGImages", f"{stem}.jpg")).convert("RGB")
    written, classes = [], []
    for node in ElementTree.parse(os.path.join(folder, "Annotations", f"{stem}.xml")).getroot().iter("object"):
        x0, y0, x1, y1 = (float(node.find("bndbox").find(key).text) for key in ("xmin", "ymin", "xmax", "ymax"))
        if x1 > x0 and y1 > y0:
            written.append((x0, y0, x1, y1))
            classes.append(names.index(node.find("name").text.strip()))
    ratio = min(side / image.width, side / image.height)
    fit = tuple(min(side, max(1, int(length * ratio + 0.5))) for length in image.size)
    written = np.array(written, np.float64).reshape(-1, 4)
    result = Picture(image.resize(fit, Image.Resampling.BILINEAR), written, np.array(classes, np.int64), written, image.size)
    result.boxes = written * result.scale
    return result


def corner(entry, side):
    """Where a picture's corner is when it lies in the middle."""
    return (side - entry.small.width) // 2, (side - entry.small.height) // 2


def letterbox(entry, side):
    """The picture in the middle, uint8 [3, side, side]."""
    canvas = Image.new("RGB", (side, side), GRAY)
    canvas.paste(entry.small, corner(entry, side))
    return tensor(canvas)


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Training(torch.utils.data.Dataset):
    """Changed pictures: (pixels, boxes [k, 4], classes [k])."""

    def __init__(self, pictures, side, augmentation, seed, epochs):
        unknown = set(augmentation) - set(DEFAULTS)
        if unknown:
            raise SystemExit(f"[augmentation] has {', '.join(sorted(unknown))}, which this program does not do")
        self.pictures, self.side, self.seed, self.epochs, self.epoch = pictures, side, seed, epochs, 0
        self.words = DEFAULTS | augmentation

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        draw, words = np.random.default_rng((self.seed, self.epoch, index)), self.words
        plain = self.epoch + words["plain_epochs"] >= self.epochs
        four = not plain and draw.random() < words["mosaic"]
        canvas, boxes, classes = self.four(index, draw) if four else self.one(index)
        moved, boxes, classes = self.wiggle(canvas, boxes, classes, draw)
        return tensor(jitter(moved, words, draw)), torch.from_numpy(boxes).float(), torch.from_numpy(classes)

    def one(self, index):
        entry = self.pictures[index]
        at = corner(entry, self.side)
        canvas = Image.new("RGB", (self.side, self.side), GRAY)
        canvas.paste(entry.small, at)
        boxes = entry.boxes + [*at, *at]
        return canvas, np.concatenate([boxes, boxes], 1), entry.classes

    def four(self, index, draw):
        """Four pictures around a point of a canvas of twice the size."""
        side = self.side
        x, y = (round(middle) for middle in draw.uniform(0.5, 1.5, 2) * side)
        canvas, boxes, classes = Image.new("RGB", (2 * side, 2 * side), GRAY), [], []
        for quarter, number in enumerate([index, *draw.integers(len(self.pictures), size=3)]):
            entry = self.pictures[number]
            left = x if quarter % 2 else x - entry.small.width
            top = y if quarter // 2 else y - entry.small.height
            canvas.paste(entry.small, (left, top))
            whole = entry.boxes + [left, top, left, top]
            boxes.append(np.concatenate([whole, whole.clip(0, 2 * side)], 1))
            classes.append(entry.classes)
        return canvas, np.concatenate(boxes), np.concatenate(classes)

    def wiggle(self, canvas, boxes, classes, draw):
        """Scales, flips and moves about the middle. `boxes` [k, 8]: each whole, and the part of it on the canvas."""
        words, side = self.words, self.side
        scale = 1 + draw.uniform(-1, 1) * words["scale"]
        shift = draw.uniform(-1, 1, 2) * words["translation"] * side
        flips = [-1 if draw.random() < words[key] else 1 for key in ("horizontal_flip", "vertical_flip")]
        (sx, sy), (tx, ty) = (scale * flip for flip in flips), shift + side / 2
        # there = s (here - middle of the canvas) + t
        tx, ty = tx - sx * canvas.width / 2, ty - sy * canvas.height / 2
        back = (1 / sx, 0, -tx / sx, 0, 1 / sy, -ty / sy)
        out = canvas.transform((side, side), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=GRAY)
        ends = boxes.reshape(-1, 2, 2, 2) * [sx, sy] + [tx, ty]
        moved = np.concatenate([ends.min(2), ends.max(2)], 2)
        whole, seen = moved[:, 0], moved[:, 1].clip(0, side)
        sides = seen[:, 2:] - seen[:, :2]
        least = words["min_visibility"] * (whole[:, 2:] - whole[:, :2]).prod(1)
        keep = (sides.min(1) >= max(words["min_side"], 1e-3)) & (sides.prod(1) >= least)
        return out, seen[keep], classes[keep]


def jitter(image, words, draw):
    """Other hue, saturation and value, by Pillow's tables."""
    hue = draw.uniform(-1, 1) * words["hue"] * 256
    gains = [1 + draw.uniform(-1, 1) * words[key] for key in ("saturation", "value")]
    steps = np.arange(256)
    tables = [np.round(steps + hue) % 256, *((steps * gain + 0.5).clip(0, 255) for gain in gains)]
    return image.convert("HSV").point(np.concatenate(tables).astype(np.uint8).tolist()).convert("RGB")


def batch(examples):
    """Pictures, boxes [n, m, 4], classes [n, m]; m is the most that a picture has, rows without a box have the class -1."""
    pixels, boxes, classes = zip(*examples)
    boxes = torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True)
    classes = torch.nn.utils.rnn.pad_sequence(classes, batch_first=True, padding_value=-1)
    if boxes.shape[1] == 0:
        boxes, classes = torch.zeros(len(pixels), 1, 4), torch.full((len(pixels), 1), -1)
    return torch.stack(pixels), boxes, classes


def in_file(entry, boxes, side):
    """Boxes of a letterboxed picture in the file's pixels, cut to it."""
    at = np.array(corner(entry, side) * 2)
    return ((boxes - at) / entry.scale).clip(0, [*entry.size, *entry.size])


def judge(pictures, found, names):
    """COCO's AP and AP50, and the latter by class. `found`: per picture (boxes in the file's pixels, scores, classes)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def records(boxes, classes, image, **more):
        for i, ((x0, y0, x1, y1), c) in enumerate(zip(boxes.tolist(), classes.tolist())):
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            yield {"image_id": image, "category_id": c + 1, **box, **{key: values[i] for key, values in more.items()}}

    truth = [r for i, p in enumerate(pictures, 1) for r in records(p.written, p.classes, i)]
    guesses = [r for i, (b, s, c) in enumerate(found, 1) for r in records(b, c, i, score=s.tolist())]
    if not guesses:
        return {"AP50": 0.0, "AP": 0.0, "AP50_by_class": dict.fromkeys(names, 0.0)}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "width": p.size[0], "height": p.size[1]} for i, p in enumerate(pictures, 1)],
            "annotations": [{"id": i, **r} for i, r in enumerate(truth, 1)],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
        }
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(guesses), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    # Thresholds, recalls, classes, areas, most detections: .50, all areas, 100.
    by_class = judged.eval["precision"][0, :, :, 0, 2].mean(0)
    by_class = dict(zip(names, by_class.tolist()))
    return {"AP50": float(judged.stats[1]), "AP": float(judged.stats[0]), "AP50_by_class": by_class}
