"""Mazes against the published programs' numbers and worked values; policy gradient against formulas; the games themselves."""

import csv
import itertools
import json
import shutil

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dlbooks import UserError, catalog, runtime
from dlbooks.chapters.series_rl import _mazes, cartpole_policy_gradient, maze_q_learning, maze_sarsa
from dlbooks.nn import rl
from dlbooks.run import Run

SIMPLE, TRAPS = maze_q_learning.Params().simple, maze_q_learning.Params().traps


@pytest.fixture(scope="module", autouse=True)
def prepared():
    runtime.prepare("mini", 0)


@pytest.fixture
def start(tmp_path):
    def begin(chapter_id, **parameters):
        found = catalog.chapter(chapter_id)
        run = Run(found.declaration, found.params(**parameters), profile="mini", out=tmp_path / chapter_id, quiet=True, key=tmp_path.name)
        run.begin()
        return run

    return begin


# ── the maze ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_maze_with_another_start():
    p = maze_q_learning.Params()
    own = _mazes.moved(p, "traps", " ")
    other = _mazes.moved(p, "traps", "3, 2")
    assert other.start == 3 * own.columns + 2 and other.text.count("A") == 1 and np.array_equal(other.kind, own.kind)
    for odd in ("0,0", "3", "a,b", "99,1", "1,99", "-1,2", f"{own.kind.tolist().index(rl.TREASURE) // own.columns},x"):
        with pytest.raises(UserError, match="row and column of a free cell"):
            _mazes.moved(p, "traps", odd)


def test_the_maze_keeps_the_books_rules():
    maze = rl.Maze(TRAPS)
    assert (maze.rows, maze.columns, maze.states, maze.start) == (5, 9, 45, 10)
    assert maze.step(0) == (10, 0.0, False) and maze.step(2) == (10, 0.0, False) and maze.steps == 2  # walls
    assert maze.step(3) == (11, 0.0, False) and maze.step(3) == (12, -5.0, False)
    assert maze.snapshot() == ".........\n.  A    .\n.   x o .\n.       .\n........."
    assert maze.step(2) == (11, 0.0, False) and maze.step(3) == (12, 0.0, False)  # the trap is gone
    assert [maze.step(a)[1] for a in (1, 3, 3, 3)] == [0, -5, 0, 100] and maze.done and (maze.traps, maze.reward, maze.steps) == (2, 90.0, 10)
    with pytest.raises(ValueError, match=r"call reset\(\) first"):
        maze.step(0)
    assert maze.reset() == 10 and not maze.gone

    permanent = rl.Maze(TRAPS, permanent_traps=True)
    assert [permanent.step(a)[1] for a in (3, 3, 0, 2, 3)] == [0, -5, 0, 0, -5]  # bumping into a wall on a trap costs nothing


def test_every_shortest_way_touches_a_trap():
    maze = rl.Maze(TRAPS)
    assert maze.distance() == 6 and maze.distance(avoid_traps=True) == 8
    ways = set(itertools.permutations([1, 3, 3, 3, 3, 3]))
    assert len(ways) == 6
    for way in ways:
        maze.reset()
        for action in way:
            maze.step(action)
        assert maze.done and maze.traps >= 1


@pytest.mark.parametrize(
    "text, message",
    [
        (".....\n.   .\n.  o\n.....", "line 3: 4 characters, line 1 has 5"),
        (".....\n. # .\n.  o.\n.....", "line 2, column 3: '#' is no cell"),
        (".....\n.   .\n.  o \n.....", "line 3, column 5: the border must be wall"),
        (".....\n.   .\n.   .\n.....", r"no treasure \('o'\)"),
        (".....\n.x  .\n.  o.\n.....", "line 2, column 2: the agent starts here"),
        (".....\n. . .\n. .o.\n.....", "no way leads from the start to the treasure"),
        (".....\n.A A.\n.  o.\n.....", r"2 starts \('A'\)"),
        ("." * 65 + "\n" + "." * 65, "2 lines of 65 characters; a maze has 3 to 64 of each"),
        ("", "0 lines of 0 characters"),
    ],
)
def test_wrong_layouts_are_named(text, message):
    with pytest.raises(UserError, match=f"^cave: {message}|^cave, {message}"):
        rl.Maze(text, name="cave")


def test_a_start_of_ones_own():
    maze = rl.Maze(".....\r\n.o  .\r\n.  A.\r\n.....\r\n\r\n")
    assert maze.start == 13 and maze.distance() == 3


