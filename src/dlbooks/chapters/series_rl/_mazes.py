"""What the two maze chapters share: tables on disk, measures, pictures, export and the walk through a person's own maze."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from dlbooks import UserError, figures
from dlbooks.export import saved_model, savez
from dlbooks.inputs import checked_text
from dlbooks.nn.rl import (
    ACTIONS,
    FREE,
    REWARDS,
    TRAP,
    TREASURE,
    WALL,
    Learned,
    Maze,
    Walk,
    episodes_to_learn,
    greedy_walk,
    learn,
    tabular,
    value_iteration,
)
from dlbooks.params import ChapterParams

LAST = 50  # episodes at the end that tell what was learned


# ## Tables on disk
def mazes_of(params: ChapterParams) -> dict[str, Maze]:
    return {name: Maze(getattr(params, name), params.permanent_traps, name) for name in ("simple", "traps")}


def save(run, name: str, learned: Learned) -> None:
    savez(run.out / f"tables_{name}.npz", {k: getattr(learned, k) for k in ("q", "steps", "traps", "success")})


def load(run, name: str) -> Learned:
    with np.load(run.kept(f"tables_{name}.npz")) as stored:
        return Learned(*(stored[k] for k in ("q", "steps", "traps", "success")))


def log(run, name: str, learned: Learned) -> None:
    """Means over all tables, one point per episode."""
    for episode in range(learned.steps.shape[1]):
        success, steps = learned.success[:, episode].mean(), learned.steps[:, episode].mean()
        run.log(episode + 1, **{f"success_{name}": success, f"steps_{name}": steps})


def book_rng(p: ChapterParams, algorithm: str, maze: Maze, seed: int, suffix: str) -> dict[str, int]:
    """Treasures and steps of the published program, whose random numbers `learn` draws in the same order."""
    rng = np.random.RandomState(seed)
    replay = learn(algorithm, maze, rng, episodes=p.episodes, max_steps=p.max_steps, alpha=p.alpha, gamma=p.gamma, epsilon=p.epsilon)
    return {f"book_rng_successes_{suffix}": int(replay.success.sum()), f"book_rng_steps_{suffix}": int(replay.steps.sum())}


def environment(run, seeds: dict) -> dict:
    """What stands in for a data set: layouts, rules and seeds."""
    mazes = mazes_of(run.params)
    return {
        "id": "maze",
        "layouts": {name: maze.text.split("\n") for name, maze in mazes.items()},
        "states": {name: maze.states for name, maze in mazes.items()},
        "start": {name: maze.start for name, maze in mazes.items()},
        "actions": list(ACTIONS),
        "rewards": {"step": 0.0, "treasure": REWARDS[TREASURE], "trap": REWARDS[TRAP]},
        "permanent_traps": run.params.permanent_traps,
        "max_steps": run.params.max_steps,
        "seeds": seeds,
    }


# ## Measures
def has_traps(maze: Maze) -> bool:
    return bool((maze.kind == TRAP).any())


def good_episodes(maze: Maze, learned: Learned) -> np.ndarray:
    """Episodes that show what is to be learned: near the shortest way in a maze without traps, else none touched."""
    if has_traps(maze):
        return learned.success & (learned.traps == 0)
    return learned.success & (learned.steps <= maze.distance() + 2)


def measures(maze: Maze, learned: Learned, gamma: float, max_steps: int, suffix: str) -> dict[str, float]:
    episodes = learned.steps.shape[1]
    first = episodes_to_learn(good_episodes(maze, learned))
    learns = first < episodes
    walks = [greedy_walk(maze, q[: maze.states], max_steps) for q in learned.q]
    lengths = [w.length for w in walks if w.success]
    best = value_iteration(maze, gamma)
    errors = [np.abs(q[w.path[:-1]].max(-1) - best[w.path[:-1], q[w.path[:-1]].argmax(-1)]).max() for q, w in zip(learned.q, walks, strict=True)]
    values = {
        "success_last50": learned.success[:, -LAST:].mean(),
        "episodes_to_learn": np.median(first[learns]) if learns.any() else episodes,
        "learned_fraction": learns.mean(),
        "greedy_success": np.mean([w.success for w in walks]),
        "greedy_length": np.median(lengths) if lengths else max_steps,
        "greedy_traps_hit": np.mean([w.traps for w in walks]),
        "mean_reward_last50": learned.reward[:, -LAST:].mean(),
        "value_error": np.median(errors),
    }
    return {f"{name}_{suffix}": float(value) for name, value in values.items()}


def best_table(learned: Learned) -> int:
    """The table that earned most in the last episodes, the first among equals."""
    return int(learned.reward[:, -LAST:].mean(1).argmax())


# ## Pictures
def learning_figure(maze: Maze, learned: Learned, title: str):
    figure, (above, below) = figures.new(7.0, 5.0, 2, 1, sharex=True)
    at = np.arange(1, learned.steps.shape[1] + 1)
    for axes, values, color, name in ((above, learned.steps, figures.COLORS[0], "steps"), (below, learned.reward, figures.COLORS[2], "reward")):
        low, middle, high = np.percentile(values, [10, 50, 90], axis=0)
        axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0, label="10 to 90 % of tables")
        axes.plot(at, middle, color=color, linewidth=1.6, label="median")
        axes.set(ylabel=f"{name} per episode")
        axes.legend(framealpha=0.9, edgecolor="none", loc="upper right" if name == "steps" else "lower right")
    above.axhline(maze.distance(has_traps(maze)), color=figures.INK, linestyle=":", linewidth=1.2)
    above.set(title=f"{title}, {len(learned.q)} tables (dotted: shortest way without traps)")
    below.set(xlabel="episode")
    return figure


def value_figure(maze: Maze, q: np.ndarray, title: str):
    """Largest value of every cell with the greedy action as an arrow."""
    import matplotlib

    value = np.where((maze.kind == WALL) | (maze.kind == TREASURE), np.nan, q.max(-1)).reshape(maze.rows, maze.columns)
    figure, axes = figures.new(max(4.5, 0.75 * maze.columns), max(3.0, 0.72 * maze.rows + 0.6))
    axes.grid(False)
    colors = matplotlib.colormaps["YlGnBu"].with_extremes(bad="#3a4652")
    reach = max(float(np.nanmax(np.abs(value))), 1e-9)
    shown = axes.imshow(np.ma.masked_invalid(value), cmap=colors, vmin=min(0.0, float(np.nanmin(value))), vmax=reach)
    small = maze.states <= 200
    for cell in range(maze.states):
        row, column = divmod(cell, maze.columns)
        kind = maze.kind[cell]
        if kind == WALL:
            continue
        if kind == TREASURE:
            axes.text(column, row, "★", color="#ffd34d", ha="center", va="center", fontsize=20, fontfamily="DejaVu Sans")
            continue
        tone = "white" if value[row, column] > 0.6 * reach else figures.INK
        if q[cell].any():
            down, right = ((-1, 0), (1, 0), (0, -1), (0, 1))[int(q[cell].argmax())]
            arrow = {"arrowstyle": "-|>", "color": tone, "linewidth": 1.4, "mutation_scale": 11}
            high = 0.14 if small else 0.0
            ends = [(column + s * 0.24 * right, row - high + s * 0.2 * down) for s in (-1, 1)]
            axes.annotate("", ends[1], ends[0], arrowprops=arrow)
        if small:
            axes.text(column, row + 0.33, f"{value[row, column]:.3g}", color=tone, ha="center", va="center", fontsize=7.5)
            mark = "A" if cell == maze.start else "trap" if kind == TRAP else ""
            axes.text(column - 0.46, row - 0.34, mark, color=figures.COLORS[1] if kind == TRAP else tone, ha="left", fontsize=7.5, fontweight="bold")
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="largest value")
    return figure


def draw(maze: Maze, trail: list[int], caption: str, side: int = 36) -> np.ndarray:
    """The maze with the agent at the end of its trail, uint8 ``[height, width, 3]``."""
    from PIL import Image, ImageDraw, ImageFont

    side = min(side, max(8, 1200 // maze.columns))
    top, scale = 24, 2
    cell, width, height = side * scale, maze.columns * side * scale, (maze.rows * side + top) * scale
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)

    def box(at: int, share: float):
        row, column = divmod(at, maze.columns)
        x, y, r = (column + 0.5) * cell, top * scale + (row + 0.5) * cell, share * cell / 2
        return x - r, y - r, x + r, y + r

    for at in range(maze.states):
        kind = maze.kind[at]
        pen.rectangle(box(at, 0.96), fill="#3a4652" if kind == WALL else "#eef2f6")
        if kind == TREASURE:
            left, upper, right, lower = box(at, 0.62)
            middle = ((left + right) / 2, (upper + lower) / 2)
            pen.polygon([(left, middle[1]), (middle[0], upper), (right, middle[1]), (middle[0], lower)], fill="#e0a800")
        elif kind == TRAP:
            left, upper, right, lower = box(at, 0.5)
            used = at in trail[1:] and not maze.permanent
            for line in ((left, upper, right, lower), (left, lower, right, upper)):
                pen.line(line, fill=figures.PALE if used else figures.COLORS[1], width=4 * scale)
    for at in trail[:-1]:
        pen.ellipse(box(at, 0.2), fill="#8fb4d6")
    pen.ellipse(box(trail[-1], 0.62), fill=figures.COLORS[0])
    pen.text((8 * scale, 4 * scale), caption, fill=figures.INK, font=ImageFont.load_default(13 * scale))
    return np.asarray(picture.resize((width // scale, height // scale), Image.Resampling.BOX))


def walk_frames(maze: Maze, walk: Walk) -> list[np.ndarray]:
    frames = [draw(maze, walk.path[: n + 1], f"step {n}   reward {reward:.0f}") for n, reward in enumerate(walk.rewards)]
    return frames + [frames[-1]] * 4  # rest at the treasure before it starts again


# ## Export
def export(run, algorithm: str) -> None:
    """`q.npz` and a SavedModel: state → action and the row of the table, one function per layout."""
    mazes = mazes_of(run.params)
    tables = {name: (lambda t: t.q[best_table(t)][: mazes[name].states])(load(run, name)) for name in mazes}
    folder = run.out / "export"
    folder.mkdir(exist_ok=True)
    constants = {name: getattr(run.params, name) for name in ("alpha", "gamma", "epsilon", "max_steps")}
    text = json.dumps({"layouts": {n: m.text for n, m in mazes.items()}, "algorithm": algorithm, **constants})
    savez(folder / "q.npz", {**{f"q_{n}": t for n, t in tables.items()}, "about": np.array(text)})
    variables = {name: tf.Variable(table.astype(np.float32), trainable=False, name=name) for name, table in tables.items()}
    spec = [tf.TensorSpec((None,), tf.int64, name="state")]

    def reader(name):
        def act(state):
            row = tf.gather(variables[name], state)
            return {"action": tf.argmax(row, -1), "q": row}

        return act

    functions = {name: (reader(name), spec) for name in ("traps", "simple")}
    example = np.array([mazes["traps"].start], np.int64)
    saved_model(folder / "saved_model", functions, list(variables.values()), {"about.json": text + "\n"}, example)


# ## Use
def read_layout(path: Path, permanent_traps: bool) -> Maze:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a text file with a maze ('.' wall, ' ' free, 'o' treasure, 'x' trap, 'A' start)")
    if path.stat().st_size > 1 << 16:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes; the largest maze, 64 × 64, has about 4,200")
    try:
        return Maze(path.read_text(encoding="utf-8"), permanent_traps, str(path))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None


Layout = Literal["simple", "traps"]


def answer(run, inputs: list[str], layout: str) -> list[dict]:
    """The greedy walk through a book's maze from each start: the map as ``text``, ``steps``, whether the ``treasure`` is found, ``traps`` touched, an ``image``."""
    with np.load(run.exported("q.npz")) as stored:
        q = stored[f"q_{layout}"]
    found = []
    for start in inputs:
        maze = moved(run.params, layout, start)
        walk = greedy_walk(maze, q, run.params.max_steps)
        picture = draw(maze, walk.path, f"step {walk.length}   reward {walk.rewards[-1]:.0f}")
        found.append({"text": starred(maze, walk.path), "steps": walk.length, "treasure": walk.success, "traps": walk.traps, "image": picture})
    return found


