"""Reads the CIFAR-10 binary files (data_batch_1..5.bin, test_batch.bin).

Input: the folder; output: uint8 images [n, 32, 32, 3] (NHWC) and int32 labels [n].
Invariant: pixels and order exactly as in the files.
"""

import os

import numpy as np

DEFAULT = os.path.expanduser("~/.cache/cifar-10-batches-bin")
TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]
TEST = ["test_batch.bin"]


def load(folder=DEFAULT, split="train"):
    parts = []
    for name in TRAIN if split == "train" else TEST:
        parts.append(np.fromfile(os.path.join(folder, name), np.uint8).reshape(-1, 3073))
    rows = np.concatenate(parts)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, 0].astype(np.int32)
