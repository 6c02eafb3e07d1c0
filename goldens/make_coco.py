"""Golden COCO evaluations: random ground truths and detections with the numbers of pycocotools.

Output: coco.safetensors beside this file (naming: README.md). Every fixture is what could be hard: equal
scores, equal overlaps, crowds, pictures without anything, more than 100 detections of a class, areas on the
boundaries of small, medium and large, overlaps exactly on a threshold, classes without truths or detections.
"""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from store import save_golden

FIXTURES = 200
CLASSES = 5
# Sides whose squares lie on and beside the boundaries of areas.
SIDES = [8, 16, 31, 32, 33, 64, 95, 96, 97, 150]


def rectangle(random, step):
    """A box whose numbers are multiples of `step`."""
    w, h = (random.choice(SIDES) if random.random() < 0.5 else random.integers(2, 120) for _ in range(2))
    if random.random() < 0.4:
        h = w
    x, y = random.integers(0, 200, 2)
    return [np.round(v / step) * step for v in (x + random.random(), y + random.random(), w, h)]


def near(random, box, step):
    """A detection of a truth: exact, a known share of it, or moved a little."""
    x, y, w, h = box
    kind = random.integers(0, 5)
    if kind == 0:
        return [x, y, w, h]
    if kind == 1:
        return [x, y, w, h * random.choice([0.5, 0.75, 0.625, 0.875])]
    if kind == 2:
        return [x + w * random.choice([0.25, 0.125]), y, w, h]
    dx, dy, dw, dh = random.normal(0, 0.12, 4)
    moved = [x + dx * w, y + dy * h, max(w * (1 + dw), 0.5), max(h * (1 + dh), 0.5)]
    return [float(np.round(v / step) * step) for v in moved]


