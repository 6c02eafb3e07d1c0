"""Golden run of a small residual network on 320 CIFAR-10 images of 16 x 16, from Keras and PyTorch.

Output: resnet.safetensors beside this file (naming: README.md). Needs the CIFAR-10 binary files.
Images are averaged over 2 x 2 pixels and rounded half up, so that they stay uint8.
"""

from models import TRAINING, cifar_images, layer, main


def conv(name, inbound, filters, size=3, stride=1):
    return layer(
        "Conv2D", name, inbound, filters=filters, kernel_size=[size, size], strides=[stride, stride],
        padding="same", use_bias=False,
    )


def norm(name, inbound):
    return layer("BatchNormalization", name, inbound)


def relu(name, inbound):
    return layer("Activation", name, inbound, activation="relu")


MODEL = [
    layer("InputLayer", "input_layer", [], shape=[16, 16, 3]),
    conv("stem_conv", "input_layer", 16),
    norm("stem_bn", "stem_conv"),
    relu("stem_relu", "stem_bn"),
    conv("a_conv1", "stem_relu", 16),
    norm("a_bn1", "a_conv1"),
    relu("a_relu1", "a_bn1"),
    conv("a_conv2", "a_relu1", 16),
    norm("a_bn2", "a_conv2"),
    layer("Add", "a_add", ["a_bn2", "stem_relu"]),
    relu("a_out", "a_add"),
    conv("b_conv1", "a_out", 32, stride=2),
    norm("b_bn1", "b_conv1"),
    relu("b_relu1", "b_bn1"),
    conv("b_conv2", "b_relu1", 32),
    norm("b_bn2", "b_conv2"),
    conv("b_shortcut", "a_out", 32, size=1, stride=2),
    norm("b_shortcut_bn", "b_shortcut"),
    layer("Add", "b_add", ["b_bn2", "b_shortcut_bn"]),
    relu("b_out", "b_add"),
    layer("GlobalAveragePooling2D", "pool", "b_out"),
    layer("Dense", "dense", "pool", units=10, activation="softmax"),
]

if __name__ == "__main__":
    images, labels = cifar_images()
    quads = images.astype("uint16").reshape(-1, 16, 2, 16, 2, 3).sum((2, 4))
    small = ((quads + 2) // 4).astype("uint8")
    main(__file__, "resnet.safetensors", MODEL, {"images": small, "labels": labels}, 11, TRAINING)
