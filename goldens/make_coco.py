"""The twelve COCO numbers of real pycocotools on 200 random fixtures.

Coordinates are multiples of a half, scores of a twentieth, so that overlaps, scores and areas tie and lie on
the boundaries (32 x 32, 96 x 96 boxes among them); there are crowds, empty images, classes without boxes,
images with more than 100 detections. Output: coco.safetensors: `truths` [n, 9] (fixture, image, class, x, y,
w, h, area, crowd), `detections` [n, 8] (fixture, image, class, x, y, w, h, score), `sizes` [200, 2] (images,
classes), `expected` [200, 12].
"""

import contextlib
import io
import random

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from store import save_golden

FIXTURES = 200
# Among them the bounds of small, medium and large.
SIDES = [1, 4, 10.5, 31.5, 32, 32.5, 60, 95.5, 96, 96.5, 150]


def half(r, most):
    return r.randrange(int(2 * most) + 1) / 2


def box(r):
    return [half(r, 100), half(r, 100), r.choice(SIDES), r.choice(SIDES)]


def shaken(r, b):
    return [v + r.choice([0, 0, -0.5, 0.5, 2, -3]) for v in b[:2]] + [max(0.5, v + r.choice([0, 0, 0.5, -0.5, 5])) for v in b[2:]]


def fixture(number):
    r = random.Random(number)
    images, classes = r.randint(1, 4), r.randint(1, 3)
    truths, detections = [], []
    for image in range(images):
        if r.random() < 0.15:
            continue
        for _ in range(r.randint(0, 6)):
            b = box(r)
            # The area of a segmentation is less than the box's.
            area = b[2] * b[3] if r.random() < 0.7 else b[2] * b[3] * r.choice([0.5, 0.9])
            truths.append([image, r.randrange(classes), *b, area, int(r.random() < 0.12)])
    many = number % 20 == 0
    for image in range(images):
        if r.random() < 0.1:
            continue
        here = [t for t in truths if t[0] == image]
        for _ in range(r.randint(100, 130) if many else r.randint(0, 12)):
            near = r.choice(here) if here and r.random() < 0.7 else None
            b = shaken(r, near[2:6]) if near else box(r)
            c = near[1] if near and r.random() < 0.9 else r.randrange(classes)
            detections.append([image, c, *b, r.randrange(1, 21) / 20])
    return images, classes, truths, detections


def expected(images, classes, truths, detections):
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1} for c in range(classes)],
        "annotations": [
            {"id": i + 1, "image_id": t[0] + 1, "category_id": t[1] + 1, "bbox": t[2:6], "area": t[6], "iscrowd": t[7]}
            for i, t in enumerate(truths)
        ],
    }
    coco.createIndex()
    results = [{"image_id": d[0] + 1, "category_id": d[1] + 1, "bbox": d[2:6], "score": d[6]} for d in detections]
    found = coco.loadRes(results) if results else empty(coco)
    evaluation = COCOeval(coco, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def empty(coco):
    """No detection: loadRes does not take an empty list."""
    found = COCO()
    found.dataset = {**coco.dataset, "annotations": []}
    found.createIndex()
    return found


def main():
    truths, detections, sizes, numbers = [], [], [], []
    for i in range(FIXTURES):
        images, classes, t, d = fixture(i)
        with contextlib.redirect_stdout(io.StringIO()):
            numbers.append(expected(images, classes, t, d))
        sizes.append([images, classes])
        truths += [[i, *x] for x in t]
        detections += [[i, *x] for x in d]
    save_golden(
        "coco.safetensors",
        {
            "truths": np.array(truths, np.float64),
            "detections": np.array(detections, np.float64),
            "sizes": np.array(sizes, np.int32),
            "expected": np.array(numbers, np.float64),
        },
        {"made_by": "make_coco.py", "pycocotools": __import__("importlib.metadata").metadata.version("pycocotools")},
    )


if __name__ == "__main__":
    main()
