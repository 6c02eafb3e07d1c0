"""The seed CNN in PyTorch, timed: training steps or predictions on real CIFAR-10 images.

Adam(lr 1e-3, eps 1e-7), cross-entropy, images scaled by 1/255, a fresh shuffle per epoch.
Images stay uint8 in memory and are gathered, converted and scaled per batch, which is
what a careful user does; that costs less than 2% of a step. Prints one JSON line.
"""

import torch
import torch.nn.functional as F
from torch import nn

import cifar
import measure


def seed_model():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 6 * 6, 64), nn.ReLU(), nn.Linear(64, 10),
    )


def batches(images, labels, size, shuffle):
    """Endless (x, y) batches, all of the same size (the rest of an epoch is dropped)."""
    n = len(labels)
    while True:
        order = torch.randperm(n) if shuffle else torch.arange(n)
        for at in range(0, n - size + 1, size):
            pick = order[at : at + size]
            yield images[pick].float().mul_(1 / 255), labels[pick]


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--fused", action="store_true", help="the fused Adam (not the default of PyTorch)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_flush_denormal(True)

    pixels, labels = cifar.load(args.data, "train" if args.mode == "train" else "test")
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    labels = torch.from_numpy(labels).long()
    memory = torch.channels_last if args.channels_last else torch.contiguous_format
    images = images.contiguous(memory_format=memory)
    model = seed_model().to(memory_format=memory)

    if args.mode == "train":
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=args.fused or None)

        def loss_of(x, y):
            return F.cross_entropy(model(x), y)

        loss_of = torch.compile(loss_of) if args.compile else loss_of

        def step(x, y):
            optimizer.zero_grad(set_to_none=True)
            loss_of(x, y).backward()
            optimizer.step()
    else:
        model.eval()

        def probabilities(x):
            return F.softmax(model(x), dim=1)

        probabilities = torch.compile(probabilities) if args.compile else probabilities

        def step(x, _):
            with torch.inference_mode():
                probabilities(x)

    windows = measure.Windows(args.seconds)
    for x, y in batches(images, labels, args.batch_size, shuffle=args.mode == "train"):
        step(x, y)
        if windows.tick(args.batch_size):
            break
    measure.report("pytorch", args, windows, torch.__version__, fused_adam=args.fused)


if __name__ == "__main__":
    main()
