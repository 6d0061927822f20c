"""Whether what a served model is asked still looks like what it learned from.

The reference is ``data.json`` beside the model: mean and standard deviation of every value of the training examples, and how often each class
occurred. Of the last ``WINDOW`` inputs the same is kept, of what the net saw where the chapter's answer shows it (``seen``), else of the input.

**Distances.** For pictures and numbers $(m - \\mu) / \\sigma$, in standard deviations of the training values. For sound the loudness in octaves,
$\\log_2(r / \\rho)$ of the root mean squares. For the classes that were answered the population stability index

$$\\mathrm{PSI} = \\sum_k (q_k - p_k) \\ln\\frac{q_k}{p_k}$$

of their shares $q$ against those in training $p$. Without drift $n \\cdot \\mathrm{PSI}$ of $n$ answers follows a chi-squared distribution with $K - 1$ degrees of
freedom, so a few answers can have a large index by chance: only what exceeds its 99.9 % quantile is called drift.
"""

from __future__ import annotations

import io
import json
import math
import threading
import wave
from collections import Counter, deque
from pathlib import Path

import numpy as np

WINDOW = 1000  # inputs that count
LEAST = 20  # inputs before anything is said
SOME, MUCH = 0.5, 1.0  # distances from which the words change
PSI_SOME, PSI_MUCH = 0.1, 0.25  # the usual limits of the population stability index
WORDS = {
    "picture": ("pictures", "brighter", "darker"),
    "gray picture": ("pictures", "brighter", "darker"),
    "sound": ("recordings", "louder", "quieter"),
    "numbers": ("numbers", "larger", "smaller"),
}


def reference(file: Path, takes: str) -> dict:
    """``mean`` and ``std`` of the training values and ``classes`` (name → count) in a run's ``data.json``, as far as it has them.

    Pictures are scaled to 0 … 1, sound to -1 … 1. Where several features fit, none is taken: nobody knows which one an input stands for.
    """
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    names = {"picture": ("image",), "gray picture": ("image",), "sound": ("audio",), "numbers": ("values",)}.get(takes, ())
    scale = {"sound": 32768, "numbers": 1}.get(takes, 255)
    found = [f for entry in stored.values() for n, f in entry.get("features", {}).items() if n in names and "std" in f]
    classes = [c for entry in stored.values() if (c := entry.get("splits", {}).get("train", {}).get("classes"))]
    result: dict = {}
    if len(found) == 1:
        result |= {"mean": found[0]["mean"] / scale, "std": found[0]["std"] / scale}
    if len(classes) == 1:
        result["classes"] = classes[0]
    return result


def moments(value, takes: str) -> tuple[float, float] | None:
    """Mean and mean square of one input, scaled as ``reference`` is; for a text its number of characters."""
    if takes == "text":
        return float(len(value)), float(len(value)) ** 2
    if takes == "sound":
        try:
            with wave.open(io.BytesIO(value)) as sound:
                width, data = sound.getsampwidth(), sound.readframes(sound.getnframes())
        except (wave.Error, EOFError):
            return None
        if width not in (1, 2, 4) or len(data) < width:
            return None
        data = data[: len(data) // width * width]
        samples = (np.frombuffer(data, np.uint8) - 128.0) / 128 if width == 1 else np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)
    else:
        samples = np.asarray(value, np.float32).reshape(-1) / (255 if value.dtype == np.uint8 else 1)
    return float(samples.mean()), float(np.square(samples, dtype=np.float64).mean())


