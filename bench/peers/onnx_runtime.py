"""The compared networks in ONNX Runtime, timed: predictions.

The PyTorch network (random weights), with its softmax, is exported once to a temporary file;
ONNX Runtime folds and fuses at its highest level. From scaled floats to probabilities as a
NumPy array; denormals are flushed, as we do. Prints one JSON line.
"""

import multiprocessing
import os
import tempfile

import numpy as np
import onnxruntime

import measure


def export(model, image_size, classes, batch_size, path):
    import torch

    import networks

    torch.manual_seed(0)
    network = torch.nn.Sequential(networks.network(model, image_size, classes), torch.nn.Softmax(1)).eval()
    example = torch.zeros(batch_size, 3, image_size, image_size)
    torch.onnx.export(network, (example,), path, input_names=["image"], dynamo=True, external_data=False, verbose=False)


def main():
    parser = measure.arguments(__doc__)
    parser.set_defaults(mode="predict")
    args = parser.parse_args()
    if args.mode == "train":
        parser.error("ONNX Runtime only predicts")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        # In a process of its own, so that PyTorch is no part of this one's memory.
        network = (args.model, args.image_size, args.classes, args.batch_size, path)
        exporter = multiprocessing.get_context("spawn").Process(target=export, args=network)
        exporter.start()
        exporter.join()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    pixels, _ = measure.images(args)
    floats = np.ascontiguousarray(measure.scaled(pixels).transpose(0, 3, 1, 2))

    def step(x):
        session.run(None, {"image": x})

    def batches():
        while True:
            for at in range(0, len(floats), args.batch_size):
                yield (floats[at : at + args.batch_size],)

    windows, seconds = measure.run(args, batches(), step)
    measure.report(args, windows, f"onnxruntime {onnxruntime.__version__}", floats, seconds)


if __name__ == "__main__":
    main()
