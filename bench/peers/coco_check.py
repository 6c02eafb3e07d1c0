"""Holds `thalweg evaluate DETECTOR --output DIR --json` to pycocotools, on real predictions.

    thalweg evaluate model.safetensors --data data --output judged --json > judged/numbers.json
    python coco_check.py --data data/bccd --split test --classes Platelets RBC WBC --judged judged

Prints the largest difference of the twelve numbers and ends with an error above 1e-12.
"""

import argparse
import contextlib
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NUMBERS = "AP AP50 AP75 AP_small AP_medium AP_large AR_1 AR_10 AR_100 AR_small AR_medium AR_large".split()


def truths(folder, split, classes):
    images, annotations = [], []
    for number, stem in enumerate((folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split(), 1):
        images.append({"id": number})
        for o in ET.parse(folder / "Annotations" / f"{stem}.xml").getroot().iter("object"):
            x0, y0, x1, y1 = (float(o.find("bndbox").find(k).text) for k in ("xmin", "ymin", "xmax", "ymax"))
            w, h = x1 - x0, y1 - y0
            if w > 0 and h > 0:
                category = classes.index(o.find("name").text) + 1
                box = {"bbox": [x0, y0, w, h], "area": w * h, "iscrowd": 0}
                annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": category} | box)
    categories = [{"id": i + 1, "name": n} for i, n in enumerate(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--classes", nargs="+", required=True)
    parser.add_argument("--judged", type=Path, required=True)
    args = parser.parse_args()
    ours = next(e for e in map(json.loads, (args.judged / "numbers.json").read_text().splitlines()) if "AP50" in e)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truths(args.data, args.split, args.classes)
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(str(args.judged / "detections.json")), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    worst = max(abs((-1.0 if ours[n] is None else ours[n]) - s) for n, s in zip(NUMBERS, judged.stats))
    print(f"largest difference {worst:.1e} of twelve numbers, AP50 {ours['AP50']:.6f}")
    raise SystemExit(worst > 1e-12)


if __name__ == "__main__":
    main()
