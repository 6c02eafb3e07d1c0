"""From process start to the first prediction of a saved seed CNN, as a user of the framework writes it.

    python first_prediction.py onnxruntime|pytorch MODEL IMAGE

Input: a file that cold_start.py saved, an image file. Output: the class and its probability.
Invariant: nothing is imported that the framework does not need.
"""

import sys

import numpy as np
from PIL import Image


def pixels(path):
    """float32 [1, 3, h, w]."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255


def in_onnxruntime(model, image):
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": pixels(image)})[0][0]


def in_pytorch(model, image):
    import torch

    import networks

    network = networks.network("seed", 32, 10)
    network.load_state_dict(torch.load(model))
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(pixels(image))).softmax(1)[0].numpy()


if __name__ == "__main__":
    framework, model, image = sys.argv[1:]
    probabilities = {"onnxruntime": in_onnxruntime, "pytorch": in_pytorch}[framework](model, image)
    print(probabilities.argmax(), probabilities.max())