# ── formulas ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_epsilon_greedy_and_its_special_row():
    q = np.array([[0.0, 0, 0, 0], [1, 3, 3, 0], [-1, -2, -1, -3]])
    assert rl.epsilon_greedy(q, 0.1, np.array([0.5, 0.5, 0.5]), np.array([3, 3, 3])).tolist() == [3, 1, 0]
    assert rl.epsilon_greedy(q, 0.1, np.array([0.95, 0.95, 0.9]), np.array([2, 2, 2])).tolist() == [2, 2, 0]


def test_td_targets():
    row = np.array([[1.0, 2, 3, 6]])
    reward, done = np.array([5.0]), np.array([False])
    assert rl.td_target(reward, done, row, "q_learning", 0.5) == 8
    assert rl.td_target(reward, done, row, "sarsa", 0.5, action=np.array([1])) == 6
    assert rl.td_target(reward, done, row, "expected_sarsa", 0.5, epsilon=0.0) == 8
    assert rl.td_target(reward, done, row, "expected_sarsa", 0.5, epsilon=1.0) == 5 + 0.5 * row.mean()
    for kind in rl.ALGORITHMS:
        assert rl.td_target(reward, np.array([True]), row, kind, 0.5, action=np.array([0]), epsilon=0.3) == 5
    with pytest.raises(ValueError, match="must be one of q_learning, sarsa, expected_sarsa"):
        rl.td_target(reward, done, row, "dqn", 0.5)


def test_three_visits_make_27_1():
    q = 0.0
    for expected in (10, 19, 27.1):
        q = 0.9 * q + 0.1 * rl.td_target(100.0, True, np.zeros(4), "q_learning", 0.9)
        assert q == pytest.approx(expected)


def test_epsilon_falls_on_a_line():
    found = rl.linear_epsilon(np.array([0, 50_000, 550_000, 1_050_000, 2_000_000]), 1.0, 0.01, 1_000_000, 50_000)
    np.testing.assert_allclose(found, [1, 1, 0.505, 0.01, 0.01])


def test_optimal_values_and_the_discount_that_decides():
    simple, traps = rl.Maze(SIMPLE), rl.Maze(TRAPS)
    assert rl.value_iteration(simple, 0.9)[10].max() == pytest.approx(100 * 0.9**5) == pytest.approx(59.049)
    assert rl.value_iteration(traps, 0.9)[10].max() == pytest.approx(100 * 0.9**5 - 5 * 0.9**3) == pytest.approx(55.404)
    assert maze_q_learning.way_around(traps, 0.9) == pytest.approx(47.830, abs=5e-4)
    critical = maze_q_learning.critical_discount(traps)
    assert critical == pytest.approx(0.97325, abs=5e-6) and 100 * critical**4 - 100 * critical**2 + 5 == pytest.approx(0, abs=1e-6)
    for gamma, traps_hit in ((0.97, 1), (0.98, 0)):
        walk = rl.greedy_walk(traps, rl.value_iteration(traps, gamma), 30)
        assert walk.success and walk.traps == traps_hit and walk.length == (6 if traps_hit else 8)


def test_random_walk_is_what_random_walks_do():
    maze = rl.Maze(SIMPLE)
    assert rl.random_walk(maze, 5) == 0 and rl.random_walk(maze, 6) == pytest.approx(6 / 4**6)  # six monotone ways
    assert rl.random_walk(maze, 30) == pytest.approx(0.2378, abs=1e-4) and rl.random_walk(maze, 50) == pytest.approx(0.4566, abs=1e-4)
    tried = rl.tabular("q_learning", maze, np.random.default_rng(0), tables=4000, episodes=1, epsilon=1.0)
    assert tried.success.mean() == pytest.approx(0.2378, abs=0.03)


def test_episodes_to_learn():
    good = np.array([[0, 1, 1, 0, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 1, 1, 0]], bool)
    assert rl.episodes_to_learn(good, 3).tolist() == [4, 0, 8]
    assert rl.episodes_to_learn(good[:, :2], 3).tolist() == [2, 2, 2]


