"""What a detector learns, and what it finds: task-aligned assignment and its loss; non-maximum suppression.

Input: predictions of detector_network.py, true boxes [n, m, 4] (corners in pixels) and classes [n, m], -1 where there is none.
Output: the loss of a batch; detections of each picture. Invariants: dense and of static shape up to `loss`, so that it
compiles; constants are those of crates/nn (`TaskAligned`, `NonMaxSuppression`).

Written from TOOD (Feng et al. 2021), CIoU (Zheng et al. 2020), GFL (Li et al. 2020).
"""

import math

import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms

CANDIDATES, ALPHA, BETA = 13, 1.0, 6.0
BOX_WEIGHT, DISTRIBUTION_WEIGHT = 2.5, 0.5
EPSILON = 1e-7
CONFIDENCE, IOU, LOOKED_AT, MOST = 0.01, 0.6, 300, 100


def intersection_and_union(a, b):
    """Areas of boxes [.., 4]; shapes broadcast."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    both = sides.prod(-1)
    own, other = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    return both, own + other - both


@torch.no_grad()
def assign(boxes, points, strides, logits, true_boxes, classes):
    """The true box that each point learns [n, a], and how sure it should be of its class [n, a]."""
    n, a, m = *logits.shape[:2], classes.shape[1]
    both, union = intersection_and_union(true_boxes[:, :, None], boxes[:, None])
    overlap = both / (union + EPSILON)  # n m a
    probability = logits.sigmoid().transpose(1, 2)
    score = probability.gather(1, classes.clamp(min=0)[:, :, None].expand(-1, -1, a))
    aligned = score.pow(ALPHA) * overlap.pow(BETA)

    low, high = true_boxes[:, :, None, :2], true_boxes[:, :, None, 2:]
    # A box narrower than a cell of the finest map counts as one cell wide.
    half = ((high - low) / 2).clamp(min=strides.min() / 2)
    inside = ((points - (low + high) / 2).abs() <= half).all(-1)
    there = (classes >= 0) & (true_boxes[..., 2:] > true_boxes[..., :2]).all(-1)
    key = torch.where(inside & there[:, :, None], aligned, -1.0)
    best, at = key.topk(min(CANDIDATES, a), dim=2)
    chosen = torch.zeros_like(inside).scatter_(2, at, best >= 0)

    # A point that several want goes to the one that it overlaps most.
    matched = torch.where(chosen, overlap, -1.0).argmax(1)
    kept = chosen & (torch.arange(m, device=matched.device)[:, None] == matched[:, None])
    t, u = aligned * kept, overlap * kept
    factor = u.amax(2, keepdim=True) / t.amax(2, keepdim=True).clamp(min=1e-30)
    return matched, (t * factor).amax(1)


def ciou(a, b):
    """Overlap less the distance of the centres less the difference of the shapes, of boxes [.., 4]."""
    both, union = intersection_and_union(a, b)
    iou = both / (union + EPSILON)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = apart.square().sum(-1) / (around.square().sum(-1) + EPSILON)
    wa, ha = (a[..., 2:] - a[..., :2]).clamp(min=0).unbind(-1)
    wb, hb = (b[..., 2:] - b[..., :2]).clamp(min=0).unbind(-1)
    # The difference of two angles as one, which divides by no side.
    angle = torch.atan2(wa * hb - wb * ha, (ha * hb + wa * wb).clamp(min=EPSILON))
    v = (2 / math.pi * angle).square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + EPSILON)
    return iou - distance - alpha * v


def distribution_costs(p, matched):
    """Distribution focal loss of the four sides' bins, their mean: [n, a]."""
    bins = p.distances.shape[-1]
    sides = torch.cat([p.points - matched[..., :2], matched[..., 2:] - p.points], 2) / p.strides[:, None]
    target = sides.clamp(0, bins - 1)
    low = target.floor().clamp(max=bins - 2)
    share, log = target - low, p.distances.log_softmax(-1)
    low = low.long()[..., None]
    at = lambda index: log.gather(-1, index)[..., 0]
    return -((1 - share) * at(low) + share * at(low + 1)).mean(2)


def loss(p, true_boxes, classes):
    """Classes by crossentropy, boxes by CIoU, distributions of distances: summed, by the batch's sum of scores."""
    matched, score = assign(p.boxes, p.points, p.strides, p.logits, true_boxes, classes)
    target = torch.zeros_like(p.logits)
    target.scatter_(2, classes.gather(1, matched).clamp(min=0)[..., None], score[..., None])
    total = F.binary_cross_entropy_with_logits(p.logits, target, reduction="sum")
    matched = true_boxes.gather(1, matched[..., None].expand(-1, -1, 4))
    total = total + BOX_WEIGHT * ((1 - ciou(p.boxes, matched)) * score).sum()
    if p.distances is not None:
        total = total + DISTRIBUTION_WEIGHT * (distribution_costs(p, matched) * score).sum()
    return total / score.sum().clamp(min=1.0)


def detections(p):
    """Of each picture, best first: boxes [k, 4], scores [k], classes [k]."""
    c = p.logits.shape[2]
    best, at = p.logits.flatten(1).topk(min(LOOKED_AT, p.logits[0].numel()), dim=1)
    found = []
    for boxes, scores, at in zip(p.boxes, best.sigmoid(), at):
        sure = scores > CONFIDENCE
        scores, at = scores[sure], at[sure]
        boxes, labels = boxes[at // c], at % c
        keep = batched_nms(boxes, scores, labels, IOU)[:MOST]
        found.append((boxes[keep], scores[keep], labels[keep]))
    return found
