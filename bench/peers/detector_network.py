"""The detectors of crates/vision in PyTorch: a CSP backbone, a PAN neck, a decoupled head at strides 8, 16 and 32.

Input: the name of a size, classes. Output: an nn.Module from scaled images [n, 3, h, w] to the parts of `Predictions`.
Invariants: layers, channels, order of joins, first weights and constants of the normalisation are ours (`parameters` is checked
against PARAMETERS). `keras_padding` says where a 3 x 3 window of stride 2 begins: at the first pixel, as ours does, or one
before it, as is PyTorch's habit and costs it less.

Written from CSPNet (Wang et al. 2020), PAN (Liu et al. 2018), SPP (He et al. 2014), YOLOX (Ge et al. 2021), the prior of
RetinaNet (Lin et al. 2017) and the distributions of GFL (Li et al. 2020).
"""

import math
from collections import namedtuple

import torch
from torch import nn

STRIDES = (8, 16, 32)
PRIOR = 0.01
# Strides that a box first reaches to each side.
REACH = 2.0
# Largest logarithm of a distance in strides.
MOST_LOG = 8.0
# Deviation of a standard normal distribution that is cut at two.
TRUNCATED_DEVIATION = 0.87962566103423978

Size = namedtuple("Size", "width depth head depthwise bins")
SIZES = {
    "detector_nano": Size(0.25, 0.33, 1, False, 0),
    "detector_nano_depthwise": Size(0.25, 0.33, 1, True, 0),
    "detector_tiny": Size(0.375, 0.33, 2, False, 0),
    "detector_small": Size(0.5, 0.33, 2, False, 16),
}
# Trainable parameters for 3 classes, as crates/vision/tests/detectors.rs prints them.
PARAMETERS = {
    "detector_nano": 2_018_597,
    "detector_nano_depthwise": 866_085,
    "detector_tiny": 5_031_213,
    "detector_small": 8_958_697,
}

# boxes [n, a, 4]: corners in pixels; points [a, 2] and strides [a] of the cells' centres; logits [n, a, c];
# distances [n, a, 4, bins], logits of their distributions, or none.
Predictions = namedtuple("Predictions", "boxes points strides logits distances")


