"""Pictures of CartPole, drawn from the game's four numbers, and the reader of a person's states."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dlbooks import UserError, figures
from dlbooks.nn.rl import Games

NAMES = ("position", "velocity", "angle", "angular velocity")


# gymnasium draws with a game library; four numbers are a picture of a cart without it.
def draw(observation: np.ndarray, caption: str = "", size: tuple[int, int] = (320, 180)) -> np.ndarray:
    """A cart on its track, uint8 ``[height, width, 3]``; the marks are the limits at ±2.4, the pole turns orange at its limit of 12°."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 3  # drawn large and made smaller: smooth edges
    width, height = (side * scale for side in size)
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    unit, ground = width / 6.0, height * 0.8
    x, angle = width / 2 + float(observation[0]) * unit, float(observation[2])
    pen.line((0, ground, width, ground), fill=figures.INK, width=scale)
    for mark in (-2.4, 2.4):
        at = width / 2 + mark * unit
        pen.line((at, ground, at, ground + 8 * scale), fill=figures.COLORS[5], width=2 * scale)
    half, tall = 22 * scale, 20 * scale
    pen.rectangle((x - half, ground - tall, x + half, ground), fill=figures.INK)
    foot, length = ground - tall, 1.0 * unit * 1.6
    tip = (x + length * math.sin(angle), foot - length * math.cos(angle))
    fallen = abs(angle) > math.radians(12)
    pen.line((x, foot, *tip), fill=figures.COLORS[1] if fallen else figures.COLORS[0], width=7 * scale)
    pen.ellipse((x - 4 * scale, foot - 4 * scale, x + 4 * scale, foot + 4 * scale), fill=figures.PALE)
    if caption:
        pen.text((8 * scale, 6 * scale), caption, fill=figures.INK, font=ImageFont.load_default(13 * scale))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def clip(games: Games, game: int) -> np.ndarray:
    return games.observations[: games.lengths[game] + 1, game]


def side_by_side(clips: list[np.ndarray], names: list[str], every: int = 2) -> list[np.ndarray]:
    """Frames of several games beside each other; a game that is over stands still. Every second step, so 25 a second are real time."""
    frames = []
    for step in range(0, max(map(len, clips)), every):
        at = [min(step, len(c) - 1) for c in clips]
        frames.append(np.concatenate([draw(c[i], f"{name}   step {i}") for c, i, name in zip(clips, at, names, strict=True)], 1))
    return frames


def returns_figure(curves, name: str, seed: int, limit: int, random: float):
    figure, axes = figures.new(7.0, 4.0)
    for agent, curve in enumerate(curves):
        color = figures.COLORS[agent % len(figures.COLORS)]
        axes.plot(np.arange(1, len(curve) + 1), curve, ".", color=color, markersize=2, alpha=0.35)
        span = min(20, len(curve))
        label = f"seed {seed + agent}" if len(curves) <= 8 else None
        axes.plot(np.arange(span, len(curve) + 1), np.convolve(curve, np.ones(span) / span, "valid"), color=color, linewidth=1.6, label=label)
    axes.axhline(random, color=figures.INK, linestyle=":", linewidth=1.2, label="random pushes")
    axes.set(xlabel="training game", ylabel="steps", title=f"{name}: single games and means of twenty", ylim=(0, limit * 1.04))
    axes.legend(frameon=True, framealpha=0.9, edgecolor="none", loc="center right")
    return figure


def policy_figure(probability):
    """``probability(states [..., 4])`` of a push to the right, the cart at rest in the middle."""
    angles, speeds = np.linspace(-12, 12, 97), np.linspace(-2, 2, 81)
    grid = np.zeros((len(speeds), len(angles), 4))
    grid[..., 2], grid[..., 3] = np.radians(angles), speeds[:, None]
    figure, axes = figures.new(5.6, 4.2)
    shown = axes.pcolormesh(angles, speeds, probability(grid), cmap="RdBu_r", vmin=0, vmax=1, shading="nearest", rasterized=True)
    axes.plot(angles, -4 * np.radians(angles), "--", color=figures.INK, linewidth=1.4, label="rule: θ + ¼·θ̇ = 0")
    axes.set(xlabel="angle in degrees (right is positive)", ylabel="angular velocity in rad/s", title="Probability of a push to the right")
    axes.set(xlim=(-12, 12), ylim=(-2, 2))
    axes.legend(framealpha=0.9, edgecolor="none", loc="upper right")
    figure.colorbar(shown, ax=axes)
    return figure


def read_states(path: Path) -> np.ndarray:
    """States ``[n, 4]`` from a CSV; a first line of words is a header."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error.strerror if isinstance(error, OSError) else 'not UTF-8'})") from None
    rows = []
    for number, line in enumerate(lines, 1):
        cells = [c.strip() for c in line.split(",")]
        if not line.strip() or (number == 1 and not any(c[:1].isdigit() or c[:1] in "+-." for c in cells)):
            continue
        if len(cells) != 4:
            raise UserError(f"{path}, line {number}: {len(cells)} columns, must be 4: {', '.join(NAMES)}")
        try:
            values = [float(c) for c in cells]
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {str(error).split(':')[-1].strip()} is not a number") from None
        if not all(map(math.isfinite, values)):
            raise UserError(f"{path}, line {number}: {line.strip()} holds a value that is not finite")
        rows.append(values)
    if not rows:
        raise UserError(f"{path}: no states in it")
    return np.array(rows)
