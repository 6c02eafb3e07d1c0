"""The seed CNN in Keras 3 on TensorFlow, timed: `fit` or `predict` on real CIFAR-10 images.

Adam(lr 1e-3, eps 1e-7: Keras' defaults), images scaled by 1/255 beforehand, as Keras users
write it; a callback takes the time after every batch. Prints one JSON line.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import measure


def seed_model():
    from keras import Sequential, layers

    return Sequential([
        layers.Input((32, 32, 3)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])


class Over(Exception):
    """Thrown from the callback: `predict` has no other way to stop early."""


def main():
    parser = measure.arguments(__doc__)
    parser.add_argument("--no-jit", action="store_true", help="jit_compile=False (default: Keras' own 'auto')")
    parser.add_argument("--steps-per-execution", type=int, default=1)
    args = parser.parse_args()

    import keras
    import numpy as np
    import tensorflow as tf

    import cifar

    if args.threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    else:
        args.threads = len(os.sched_getaffinity(0))
    args.channels_last = True
    keras.utils.set_random_seed(0)

    pixels, labels = cifar.load(args.data, "train" if args.mode == "train" else "test")
    x = pixels.astype(np.float32) / 255
    whole = len(x) // args.batch_size * args.batch_size
    x, labels = x[:whole], labels[:whole]
    windows = measure.Windows(args.seconds)

    class Clock(keras.callbacks.Callback):
        def tick(self):
            if windows.tick(args.batch_size * args.steps_per_execution):
                raise Over

        def on_train_batch_end(self, batch, logs=None):
            self.tick()

        def on_predict_batch_end(self, batch, logs=None):
            self.tick()

    model = seed_model()
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=True if args.compile else False if args.no_jit else "auto",
        steps_per_execution=args.steps_per_execution,
    )
    try:
        if args.mode == "train":
            model.fit(x, labels, batch_size=args.batch_size, epochs=10**6, verbose=0, callbacks=[Clock()])
        else:
            while True:
                model.predict(x, batch_size=args.batch_size, verbose=0, callbacks=[Clock()])
    except Over:
        pass
    measure.report(
        "keras", args, windows, f"keras {keras.__version__}, tensorflow {tf.__version__}",
        jit_compile=bool(model.jit_compile), steps_per_execution=args.steps_per_execution,
    )


if __name__ == "__main__":
    main()
