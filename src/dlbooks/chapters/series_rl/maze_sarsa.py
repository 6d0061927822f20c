r"""# SARSA in the same maze

Q-learning (`maze-q-learning`) updates toward the best action of the next state, whether or not it is going to take it. SARSA
asks what it *will* do: it chooses the next action $a'$ first, learns from it, then takes it. Its name is the five things it needs,
$s, a, r, s', a'$:

$$Q(s,a) \leftarrow (1-\alpha)\, Q(s,a) + \alpha\, \bigl(r + \gamma\, Q(s',a')\bigr).$$

So SARSA learns the value of its own behavior, chance moves included: it is *on-policy*. Q-learning learns the value of the greedy policy while
doing something else: *off-policy*. *Expected SARSA* averages over the next action instead of drawing it,

$$\mathbb E\,[Q(s',a')] = (1-\varepsilon) \max_{a'} Q(s',a') + \tfrac{\varepsilon}{4} \sum_{a'} Q(s',a'),$$

the row's mean for $\varepsilon = 1$ and its largest value, Q-learning's target, for $\varepsilon = 0$.

**What the book says.** SARSA learns the simple maze in 20 to 30 episodes; in the maze with traps it does not find the treasure at all, because it is
"timid": near a trap its own chance moves cost something, so it keeps away. Q-learning is "bold" and gets through.

**What holds.** The failure is real, and its size can be measured, but the comparison changes two things at once: the book gives Q-learning 30 steps per
episode and SARSA 50. Here all three learners meet under both limits. Over many tables, in the maze with traps and with 50 steps:

| learner | start of the table | share of the last 50 episodes that succeed |
| --- | --- | --- |
| Q-learning | 0 | nearly all |
| SARSA | 0 | about three in ten |
| expected SARSA | 0 | fewer than one in ten |
| all three | 1 | all |
| SARSA, ε falls from 1 to 0 | 0 | nearly all |

So timidity is half of the truth. The other half is the zero start: when a trap has been hit, −5 is the only news in the table, the cells that never
hurt keep their 0, and a greedy agent prefers 0 to −0.5: it stays in its corner, where only chance moves can teach it otherwise.
Q-learning's maximum never passes a trap's −5 on to the cells before it, while SARSA's targets do. It is a failure of *exploration*, and
an optimistic start, under which everything untried looks good, or a long decay of ε removes it; longer training softens it. Every
third or fourth table succeeds anyway, which a single run, the book's or anyone's, cannot show.

The published program runs too: with the same random numbers it finds the treasure of the trap maze twice in 200 episodes (`book_rng_…`).
A few seconds: `dlbooks run maze-sarsa`.
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.series_rl import _mazes
from dlbooks.nn.rl import ALGORITHMS, greedy_walk, linear_epsilon, random_walk, tabular
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="maze-sarsa",
    title="SARSA in the same maze",
    family="series-rl",
    sources=["B1 19"],
    headline="episodes_to_learn_simple",
    metrics={
        "episodes_to_learn_simple": Metric(better="lower", reported=30.0, source="B1 19.2", floor=30.0),
        "learned_fraction_simple": Metric(better="higher", floor=0.9),
        "learned_fraction_traps": Metric(better="higher"),
        "success_last50_simple": Metric(better="higher", floor=0.99),
        "greedy_success_simple": Metric(better="higher", floor=0.99),
        "greedy_success_traps": Metric(better="higher"),
        "greedy_length_simple": Metric(better="lower", floor=6.0),
        "mean_reward_last50_simple": Metric(better="higher"),
        "mean_reward_last50_traps": Metric(better="higher"),
        "value_error_simple": Metric(better="lower"),
        "random_success_simple": Metric(better="higher"),
        "q_learning_success_simple": Metric(better="higher", floor=0.99),
        "q_learning_success_traps": Metric(better="higher", floor=0.9),
        "sarsa_success_traps": Metric(better="higher"),
        "expected_sarsa_success_traps": Metric(better="higher"),
        "gap_success_traps": Metric(better="higher", floor=0.3),
        "q_learning_success_traps_optimistic": Metric(better="higher", floor=0.95),
        "sarsa_success_traps_optimistic": Metric(better="higher", floor=0.95),
        "sarsa_success_traps_decay": Metric(better="higher", floor=0.8),
        "sarsa_success_traps_long": Metric(better="higher"),
        "book_rng_successes_simple": Metric(better="higher"),
        "book_rng_steps_simple": Metric(better="lower"),
        "book_rng_successes_traps": Metric(better="higher"),
        "book_rng_steps_traps": Metric(better="lower"),
    },
    variants={
        "far_sighted": Variant({"gamma": 0.98}, about="a discount for which the detour is best"),
        "permanent_traps": Variant({"permanent_traps": True}, about="the state is Markov"),
    },
    curves={"Share of tables that find the treasure": ["success_simple", "success_traps"], "Steps per episode": ["steps_simple", "steps_traps"]},
    picture="comparison.png",
    example="dlbooks predict maze-sarsa my_maze.txt episodes=500 algorithm=expected_sarsa -o walk.gif",
    data_parameters=["simple", "traps", "permanent_traps", "max_steps"],
    use=Use(takes="text", about="where to start in the maze: row and column, counted from 0", example="1,1"),
)


class Params(ChapterParams):
    tables: int = Field(40, ge=1, le=10_000)
    """independent tables per setting of the grid"""
    episodes: int = Field(200, ge=1, le=100_000)
    """episodes per table"""
    max_steps: int = Field(50, ge=1, le=10_000)
    """steps after which an episode is given up; the grid also tries the Q-learning chapter's 30"""
    alpha: float = Field(0.1, gt=0, le=1)
    """learning rate"""
    gamma: float = Field(0.9, ge=0, lt=1)
    """discount"""
    epsilon: float = Field(0.1, ge=0, le=1)
    """probability of a random action"""
    permanent_traps: bool = False
    """traps stay after they were touched"""
    long_episodes: int = Field(600, ge=1, le=1_000_000)
    """episodes of SARSA's long training with traps"""
    long_tables: int = Field(20, ge=1, le=10_000)
    """tables in it"""
    simple: str = ".........\n.       .\n.     o .\n.       .\n........."
    """layout of the maze without traps"""
    traps: str = ".........\n.  x    .\n.   x o .\n.       .\n........."
    """layout of the maze with traps"""