# ── learners ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "algorithm, seed, max_steps, layout, successes, steps, reward, first",
    [
        ("q_learning", 0, 30, SIMPLE, 192, 1629, 19_200, [17, 30, 30, 13, 13, 30, 30, 24, 30, 17]),
        ("q_learning", 0, 30, TRAPS, 174, 2499, 17_185, []),
        ("sarsa", 1, 50, SIMPLE, 194, 1867, 19_400, [33, 50, 50, 50, 50, 50, 50, 39, 39, 6]),
        ("sarsa", 1, 50, TRAPS, 2, 9962, 130, []),
    ],
)
def test_the_published_programs_step_for_step(algorithm, seed, max_steps, layout, successes, steps, reward, first):
    replay = rl.learn(algorithm, rl.Maze(layout), np.random.RandomState(seed), max_steps=max_steps)
    assert (replay.success.sum(), replay.steps.sum(), replay.reward.sum()) == (successes, steps, reward)
    assert replay.steps[0, : len(first)].tolist() == first
    if successes == 2:
        assert np.flatnonzero(replay.success[0]).tolist() == [0, 3]


class Tape:
    """Plays back one table's column of the draws of ``tabular``."""

    def __init__(self, seed, tables, column, limit):
        self.rng, self.tables, self.column, self.limit = np.random.default_rng(seed), tables, column, limit

    def new_episode(self):
        self.uniforms = self.rng.random((self.limit + 1, self.tables))[:, self.column]
        self.actions = self.rng.integers(0, 4, (self.limit + 1, self.tables))[:, self.column]
        self.at = -1

    def uniform(self):
        self.at += 1
        return self.uniforms[self.at]

    def randint(self, low, high):
        return int(self.actions[self.at])


@pytest.mark.parametrize("algorithm", rl.ALGORITHMS)
@pytest.mark.parametrize("permanent", [False, True])
def test_many_tables_at_once_equal_one_after_another(algorithm, permanent):
    maze = rl.Maze(TRAPS, permanent)
    limits, starts = np.array([30, 12, 30]), np.array([0.0, 0.0, 1.0])
    many = rl.tabular(
        algorithm, [rl.Maze(SIMPLE), maze], np.random.default_rng(5), tables=3, which=1, episodes=40, max_steps=limits, q_init=starts, epsilon=0.2
    )
    for column in range(3):
        tape = Tape(5, 3, column, 30)
        own = rl.Maze(TRAPS, permanent)
        reset = own.reset

        def both(tape=tape, reset=reset):
            tape.new_episode()
            return reset()

        own.reset = both
        one = rl.learn(algorithm, own, tape, episodes=40, max_steps=limits[column], q_init=starts[column], epsilon=0.2)
        np.testing.assert_array_equal(one.q[0], many.q[column])
        for name in ("steps", "traps", "success", "reward"):
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(many, name)[column], name)


def test_sarsa_executes_the_action_it_learned_from(monkeypatch):
    maze, learned, done = rl.Maze(TRAPS), [], []
    target, step = rl.td_target, maze.step

    def spy_target(*words, action=None, **options):
        learned.append(int(action))
        return target(*words, action=action, **options)

    def spy_step(action):
        done.append(int(action))
        answer = step(action)
        if answer[2] or maze.steps == 50:
            done.append(None)
        return answer

    monkeypatch.setattr(rl, "td_target", spy_target)
    maze.step = spy_step
    rl.learn("sarsa", maze, np.random.RandomState(3), episodes=5, max_steps=50)
    at = 0
    for episode in " ".join("|" if a is None else str(a) for a in done).split("|")[:5]:
        actions = [int(a) for a in episode.split()]
        assert learned[at : at + len(actions) - 1] == actions[1:]
        at += len(actions)


def test_without_chance_sarsa_is_q_learning():
    q = rl.value_iteration(rl.Maze(SIMPLE), 0.9) + np.random.default_rng(0).random((45, 4))  # a unique largest value per row
    rows = q[np.arange(11, 16)]
    action = rl.epsilon_greedy(rows, 0.0, np.full(5, 0.999), np.zeros(5, int))
    targets = [rl.td_target(0.0, np.zeros(5), rows, k, 0.9, action=action, epsilon=0.0) for k in rl.ALGORITHMS]
    np.testing.assert_array_equal(targets[0], targets[1])
    np.testing.assert_array_equal(targets[0], targets[2])


def test_exploring_tables_follow_the_values():
    learned = rl.tabular(
        "q_learning",
        rl.Maze(TRAPS, permanent_traps=True),
        np.random.default_rng(0),
        tables=10,
        episodes=800,
        gamma=np.repeat([0.9, 0.98], 5),
        epsilon=0.7,
    )
    traps = [rl.greedy_walk(rl.Maze(TRAPS), q, 30).traps for q in learned.q]
    assert min(traps[:5]) == 1 and max(traps[5:]) == 0