def fixture(number):
    random = np.random.default_rng(number)
    images, classes = int(random.integers(1, 8)), int(random.integers(1, CLASSES + 1))
    # Whole numbers and quarters are exact; hundredths are what annotation tools write.
    step = [1.0, 0.25, 0.01][number % 3]
    levels = [3, 8, 0][number // 3 % 3]
    few = 0 if number % 40 == 7 else random.choice([1, 3, 8])
    truths, detections = [], []
    with_truths = random.random(classes) < 0.8
    for image in range(images):
        for c in range(classes):
            count = random.integers(0, few + 1) if with_truths[c] else 0
            own = []
            for _ in range(count):
                box = rectangle(random, step)
                area = box[2] * box[3]
                if random.random() < 0.3:
                    area = float(random.choice([1024, 9216, 1023.999, 1024.001, 9216.001, area * 0.7]))
                if random.random() < 0.03:
                    box[2], area = 0.0, 0.0
                own.append(box)
                truths.append([image, c, random.random() < 0.15, *box, area])
                if random.random() < 0.1:
                    own.append(box)
                    truths.append([image, c, random.random() < 0.15, *box, area])
            if number % 40 == 13 or random.random() < 0.15:
                continue
            many = number % 10 == 4 and image == 0 and c == 0
            for box in own:
                for _ in range(random.integers(0, 4)):
                    detections.append([image, c, *near(random, box, step)])
            for _ in range(random.integers(110, 150) if many else random.integers(0, 4)):
                detections.append([image, c, *rectangle(random, step)])
    order = random.permutation(len(detections))
    detections = [detections[i] for i in order]
    for d in detections:
        d.append(float(random.integers(0, levels + 1) / levels if levels else random.random()))
    return images, classes, truths, detections


def evaluate(images, classes, truths, detections):
    """pycocotools' numbers: the twelve, and per class AP, AP50, AP75 and AR."""
    gt = COCO()
    gt.dataset = {
        "info": {},
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
        "annotations": [
            {"id": n + 1, "image_id": i + 1, "category_id": c + 1, "iscrowd": int(crowd), "bbox": box, "area": area}
            for n, (i, c, crowd, *box, area) in enumerate(truths)
        ],
    }
    gt.createIndex()
    found = [{"image_id": i + 1, "category_id": c + 1, "bbox": b, "score": s} for i, c, *b, s in detections]
    if found:
        dt = gt.loadRes(found)
    else:  # loadRes cannot take an empty list
        dt = COCO()
        dt.dataset = {**gt.dataset, "annotations": []}
        dt.createIndex()
    run = COCOeval(gt, dt, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    per_class = np.full((CLASSES, 4), -1.0)
    mean = lambda values: np.mean(values[values > -1]) if (values > -1).any() else -1.0
    precision, recall = run.eval["precision"], run.eval["recall"]
    for c in range(classes):
        p = precision[:, :, c, 0, 2]
        per_class[c] = [mean(p), mean(p[0]), mean(p[5]), mean(recall[:, c, 0, 2])]
    return run.stats, per_class, run.params


def voc(images, classes, truths, detections):
    """VOC's AP50 of 2010 and later, written down from its definition: crowds count as difficult."""
    out = np.full(CLASSES, -1.0)
    for c in range(classes):
        own = {i: [t for t in truths if t[0] == i and t[1] == c] for i in range(images)}
        positives = sum(not t[2] for ts in own.values() for t in ts)
        if positives == 0:
            continue
        used = {i: [False] * len(ts) for i, ts in own.items()}
        hits = []
        by_image = sorted((d for d in detections if d[1] == c), key=lambda d: d[0])
        for i, _, x, y, w, h, _ in sorted(by_image, key=lambda d: -d[6]):
            best, at = -1.0, -1
            for n, (_, _, _, a, b, u, v, _) in enumerate(own[i]):
                iw, ih = min(x + w, a + u) - max(x, a), min(y + h, b + v) - max(y, b)
                both = max(iw, 0.0) * max(ih, 0.0)
                iou = both / (w * h + u * v - both) if both > 0 else 0.0
                if iou > best:
                    best, at = iou, n
            if best < 0.5:
                hits.append(False)
            elif not own[i][at][2]:
                hits.append(not used[i][at])
                used[i][at] = True
        tp = np.cumsum(hits) if hits else np.zeros(0)
        recall = np.concatenate([[0.0], tp / positives, [1.0]])
        precision = np.concatenate([[0.0], tp / np.arange(1, len(tp) + 1), [0.0]])
        for n in range(len(precision) - 2, -1, -1):
            precision[n] = max(precision[n], precision[n + 1])
        out[c] = float(np.sum(np.diff(recall) * precision[1:]))
    return out


def main():
    rows = {name: [] for name in ("truth_keys", "truths", "detection_keys", "detections")}
    ends, expected, per_class, vocs = [], [], [], []
    for number in range(FIXTURES):
        images, classes, truths, detections = fixture(number)
        with contextlib.redirect_stdout(io.StringIO()):
            stats, classwise, params = evaluate(images, classes, truths, detections)
        vocs.append(voc(images, classes, truths, detections))
        rows["truth_keys"] += [t[:3] for t in truths]
        rows["truths"] += [t[3:] for t in truths]
        rows["detection_keys"] += [d[:2] for d in detections]
        rows["detections"] += [d[2:] for d in detections]
        ends.append([images, classes, len(rows["truths"]), len(rows["detections"])])
        expected.append(stats)
        per_class.append(classwise)
    tensors = {
        "truth_keys": np.array(rows["truth_keys"], np.uint8),
        "truths": np.array(rows["truths"], np.float64),
        "detection_keys": np.array(rows["detection_keys"], np.uint8),
        "detections": np.array(rows["detections"], np.float64),
        "fixtures": np.array(ends, np.int32),
        "numbers": np.array(expected),
        "per_class": np.array(per_class),
        "voc": np.array(vocs),
        "iou_thresholds": params.iouThrs,
        "recall_points": params.recThrs,
    }
    save_golden("coco.safetensors", tensors, {})


if __name__ == "__main__":
    main()
