"""Examples per second of three chapters' training against the same nets in PyTorch, eager, as its guide writes them.

    python benchmarks/throughput.py [--torch /path/to/python] [case …]       cases: book, fast, char-rnn (default: all)

`book` and `fast` are the nets of `cifar10-cnn` (B1's at batch 128; the default of profile `book` at batch 256), `char-rnn` the two LSTM layers of
`char-rnn-shakespeare` (its examples are characters). Ours is what profile `book` runs: one compiled function per stretch of steps, deterministic,
bfloat16 where the CPU has it. PyTorch runs twice: in float32, its default, and tuned by hand, under bfloat16 autocast with channels last. Neither side
augments or averages weights. Both get the same number of threads and run in processes of their own, in turns; medians are compared. Pictures
and text are random: only time counts.

PyTorch is no dependency of this project: name an interpreter that has it, for example one made by `python -m venv torchenv && torchenv/bin/pip install torch`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS, ROUNDS = 2, 3
BATCH = {"book": 128, "fast": 256}
STEPS = {"book": 24, "fast": 10}
RNN = {"units": 256, "embedding": 64, "dropout": 0.2, "rows": 64, "window": 64, "vocabulary": 66, "steps": 12}


# ── ours ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ours(case: str) -> tuple[float, int]:
    """Examples per second and number of parameters."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from dlbooks import runtime

    os.environ.update(runtime.environment("book"))
    runtime.load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    runtime.prepare("book", 0)
    return our_rnn() if case == "char-rnn" else our_convolutions(case)


def our_convolutions(net: str) -> tuple[float, int]:
    import numpy as np
    import tensorflow as tf

    from dlbooks.chapters.classification import cifar10_cnn as chapter
    from dlbooks.nn.classification import smoothed_cross_entropy
    from dlbooks.nn.training import compiled_epoch, precision

    batch, count = BATCH[net], BATCH[net] * STEPS[net]
    params = chapter.Params(net=net, batch_size=batch, epochs=10, learning_rate=0.01)
    rng, side = np.random.default_rng(0), chapter.side_of(params)
    x, y = tf.constant(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)), tf.constant(rng.integers(0, 10, count))
    with precision("book"):
        model = chapter.build(params)
    epoch = compiled_epoch(model, chapter.optimizer_of(params, count), smoothed_cross_entropy(0.0))
    epoch(x, y, np.arange(2 * batch), batch)  # tracing
    start = time.perf_counter()
    epoch(x, y, rng.permutation(count), batch)
    return count / (time.perf_counter() - start), model.count_params()


def our_rnn() -> tuple[float, int]:
    import numpy as np

    from dlbooks.nn import language_model as lm
    from dlbooks.nn.training import Adam, precision

    class Stopwatch:
        """Stands for a run: the first stretch of steps traces, the second is timed."""

        def epochs(self, total, label, **state):
            yield 0
            self.start = time.perf_counter()
            yield 1

        def log(self, step, **values):
            self.seconds = time.perf_counter() - getattr(self, "start", 0.0)

    ids, run = (
        np.random.default_rng(0).integers(0, RNN["vocabulary"], RNN["rows"] * RNN["window"] * RNN["steps"] * 2 + 1).astype(np.int32),
        Stopwatch(),
    )
    with precision("book"):
        model = lm.RecurrentLM(RNN["vocabulary"], RNN["units"], 2, RNN["embedding"], RNN["dropout"])
    rhythm = {"rows": RNN["rows"], "window": RNN["window"], "steps": 2 * RNN["steps"], "log_every": RNN["steps"]}
    lm.train_on_streams(run, model, Adam(1e-3, global_clipnorm=5.0), ids, ids[:100], **rhythm, pieces=4)
    return RNN["rows"] * RNN["window"] * RNN["steps"] / run.seconds, model.count_params()


# ── PyTorch's ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def theirs(case: str, number: str) -> tuple[float, int]:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    low = torch.autocast("cpu", torch.bfloat16, enabled=number == "bfloat16")
    return their_rnn(torch, low) if case == "char-rnn" else their_convolutions(torch, low, case, number)


