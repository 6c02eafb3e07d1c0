"""Golden losses of detection (value and gradient) and non-maximum suppression, from torchvision and plain PyTorch.

Output: boxes.safetensors beside this file (naming: README.md). Losses and their gradients are computed in float64 from
float32 numbers. Varifocal and distribution focal loss are written here from their papers, as torchvision has neither.
Invariant: no box sits where float32 and float64 decide differently.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torchvision.ops import (
    batched_nms,
    box_iou,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from store import save_golden

PAIRS = 300
# The longest lists are as long as what is asked for after the best of a picture's scores.
LISTS = [(1, 1), (8, 1), (40, 3), (300, 2), (300, 20)]


def iou_loss(pred, truth):
    """1 - intersection / union, with torchvision's epsilon."""
    left, right = torch.max(pred[:, :2], truth[:, :2]), torch.min(pred[:, 2:], truth[:, 2:])
    both = (right - left).clamp(min=0).prod(1)
    area = lambda b: (b[:, 2:] - b[:, :2]).prod(1)
    return 1 - both / (area(pred) + area(truth) - both + 1e-7)


OVERLAPS = {
    "iou": iou_loss,
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}


def boxes(random, count, size=64.0):
    corner = random.uniform(0, size, (count, 2))
    sides = random.uniform(0.5, size / 2, (count, 2))
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def pairs(random):
    """Pairs that overlap much, little and not at all, one inside the other, tall against wide."""
    truth = boxes(random, PAIRS)
    pred = boxes(random, PAIRS)
    near = PAIRS // 2
    pred[:near] = truth[:near] + random.uniform(-6, 6, (near, 4)).astype(np.float32)
    pred[:, 2:] = np.maximum(pred[:, 2:], pred[:, :2] + np.float32(0.25))
    pred[0] = truth[0] + np.array([1, 1, -0.125, -0.125], np.float32)
    truth[0, 2:] = truth[0, :2] + 20
    pred[0] = truth[0] + np.array([5, 5, -5, -5], np.float32)
    truth[1], pred[1] = [0, 0, 60, 0.5], [0.25, 0.125, 0.75, 60]
    return pred, truth


def with_gradient(f, x):
    x = torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    value = f(x)
    value.sum().backward()
    return value.detach().numpy(), x.grad.numpy()


def crossentropies(random):
    """(name, config, targets, logits, function of logits that gives a cost per element)."""
    logits = random.uniform(-5, 5, (6, 5)).astype(np.float32)
    hard = (random.uniform(size=(6, 5)) < 0.3).astype(np.float32)
    quality = (hard * random.uniform(0.05, 0.99, (6, 5))).astype(np.float32)
    t, q = torch.tensor(hard, dtype=torch.float64), torch.tensor(quality, dtype=torch.float64)
    for alpha, gamma in [(0.25, 2.0), (0.5, 1.5), (0.9, 0.0)]:
        config = {"apply_class_balancing": True, "alpha": alpha, "gamma": gamma, "from_logits": True}
        yield f"focal_{gamma}", "BinaryFocalCrossentropy", config, hard, logits, (
            lambda x, a=alpha, g=gamma: sigmoid_focal_loss(x, t, a, g)
        )

    def focal(x):
        p = torch.sigmoid(x)
        return (1 - (p * t + (1 - p) * (1 - t))) ** 2 * F.binary_cross_entropy_with_logits(x, t, reduction="none")

    yield "focal_plain", "BinaryFocalCrossentropy", {"from_logits": True}, hard, logits, focal

    def varifocal(x, alpha, gamma):
        p = torch.sigmoid(x)
        cost = F.binary_cross_entropy_with_logits(x, q, reduction="none")
        return torch.where(q > 0, q, alpha * p**gamma) * cost

    yield "varifocal", "Varifocal", {"from_logits": True}, quality, logits, lambda x: varifocal(x, 0.75, 2.0)
    yield "varifocal_other", "Varifocal", {"from_logits": True, "alpha": 0.5, "gamma": 1.0}, quality, logits, (
        lambda x: varifocal(x, 0.5, 1.0)
    )


def distributions(random):
    logits = random.uniform(-3, 3, (7, 4, 17)).astype(np.float32)
    target = random.uniform(0, 16, (7, 4)).astype(np.float32)
    target[0] = [0, 16, 3, 0.5]

    def cost(x):
        t = torch.tensor(target, dtype=torch.float64)
        low = t.floor().clamp(max=15)
        p = F.log_softmax(x, -1)
        at = lambda i: p.gather(-1, i.long().unsqueeze(-1)).squeeze(-1)
        return -((low + 1 - t) * at(low) + (t - low) * at(low + 1))

    return target, logits, cost


def detections(random, count, classes):
    """Clusters of boxes, so that much is suppressed; scores in steps, so that there are ties."""
    centres = boxes(random, max(1, count // 6), 128.0)
    own = centres[random.integers(len(centres), size=count)] + random.uniform(-4, 4, (count, 4)).astype(np.float32)
    own[:, 2:] = np.maximum(own[:, 2:], own[:, :2])
    scores = (np.round(random.uniform(0, 1, count) * 500) / 500).astype(np.float32)
    return own, scores, random.integers(classes, size=count).astype(np.int32)


def main():
    random = np.random.default_rng(5)
    tensors, losses = {}, []

    def add(name, class_name, config, y_true, y_pred, f):
        cost, gradient = with_gradient(f, y_pred)
        losses.append({"name": name, "class_name": class_name, "config": config})
        for key, value in [("y_true", y_true), ("y_pred", y_pred), ("cost", cost), ("dy_pred", gradient)]:
            tensors[f"{name}/{key}"] = value

    pred, truth = pairs(random)
    for name, f in OVERLAPS.items():
        class_name = {"iou": "IoU", "giou": "GIoU", "diou": "DIoU", "ciou": "CIoU"}[name]
        other = torch.tensor(truth, dtype=torch.float64)
        add(name, class_name, {}, truth, pred, lambda x, f=f, other=other: f(x, other))
    for name, class_name, config, target, logits, f in crossentropies(random):
        add(name, class_name, config, target, logits, lambda x, f=f: f(x).mean(-1))
    target, logits, f = distributions(random)
    add("distribution_focal", "DistributionFocal", {}, target, logits, f)
    tensors["pairwise/a"], tensors["pairwise/b"] = boxes(random, 20), boxes(random, 30)
    tensors["pairwise/iou"] = box_iou(*(torch.tensor(tensors[f"pairwise/{k}"]).double() for k in "ab")).numpy()
    lists = []
    for i, (count, classes) in enumerate(LISTS):
        own, scores, labels = detections(random, count, classes)
        for threshold in [0.3, 0.5, 0.65]:
            # Of equal scores the earlier box comes first: a stable sort, which torchvision's is on lists sorted before.
            order = np.argsort(-scores, kind="stable")
            arguments = [torch.tensor(x[order]) for x in (own, scores, labels)]
            if count * 4 > 4000:
                raise SystemExit("torchvision goes another way for long lists")
            kept = np.sort(batched_nms(*arguments, threshold).numpy())
            lists.append({"name": f"nms/{i}", "threshold": threshold, "kept": order[kept].tolist()})
        tensors[f"nms/{i}/boxes"], tensors[f"nms/{i}/scores"], tensors[f"nms/{i}/classes"] = own, scores, labels
    metadata = {"losses": json.dumps(losses), "lists": json.dumps(lists), "torchvision": torchvision.__version__}
    save_golden("boxes.safetensors", tensors, metadata)


if __name__ == "__main__":
    main()