def moved(p: ChapterParams, layout: str, start: str) -> Maze:
    """A book's maze with the agent at another start, ``row,column``, both counted from 0; an empty word is the maze's own start."""
    maze = mazes_of(p)[layout]
    if not checked_text(start, 20).strip():
        return maze
    found = re.fullmatch(r"\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*", start)
    cell = int(found[1]) * maze.columns + int(found[2]) if found and int(found[2]) < maze.columns else maze.states
    if cell >= maze.states or maze.kind[cell] != FREE:
        raise UserError(
            f"{start!r}: give row and column of a free cell, counted from 0, such as {maze.start // maze.columns},{maze.start % maze.columns}"
        )
    cells = list(maze.text.replace("A", " "))
    cells[cell + cell // maze.columns] = "A"  # a line break behind every row
    return Maze("".join(cells), p.permanent_traps, layout)


def predict(run, inputs, out, *, algorithm, episodes, q_init, max_steps, seed, live, tables=16) -> None:
    """Walks the book's mazes with the exported tables, or learns and walks mazes from text files."""
    p, asked = run.params, []
    for name in inputs:
        maze = read_layout(Path(name), p.permanent_traps)
        limit = max_steps or max(p.max_steps, maze.states)
        rng = np.random.default_rng(seed)
        rules = {"alpha": p.alpha, "gamma": p.gamma, "epsilon": p.epsilon, "q_init": q_init}
        learned = tabular(
            algorithm,
            maze,
            rng,
            tables=tables,
            episodes=episodes,
            max_steps=limit,
            **rules,
            progress=lambda numbers, name=name: run.progress(numbers, Path(name).name),
        )
        walks = [greedy_walk(maze, q, limit) for q in learned.q]
        best = max(range(tables), key=lambda n: (walks[n].success, -walks[n].traps, -walks[n].length))
        asked.append((Path(name).stem, str(name), maze, walks[best], sum(w.success for w in walks)))
    if not inputs:
        with np.load(run.exported("q.npz")) as stored:
            for name, maze in mazes_of(p).items():
                asked.append((name, name, maze, greedy_walk(maze, stored[f"q_{name}"], p.max_steps), None))
    single = out is not None and out.suffix.lower() == ".gif"
    if single and len(asked) > 1:
        raise UserError(f"{out}: {len(asked)} mazes make as many pictures; give a folder instead of a .gif")
    for stem, name, maze, walk, found in asked:
        traps = f"{walk.traps} trap{'' if walk.traps == 1 else 's'}"
        among = "" if found is None else f"; {found} of {tables} tables find it after {episodes} episodes"
        if walk.success:
            print(f"{name}: treasure after {walk.length} steps (shortest way {maze.distance():.0f}), {traps}{among}")
        else:
            print(f"{name}: treasure not found; more episodes, larger max_steps or q_init=1 may help{among}")
        show(maze, walk.path, live)
        if out:
            gif = out if single else out / f"walk_{stem}.gif"
            figures.gif(walk_frames(maze, walk), gif, fps=4)
            steps = zip(walk.path, walk.rewards, strict=True)
            rows = [f"{n},{c // maze.columns},{c % maze.columns},{r:.6g}" for n, (c, r) in enumerate(steps)]
            gif.with_suffix(".csv").write_text("\n".join(["step,row,column,reward", *rows]) + "\n", encoding="utf-8")


def starred(maze: Maze, path: list[int]) -> str:
    """The map with the way starred in and `A` at its end."""
    cells = list(maze.text.replace("A", " ").replace("\n", ""))
    for cell in path[:-1]:
        cells[cell] = "*"
    cells[path[-1]] = "A"
    return "\n".join("".join(cells[r : r + maze.columns]) for r in range(0, maze.states, maze.columns))


def show(maze: Maze, path: list[int], live: bool) -> None:
    """Prints the map with the way; with ``live``, on a terminal, redrawn step by step."""
    if live and sys.stdout.isatty():
        for step in range(len(path)):
            print(
                starred(maze, path[: step + 1]) + f"\033[{maze.rows - 1}F" * (step + 1 < len(path)),
                end="\n" if step + 1 == len(path) else "",
                flush=True,
            )
            time.sleep(0.1)
    else:
        print(starred(maze, path))
