"""The compared networks in PyTorch, as crates/vision has them; outputs are logits.

Input: a name, the side of the images, the number of classes. Output: an nn.Module in NCHW.
Invariant: same layers, channels and strides as ours; padding is symmetric where ours is
Keras' `same`, which costs the same.
"""

from torch import nn

import shapes


def network(name, image_size, classes):
    model = {"seed": seed, "resnet18": resnet18, "mobilenet_v2": mobilenet_v2}[name](image_size, classes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight)
    return model


def seed(image_size, classes):
    side = ((image_size - 2) // 2 - 2) // 2
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * side * side, 64), nn.ReLU(), nn.Linear(64, classes),
    )


def conv_norm(c_in, c_out, size, stride=1, groups=1, activation=None):
    layers = [
        nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class Sum(nn.Module):
    """body(x) + shortcut(x), activated or not."""

    def __init__(self, body, shortcut, activation):
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x):
        return self.activation(self.body(x) + self.shortcut(x))


def resnet18(image_size, classes):
    if image_size <= shapes.SMALL:
        layers = [conv_norm(3, 64, 3, activation=nn.ReLU)]
    else:
        layers = [conv_norm(3, 64, 7, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    for channels, filters, stride in shapes.resnet18_blocks():
        body = nn.Sequential(
            conv_norm(channels, filters, 3, stride, activation=nn.ReLU), conv_norm(filters, filters, 3),
        )
        shortcut = conv_norm(channels, filters, 1, stride) if stride > 1 else nn.Identity()
        layers.append(Sum(body, shortcut, nn.ReLU(inplace=True)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(filters, classes))


def mobilenet_v2(image_size, classes):
    layers = [conv_norm(3, 32, 3, 1 if image_size <= shapes.SMALL else 2, activation=nn.ReLU6)]
    for channels, wide, filters, stride in shapes.mobilenet_v2_blocks(image_size):
        body = nn.Sequential(
            *([conv_norm(channels, wide, 1, activation=nn.ReLU6)] if wide > channels else []),
            conv_norm(wide, wide, 3, stride, groups=wide, activation=nn.ReLU6),
            conv_norm(wide, filters, 1),
        )
        residual = stride == 1 and channels == filters
        layers.append(Sum(body, nn.Identity(), nn.Identity()) if residual else body)
    return nn.Sequential(
        *layers, conv_norm(filters, 1280, 1, activation=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, classes),
    )