OTHER_LIMIT = 30  # steps per episode in the Q-learning chapter
STARTS = (0.0, 1.0)
DECAY_FROM = (0.1, 0.5, 1.0)
BOOK_SEED = 1


# ## Training
# One call per layout and learner fills the tables of four settings, two step limits times two starts; then SARSA with falling ε, and at length.
def settings(p: Params) -> list[tuple[int, float]]:
    return [(limit, start) for limit in (p.max_steps, OTHER_LIMIT) for start in STARTS]


def train(run):
    p = run.params
    mazes = _mazes.mazes_of(p)
    rules = {"alpha": p.alpha, "gamma": p.gamma}
    limits, starts = (np.repeat(column, p.tables) for column in zip(*settings(p), strict=True))
    for name, maze in mazes.items():
        for algorithm in ALGORITHMS:
            learned = tabular(
                algorithm,
                maze,
                run.random("grid", name, algorithm),
                tables=len(limits),
                episodes=p.episodes,
                max_steps=limits,
                epsilon=p.epsilon,
                q_init=starts,
                **rules,
                progress=lambda numbers, label=f"{name}, {algorithm}": run.progress(numbers, label),
            )
            _mazes.save(run, f"{name}_{algorithm}", learned)
            if algorithm == "sarsa":
                own = learned[: p.tables]
                _mazes.save(run, name, own)
                _mazes.log(run, name, own)
    falling = linear_epsilon(np.arange(p.episodes)[:, None], np.repeat(DECAY_FROM, p.tables), 0.0, max(1, 0.8 * p.episodes))
    for label, tables, episodes, epsilon in (
        ("decay", falling.shape[1], p.episodes, falling),
        ("long", p.long_tables, p.long_episodes, p.epsilon),
    ):
        learned = tabular(
            "sarsa",
            mazes["traps"],
            run.random(label),
            tables=tables,
            episodes=episodes,
            max_steps=p.max_steps,
            epsilon=epsilon,
            **rules,
            progress=lambda numbers, label=label: run.progress(numbers, label),
        )
        _mazes.save(run, label, learned)


