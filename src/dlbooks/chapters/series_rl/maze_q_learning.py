r"""# Q-learning in a maze

An agent `A` stands in the upper left corner of a small maze. It knows nothing: not where the treasure `o` is, not what a wall is. It learns from
reward alone.

```
simple     traps
.........  .........
.A      .  .A x    .       . wall      o treasure, +100, ends the episode
.     o .  .   x o .       x trap, −5, gone until the next episode
.       .  .       .
.........  .........
```

**The words.** The *agent* acts, the *environment* answers. A *state* $s$ is the cell it stands in (45 of them), an *action* $a$ is one of up, down,
left, right, the *reward* $r$ is what the step pays. A step into a wall leaves the state and still costs a step; after 30 steps the episode is over.
Reward here is sparse and late: most steps pay nothing, and the one that pays was only possible because of all that led to it. That is what
separates reinforcement learning from learning with labels.

**The table.** $Q(s, a)$ is to be the discounted sum of all future rewards after doing $a$ in $s$ and acting best from there. If it were known,
it would satisfy Bellman's equation, and the right side needs only one step into the future:

$$Q^*(s,a) = r + \gamma \max_{a'} Q^*(s', a').$$

Q-learning takes the equation as an assignment. After every step it moves the entry a little toward the right side, with learning rate
$\alpha = 0.1$:

$$Q(s,a) \leftarrow (1-\alpha)\, Q(s,a) + \alpha\, \bigl(r + \gamma \max_{a'} Q(s',a')\bigr).$$

Three visits to the cell before the treasure make 10, 19, 27.1 of the 100; the next episode carries a part of it one cell back, and so
knowledge flows from the treasure to the start. The discount $\gamma = 0.9$ makes early reward worth more: from the start, six steps away,
$V^* = 100 \cdot 0.9^5 = 59.049$. Where the rules are known, *value iteration* applies the equation to all entries until nothing changes;
Q-learning gets there without knowing the rules.

**Exploration.** Who always does what looks best never finds anything better. With probability $\varepsilon = 0.1$, or where a row holds only zeros, the
agent moves at random. Such a walk finds the treasure within 30 steps in 24 % of episodes; that is where all learning starts.

**What the book says, and what holds.** The book reads off one run that the agent goes straight to the treasure after about 30 episodes, and takes
the detour round the traps after about 50. Over hundreds of tables the medians are about 20 and 60, with a wide spread, and every fifth table never
learns the detour (`learned_fraction_traps`). And the detour is not even right! With $\gamma = 0.9$,

$$V_\text{through} = 100 \cdot 0.9^5 - 5 \cdot 0.9^3 = 55.404 \;>\; V_\text{around} = 100 \cdot 0.9^7 = 47.830,$$

for five points of damage cost less than being two steps later. Around is best only when $100\gamma^4 - 100\gamma^2 + 5 > 0$, that is for
$\gamma > 0.97325$. The book's agent avoids the traps because it hit them early, before it knew of the treasure, and with $\varepsilon = 0.1$ has
hardly ever reason to try again. With more exploration ($\varepsilon = 0.7$, 1,000 episodes) every table goes through the trap below that discount
and around it above: Q-learning learns what is best even while it does something else. `discount.csv` is that table:

| $\gamma$ | best way | value | around | tables that go around: 200 episodes, ε 0.1 | 1,000 episodes, ε 0.7 |
| --- | --- | --- | --- | --- | --- |
| 0.9 | through | 55.404 | 47.830 | four in five | none |
| 0.97 | through | 81.310 | 80.798 | four in five | none |
| 0.98 | around | 86.813 | 86.813 | four in five | all |

A trap that vanishes after its first use is a memory that the cell number does not hold: the state is not Markov. The table above is for
traps that stay (`permanent_traps`); with vanishing ones a well-explored table thinks too well of them.

**The family.** *Value-based* methods learn $Q$ and act greedily: Q-learning, SARSA (`maze-sarsa`), and deep Q-networks, where a network stands in for
a table that would need more rows than there are atoms. *Policy-based* methods learn the acting itself (`cartpole-policy-gradient`), and
*actor-critic* methods both.

The published program runs too: `learn` draws its random numbers in the same order, so that the metrics `book_rng_…` repeat it to the step, 192
treasures in 1,629 steps in the simple maze. All other numbers come from many tables at once, one seed each. A few seconds: `dlbooks run
maze-q-learning`.
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dlbooks import figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.series_rl import _mazes
from dlbooks.nn.rl import Maze, greedy_walk, linear_epsilon, random_walk, tabular, value_iteration
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="maze-q-learning",
    title="Q-learning in a maze",
    family="series-rl",
    sources=["B1 18", "B5 6.7.1"],
    headline="success_last50_traps",
    metrics={
        "success_last50_simple": Metric(better="higher", floor=0.99),
        "success_last50_traps": Metric(better="higher", floor=0.85),
        "episodes_to_learn_simple": Metric(better="lower", reported=30.0, source="B1 18.2.5", floor=30.0),
        "episodes_to_learn_traps": Metric(better="lower", reported=50.0, source="B1 18.2.6"),
        "learned_fraction_simple": Metric(better="higher", floor=0.9),
        "learned_fraction_traps": Metric(better="higher"),
        "greedy_success_simple": Metric(better="higher", floor=0.99),
        "greedy_success_traps": Metric(better="higher"),
        "greedy_length_simple": Metric(better="lower", floor=6.0),
        "greedy_length_traps": Metric(better="lower"),
        "greedy_traps_hit_simple": Metric(better="lower"),
        "greedy_traps_hit_traps": Metric(better="lower"),
        "mean_reward_last50_simple": Metric(better="higher"),
        "mean_reward_last50_traps": Metric(better="higher"),
        "value_error_simple": Metric(better="lower"),
        "value_error_traps": Metric(better="lower"),
        "random_success_simple": Metric(better="higher"),
        "random_success_traps": Metric(better="higher"),
        "detour_discount": Metric(better="lower"),
        "detour_share_short_sighted": Metric(better="lower"),
        "detour_share_far_sighted": Metric(better="higher", floor=0.9),
        "book_rng_successes_simple": Metric(better="higher"),
        "book_rng_steps_simple": Metric(better="lower"),
        "book_rng_successes_traps": Metric(better="higher"),
        "book_rng_steps_traps": Metric(better="lower"),
    },
    variants={
        "far_sighted": Variant({"gamma": 0.98}, about="a discount for which the detour really is best"),
        "optimistic": Variant({"q_init": 1.0}, about="what was never tried looks good: exploration without chance"),
        "permanent_traps": Variant({"permanent_traps": True}, about="the state is Markov"),
        "decay": Variant({"epsilon": 1.0, "epsilon_end": 0.0}, about="ε falls from 1 to 0 over four fifths of the episodes"),
    },
    curves={"Share of tables that find the treasure": ["success_simple", "success_traps"], "Steps per episode": ["steps_simple", "steps_traps"]},
    picture="value_traps.png",
    example="dlbooks predict maze-q-learning my_maze.txt episodes=500 -o walk.gif",
    data_parameters=["simple", "traps", "permanent_traps", "max_steps"],
    use=Use(takes="text", about="where to start in the maze: row and column, counted from 0", example="1,1"),
)


class Params(ChapterParams):
    tables: int = Field(40, ge=1, le=10_000)
    """independent tables, one random stream each"""
    episodes: int = Field(200, ge=1, le=100_000)
    """episodes per table"""
    max_steps: int = Field(30, ge=1, le=10_000)
    """steps after which an episode is given up"""
    alpha: float = Field(0.1, gt=0, le=1)
    """learning rate"""
    gamma: float = Field(0.9, ge=0, lt=1)
    """discount"""
    epsilon: float = Field(0.1, ge=0, le=1)
    """probability of a random action"""
    epsilon_end: float = Field(-1.0, ge=-1, le=1)
    """if not negative, ε falls to this on a straight line over the first four fifths of the episodes"""
    q_init: float = Field(0.0, ge=-1000, le=1000)
    """what every entry starts with"""
    permanent_traps: bool = False
    """traps stay after they were touched"""
    explore_episodes: int = Field(1000, ge=1, le=1_000_000)
    """episodes of the training that compares discounts"""
    explore_epsilon: float = Field(0.7, ge=0, le=1)
    """its ε"""
    explore_tables: int = Field(20, ge=1, le=10_000)
    """its tables per discount"""
    simple: str = ".........\n.       .\n.     o .\n.       .\n........."
    """layout of the maze without traps"""
    traps: str = ".........\n.  x    .\n.   x o .\n.       .\n........."
    """layout of the maze with traps"""


DISCOUNTS = (0.9, 0.95, 0.97, 0.98, 0.99)
BOOK_SEED = 0


# ## Training
# All tables of a maze learn at once (`nn.rl.tabular`): a step of 200 agents costs hardly more than that of one.
def train(run):
    p = run.params
    mazes = _mazes.mazes_of(p)
    rules = {"alpha": p.alpha, "epsilon": epsilons(p, p.episodes), "q_init": p.q_init}
    for name, maze in mazes.items():
        learned = tabular(
            "q_learning",
            maze,
            run.random("tables", name),
            tables=p.tables,
            episodes=p.episodes,
            max_steps=p.max_steps,
            gamma=p.gamma,
            **rules,
            progress=lambda numbers, name=name: run.progress(numbers, name),
        )
        _mazes.save(run, name, learned)
        _mazes.log(run, name, learned)
    discounts = np.repeat(DISCOUNTS, p.explore_tables)
    for label, episodes, epsilon in (("book", p.episodes, p.epsilon), ("explore", p.explore_episodes, p.explore_epsilon)):
        learned = tabular(
            "q_learning",
            Maze(p.traps, permanent_traps=True),
            run.random("discounts", label),
            tables=len(discounts),
            episodes=episodes,
            max_steps=p.max_steps,
            alpha=p.alpha,
            epsilon=epsilon,
            gamma=discounts,
            progress=lambda numbers, label=label: run.progress(numbers, f"discounts, {label}"),
        )
        _mazes.save(run, f"discounts_{label}", learned)


def epsilons(p: Params, episodes: int):
    """ε, or one ε per episode, as a column."""
    if p.epsilon_end < 0:
        return p.epsilon
    return linear_epsilon(np.arange(episodes), p.epsilon, p.epsilon_end, max(1, 0.8 * episodes))[:, None]


# ## Evaluation
def evaluate(run) -> dict:
    p = run.params
    values, rows = {}, []
    for name, maze in _mazes.mazes_of(p).items():
        learned = _mazes.load(run, name)
        values |= _mazes.measures(maze, learned, p.gamma, p.max_steps, name)
        values[f"random_success_{name}"] = random_walk(maze, p.max_steps)
        table = learned.q[_mazes.best_table(learned)][: maze.states]
        run.figure(
            f"learning_{name}.png",
            _mazes.learning_figure(maze, learned, {"simple": "Simple maze", "traps": "Maze with traps"}[name]),
            {
                "simple": "Steps and reward per episode: the median table walks the shortest way after some twenty episodes, the slowest take far longer",
                "traps": "Steps and reward per episode with traps: learning takes three times as long, and the slowest tables fail for most of the time",
            }[name],
        )
        run.figure(
            f"value_{name}.png",
            _mazes.value_figure(maze, table, f"What one table knows after {p.episodes} episodes"),
            "Largest value of every cell and the greedy action: values fall by a tenth per step away from the treasure, cells off the way know little",
        )
        run.gif(
            f"walk_{name}.gif",
            _mazes.walk_frames(maze, greedy_walk(maze, table, p.max_steps)),
            "The agent follows the largest values of its table from the start to the treasure",
            fps=4,
        )
        for seed in range(p.tables):
            for episode in range(p.episodes):
                record = {"maze": name, "table": seed, "episode": episode, "steps": learned.steps[seed, episode]}
                rows.append({**record, "reward": int(learned.reward[seed, episode]), "traps": learned.traps[seed, episode]})
        values |= _mazes.book_rng(p, "q_learning", maze, BOOK_SEED, name)
    run.table("episodes.csv", rows)
    run.json("environment.json", _mazes.environment(run, {"tables": p.seed, "book_rng": BOOK_SEED}))
    table = discount_table(run)
    run.table("discount.csv", table)
    run.figure(
        "discount.png",
        discount_figure(run, table),
        "What the way through the trap gains over the way around, which is nothing above a discount of 0.973, and the share of tables that go around: "
        "with little exploration most tables go around wherever that is right or wrong, with much of it they do what the values say",
    )
    shares = {row["gamma"]: row["share_around_explore"] for row in table}
    values |= {"detour_share_short_sighted": shares[0.9], "detour_share_far_sighted": shares[0.98]}
    return {**values, "detour_discount": critical_discount(Maze(p.traps, True))}


# ## When is the detour best?
# Both ways in numbers: value iteration gives the best way whatever it touches, $100\gamma^{d-1}$ is the shortest way of $d$ steps that touches no trap.
def way_around(maze: Maze, gamma: float) -> float:
    return 100.0 * gamma ** (maze.distance(avoid_traps=True) - 1)


def critical_discount(maze: Maze) -> float:
    """The discount above which no way through a trap beats the way around, by bisection (1 if there is none)."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if value_iteration(maze, middle)[maze.start].max() > way_around(maze, middle) * (1 + 1e-12):
            low = middle
        else:
            high = middle
    return high


