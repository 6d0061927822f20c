"""Reinforcement learning: text mazes, tabular learners that fill many tables at once, complete games in lock-step.

A state is a cell number, row · columns + column; actions are 0 up, 1 down, 2 left, 3 right. Tables are float64 ``[states, 4]`` and see
additions and multiplications only, so that their bits are the same on every machine.

Sources: R. Sutton and A. Barto, Reinforcement Learning: An Introduction, 2nd ed. 2018, chapters 4 and 6; the maze is B1's (chapters 18, 19).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dlbooks import UserError

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
ACTIONS = ("up", "down", "left", "right")
FREE, WALL, TREASURE, TRAP = range(4)
CELLS = {" ": FREE, ".": WALL, "o": TREASURE, "x": TRAP, "A": FREE}
REWARDS = (0.0, 0.0, 100.0, -5.0)  # for entering a cell of that kind
LARGEST = 64  # rows and columns
ALGORITHMS = ("q_learning", "sarsa", "expected_sarsa")


class Maze:
    """A maze from a text layout: ``.`` wall, blank free, ``o`` treasure, ``x`` trap, ``A`` start (without one: second row, second column).

    Entering the treasure gives +100 and ends the episode, a trap gives −5 and is gone until ``reset()`` (never with ``permanent_traps``), a
    step into a wall leaves the agent where it is. ``next[s, a]`` int64 is the cell reached, ``entered[s, a]`` int8 the kind of a cell newly
    entered (``FREE`` where a wall stops the step).
    """

    def __init__(self, text: str, permanent_traps: bool = False, name: str = "maze"):
        lines = text.rstrip().splitlines()
        self.text, self.permanent = "\n".join(lines), permanent_traps
        self.rows, self.columns = len(lines), len(lines[0]) if lines else 0
        if not (3 <= self.rows <= LARGEST and 3 <= self.columns <= LARGEST):
            raise UserError(f"{name}: {self.rows} lines of {self.columns} characters; a maze has 3 to {LARGEST} of each")
        for number, line in enumerate(lines, 1):
            if len(line) != self.columns:
                raise UserError(f"{name}, line {number}: {len(line)} characters, line 1 has {self.columns}")
            for place, cell in enumerate(line, 1):
                where = f"{name}, line {number}, column {place}"
                if cell not in CELLS:
                    raise UserError(f"{where}: {cell!r} is no cell; '.' is wall, ' ' free, 'o' treasure, 'x' trap, 'A' the start")
                if cell != "." and (number in (1, self.rows) or place in (1, self.columns)):
                    raise UserError(f"{where}: the border must be wall ('.') all round, here is {cell!r}")
        if self.text.count("A") > 1:
            raise UserError(f"{name}: {self.text.count('A')} starts ('A'); a maze has one")
        cells = "".join(lines)
        self.states = len(cells)
        self.kind = np.array([CELLS[c] for c in cells], np.int8)
        self.start = cells.index("A") if "A" in cells else self.columns + 1
        if self.kind[self.start] != FREE:
            raise UserError(f"{name}, line 2, column 2: the agent starts here, so the cell must be free, not {cells[self.start]!r}")
        if "o" not in cells:
            raise UserError(f"{name}: no treasure ('o')")
        own = np.arange(self.states)[:, None]
        to = own + np.array([row * self.columns + column for row, column in MOVES])
        self.next = np.where(self.kind[np.clip(to, 0, self.states - 1)] == WALL, own, to)
        self.next[self.kind == WALL] = own[self.kind == WALL]
        self.entered = np.where(self.next == own, FREE, self.kind[self.next])
        if not np.isfinite(self.distance()):
            raise UserError(f"{name}: no way leads from the start to the treasure")
        self.reset()

    def distance(self, avoid_traps: bool = False) -> float:
        """Steps of the shortest way from the start to a treasure, ``inf`` where there is none (breadth-first search)."""
        steps, queue = {self.start: 0}, deque([self.start])
        while queue:
            cell = queue.popleft()
            if self.kind[cell] == TREASURE:
                return steps[cell]
            for following in self.next[cell]:
                if following not in steps and not (avoid_traps and self.kind[following] == TRAP):
                    steps[following] = steps[cell] + 1
                    queue.append(following)
        return np.inf

    def reset(self) -> int:
        self.state, self.steps, self.reward, self.traps, self.done, self.gone = self.start, 0, 0.0, 0, False, set()
        return self.state

    def step(self, action: int) -> tuple[int, float, bool]:
        """One step of the agent: the new cell, the reward, whether the episode is over."""
        if self.done:
            raise ValueError("the episode is over: call reset() first")
        kind = self.entered[self.state, action]
        self.state = int(self.next[self.state, action])
        self.steps += 1
        if kind == TRAP:
            if self.state in self.gone:
                kind = FREE
            else:
                self.traps += 1
                if not self.permanent:
                    self.gone.add(self.state)
        self.done = bool(kind == TREASURE)
        self.reward += REWARDS[kind]
        return self.state, REWARDS[kind], self.done

    def snapshot(self) -> str:
        """The map as text, the agent as ``A``, used traps and treasure gone."""
        cells = list(self.text.replace("A", " ").replace("\n", ""))
        for cell in self.gone:
            cells[cell] = " "
        cells[self.state] = "A"
        return "\n".join("".join(cells[r : r + self.columns]) for r in range(0, self.states, self.columns))


# ── formulas ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def epsilon_greedy(q: np.ndarray, epsilon, uniform, random_action) -> np.ndarray:
    """Actions ``[n]`` for rows ``q [n, actions]``: ``random_action`` where ``uniform`` > 1 − ε or a row is all 0, else the first largest.

    A row of zeros has nothing to be greedy about; the first largest would send every newborn agent up (B1's rule).
    """
    return np.where((uniform > 1 - epsilon) | ~q.any(-1), random_action, q.argmax(-1))


def td_target(reward, done, q_next: np.ndarray, kind: str, gamma, *, action=None, epsilon=0.0) -> np.ndarray:
    """Temporal-difference targets r + γ(1 − done)·v for rows ``q_next [n, actions]`` of the next states.

    v is the largest value (``q_learning``), that of the ``action`` taken next (``sarsa``), or the mean over an ε-greedy choice,
    (1 − ε)·max + ε·mean (``expected_sarsa``).
    """
    if kind == "q_learning":
        value = q_next.max(-1)
    elif kind == "sarsa":
        value = np.take_along_axis(q_next, np.asarray(action)[..., None], -1)[..., 0]
    elif kind == "expected_sarsa":
        value = (1 - epsilon) * q_next.max(-1) + epsilon * q_next.mean(-1)
    else:
        raise ValueError(f"kind is {kind!r}, must be one of {', '.join(ALGORITHMS)}")
    return reward + gamma * (1 - done) * value


def linear_epsilon(t, start: float, end: float, t_end: float, t_learn: float = 0) -> np.ndarray:
    """end + max(0, (start − end)(t_end − max(0, t − t_learn)) / t_end): falls on a straight line for ``t_end`` after ``t_learn``."""
    return end + np.maximum(0.0, (start - end) * (t_end - np.maximum(0, np.asarray(t) - t_learn)) / t_end)


def value_iteration(maze: Maze, gamma: float) -> np.ndarray:
    """The optimal table Q* ``[states, 4]``: V ← max_a r + γV(s') until nothing changes (at most as many rounds as there are cells).

    Traps count as permanent, the only kind a table can know. No best way enters a trap twice, so V*(start) holds for both kinds.
    """
    reward, end = np.array(REWARDS)[maze.entered], maze.entered == TREASURE
    q = np.zeros((maze.states, 4))
    for _ in range(10_000):
        new = td_target(reward, end, q[maze.next], "q_learning", gamma)
        if np.array_equal(new, q):
            break
        q = new
    q[(maze.kind == WALL) | (maze.kind == TREASURE)] = 0.0
    return q


def random_walk(maze: Maze, steps: int) -> float:
    """Probability that uniform random steps reach the treasure within ``steps``: the Markov chain, exactly."""
    here = np.zeros(maze.states)
    here[maze.start] = 1.0
    open_cells = maze.kind != TREASURE
    for _ in range(steps):
        after = np.where(open_cells, 0.0, here)
        np.add.at(after, maze.next[open_cells], np.repeat(here[open_cells, None] / 4, 4, 1))
        here = after
    return float(here[~open_cells].sum())


# ── learners ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Learned:
    """Tables ``q`` float64 ``[n, states, 4]`` and the record of every episode: ``steps``, ``traps`` int32, ``success`` bool ``[n, episodes]``."""

    q: np.ndarray
    steps: np.ndarray
    traps: np.ndarray
    success: np.ndarray

    @property
    def reward(self) -> np.ndarray:
        return REWARDS[TREASURE] * self.success + REWARDS[TRAP] * self.traps

    def __getitem__(self, chosen) -> Learned:
        return Learned(self.q[chosen], self.steps[chosen], self.traps[chosen], self.success[chosen])


def learn(algorithm: str, maze: Maze, rng, *, episodes=200, max_steps=30, alpha=0.1, gamma=0.9, epsilon=0.1, q_init=0.0) -> Learned:
    """One table, one step after another: the textbook's loop.

    With ``rng = np.random.RandomState(seed)`` it draws as B1's scripts do (mode `book_rng`): a uniform number for each choice, then, only
    where it is needed, ``randint(0, 4)``.
    """
    q = np.full((maze.states, 4), float(q_init))
    record = Learned(q[None], *(np.zeros((1, episodes), t) for t in (np.int32, np.int32, bool)))

    def choose(state):
        if rng.uniform() > 1 - epsilon or not q[state].any():
            return rng.randint(0, 4)
        return q[state].argmax()

    for episode in range(episodes):
        state, done = maze.reset(), False
        action = choose(state) if algorithm == "sarsa" else None
        while not done and maze.steps < max_steps:
            if algorithm != "sarsa":
                action = choose(state)
            following, reward, done = maze.step(action)
            next_action = choose(following) if algorithm == "sarsa" else None  # it will be executed: that is what on-policy means
            target = td_target(reward, done, q[following], algorithm, gamma, action=next_action, epsilon=epsilon)
            q[state, action] = (1 - alpha) * q[state, action] + alpha * target
            state, action = following, next_action
        record.steps[0, episode], record.traps[0, episode], record.success[0, episode] = maze.steps, maze.traps, done
    return record


def tabular(
    algorithm: str,
    mazes: Maze | list[Maze],
    rng: np.random.Generator,
    *,
    tables: int,
    which=0,
    episodes=200,
    max_steps=30,
    alpha=0.1,
    gamma=0.9,
    epsilon=0.1,
    q_init=0.0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Learned:
    """``learn`` for many tables at once: they walk in lock-step, every array operation moves all of them by a step.

    Scalars or one value per table: ``which`` (index into ``mazes``), ``max_steps``, ``gamma``, ``q_init``, and ``epsilon``, which
    may also be ``[episodes, tables]``. Each table behaves as ``learn`` does with its column of the draws; a table whose episode is over
    waits for the others. Two tables of the same setting differ in their random numbers alone.
    """
    mazes = [mazes] if isinstance(mazes, Maze) else mazes
    states = max(m.states for m in mazes)
    next_cell, entered = np.zeros((len(mazes), states, 4), np.int64), np.zeros((len(mazes), states, 4), np.int8)
    for number, maze in enumerate(mazes):
        next_cell[number, : maze.states], entered[number, : maze.states] = maze.next, maze.entered
    next_cell, entered = next_cell.ravel(), entered.ravel()

    which, max_steps, gamma, q_init = (np.broadcast_to(v, tables) for v in (which, max_steps, gamma, q_init))
    epsilon = np.broadcast_to(epsilon, (episodes, tables))
    starts, permanent = np.array([m.start for m in mazes])[which], np.array([m.permanent for m in mazes])[which]
    q = np.repeat(np.asarray(q_init, float), states * 4).reshape(tables * states, 4)
    flat = q.reshape(-1)  # a view: one index per cell and action
    record = Learned(q.reshape(tables, states, 4), *(np.zeros((tables, episodes), t) for t in (np.int32, np.int32, bool)))
    longest, sarsa = int(max_steps.max()), algorithm == "sarsa"

    for episode in progress(range(episodes)):
        uniform, random_action = rng.random((longest + 1, tables)), rng.integers(0, 4, (longest + 1, tables))
        gone = np.zeros((tables, states), bool)
        live, state, eps = np.arange(tables), starts, epsilon[episode]
        action = epsilon_greedy(q[live * states + state], eps, uniform[0], random_action[0])
        for step in range(1, longest + 1):
            edge = (which[live] * states + state) * 4 + action
            following, kind = next_cell[edge], entered[edge]
            done = kind == TREASURE
            reward = REWARDS[TREASURE] * done
            (hit,) = np.nonzero(kind == TRAP)
            if len(hit):
                hit = hit[~gone[live[hit], following[hit]]]
                reward[hit] = REWARDS[TRAP]
                record.traps[live[hit], episode] += 1
                gone[live[hit], following[hit]] = ~permanent[live[hit]]
            row, draws = live * states + following, (uniform[step][live], random_action[step][live])
            rows = q[row]
            next_action = epsilon_greedy(rows, eps, *draws) if sarsa else None
            target = td_target(reward, done, rows, algorithm, gamma[live], action=next_action, epsilon=eps)
            cell = (live * states + state) * 4 + action
            flat[cell] = (1 - alpha) * flat[cell] + alpha * target
            if not sarsa:
                next_action = epsilon_greedy(q[row], eps, *draws)
            state, action = following, next_action
            over = done | (step >= max_steps[live])
            if over.any():
                record.steps[live[over], episode], record.success[live[over], episode] = step, done[over]
                live, state, action, eps = (a[~over] for a in (live, state, action, eps))
                if not len(live):
                    break
    return record


@dataclass
class Walk:
    """A greedy walk: its cells and the reward collected at each, start included, the traps touched, whether it found the treasure."""

    path: list[int]
    rewards: list[float]
    traps: int
    success: bool

    @property
    def length(self) -> int:
        return len(self.path) - 1


def greedy_walk(maze: Maze, q: np.ndarray, max_steps: int) -> Walk:
    """Follows the first largest value of each row from the start, without exploring."""
    best = q.argmax(-1)
    path, rewards = [maze.reset()], [0.0]
    while not maze.done and maze.steps < max_steps:
        path.append(maze.step(best[path[-1]])[0])
        rewards.append(maze.reward)
    return Walk(path, rewards, maze.traps, maze.done)


def episodes_to_learn(good: np.ndarray, in_a_row: int = 5) -> np.ndarray:
    """For each row of ``good [n, episodes]`` the first episode that begins ``in_a_row`` good ones; ``episodes`` where there is none."""
    count = good.shape[1]
    if count < in_a_row:
        return np.full(len(good), count)
    runs = np.lib.stride_tricks.sliding_window_view(good, in_a_row, 1).all(-1)
    return np.where(runs.any(1), runs.argmax(1), count)


# ── complete games of a vector environment ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Games:
    """One game per environment, time first: ``observations [t + 1, n, …]``, ``actions``, ``rewards``, ``played`` (the game was on) ``[t, n]``."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    played: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.played.sum(0)

    @property
    def returns(self) -> np.ndarray:
        return self.rewards.sum(0)


def play(policy: Callable[[np.ndarray], np.ndarray], envs, seed: int) -> Games:
    """Plays one complete game in each environment of a gymnasium vector environment, all in lock-step.

    ``policy(observations [n, …])`` gives the actions ``[n]``. ``seed`` starts the environments; a ``SyncVectorEnv`` gives its i-th
    environment ``seed`` + i. A game that is over waits for the others, what happens in its place meanwhile is masked by ``played``.
    """
    observation, _ = envs.reset(seed=seed)
    on = np.ones(envs.num_envs, bool)
    seen, steps = [observation], []
    while on.any():
        action = policy(observation)
        observation, reward, terminated, truncated, _ = envs.step(action)
        seen.append(observation)
        steps.append((action, reward * on, on))
        on = on & ~(terminated | truncated)
    return Games(np.stack(seen), *(np.stack(column) for column in zip(*steps, strict=True)))