# ## Evaluation
def evaluate(run) -> dict:
    p = run.params
    mazes = _mazes.mazes_of(p)
    values, rows, success = {}, [], {}
    for name, maze in mazes.items():
        for algorithm in ALGORITHMS:
            learned = _mazes.load(run, f"{name}_{algorithm}")
            for number, (limit, start) in enumerate(settings(p)):
                found = _mazes.measures(maze, learned[number * p.tables : (number + 1) * p.tables], p.gamma, limit, "_")
                kept = {k.removesuffix("__"): v for k, v in found.items()}
                success[name, algorithm, limit, start] = kept["success_last50"]
                rows.append({"maze": name, "algorithm": algorithm, "max_steps": limit, "q_init": start, "epsilon": f"{p.epsilon:g}", **kept})
        own = _mazes.load(run, name)
        values |= _mazes.measures(maze, own, p.gamma, p.max_steps, name)
        values |= _mazes.book_rng(p, "sarsa", maze, BOOK_SEED, name)
    decay, long = _mazes.load(run, "decay"), _mazes.load(run, "long")
    for number, start in enumerate(DECAY_FROM):
        part = decay[number * p.tables : (number + 1) * p.tables]
        found = {k.removesuffix("__"): v for k, v in _mazes.measures(mazes["traps"], part, p.gamma, p.max_steps, "_").items()}
        rows.append({"maze": "traps", "algorithm": "sarsa", "max_steps": p.max_steps, "q_init": 0.0, "epsilon": f"{start:g} to 0", **found})
    run.table("grid.csv", rows)
    run.json("environment.json", _mazes.environment(run, {"tables": p.seed, "book_rng": BOOK_SEED}))

    maze, own = mazes["traps"], _mazes.load(run, "traps")
    table = own.q[_mazes.best_table(own)]
    run.figure(
        "comparison.png",
        comparison_figure(run, decay),
        "Share of tables that find the treasure of the trap maze: from zeros SARSA and expected SARSA mostly fail, from ones all learners succeed, "
        "and so does SARSA when ε falls from 1",
    )
    run.figure(
        "learning_traps.png",
        _mazes.learning_figure(maze, own, "SARSA with traps"),
        "Steps and reward per episode of SARSA with traps: the median table runs into the step limit to the end, only the best find the treasure",
    )
    run.figure(
        "value_traps.png",
        _mazes.value_figure(maze, table, "SARSA's table that earned most"),
        "Largest value of every cell and the greedy action of the best SARSA table: it leads around the traps",
    )
    stuck = own.q[int(own.reward[:, -_mazes.LAST :].mean(1).argmin())]
    run.figure(
        "value_stuck.png",
        _mazes.value_figure(maze, stuck, "SARSA's table that earned least"),
        "A table that failed: near the start all values are zero or slightly below, and the greedy walk shuttles there instead of going on",
    )
    walk = greedy_walk(maze, table, p.max_steps)
    run.gif("walk_traps.gif", _mazes.walk_frames(maze, walk), "SARSA's best table walks from the start around the traps to the treasure", fps=4)

    for algorithm in ALGORITHMS:
        values[f"{algorithm}_success_traps"] = success["traps", algorithm, p.max_steps, 0.0]
    for algorithm in ("q_learning", "sarsa"):
        values[f"{algorithm}_success_traps_optimistic"] = success["traps", algorithm, p.max_steps, 1.0]
    values |= {
        "q_learning_success_simple": success["simple", "q_learning", p.max_steps, 0.0],
        "gap_success_traps": values["q_learning_success_traps"] - values["sarsa_success_traps"],
        "sarsa_success_traps_decay": decay[-p.tables :].success[:, -_mazes.LAST :].mean(),
        "sarsa_success_traps_long": long.success[:, -_mazes.LAST :].mean(),
        "random_success_simple": random_walk(mazes["simple"], p.max_steps),
    }
    return {name: values[name] for name in run.chapter.metrics}


def comparison_figure(run, decay):
    p = run.params
    figure, panels = figures.new(9.6, 3.6, 1, 3, sharey=True)

    def line(axes, success, color, label):
        span = min(10, success.shape[1])
        smooth = np.array([np.convolve(row, np.ones(span) / span, "valid") for row in success.astype(float)])
        mean, error = smooth.mean(0), 1.645 * smooth.std(0) / np.sqrt(len(smooth))
        at = np.arange(span, success.shape[1] + 1)
        axes.fill_between(at, np.clip(mean - error, 0, 1), np.clip(mean + error, 0, 1), color=color, alpha=0.2, linewidth=0)
        axes.plot(at, mean, color=color, linewidth=1.6, label=label)

    for axes, start, title in ((panels[0], 0.0, "Tables start at 0"), (panels[1], 1.0, "Tables start at 1")):
        number = settings(p).index((p.max_steps, start))
        for algorithm, color in zip(ALGORITHMS, figures.COLORS, strict=False):
            success = _mazes.load(run, f"traps_{algorithm}")[number * p.tables : (number + 1) * p.tables].success
            line(axes, success, color, algorithm.replace("_", " ").replace("sarsa", "SARSA").replace("q l", "Q-l"))
        axes.set(title=title, xlabel="episode")
    for number, start in enumerate(DECAY_FROM):
        line(panels[2], decay[number * p.tables : (number + 1) * p.tables].success, figures.COLORS[3 + number], f"ε {start:g} → 0")
    panels[2].set(title="SARSA from 0 with falling ε", xlabel="episode")
    panels[0].set(ylabel="share that finds the treasure", ylim=(-0.02, 1.04))
    for axes, place in zip(panels, ("center right", "center right", "upper left"), strict=True):
        axes.legend(framealpha=0.9, edgecolor="none", loc=place, fontsize=8)
    return figure


def export(run):
    _mazes.export(run, "sarsa")


# ## Use
# As in `maze-q-learning`; with `q_init=0` the failure can be watched in a maze of your own.
def answer(run, inputs: list[str], *, layout: _mazes.Layout = "traps") -> list[dict]:
    return _mazes.answer(run, inputs, layout)


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    episodes: Annotated[int, Field(ge=1, le=100_000)] = 500,
    q_init: float = 1.0,
    max_steps: Annotated[int, Field(ge=0, le=100_000)] = 0,
    algorithm: Literal["q_learning", "sarsa", "expected_sarsa"] = "sarsa",
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    live: bool = False,
):
    _mazes.predict(run, inputs, out, algorithm=algorithm, episodes=episodes, q_init=q_init, max_steps=max_steps, seed=seed, live=live)
