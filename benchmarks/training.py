"""Examples per second of `mnist-cnn`'s training against the same nets written plainly in Keras.

    python benchmarks/training.py [net …]       nets: b1, best (default: both)

Plain means: float32, `model.compile` (XLA off, which is the faster way on a CPU) and `model.fit` on arrays, without op determinism. Ours is what
profile `book` runs: one compiled function per pass, bfloat16 where the CPU has it, deterministic; without augmentation and weight average, which
the plain net has not either. Both run in processes of their own, in turns; the medians are compared. Random pictures: only time counts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from dlbooks import runtime

ROUNDS, STEPS = 3, 60
BATCH = {"b1": 50, "best": 128}


def plain(net: str):
    """The nets as a reader of the Keras guide would write them."""
    import keras

    layers = keras.layers
    if net == "b1":
        body = []
        for maps in (32, 64):
            body += [layers.Conv2D(maps, 5, padding="same", activation="relu"), layers.MaxPooling2D()]
        body += [layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dropout(0.5)]
    else:
        body = []
        for maps, kernel, pool in [(32, 5, True), (48, 3, False), (48, 3, True), (96, 3, False), (96, 3, False)]:
            body += [layers.Conv2D(maps, kernel, padding="same", use_bias=False)]
            body += [layers.MaxPooling2D()] if pool else []
            body += [layers.BatchNormalization(), layers.ReLU()]
        body += [layers.GlobalAveragePooling2D(), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((28, 28, 1)), *body, layers.Dense(10)])


def measure(kind: str, net: str) -> tuple[float, int]:
    import keras
    import numpy as np

    batch = BATCH[net]
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (STEPS * batch, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, STEPS * batch)
    if kind == "plain":
        model = plain(net)
        model.compile(keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
        x = (pictures / 255).astype("float32")

        def run(count):
            model.fit(x[:count], labels[:count], batch_size=batch, verbose=0)

        parameters = model.count_params()
    else:
        runtime.prepare("book", 0)
        from dlbooks.chapters.classification import mnist_cnn
        from dlbooks.nn.training import compiled_epoch, precision

        params = mnist_cnn.Params(net=net, steps=1000)
        with precision("book"):
            model = mnist_cnn.build(params)
        epoch = compiled_epoch(model, mnist_cnn.optimizer_of(params), mnist_cnn.loss)

        def run(count):
            epoch(pictures, labels, rng.permutation(count), batch)

        parameters = model.count_params()
    run(5 * batch)  # tracing
    start = time.perf_counter()
    run(len(pictures))
    return len(pictures) / (time.perf_counter() - start), parameters


def main(nets: list[str]) -> None:
    for net in nets:
        found = {"plain": [], "ours": []}
        for _ in range(ROUNDS):
            for kind, rates in found.items():
                words = [sys.executable, __file__, "--measure", kind, net]
                output = subprocess.run(words, env={**os.environ, **runtime.environment("book")}, capture_output=True, text=True, check=True).stdout
                rate, parameters = json.loads(output.splitlines()[-1])
                rates.append(rate)
        slow, fast = (statistics.median(found[kind]) for kind in ("plain", "ours"))
        print(
            f"{net:5} {parameters:,} parameters, batch {BATCH[net]}: plain {slow:,.0f}, ours {fast:,.0f} examples/s, ratio {fast / slow:.2f}",
            flush=True,
        )
    print(runtime.hardware())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main(sys.argv[1:] or list(BATCH))