def discount_table(run) -> list[dict]:
    p = run.params
    maze = Maze(p.traps, permanent_traps=True)
    shares = {}
    for label in ("book", "explore"):
        learned = _mazes.load(run, f"discounts_{label}")
        walks = [greedy_walk(maze, q, p.max_steps) for q in learned.q]
        shares[label] = np.array([w.success and w.traps == 0 for w in walks]).reshape(len(DISCOUNTS), -1).mean(1)
    rows = []
    for number, gamma in enumerate(DISCOUNTS):
        best, around = value_iteration(maze, gamma)[maze.start].max(), way_around(maze, gamma)
        row = {"gamma": gamma, "value_best": best, "value_around": around, "best_way": "through" if best > around * (1 + 1e-12) else "around"}
        rows.append({**row, "share_around_book": shares["book"][number], "share_around_explore": shares["explore"][number]})
    return rows


def discount_figure(run, table: list[dict]):
    p, maze = run.params, Maze(run.params.traps, True)
    figure, (left, right) = figures.new(8.2, 3.6, 1, 2)
    gammas = np.linspace(0.86, 0.995, 28)
    gain = [value_iteration(maze, g)[maze.start].max() - way_around(maze, g) for g in gammas]
    critical = critical_discount(maze)
    left.plot(gammas, gain, color=figures.COLORS[0])
    left.set(xlabel="discount γ", ylabel="V* − V(around)", title="What the way through the trap gains")
    kinds = (("book", figures.COLORS[1], p.episodes, p.epsilon), ("explore", figures.COLORS[0], p.explore_episodes, p.explore_epsilon))
    for label, color, episodes, epsilon in kinds:
        share = [row[f"share_around_{label}"] for row in table]
        right.plot([row["gamma"] for row in table], share, "o-", color=color, label=f"{episodes:,} episodes, ε = {epsilon:g}")
    right.set(xlabel="discount γ", ylabel="share of tables", title="Greedy walks that reach the treasure untrapped", ylim=(-0.03, 1.05))
    right.legend(framealpha=0.9, edgecolor="none", loc="upper left", bbox_to_anchor=(0, 1.02))
    for axes in (left, right):
        axes.axvline(critical, color=figures.INK, linestyle=":", linewidth=1.2)
    left.text(critical - 0.003, max(gain), f"γ = {critical:.5f}", ha="right", va="top", fontsize=8)
    return figure


def export(run):
    _mazes.export(run, "q_learning")


# ## Use
# Without a file the agent walks the book's mazes. A maze of your own is learned first, by sixteen tables that start at `q_init` = 1: what was never
# tried looks better than what gave nothing, which searches larger mazes far better than chance (`maze-sarsa` measures it).
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
    algorithm: Literal["q_learning", "sarsa", "expected_sarsa"] = "q_learning",
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
    live: bool = False,
):
    _mazes.predict(run, inputs, out, algorithm=algorithm, episodes=episodes, q_init=q_init, max_steps=max_steps, seed=seed, live=live)
