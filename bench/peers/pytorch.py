"""The compared networks in PyTorch, timed: training steps or predictions.

Training: Adam(lr 1e-3, eps 1e-7), cross-entropy, a fresh shuffle per epoch; images stay uint8
in memory and are gathered, converted and scaled per batch, as a careful user does. Predicting:
from scaled floats to probabilities as a NumPy array. Prints one JSON line.
"""

import torch
import torch.nn.functional as F

import measure
import networks


def arguments():
    parser = measure.arguments(__doc__)
    parser.add_argument("--channels-last", action="store_true", help="NHWC in memory")
    parser.add_argument("--fused", action="store_true", help="the fused Adam (not PyTorch's default)")
    parser.add_argument("--compile", action="store_true", help="torch.compile in its default mode")
    parser.add_argument("--freeze", action="store_true", help="compile with weights as constants (predicting)")
    return parser.parse_args()


def training(args, model, images, labels):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=args.fused or None)

    def loss_of(x, y):
        return F.cross_entropy(model(x), y)

    loss_of = torch.compile(loss_of) if args.compile else loss_of

    def step(pick):
        x, y = images[pick].float().mul_(1 / 255), labels[pick]
        optimizer.zero_grad(set_to_none=True)
        loss_of(x, y).backward()
        optimizer.step()

    def batches():
        while True:
            for pick in torch.randperm(len(labels)).split(args.batch_size):
                yield (pick,)

    return batches(), step


def predicting(args, model, images):
    model.eval()
    floats = images.float().mul_(1 / 255)

    def probabilities(x):
        return F.softmax(model(x), dim=1)

    probabilities = torch.compile(probabilities) if args.compile or args.freeze else probabilities

    def step(x):
        # Freezing is refused in inference mode.
        with torch.no_grad() if args.freeze else torch.inference_mode():
            probabilities(x).numpy()

    def batches():
        while True:
            for x in floats.split(args.batch_size):
                yield (x,)

    return batches(), step


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    if args.freeze:
        import torch._inductor.config as inductor

        inductor.freezing = True

    pixels, labels = measure.images(args)
    memory = torch.channels_last if args.channels_last else torch.contiguous_format
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(memory_format=memory)
    model = networks.network(args.model, args.image_size, args.classes).to(memory_format=memory)
    if args.mode == "train":
        batches, step = training(args, model, images, torch.from_numpy(labels).long())
    else:
        batches, step = predicting(args, model, images)
    windows, seconds = measure.run(args, batches, step)
    measure.report(args, windows, f"torch {torch.__version__}", images, seconds)


if __name__ == "__main__":
    main()
