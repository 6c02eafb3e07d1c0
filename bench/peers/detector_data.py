"""Pictures with boxes for the PyTorch detector: Pascal VOC in, augmented tensors out.

Input: a VOC folder, a split, the recipe's [augmentation]. Output: uint8 pictures [3, side, side], boxes [most, 4] in
pixels, classes [most] (-1: none). The changes are those of crates/data/src/detection/augment: mosaic, flips, moves and
scales about the middle, HSV. Pictures are decoded and scaled once and kept in memory.
"""

import random
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
from PIL import Image

GRAY = 114
AFFINE, LINEAR = Image.Transform.AFFINE, Image.Resampling.BILINEAR


def read(folder, split, names, side):
    """[(file, picture as large as fits, boxes in it, classes, (width, height))]"""
    folder, pictures = Path(folder), []
    for stem in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
        image = Image.open(folder / "JPEGImages" / f"{stem}.jpg").convert("RGB")
        boxes, classes = [], []
        for o in ET.parse(folder / "Annotations" / f"{stem}.xml").getroot().iter("object"):
            x0, y0, x1, y1 = (float(o.find("bndbox").find(k).text) for k in ("xmin", "ymin", "xmax", "ymax"))
            if x1 > x0 and y1 > y0:
                boxes.append((x0, y0, x1, y1))
                classes.append(names.index(o.find("name").text))
        scale = min(side / image.width, side / image.height)
        size = (round(image.width * scale), round(image.height * scale))
        factor = np.array([size[0] / image.width, size[1] / image.height] * 2)
        small = image.resize(size, LINEAR, reducing_gap=None)
        pictures.append((stem, small, np.array(boxes).reshape(-1, 4) * factor, np.array(classes, int), image.size))
    return pictures


def letterbox(entry, side):
    """The picture in the middle of gray, and where its corner is."""
    picture = entry[1]
    left, top = (side - picture.width) // 2, (side - picture.height) // 2
    out = Image.new("RGB", (side, side), (GRAY,) * 3)
    out.paste(picture, (left, top))
    return out, (left, top)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, entries, side, augment, epochs, most):
        self.entries, self.side, self.augment, self.epochs, self.most = entries, side, augment, epochs, most
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, index):
        a, side = self.augment, self.side
        plain = int(self.epoch) + a.get("plain_epochs", 10) >= self.epochs
        if not plain and random.random() < a.get("mosaic", 1.0):
            x, y = (round(random.uniform(0.5, 1.5) * side) for _ in range(2))
            four = [index, *(random.randrange(len(self.entries)) for _ in range(3))]
            parts = [(self.entries[k], x if q % 2 else x - self.entries[k][1].width, y if q > 1 else y - self.entries[k][1].height) for q, k in enumerate(four)]
            canvas, offset = Image.new("RGB", (2 * side, 2 * side), (GRAY,) * 3), side / 2
        else:
            entry = self.entries[index]
            parts = [(entry, (side - entry[1].width) // 2, (side - entry[1].height) // 2)]
            canvas, offset = Image.new("RGB", (side, side), (GRAY,) * 3), 0
        boxes, classes = [], []
        for entry, left, top in parts:
            canvas.paste(entry[1], (left, top))
            boxes.append((entry[2] + [left, top, left, top]).clip(0, canvas.width))
            classes.append(entry[3])
        boxes, classes = np.concatenate(boxes), np.concatenate(classes)
        sx = sy = 1 + random.uniform(-1, 1) * a.get("scale", 0.5)
        sx = -sx if random.random() < a.get("horizontal_flip", 0.5) else sx
        sy = -sy if random.random() < a.get("vertical_flip", 0.0) else sy
        dx, dy = (random.uniform(-1, 1) * a.get("translation", 0.1) * side for _ in range(2))
        middle = side / 2
        # there = scale * (here - offset - middle) + middle + d
        tx, ty = middle + dx - sx * (offset + middle), middle + dy - sy * (offset + middle)
        out = canvas.transform((side, side), AFFINE, (1 / sx, 0, -tx / sx, 0, 1 / sy, -ty / sy), LINEAR, fillcolor=(GRAY,) * 3)
        moved = boxes * [sx, sy, sx, sy] + [tx, ty, tx, ty]
        moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], 1)
        seen = moved.clip(0, side)
        area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        keep = ((seen[:, 2:] - seen[:, :2]).min(1) >= 2) & (area(seen) >= 0.2 * area(moved))
        return tensor(jitter(out, a)), *rows(seen[keep], classes[keep], self.most)


def jitter(picture, a):
    hsv = np.asarray(picture.convert("HSV")).astype(np.int16)
    gains = [random.uniform(-1, 1) * a.get(k, d) for k, d in (("hue", 0.015), ("saturation", 0.7), ("value", 0.4))]
    hsv[..., 0] = (hsv[..., 0] + round(gains[0] * 256)) % 256
    for i in (1, 2):
        hsv[..., i] = (hsv[..., i] * (1 + gains[i])).clip(0, 255)
    return Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")


def tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def rows(boxes, classes, most):
    b, c, n = torch.zeros(most, 4), torch.full((most,), -1), min(len(boxes), most)
    b[:n], c[:n] = torch.from_numpy(boxes[:n]).float(), torch.from_numpy(classes[:n])
    return b, c