# ── maze chapters ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chapter", [maze_q_learning, maze_sarsa])
def test_maze_chapters(chapter, start, tmp_path, capsys):
    name = chapter.CHAPTER.id
    few = {"explore_episodes": 20, "explore_tables": 2} if chapter is maze_q_learning else {"long_episodes": 20, "long_tables": 2}
    run = start(name, tables=4, episodes=60, **few)
    with pytest.raises(UserError, match="has not been trained here"):
        chapter.predict(run, [])
    chapter.train(run)
    run.evaluate(chapter)
    chapter.export(run)
    assert set(run.metrics) == set(chapter.CHAPTER.metrics)
    exported = tf.saved_model.load(str(run.out / "export" / "saved_model"))
    with np.load(run.out / "export" / "q.npz") as stored:
        table = stored["q_traps"]
        assert json.loads(str(stored["about"]))["layouts"]["traps"] == TRAPS
    answer = exported.traps(tf.constant([10, 28], tf.int64))
    np.testing.assert_allclose(answer["q"], table[[10, 28]], rtol=1e-6)
    assert np.array_equal(answer["action"], table[[10, 28]].argmax(-1))
    assert json.loads((run.out / "environment.json").read_text())["layouts"]["simple"][2] == ".     o ."

    chapter.predict(run, [])
    assert "simple: " in capsys.readouterr().out
    (tmp_path / "own.txt").write_text("......\n.A . .\n.x   .\n. . o.\n......\n")
    chapter.predict(run, [str(tmp_path / "own.txt")], tmp_path / "walk.gif", episodes=60)
    said = capsys.readouterr().out
    assert "own.txt: treasure after 5 steps (shortest way 5), 0 traps; 16 of 16 tables" in said and "*" in said
    rows = list(csv.DictReader(open(tmp_path / "walk.csv", encoding="utf-8")))
    assert (len(rows), rows[0]["row"], rows[0]["column"], rows[-1]["reward"]) == (6, "1", "1", "100")
    with Image.open(tmp_path / "walk.gif") as picture:
        assert picture.n_frames > 5
    with pytest.raises(UserError, match="2 mazes make as many pictures"):
        chapter.predict(run, [], tmp_path / "walk.gif")
    (tmp_path / "noise.txt").write_bytes(b"\xff\xfe\x00")
    for words, message in (("missing.txt", "no such file"), ("noise.txt", "not a text file")):
        with pytest.raises(UserError, match=message):
            chapter.predict(run, [str(tmp_path / words)])


def test_good_episodes():
    learned = rl.Learned(np.zeros((1, 45, 4)), np.array([[6, 8, 9, 30]]), np.array([[0, 1, 0, 0]]), np.array([[True, True, True, False]]))
    assert _mazes.good_episodes(rl.Maze(SIMPLE), learned).tolist() == [[True, True, False, False]]
    assert _mazes.good_episodes(rl.Maze(TRAPS), learned).tolist() == [[True, False, True, False]]


# ── policy gradient ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

pg = cartpole_policy_gradient


def test_discounted_returns():
    five = pg.discounted_returns(np.ones((5, 2)), 0.99)
    np.testing.assert_allclose(five[:, 1], [4.90099501, 3.940399, 2.9701, 1.99, 1])
    assert pg.discounted_returns(np.ones((200, 1)), 0.99)[0, 0] == pytest.approx(86.602, abs=5e-4)
    np.testing.assert_array_equal(pg.discounted_returns(np.ones((3, 1)), 0.0), np.ones((3, 1)))


def test_floor_division_spoils_advantages():
    returns = pg.discounted_returns(np.ones((5, 1)), 0.99)[:, 0]
    np.testing.assert_allclose(pg.normalized(returns), [1.41, 0.71, 0.007, -0.70, -1.42], atol=0.006)
    assert pg.normalized(returns, floor_division=True).tolist() == [1, 0, 0, -1, -2]
    assert not pg.normalized(np.full(7, 3.0)).any()


def test_log_probability():
    logit = tf.constant([np.log(0.3 / 0.7)] * 2, tf.float32)
    np.testing.assert_allclose(pg.log_probability(logit, tf.constant([1, 0])), [-1.2040, -0.3567], atol=1e-4)
    assert np.isfinite(pg.log_probability(tf.constant([500.0, -500.0]), tf.constant([0, 1]))).all()
    p, y = 0.3, 0  # the book's form, y opposite to the action
    assert np.log(y * (y - p) + (1 - y) * (y + p)) == pytest.approx(np.log(0.3))


