"""Golden run of the seed CNN on 320 CIFAR-10 images, from Keras, checked against PyTorch.

Output: seed.safetensors beside this file (naming: README.md). Needs the CIFAR-10 binary files.
"""

from models import TRAINING, cifar_images, layer, main

MODEL = [
    layer("InputLayer", "input_layer", [], shape=[32, 32, 3]),
    layer("Conv2D", "conv2d", "input_layer", filters=32, kernel_size=[3, 3], activation="relu"),
    layer("MaxPooling2D", "max_pooling2d", "conv2d", pool_size=[2, 2]),
    layer("Conv2D", "conv2d_1", "max_pooling2d", filters=64, kernel_size=[3, 3], activation="relu"),
    layer("MaxPooling2D", "max_pooling2d_1", "conv2d_1", pool_size=[2, 2]),
    layer("Flatten", "flatten", "max_pooling2d_1"),
    layer("Dense", "dense", "flatten", units=64, activation="relu"),
    layer("Dense", "dense_1", "dense", units=10, activation="softmax"),
]

if __name__ == "__main__":
    images, labels = cifar_images()
    main(__file__, "seed.safetensors", MODEL, {"images": images, "labels": labels}, 7, TRAINING)