def their_convolutions(torch, low, net: str, number: str) -> tuple[float, int]:
    nn, batch = torch.nn, BATCH[net]
    if net == "book":
        norm = {"size": 9, "alpha": 0.001, "beta": 0.75, "k": 1.0}  # PyTorch divides alpha by the size
        first = [nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(**norm)]
        second = [nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), nn.LocalResponseNorm(**norm), nn.MaxPool2d(3, 2, 1)]
        dense = [nn.Linear(2304, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)]
        model, side = nn.Sequential(*first, *second, nn.Flatten(), *dense), 24
        decayed = [w.weight for w in dense[:4:2]]
        options = {}
    else:
        layers, before, side, decayed = [nn.Conv2d(3, 24, 2, bias=False), nn.SiLU()], 24, 32, []
        layers[0].weight.requires_grad = False
        for maps in (64, 128, 256):
            layers += [nn.Conv2d(before, maps, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(maps), nn.SiLU()]
            layers += [nn.Conv2d(maps, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.SiLU()]
            before = maps
        model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, 10, bias=False))
        options = {"momentum": 0.85, "nesterov": True, "weight_decay": 0.0013}
    if number == "bfloat16":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], 0.01, **options)
    x, y = torch.randint(0, 256, (batch * STEPS[net], 3, side, side), dtype=torch.uint8), torch.randint(0, 10, (batch * STEPS[net],))

    def run(steps: int):
        for k in range(steps):
            images = x[k * batch : (k + 1) * batch].float()
            if net == "book":
                deviation, mean = torch.std_mean(images, (1, 2, 3), correction=0, keepdim=True)
                images = (images - mean) / deviation.clamp_min((3 * side * side) ** -0.5)
            else:
                images = images / 64 - 2
            if number == "bfloat16":
                images = images.contiguous(memory_format=torch.channels_last)
            with low:
                logits = model(images)
            loss = torch.nn.functional.cross_entropy(logits.float(), y[k * batch : (k + 1) * batch])
            loss = loss + sum(0.002 * w.square().sum() for w in decayed)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    run(2)
    start = time.perf_counter()
    run(STEPS[net])
    return len(x) / (time.perf_counter() - start), sum(w.numel() for w in model.parameters())


def their_rnn(torch, low) -> tuple[float, int]:
    nn, size = torch.nn, (RNN["rows"], RNN["window"])

    class Characters(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(RNN["vocabulary"], RNN["embedding"])
            self.lstm = nn.LSTM(RNN["embedding"], RNN["units"], 2, batch_first=True, dropout=RNN["dropout"])
            self.drop, self.readout = nn.Dropout(RNN["dropout"]), nn.Linear(RNN["units"], RNN["vocabulary"])

        def forward(self, ids, states):
            h, states = self.lstm(self.embedding(ids), states)
            return self.readout(self.drop(h)), states

    model, states = Characters(), None
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    ids = torch.randint(0, RNN["vocabulary"], (RNN["steps"], 2, *size))

    def run(steps: int):
        nonlocal states
        for k in range(steps):
            with low:
                logits, states = model(ids[k, 0], states)
            states = tuple(s.detach() for s in states)
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[k, 1].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()

    run(2)
    start = time.perf_counter()
    run(RNN["steps"])
    return size[0] * size[1] * RNN["steps"] / (time.perf_counter() - start), sum(w.numel() for w in model.parameters())


# ── in turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def measured(interpreter: str, *words: str) -> tuple[float, int] | None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run([interpreter, __file__, "--measure", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=sys.executable, help="interpreter that has PyTorch (default: this one)")
    parser.add_argument("cases", nargs="*", help="book, fast, char-rnn (default: all)")
    words = parser.parse_args()
    cases = words.cases or [*BATCH, "char-rnn"]
    if unknown := set(cases) - {*BATCH, "char-rnn"}:
        parser.error(f"unknown case {', '.join(sorted(unknown))}: cases are book, fast, char-rnn")
    version = subprocess.run([words.torch, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    rivals = ["float32", "bfloat16"] if version.returncode == 0 else []
    if not rivals:
        print(f"{words.torch} has no PyTorch, so ours is measured alone. To compare:\n{__doc__.strip().splitlines()[-1].strip()}")
    for case in cases:
        rates, sizes = {kind: [] for kind in ("ours", *rivals)}, {}
        for _ in range(ROUNDS):
            for kind, found in rates.items():
                rate, sizes[kind] = measured(sys.executable, "ours", case) if kind == "ours" else measured(words.torch, kind, case)
                found.append(rate)
        medians = {kind: statistics.median(found) for kind, found in rates.items()}
        line = f"{case:8} {sizes['ours']:,} parameters: ours {medians['ours']:,.0f} examples/s"
        for kind in rivals:
            line += f", PyTorch {kind} {medians[kind]:,.0f}"
        if rivals:
            line += ", ratio " + " and ".join(f"{medians['ours'] / medians[kind]:.2f}" for kind in rivals)
            if sizes["ours"] - sizes["float32"] not in (0, *difference(case)):
                sys.exit(f"{case}: ours has {sizes['ours']:,} parameters, PyTorch's {sizes['float32']:,}: not the same net")
        print(line, flush=True)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from dlbooks import runtime

    print(f"{runtime.hardware()}, {THREADS} threads" + (f", PyTorch {version.stdout.strip()}" if rivals else ""))


def difference(case: str) -> tuple[int, ...]:
    """What the counts may differ by: Keras counts moving averages, PyTorch scales of batch norm and a second bias of each LSTM layer."""
    return {"book": (0,), "fast": (2 * (64 + 128 + 256),), "char-rnn": (-2 * 4 * RNN["units"],)}[case]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        kind, case = sys.argv[2:]
        print(json.dumps(ours(case) if kind == "ours" else theirs(case, kind)))
    else:
        main()
