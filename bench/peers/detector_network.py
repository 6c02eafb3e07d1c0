"""Thalweg's detector in PyTorch: the network of crates/vision/src/detector, its loss and its choice of boxes.

Input: a size's numbers and the classes. Output: an nn.Module whose predictions are (boxes, points, logits), the loss, the
detections. Written from the same papers: CSPNet, PAN, SPP, YOLOX (head), TOOD (assignment), CIoU. Invariant: same layers,
channels and first biases; padding is symmetric where ours is Keras' `same`, which costs the same.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import batched_nms

STRIDES = (8, 16, 32)
# Width, depth, convolutions in a branch of the head, depthwise.
SIZES = {
    "detector_nano": (0.25, 0.33, 1, False),
    "detector_nano_depthwise": (0.25, 0.33, 1, True),
    "detector_tiny": (0.375, 0.33, 2, False),
}


def conv(c_in, c_out, kernel, stride=1, groups=1):
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(layer, nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03), nn.SiLU(inplace=True))


class Parts:
    """Convolutions of one size of detector."""

    def __init__(self, width, depth, head, depthwise):
        self.width, self.depth, self.head, self.depthwise = width, depth, head, depthwise

    def channels(self, channels):
        return max(8, int(channels * self.width / 8 + 0.5) * 8)

    def blocks(self, blocks):
        return max(1, int(blocks * self.depth + 0.5))

    def light(self, c_in, c_out, kernel, stride=1):
        if not self.depthwise or kernel == 1:
            return conv(c_in, c_out, kernel, stride)
        return nn.Sequential(conv(c_in, c_in, kernel, stride, groups=c_in), conv(c_in, c_out, 1))


class Csp(nn.Module):
    def __init__(self, p, c_in, c_out, blocks, residual):
        super().__init__()
        half = c_out // 2
        self.past, self.enter, self.leave = conv(c_in, half, 1), conv(c_in, half, 1), conv(2 * half, c_out, 1)
        self.blocks = nn.ModuleList(nn.Sequential(conv(half, half, 1), p.light(half, half, 3)) for _ in range(blocks))
        self.residual = residual

    def forward(self, x):
        y = self.enter(x)
        for block in self.blocks:
            y = y + block(y) if self.residual else block(y)
        return self.leave(torch.cat([y, self.past(x)], 1))


class Pyramid(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.enter, self.leave, self.pool = conv(c, c // 2, 1), conv(2 * c, c, 1), nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    def __init__(self, p, c_in, classes):
        super().__init__()
        c = p.channels(256)
        self.enter = conv(c_in, c, 1)
        self.classes, self.distances = (nn.Sequential(*(p.light(c, c, 3) for _ in range(p.head))) for _ in range(2))
        self.logits, self.sides = nn.Conv2d(c, classes, 1), nn.Conv2d(c, 4, 1)
        for layer, bias in ((self.logits, math.log(0.01 / 0.99)), (self.sides, math.log(2.0))):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, bias)

    def forward(self, x):
        x = self.enter(x)
        return self.logits(self.classes(x)), self.sides(self.distances(x))


class Detector(nn.Module):
    def __init__(self, size, classes, side):
        super().__init__()
        p = Parts(*SIZES[size])
        c = [p.channels(n) for n in (64, 128, 256, 512, 1024)]
        self.stem = conv(3, c[0], 3, 2)
        stages = []
        for i, blocks in enumerate((3, 9, 9, 3)):
            last = i == 3
            layers = [p.light(c[i], c[i + 1], 3, 2), *([Pyramid(c[i + 1])] if last else [])]
            stages.append(nn.Sequential(*layers, Csp(p, c[i + 1], c[i + 1], p.blocks(blocks), not last)))
        self.stages = nn.ModuleList(stages)
        c3, c4, c5, n = c[2], c[3], c[4], p.blocks(3)
        self.lateral5, self.top4 = conv(c5, c4, 1), Csp(p, 2 * c4, c4, n, False)
        self.lateral4, self.out3 = conv(c4, c3, 1), Csp(p, 2 * c3, c3, n, False)
        self.down3, self.out4 = p.light(c3, c3, 3, 2), Csp(p, 2 * c3, c4, n, False)
        self.down4, self.out5 = p.light(c4, c4, 3, 2), Csp(p, 2 * c4, c5, n, False)
        self.heads = nn.ModuleList(Head(p, channels, classes) for channels in (c3, c4, c5))
        grids = []
        for stride in STRIDES:
            at = (torch.arange(side // stride) + 0.5) * stride
            y, x = torch.meshgrid(at, at, indexing="ij")
            grids.append(torch.stack([x, y, torch.full_like(x, stride)], -1).view(-1, 3))
        self.register_buffer("points", torch.cat(grids), persistent=False)

    def forward(self, x):
        x = self.stages[0](self.stem(x))
        fine = self.stages[1](x)
        middle = self.stages[2](fine)
        lateral5 = self.lateral5(self.stages[3](middle))
        lateral4 = self.lateral4(self.top4(torch.cat([F.interpolate(lateral5, scale_factor=2.0), middle], 1)))
        out3 = self.out3(torch.cat([F.interpolate(lateral4, scale_factor=2.0), fine], 1))
        out4 = self.out4(torch.cat([self.down3(out3), lateral4], 1))
        out5 = self.out5(torch.cat([self.down4(out4), lateral5], 1))
        both = [head(level) for head, level in zip(self.heads, (out3, out4, out5))]
        logits, sides = (torch.cat([m[i].flatten(2) for m in both], 2).transpose(1, 2) for i in range(2))
        reach = sides.clamp(-8, 8).exp() * self.points[:, 2:]
        at = self.points[:, :2]
        return torch.cat([at - reach[..., :2], at + reach[..., 2:]], 2), logits


def overlaps(a, b):
    """Intersection and union of boxes that broadcast."""
    wh = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inter = wh[..., 0] * wh[..., 1]
    area = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return inter, area[0] + area[1] - inter


@torch.no_grad()
def assign(points, boxes, logits, truth, classes, candidates=13, alpha=1.0, beta=6.0):
    """Which true box each point learns [n, a], and what it should score there [n, a]."""
    inter, union = overlaps(truth[:, :, None], boxes[:, None])
    overlap = inter / union.clamp(min=1e-9)
    score = logits.sigmoid().transpose(1, 2)
    score = score.gather(1, classes.clamp(min=0)[:, :, None].expand(-1, -1, score.shape[2]))
    aligned = score**alpha * overlap**beta
    centre, half = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    half = half.clamp(min=0.5 * STRIDES[0])
    inside = ((points[:, :2] - centre[:, :, None]).abs() <= half[:, :, None]).all(-1)
    key = torch.where(inside & (classes >= 0)[:, :, None], aligned, -1.0)
    best, at = key.topk(candidates, 2)
    chosen = torch.zeros_like(key, dtype=torch.bool).scatter_(2, at, best > -0.5)
    matched = torch.where(chosen, overlap, -1.0).argmax(1)
    own = torch.arange(truth.shape[1], device=key.device)[None, :, None] == matched[:, None]
    kept = own & chosen
    t, u = torch.where(kept, aligned, 0.0), torch.where(kept, overlap, 0.0)
    factor = u.amax(2) / t.amax(2).clamp(min=1e-30)
    return matched, (t * factor[:, :, None]).amax(1)


def ciou(a, b):
    inter, union = overlaps(a, b)
    iou = inter / union.clamp(min=1e-9)
    wh = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    diagonal = (wh**2).sum(-1).clamp(min=1e-9)
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    (wa, ha), (wb, hb) = (((x[..., 2] - x[..., 0]), (x[..., 3] - x[..., 1]).clamp(min=1e-9)) for x in (a, b))
    v = 4 / math.pi**2 * (torch.atan(wb / hb) - torch.atan(wa / ha)) ** 2
    with torch.no_grad():
        weight = v / (1 - iou + v).clamp(min=1e-9)
    return iou - apart / diagonal - weight * v


def loss(points, boxes, logits, truth, classes):
    matched, score = assign(points, boxes, logits, truth, classes)
    own = classes.gather(1, matched).clamp(min=0)
    target = torch.zeros_like(logits).scatter_(2, own[..., None], score[..., None])
    of_class = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    wanted = truth.gather(1, matched[..., None].expand(-1, -1, 4))
    of_boxes = ((1 - ciou(boxes, wanted)) * score).sum()
    return (of_class + 2.5 * of_boxes) / score.sum().clamp(min=1.0)


@torch.no_grad()
def detections(boxes, logits, confidence=0.01, overlap=0.6, candidates=300, most=100):
    """Per picture: corners, scores, classes, best first."""
    found = []
    for b, l in zip(boxes, logits):
        best, at = l.sigmoid().flatten().topk(candidates)
        at, best = at[best > confidence], best[best > confidence]
        point, cls = at // l.shape[1], at % l.shape[1]
        keep = batched_nms(b[point], best, cls, overlap)[:most]
        found.append((b[point][keep], best[keep], cls[keep]))
    return found