def conv_norm(c_in, filters, kernel=1, stride=1, groups=1, keras_padding=True):
    """Convolution without bias, normalisation, activation."""
    early = stride == 1 or not keras_padding
    layers = [] if early else [nn.ZeroPad2d((0, kernel - stride, 0, kernel - stride))]
    conv = nn.Conv2d(c_in, filters, kernel, stride, kernel // 2 if early else 0, groups=groups, bias=False)
    # Keras counts a depthwise kernel's inputs over all channels.
    deviation = math.sqrt(2 / (kernel * kernel * c_in)) / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(conv.weight, 0.0, deviation, -2 * deviation, 2 * deviation)
    # Keras' momentum 0.97 is what is kept.
    return nn.Sequential(*layers, conv, nn.BatchNorm2d(filters, eps=1e-3, momentum=0.03), nn.SiLU(inplace=True))


class Blocks:
    """Makes the parts of a size."""

    def __init__(self, size, keras_padding):
        self.size, self.keras_padding = size, keras_padding

    def channels(self, channels):
        return max(8, 8 * math.floor(channels * self.size.width / 8 + 0.5))

    def repeats(self, blocks):
        return max(1, math.floor(blocks * self.size.depth + 0.5))

    def light(self, c_in, filters, stride=1):
        """A 3 x 3 convolution; depthwise, then across, where the size says so."""
        if not self.size.depthwise:
            return conv_norm(c_in, filters, 3, stride, keras_padding=self.keras_padding)
        each = conv_norm(c_in, c_in, 3, stride, groups=c_in, keras_padding=self.keras_padding)
        return nn.Sequential(each, conv_norm(c_in, filters))

    def csp(self, c_in, filters, blocks, residual):
        return Csp(self, c_in, filters, blocks, residual)


class Csp(nn.Module):
    """Half of the channels go through bottlenecks, half go past them."""

    def __init__(self, make, c_in, filters, blocks, residual):
        super().__init__()
        half = filters // 2
        self.past, self.into = conv_norm(c_in, half), conv_norm(c_in, half)
        self.blocks = nn.ModuleList(nn.Sequential(conv_norm(half, half), make.light(half, half)) for _ in range(blocks))
        self.residual, self.out = residual, conv_norm(2 * half, filters)

    def forward(self, x):
        past, y = self.past(x), self.into(x)
        for block in self.blocks:
            y = y + block(y) if self.residual else block(y)
        return self.out(torch.cat([y, past], 1))


class Pyramid(nn.Module):
    """Maxima of 5 x 5, 9 x 9 and 13 x 13 side by side."""

    def __init__(self, filters):
        super().__init__()
        self.into, self.pool, self.out = conv_norm(filters, filters // 2), nn.MaxPool2d(5, 1, 2), conv_norm(2 * filters, filters)

    def forward(self, x):
        parts = [self.into(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.out(torch.cat(parts, 1))


class Backbone(nn.Module):
    """Maps at strides 8, 16 and 32."""

    def __init__(self, make):
        super().__init__()
        c = make.channels(64)
        self.stem, self.stages = conv_norm(3, c, 3, 2, keras_padding=make.keras_padding), nn.ModuleList()
        for channels, blocks in [(128, 3), (256, 9), (512, 9), (1024, 3)]:
            filters, last = make.channels(channels), channels == 1024
            pyramid = [Pyramid(filters)] if last else []
            csp = make.csp(filters, filters, make.repeats(blocks), not last)
            self.stages.append(nn.Sequential(make.light(c, filters, 2), *pyramid, csp))
            c = filters

    def forward(self, x):
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[2:]


class Neck(nn.Module):
    """Down from coarse maps to fine ones and back up."""

    def __init__(self, make):
        super().__init__()
        c3, c4, c5 = map(make.channels, (256, 512, 1024))
        blocks = make.repeats(3)
        self.lateral5, self.top4 = conv_norm(c5, c4), make.csp(2 * c4, c4, blocks, False)
        self.lateral4, self.out3 = conv_norm(c4, c3), make.csp(2 * c3, c3, blocks, False)
        self.down3, self.out4 = make.light(c3, c3, 2), make.csp(2 * c3, c4, blocks, False)
        self.down4, self.out5 = make.light(c4, c4, 2), make.csp(2 * c4, c5, blocks, False)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, fine, middle, coarse):
        lateral5 = self.lateral5(coarse)
        lateral4 = self.lateral4(self.top4(torch.cat([self.up(lateral5), middle], 1)))
        out3 = self.out3(torch.cat([self.up(lateral4), fine], 1))
        out4 = self.out4(torch.cat([self.down3(out3), lateral4], 1))
        return out3, out4, self.out5(torch.cat([self.down4(out4), lateral5], 1))


class Head(nn.Module):
    """Class logits and what gives the distances, of one level."""

    def __init__(self, make, c_in, classes):
        super().__init__()
        c, bins = make.channels(256), make.size.bins
        self.into = conv_norm(c_in, c)
        branch = lambda: [make.light(c, c) for _ in range(make.size.head)]
        prior = math.log(PRIOR / (1 - PRIOR))
        self.logits = nn.Sequential(*branch(), last(c, classes, prior))
        self.distances = nn.Sequential(*branch(), last(c, 4 * bins, 0.0) if bins else last(c, 4, math.log(REACH)))

    def forward(self, x):
        x = self.into(x)
        return self.logits(x), self.distances(x)


def last(c_in, filters, bias):
    layer = nn.Conv2d(c_in, filters, 1)
    nn.init.normal_(layer.weight, 0.0, 0.01)
    nn.init.constant_(layer.bias, bias)
    return layer


class Detector(nn.Module):
    """Scaled images to predictions."""

    def __init__(self, name, classes, keras_padding=True):
        super().__init__()
        make = Blocks(SIZES[name], keras_padding)
        self.bins = make.size.bins
        self.backbone, self.neck = Backbone(make), Neck(make)
        self.heads = nn.ModuleList(Head(make, make.channels(c), classes) for c in (256, 512, 1024))

    def forward(self, x):
        levels = [head(level) for head, level in zip(self.heads, self.neck(*self.backbone(x)))]
        flat = lambda maps: torch.cat([m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, m.shape[1]) for m in maps], 1)
        logits, raw = (flat(maps) for maps in zip(*levels))
        points, strides = grid([level[0].shape[2:] for level in levels], x.device)
        return decode(points, strides, logits, raw, self.bins)


def grid(shapes, device):
    """Centres of the cells [a, 2] as x, y in pixels, and their strides [a]."""
    points, strides = [], []
    for (h, w), stride in zip(shapes, STRIDES):
        y = (torch.arange(h, device=device) + 0.5) * stride
        x = (torch.arange(w, device=device) + 0.5) * stride
        points.append(torch.stack([x.repeat(h), y.repeat_interleave(w)], 1))
        strides.append(torch.full((h * w,), float(stride), device=device))
    return torch.cat(points), torch.cat(strides)


def decode(points, strides, logits, raw, bins):
    distances = raw.unflatten(2, (4, bins)) if bins else None
    if bins:
        reach = (distances.softmax(3) * torch.arange(bins, dtype=raw.dtype, device=raw.device)).sum(3)
    else:
        reach = raw.clamp(-MOST_LOG, MOST_LOG).exp()
    reach = reach * strides[:, None]
    boxes = torch.cat([points - reach[..., :2], points + reach[..., 2:]], 2)
    return Predictions(boxes, points, strides, logits, distances)


def detector(name, classes, keras_padding=True):
    """A new detector, in NCHW."""
    model = Detector(name, classes, keras_padding)
    # A class has a kernel and a bias in each head's last layer.
    per_class = sum(head.logits[-1].in_channels + 1 for head in model.heads)
    expected = PARAMETERS[name] + (classes - 3) * per_class
    found = sum(p.numel() for p in model.parameters())
    assert found == expected, f"{name} has {found} parameters where ours has {expected}"
    return model
