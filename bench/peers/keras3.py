"""The compared networks in Keras 3 on TensorFlow or JAX, timed: training steps or predictions.

Training: `fit` with Adam(lr 1e-3, eps 1e-7: Keras' defaults) on images scaled beforehand, as
Keras users write it; a callback takes the time. Predicting: from scaled floats to probabilities
as a NumPy array, through `predict_on_batch` or the backend's own compiled function of the model.
Prints one JSON line.
"""

import os

import measure
import shapes


def network(name, image_size, classes):
    return {"seed": seed, "resnet18": resnet18, "mobilenet_v2": mobilenet_v2}[name](image_size, classes)


def seed(image_size=32, classes=10):
    from keras import Sequential, layers

    return Sequential([
        layers.Input((image_size, image_size, 3)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(classes, activation="softmax"),
    ])


def conv_norm(x, filters, size, stride=1, activation=None, depthwise=False):
    from keras import layers

    options = {"strides": stride, "padding": "same", "use_bias": False}
    conv = layers.DepthwiseConv2D(size, **options) if depthwise else layers.Conv2D(filters, size, **options)
    x = layers.BatchNormalization(momentum=0.9)(conv(x))
    return layers.Activation(activation)(x) if activation else x


def resnet18(image_size, classes):
    from keras import Model, layers

    image = layers.Input((image_size, image_size, 3))
    if image_size <= shapes.SMALL:
        x = conv_norm(image, 64, 3, 1, "relu")
    else:
        x = layers.MaxPooling2D(3, 2, "same")(conv_norm(image, 64, 7, 2, "relu"))
    for _, filters, stride in shapes.resnet18_blocks():
        y = conv_norm(conv_norm(x, filters, 3, stride, "relu"), filters, 3)
        shortcut = conv_norm(x, filters, 1, stride) if stride > 1 else x
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return Model(image, layers.Dense(classes, activation="softmax")(x))


def mobilenet_v2(image_size, classes):
    from keras import Model, layers

    image = layers.Input((image_size, image_size, 3))
    x = conv_norm(image, 32, 3, 1 if image_size <= shapes.SMALL else 2, "relu6")
    for channels, wide, filters, stride in shapes.mobilenet_v2_blocks(image_size):
        y = conv_norm(x, wide, 1, 1, "relu6") if wide > channels else x
        y = conv_norm(conv_norm(y, None, 3, stride, "relu6", depthwise=True), filters, 1)
        x = layers.Add()([x, y]) if stride == 1 and channels == filters else y
    x = layers.GlobalAveragePooling2D()(conv_norm(x, 1280, 1, 1, "relu6"))
    return Model(image, layers.Dense(classes, activation="softmax")(layers.Dropout(0.2)(x)))


def arguments():
    parser = measure.arguments(__doc__)
    parser.add_argument("--backend", choices=["tensorflow", "jax"], default="tensorflow")
    parser.add_argument("--steps-per-execution", type=int, default=1, help="of training")
    parser.add_argument("--jit", action="store_true", help="jit_compile=True (default: Keras' own 'auto')")
    parser.add_argument("--function", action="store_true", help="predict with the backend's compiled function")
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = args.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return args


def hold(args):
    """Holds the backend to so many threads."""
    if not args.threads:
        return
    if args.backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    else:
        # XLA has a thread per core that the process may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])


class Over(Exception):
    """Thrown from the callback to end `fit`, which takes a StopIteration for the end of an epoch."""


def fit(args, model, x, labels):
    """The windows of an endless `fit`."""
    import keras

    windows = measure.Windows(args.seconds)

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if windows.tick(args.batch_size * args.steps_per_execution):
                raise Over

    try:
        model.fit(x, labels, batch_size=args.batch_size, epochs=10**6, verbose=0, callbacks=[Clock()])
    except Over:
        return windows


def predictor(args, model):
    """From an array to an array."""
    if not args.function:
        return model.predict_on_batch
    if args.backend == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(lambda x: model(x, training=False), jit_compile=args.jit)
        return lambda x: compiled(tf.constant(x)).numpy()
    import jax
    import numpy as np

    weights = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
    compiled = jax.jit(lambda weights, x: model.stateless_call(*weights, x, training=False)[0])
    return lambda x: np.asarray(compiled(weights, x))


def main():
    args = arguments()
    hold(args)
    import keras

    keras.utils.set_random_seed(0)
    pixels, labels = measure.images(args)
    x = measure.scaled(pixels)
    model = network(args.model, args.image_size, args.classes)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=True if args.jit else "auto",
        steps_per_execution=args.steps_per_execution,
    )
    if args.mode == "train":
        windows, seconds = fit(args, model, x, labels), None
    else:
        predict = predictor(args, model)

        def batches():
            while True:
                for at in range(0, len(x), args.batch_size):
                    yield (x[at : at + args.batch_size],)

        windows, seconds = measure.run(args, batches(), predict)
    backend = __import__(args.backend)
    measure.report(args, windows, f"keras {keras.__version__}, {args.backend} {backend.__version__}", x, seconds)


if __name__ == "__main__":
    main()