class Watch:
    """What a chapter was asked lately; may be filled and read by different threads."""

    def __init__(self, takes: str):
        self.takes, self.lock = takes, threading.Lock()
        self.moments: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.classes: deque[str] = deque(maxlen=WINDOW)

    def add(self, inputs: list, answers: list[dict]) -> None:
        """Takes inputs as ``answer`` got them, with its answers."""
        for value, answer in zip(inputs, answers, strict=True):
            seen = answer.get("seen") if "picture" in self.takes else None
            found, best = moments(value if seen is None else seen, self.takes), answer.get("classes")
            with self.lock:
                if found:
                    self.moments.append(found)
                if best and "class" in best[0]:
                    self.classes.append(best[0]["class"])

    def report(self, known: dict) -> dict:
        """``{"inputs": n, "statistics": {name: {"value", "training", "distance", "drift"}}, "words": [sentence, …]}`` against a ``reference``."""
        with self.lock:
            pairs, classes = np.array(self.moments).reshape(-1, 2), Counter(self.classes)
        result: dict = {"inputs": len(pairs), "window": WINDOW, "statistics": {}, "words": []}
        if len(pairs) < LEAST:
            result["words"] = [f"{len(pairs)} input{'' if len(pairs) == 1 else 's'} so far, at least {LEAST} are needed"]
            return result
        mean = float(pairs[:, 0].mean())
        std = math.sqrt(max(0.0, float(pairs[:, 1].mean()) - mean**2))
        if self.takes == "text":
            result["statistics"]["length"] = {"value": mean, "training": None, "distance": None, "drift": False}
            result["words"].append(f"texts have {mean:.0f} characters on average; training texts are no prompts, so they are not compared")
        elif "std" not in known:
            result["statistics"]["mean"] = {"value": mean, "training": None, "distance": None, "drift": False}
            result["words"].append("nothing beside the model describes the training inputs: not compared")
        elif self.takes == "sound":
            rms, usual = math.hypot(mean, std), math.hypot(known["mean"], known["std"])
            self._say(result, "loudness", rms, usual, math.log2(max(rms, 1e-6) / max(usual, 1e-6)), f"RMS {rms:.3f} against {usual:.3f}")
        else:
            distance = (mean - known["mean"]) / max(known["std"], 1e-9)
            self._say(result, "mean", mean, known["mean"], distance, f"mean {mean:.2f} against {known['mean']:.2f} ± {known['std']:.2f}")
            spread = math.log2(max(std, 1e-6) / max(known["std"], 1e-6))
            result["statistics"]["spread"] = {"value": std, "training": known["std"], "distance": spread, "drift": abs(spread) >= MUCH}
            if abs(spread) >= MUCH:
                way = "more" if spread > 0 else "less"
                result["words"].append(f"inputs vary much {way} than the training values: standard deviation {std:.2f} against {known['std']:.2f}")
        if "classes" in known and sum(classes.values()) >= LEAST:
            self._classes(result, known["classes"], classes)
        return result

    def _say(self, result: dict, name: str, value: float, usual: float, distance: float, numbers: str) -> None:
        things, more, less = WORDS[self.takes]
        far = abs(distance)
        result["statistics"][name] = {"value": value, "training": usual, "distance": distance, "drift": far >= MUCH}
        if far < SOME:
            result["words"].append(f"inputs look like the training {things}: {numbers}")
        else:
            result["words"].append(
                f"inputs are {'much' if far >= MUCH else 'somewhat'} {more if distance > 0 else less} than the training {things}: {numbers}"
            )

    def _classes(self, result: dict, trained: dict[str, int], answered: Counter) -> None:
        index, count = psi(trained, answered), sum(answered.values())
        certain = count * index > chance(len(trained) - 1)
        result["statistics"]["answers"] = {"value": index, "training": 0.0, "distance": index, "drift": certain and index >= PSI_MUCH}
        if certain and index >= PSI_SOME:
            total = sum(trained.values())
            name = max(trained, key=lambda k: abs(answered[k] / count - trained[k] / total))
            how = "very" if index >= PSI_MUCH else "somewhat"
            shares = f"{name} {answered[name] / count:.0%} against {trained[name] / total:.0%}"
            result["words"].append(f"answers are spread {how} differently than the training classes: {shares} (PSI {index:.2f})")
        else:
            result["words"].append(f"answers are spread like the training classes (PSI {index:.2f}, no more than chance gives)")


def psi(expected: dict[str, int], found: Counter) -> float:
    """Population stability index of counts ``found`` against ``expected``, half a count added to every class."""
    n, m, k = sum(found[name] for name in expected), sum(expected.values()), len(expected)
    p = np.array([(expected[name] + 0.5) / (m + 0.5 * k) for name in expected])
    q = np.array([(found[name] + 0.5) / (n + 0.5 * k) for name in expected])
    return float(((q - p) * np.log(q / p)).sum())


def chance(degrees: int) -> float:
    """The 99.9 % quantile of the chi-squared distribution (Wilson and Hilferty's approximation)."""
    k = max(1, degrees)
    return k * (1 - 2 / (9 * k) + 3.09 * math.sqrt(2 / (9 * k))) ** 3