def batch_of_games(lengths, seed=0):
    rng, longest = np.random.default_rng(seed), max(lengths)
    played = np.arange(longest)[:, None] < np.array(lengths)
    shape = played.shape
    return rl.Games(rng.normal(size=(longest + 1, len(lengths), 4)).astype(np.float32), rng.integers(0, 2, shape), 1.0 * played, played)


def gradient(model, games, params):
    advantage, _, weights = pg.advantages(params, games)
    on = games.played.T
    observations, actions = np.swapaxes(games.observations[:-1], 0, 1)[on], games.actions.T[on]
    with tf.GradientTape() as tape:
        logits = model(observations)[:, 0]
        loss = -tf.reduce_sum((weights * advantage).astype(np.float32) * pg.log_probability(logits, actions))
    return [g.numpy() for g in tape.gradient(loss, model.trainable_variables)], (observations, actions, weights * advantage), float(loss)


def test_gradient_equals_the_formula():
    params = pg.Params()
    model, games = pg.build(params), batch_of_games([6, 3, 4])
    (first, last), (x, a, w), _ = gradient(model, games, params)
    w1, w2 = (np.asarray(v, np.float64) for v in model.weights)
    hidden = np.maximum(x @ w1, 0)
    p = pg.policy_of(model)(x)
    slope = -(w * (a - p))[:, None]
    np.testing.assert_allclose(last, hidden.T @ slope, atol=1e-6)
    np.testing.assert_allclose(first, x.T @ (slope * w2.T * (hidden > 0)), atol=1e-6)
    np.testing.assert_allclose(tf.sigmoid(model(x))[:, 0], p, atol=1e-6)


def test_gradients_of_single_games_add_up_to_the_batch():
    params = pg.Params(baseline="episode")
    model, games = pg.build(params), batch_of_games([6, 3, 4])
    together, _, _ = gradient(model, games, params)
    alone = [
        gradient(model, rl.Games(games.observations[: n + 1, [g]], games.actions[:n, [g]], games.rewards[:n, [g]], games.played[:n, [g]]), params)[0]
        for g, n in enumerate((6, 3, 4))
    ]
    for index in range(2):
        np.testing.assert_allclose(together[index], sum(a[index] for a in alone), atol=1e-6)


def test_mirrored_world_has_the_same_loss():
    """Signs turned inside the hidden layer: the same units see the mirrored states, and left becomes right."""
    params = pg.Params()
    model, games = pg.build(params), batch_of_games([6, 3])
    _, _, loss = gradient(model, games, params)
    for weight in model.weights:
        weight.assign(-weight)
    mirrored = rl.Games(-games.observations, 1 - games.actions, games.rewards, games.played)
    assert gradient(model, mirrored, params)[2] == pytest.approx(loss, abs=1e-6)


