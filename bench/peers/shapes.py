"""The shapes of the compared networks, as crates/vision has them, for every peer's own builder.

Input: the side of the images. Output: one row per block. Invariant: images up to SMALL pixels
a side are not made smaller by the stem, nor by MobileNetV2's first strided block.
"""

SMALL = 64
# Expansion, channels, repetitions, stride of the first: table 2 of the MobileNetV2 paper.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def resnet18_blocks():
    """(channels in, channels out, stride) of the basic blocks."""
    channels = 64
    for stage, filters in enumerate([64, 128, 256, 512]):
        for block in range(2):
            yield channels, filters, 2 if stage > 0 and block == 0 else 1
            channels = filters


def mobilenet_v2_blocks(image_size):
    """(channels in, channels between, channels out, stride) of the inverted residuals."""
    channels = 32
    for stage, (expansion, filters, repetitions, first) in enumerate(STAGES):
        for i in range(repetitions):
            small = stage == 1 and image_size <= SMALL
            yield channels, channels * expansion, filters, 1 if i > 0 or small else first
            channels = filters