def test_book_net_has_fifty_parameters():
    book = pg.Params(**pg.CHAPTER.variants["book"].overrides)
    assert pg.build(book).count_params() == 50 and pg.build(pg.Params()).count_params() == 160
    for wrong in ({"batch": 0}, {"gamma": 1.1}, {"env": "Pong-v5"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            pg.Params(**wrong)
    with pytest.raises(UserError, match=r"gymnasium .* is installed, the parameters say 0\.1"):
        pg.games_of(pg.Params(gymnasium="0.1"), 1, True)


# ── the game ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_golden_trajectory():
    """The game's own bits: whoever changes gymnasium learns it here before a model is blamed."""
    env = pg.games_of(pg.Params(), 1, False).envs[0]
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(
        observation, np.array([0.013696168549358845, -0.023021329194307327, -0.04590264707803726, -0.04834723472595215], np.float32)
    )
    for _ in range(100):
        observation, reward, terminated, truncated, _ = env.step(int(observation[2] + 0.25 * observation[3] > 0))
        assert reward == 1 and not (terminated or truncated)
    np.testing.assert_allclose(observation, GOLDEN, rtol=0, atol=2e-7)


GOLDEN = [-0.38770381, -0.40225276, -0.0057519851, 0.29415011]


def test_batched_game_is_the_single_game():
    single, batched = pg.games_of(pg.Params(), 1, False).envs[0], pg.games_of(pg.Params(), 3, True)
    single.reset(seed=1)
    batched.reset(seed=2)
    batched.state[:, 1] = single.unwrapped.state
    for action in np.random.default_rng(0).integers(0, 2, 40):
        one, _, ended, _, _ = single.step(int(action))
        several, _, over, _, _ = batched.step(np.array([0, action, 1]))
        np.testing.assert_array_equal(one, several[1])
        assert ended == over[1]
        if ended:
            break
    assert ended


def test_play_gives_every_environment_its_own_seed_and_one_game():
    def rule(o):
        return (o[:, 2] > 0).astype(np.int64)  # loses soon

    games = rl.play(rule, pg.games_of(pg.Params(), 4, False), seed=10_000)
    assert games.observations.shape == (len(games.actions) + 1, 4, 4) and np.array_equal(games.returns, games.lengths)
    alone = gymnasium.make("CartPole-v1")
    for number in range(4):
        observation, _ = alone.reset(seed=10_000 + number)
        np.testing.assert_array_equal(observation, games.observations[0, number])
        length, over = 0, False
        while not over:
            observation, _, over, _, _ = alone.step(int(observation[2] > 0))
            length += 1
        assert length == games.lengths[number]
        np.testing.assert_array_equal(observation, games.observations[length, number])


def test_first_full_batch():
    assert pg.first_full_batch(np.array([200, 200, 200, 199, 200, 200, 200]), 2, 200) == 2
    assert pg.first_full_batch(np.array([200, 199, 200, 200, 9]), 2, 200) == 4
    assert pg.first_full_batch(np.array([200, 199, 200]), 2, 200) is None


@pytest.mark.parametrize("options", [{"baseline": "critic"}, {"baseline": "episode", "floor_division": True}])
def test_cartpole_killed_and_resumed_ends_with_the_same_bits(options, start, monkeypatch):
    monkeypatch.setenv("DLBOOKS_CHECKPOINT_SECONDS", "0")
    options = {"agents": 2, "games": 20, "hidden": 4, **options}
    whole = start("cartpole-policy-gradient", **options)
    pg.train(whole)
    before = {p.name: p.read_bytes() for p in whole.out.iterdir()}
    series = whole.series
    shutil.rmtree(whole.work)

    killed = start("cartpole-policy-gradient", **options)
    log = killed.log

    def power_cut(step, **values):
        if "return_1" in values and step == 13:
            raise KeyboardInterrupt
        log(step, **values)

    killed.log = power_cut
    with pytest.raises(KeyboardInterrupt):
        pg.train(killed)
    resumed = start("cartpole-policy-gradient", **options)
    pg.train(resumed)
    assert {p.name: p.read_bytes() for p in resumed.out.iterdir()} == before
    assert resumed.series == series
    shutil.rmtree(resumed.work)


def test_cartpole_chapter(start, tmp_path, capsys):
    run = start("cartpole-policy-gradient", agents=1, games=10, eval_games=5)
    pg.train(run)
    run.evaluate(pg)
    pg.export(run)
    assert run.metrics["rule_return"] == 200
    assert json.loads((run.out / "environment.json").read_text())["evaluation_seeds"] == [10_000, 10_004]
    with Image.open(run.out / "figures" / "play.gif") as picture:
        assert picture.size == (640, 180)

    pg.predict(run, [], tmp_path / "play.gif", episodes=2, env="CartPole-v1")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and said[1].startswith("game 2 (seed 10001): ") and said[1].endswith(" of 500 steps")
    assert (tmp_path / "play.gif").exists()
    with pytest.raises(UserError, match=r"the name must end in \.gif"):
        pg.predict(run, [], tmp_path / "play.mp4", episodes=1)

    (tmp_path / "states.csv").write_text("position,velocity,angle,angular_velocity\n0,0,0.1,0\n\n0,0,-0.1,-1e-1\n")
    pg.predict(run, [str(tmp_path / "states.csv")], tmp_path / "actions.csv")
    assert len(capsys.readouterr().out.splitlines()) == 2
    rows = list(csv.DictReader(open(tmp_path / "actions.csv", encoding="utf-8")))
    assert [int(r["action"]) == (float(r["p_right"]) > 0.5) for r in rows] == [True, True]
    for text, message in (
        ("1,2,3\n", "line 1: 3 columns, must be 4"),
        ("a,b,c,d\n1,2,x,4\n", "line 2: 'x' is not a number"),
        ("1,2,nan,4\n", "line 1: .* not finite"),
        ("a,b,c,d\n", "no states in it"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(UserError, match=message):
            pg.predict(run, [str(tmp_path / "bad.csv")])
