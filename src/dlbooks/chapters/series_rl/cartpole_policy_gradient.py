r"""# REINFORCE on CartPole

A pole stands on a cart; every fiftieth of a second the agent pushes the cart left or right. It sees four numbers (position, velocity, angle,
angular velocity) and earns 1 for every step, until the pole leans more than 12° (the book says 15°) or the cart is more than 2.4 from the
middle. After 200 steps a game of `CartPole-v0` is won, after 500 one of `CartPole-v1`.

**A policy instead of values.** Q-learning (`maze-q-learning`) learns what each action is worth and derives what to do; a *policy gradient* learns
what to do. The network gives the probability of a push to the right, $p = \sigma(W_2 \max(0, W_1 s))$, without biases, and the agent draws from
it. Chance is part of the policy: it explores by itself and needs no ε.

**The gradient of an expectation.** How does the expected return change with $\theta$, when the return depends on $\theta$ only through what is
drawn? The identity $\nabla \pi = \pi\, \nabla \ln \pi$ turns the gradient of a mean into the mean of a gradient:

$$\nabla_\theta\, \mathbb E[R] = \mathbb E\Bigl[\sum_t A_t\, \nabla_\theta \ln \pi(a_t \mid s_t)\Bigr],
\qquad L = -\operatorname{mean}_t\, A_t \ln \pi(a_t \mid s_t).$$

It looks like supervised learning with the agent's own actions as labels, each weighted by how well things went afterwards. For a logit $z$ the
gradient of $\ln \pi(a)$ is $a - p$, and $\ln\pi$ is the log-sigmoid of $z$ or $-z$: $p = 0.3$ gives $\ln\pi(\text{right}) = -1.2040$ and
$\ln\pi(\text{left}) = -0.3567$. The book writes $\ln(y(y-p) + (1-y)(y+p))$ with $y$ the *opposite* of the action: the same value, until $p$
rounds to 0 or 1 and the logarithm of 0 ends the training.

**What counts is what comes after.** An action cannot change rewards that were paid before it, so $A_t$ is built from the discounted return

$$R_t = r_t + \gamma R_{t+1}, \qquad \gamma = 0.99:$$

five rewards of 1 give 4.90, 3.94, 2.97, 1.99, 1, and 200 of them $R_0 = 86.6$. All returns are positive here, so every action would be
encouraged, and only the differences teach. Subtracting a *baseline* $b(s)$ keeps the gradient's mean, because
$\mathbb E_a[\nabla \ln \pi(a \mid s)] = \nabla \sum_a \pi(a \mid s) = 0$, and takes away most of its variance. Three are built in:

| `baseline` | $A_t$ |
| --- | --- |
| `episode` (book) | $R_t$ less its mean over the game, divided by its standard deviation |
| `batch` (default) | the same over all games between two updates, so that a short game is bad *as a whole* |
| `critic` | $R_t - V(s_t)$, scaled; $V$ is a second network fitted to the returns: an *actor-critic* |

**Corrected.** The published code divides the advantages with `//`, which rounds them down to whole numbers: of five rewards' returns
$[1.41, 0.71, 0.01, -0.70, -1.42]$ remain $[1, 0, 0, -1, -2]$ (variant `companion`). Its first update sees four games but divides by five, nothing is
seeded, and nothing is evaluated: it stops when five games in a row reach the limit. Here 100 further games with seeds of their own decide, played
by the more probable action, beside two rulers: random pushes (about 20 steps) and the rule *push to where $\theta + \frac14\dot\theta$ leans*,
which needs no learning and always wins.

**Measured.** With the defaults all of seeds 0 to 4 play 100 unseen games to the end; the first full batch comes after 270 games (the median), with
the critic after 215. The book's recipe (variant `book`) needs 950, and its stop at the first five lucky games leaves one of five
agents at 191; hence `patience`, two full batches in a row. On `CartPole-v1` (variant `v1`) the same recipe holds the pole for all 500 steps.

**No data set, but inputs.** What a data set is elsewhere, the environment is here: its id, its version and the seeds are parameters, another
gymnasium than the named one is refused, and `environment.json` records what was resolved. The physics is arithmetic and one sine and
cosine in double precision; observations are rounded to single precision before the agent sees them.

**Further.** *Actor-critic* methods join both families; A3C runs many actors at once, DDPG gives the policy continuous actions, PPO limits how far one
update may move it and so reuses games. AlphaGo trained in four steps: a policy network by classification of human moves, from
historical games; the same network improved by self-play with the rule above; a value network by regression on its games; a tree search
that asks both. The book counts $361! \approx 10^{768}$ positions; that many orders of moves there are, positions at most $3^{361} \approx 10^{172}$.

`dlbooks run cartpole-policy-gradient`, half a minute in either profile.
"""

import json
import warnings
from pathlib import Path
from typing import Annotated

import gymnasium
import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from dlbooks import UserError, figures
from dlbooks.catalog import Chapter, Metric, Use, Variant
from dlbooks.chapters.series_rl import _cartpole
from dlbooks.export import saved_model
from dlbooks.inputs import checked_numbers
from dlbooks.nn.rl import Games, play
from dlbooks.params import ChapterParams

CHAPTER = Chapter(
    id="cartpole-policy-gradient",
    title="REINFORCE on CartPole",
    family="series-rl",
    sources=["B1 21", "B5 6.7.1"],
    headline="eval_return_mean",
    metrics={
        "eval_return_mean": Metric(better="higher", floor=195.0),
        "eval_return_worst_agent": Metric(better="higher", floor=195.0),
        "eval_return_min": Metric(better="higher"),
        "eval_return_sampled_mean": Metric(better="higher", floor=180.0),
        "episodes_to_solve": Metric(better="lower"),
        "solved_fraction": Metric(better="higher"),
        "env_steps": Metric(better="lower"),
        "random_return": Metric(better="higher"),
        "rule_return": Metric(better="higher"),
    },
    variants={
        "book": Variant(
            {"hidden": 10, "learning_rate": 0.01, "baseline": "episode", "games": 10_000, "patience": 1},
            about="10 units, each game normalized by itself, stops at the first perfect batch",
        ),
        "companion": Variant(
            {"hidden": 10, "learning_rate": 0.01, "baseline": "episode", "games": 10_000, "patience": 1, "floor_division": True},
            about="`book` with the published code's slip: advantages divided by `//`",
        ),
        "critic": Variant({"baseline": "critic"}, about="a second network predicts the return: actor-critic"),
        "v1": Variant({"env": "CartPole-v1", "games": 1500}, about="games of up to 500 steps"),
    },
    picture="returns.png",
    example="dlbooks predict cartpole-policy-gradient episodes=5 -o play.gif",
    data_parameters=["env", "gymnasium"],
    use=Use(takes="numbers", about="states of the game: position, velocity, angle, angular velocity", example="[[0, 0, 0.05, 0], [0, 0, -0.05, 0]]"),
)


class Params(ChapterParams):
    env: str = Field("CartPole-v0", pattern="^CartPole-v[01]$")
    """gymnasium's id: `CartPole-v0` ends after 200 steps, `CartPole-v1` after 500"""
    gymnasium: str = "1.4.0"
    """version that defines the game; another one installed is refused, so that an upgrade is a change of parameters"""
    agents: int = Field(5, ge=1, le=100)
    """independent trainings, with seeds `seed`, `seed` + 1, …"""
    hidden: int = Field(32, ge=1, le=1000)
    """rectified linear units"""
    learning_rate: float = Field(0.02, gt=0, le=1)
    """Adam's step size"""
    baseline: str = Field("batch", pattern="^(episode|batch|critic)$")
    """what the returns are measured against, see the table"""
    floor_division: bool = False
    """divide advantages by their deviation with `//`, as the published code does"""
    gamma: float = Field(0.99, ge=0, le=1)
    """discount"""
    batch: int = Field(5, ge=1, le=1000)
    """complete games between two updates"""
    games: int = Field(1000, ge=1, le=100_000)
    """most games of a training"""
    patience: int = Field(2, ge=1, le=1000)
    """batches in a row with the full score that end a training"""
    eval_games: int = Field(100, ge=1, le=10_000)
    """games that score a finished agent, seeds 10,000 + i"""


EVALUATION_SEED = 10_000


# ## The game
# `make_vec` steps all games of a batch at once; the evaluation takes one environment per game, because there each game has its own seed.
def games_of(p: Params, count: int, batched: bool):
    if gymnasium.__version__ != p.gymnasium:
        raise UserError(f"gymnasium {gymnasium.__version__} is installed, the parameters say {p.gymnasium}: the game may have changed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v0 is old, and the book's
        return gymnasium.make_vec(p.env, num_envs=count, vectorization_mode="vector_entry_point" if batched else "sync")


def longest(p: Params) -> int:
    return gymnasium.spec(p.env).max_episode_steps


def environment(p: Params) -> dict:
    """What stands in for a data set: the environment's identity, its versions and seeds."""
    spec, envs = gymnasium.spec(p.env), games_of(p, 1, True)
    return {
        "id": spec.id,
        "kwargs": spec.kwargs,
        "max_episode_steps": spec.max_episode_steps,
        "reward_threshold": spec.reward_threshold,
        "observation_space": str(envs.single_observation_space),
        "action_space": str(envs.single_action_space),
        "packages": {"gymnasium": gymnasium.__version__},
        "training_seeds": [p.seed + agent for agent in range(p.agents)],
        "evaluation_seeds": [EVALUATION_SEED, EVALUATION_SEED + p.eval_games - 1],
    }


# ## Model
# 4 · 10 + 10 = 50 parameters in the book's net, 160 in ours.
def build(params: Params) -> keras.Model:
    def xavier(stream):
        return keras.initializers.GlorotUniform(seed=params.seed * 1000 + stream)

    observation = keras.Input((4,), name="observation")
    hidden = keras.layers.Dense(params.hidden, "relu", use_bias=False, kernel_initializer=xavier(1), name="hidden")(observation)
    return keras.Model(observation, keras.layers.Dense(1, use_bias=False, kernel_initializer=xavier(2), name="logit")(hidden))


def build_critic(params: Params) -> keras.Model:
    def xavier(stream):
        return keras.initializers.GlorotUniform(seed=params.seed * 1000 + stream)

    observation = keras.Input((4,), name="observation")
    hidden = keras.layers.Dense(32, "tanh", kernel_initializer=xavier(3), name="critic_hidden")(observation)
    return keras.Model(observation, keras.layers.Dense(1, kernel_initializer=xavier(4), name="value")(hidden))


def policy_of(model: keras.Model):
    """P(right) in NumPy: a game asks for one small product at a time, for which a graph is too heavy."""
    first, last = (np.asarray(w, np.float64) for w in model.weights)

    def probability(observation):
        return 1 / (1 + np.exp(-(np.maximum(np.asarray(observation, np.float64) @ first, 0) @ last)[..., 0]))

    return probability


def sampled(model: keras.Model, rng: np.random.Generator):
    probability = policy_of(model)
    return lambda observation: (rng.random(len(observation)) < probability(observation)).astype(np.int64)


def greedy(model: keras.Model):
    probability = policy_of(model)
    return lambda observation: (probability(observation) > 0.5).astype(np.int64)


# ## Returns and advantages
def discounted_returns(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """R_t = r_t + γ·R_{t+1} along the first axis."""
    returns = np.zeros_like(rewards, np.float64)
    following = np.zeros_like(returns[0])
    for t in range(len(rewards) - 1, -1, -1):
        following = returns[t] = rewards[t] + gamma * following
    return returns


def advantages(p: Params, games: Games, values: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Advantages, returns and weights (their mean is what the loss takes) of every step of a batch, game after game.

    The book sums one mean per game, so with `episode` a step of a game of length T weighs 1/T; else each step weighs the same.
    """
    on = games.played.T  # game first
    returns = discounted_returns(games.rewards, p.gamma).T[on]
    owner = np.repeat(np.arange(len(on)), games.lengths)
    if p.baseline == "episode":
        weights = (1 / games.lengths)[owner]
        result = np.concatenate([normalized(returns[owner == g], p.floor_division) for g in range(len(on))])
    else:
        weights = np.full(len(returns), 1 / len(returns))
        result = normalized(returns if values is None else returns - values, p.floor_division)
    return result, returns, weights


def normalized(values: np.ndarray, floor_division: bool = False) -> np.ndarray:
    centered, deviation = values - values.mean(), values.std() + 1e-8
    return centered // deviation if floor_division else centered / deviation


def log_probability(logits, actions):
    """ln π(a): the log-sigmoid of the logit for right (1), of its negative for left (0); finite also where $p$ rounds to 0 or 1."""
    return -tf.nn.softplus(tf.where(actions == 1, -logits, logits))


def compiled_update(model, optimizer, critic=None, critic_optimizer=None):
    @tf.function(input_signature=[tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64), *[tf.TensorSpec((None,))] * 3])
    def update(observations, actions, advantage, returns, weights):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(weights * advantage * log_probability(model(observations)[:, 0], actions))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        if critic is not None:
            for _ in tf.range(CRITIC_STEPS):
                with tf.GradientTape() as tape:
                    error = tf.reduce_mean(tf.square(critic(observations)[:, 0] - returns))
                critic_optimizer.apply(tape.gradient(error, critic.trainable_variables), critic.trainable_variables)
        return loss

    return update


CRITIC_STEPS = 10


# ## Training
# Five games with the present policy, one step of Adam, five new games: old games are worthless, for the gradient asks what *this* policy would do.
# The book stops at the first batch whose five games all reach the limit.
def train(run):
    p = run.params
    for agent in range(p.agents):
        train_agent(run, p.model_copy(update={"seed": p.seed + agent}), agent)


def train_agent(run, p: Params, agent: int) -> None:
    model, name = build(p), f"return_{agent}"
    optimizer = keras.optimizers.Adam(p.learning_rate)
    optimizer.build(model.trainable_variables)
    state = {"model": model, "optimizer": optimizer}
    if p.baseline == "critic":
        state |= {"critic": build_critic(p), "critic_optimizer": keras.optimizers.Adam(p.learning_rate)}
        state["critic_optimizer"].build(state["critic"].trainable_variables)
    update = compiled_update(*state.values())
    envs = games_of(p, p.batch, True)
    for number in run.epochs(-(-p.games // p.batch), f"agent {agent}", **state):
        games = play(sampled(model, run.random("actions", agent, number)), envs, int(run.random("games", agent, number).integers(2**31)))
        for game, value in enumerate(games.returns, number * p.batch + 1):
            run.log(game, **{name: value})
        on = games.played.T
        observations = np.swapaxes(games.observations[:-1], 0, 1)[on]
        values = state["critic"](observations).numpy()[:, 0] if p.baseline == "critic" else None
        advantage, returns, weights = advantages(p, games, values)
        update(observations, games.actions.T[on], *(a.astype(np.float32) for a in (advantage, returns, weights)))
        recent = [value for _, value in run.series[name][-p.batch * p.patience :]]
        if len(recent) == p.batch * p.patience and min(recent) >= longest(p):
            break
    run.save(model, f"agent_{agent}")


# ## Evaluation
# Each agent plays `eval_games` games that it has never seen, greedily and by chance; the weakest of the agents is a metric of its own, because
# "solved with one seed" says little about a method whose training swings like this one's.
def evaluate(run) -> dict:
    p = run.params
    envs = games_of(p, p.eval_games, False)
    models = [run.load(build(p), f"agent_{agent}") for agent in range(p.agents)]
    by_greed = [play(greedy(m), envs, EVALUATION_SEED) for m in models]
    by_chance = [play(sampled(m, run.random("sampled", agent)), envs, EVALUATION_SEED) for agent, m in enumerate(models)]
    coin, rule = run.random("coin"), lambda o: (o[:, 2] + 0.25 * o[:, 3] > 0).astype(np.int64)
    random = play(lambda o: coin.integers(0, 2, len(o)), envs, EVALUATION_SEED)
    ruled = play(rule, envs, EVALUATION_SEED)

    curves = [np.array([value for _, value in run.series[f"return_{agent}"]]) for agent in range(p.agents)]
    solved = [first_full_batch(c, p.batch, longest(p)) for c in curves]
    means = np.array([g.returns.mean() for g in by_greed])
    best = int(means.argmax())

    rows = [
        {"agent": a, "seed": p.seed + a, "games": len(c), "steps": int(c.sum()), "solved_after": s or "", "eval_mean": m, "eval_min": g.returns.min()}
        for a, (c, s, m, g) in enumerate(zip(curves, solved, means, by_greed, strict=True))
    ]
    run.table("agents.csv", rows)
    run.table("returns.csv", [{"agent": a, "game": n, "return": int(v)} for a, c in enumerate(curves) for n, v in enumerate(c, 1)])
    run.json("environment.json", environment(p))
    run.figure(
        "returns.png",
        _cartpole.returns_figure(curves, p.env, p.seed, longest(p), random.returns.mean()),
        "Steps per training game: single games jump, the mean of twenty climbs from a random player's twenty to the limit for every seed, at its own time",
    )
    run.figure(
        "policy.png",
        _cartpole.policy_figure(policy_of(models[best])),
        "Probability of a push to the right over angle and angular velocity, cart at rest in the middle: a slanted border, close to the "
        "hand-made rule, found from rewards alone",
    )
    clips = [_cartpole.clip(random, int(np.argsort(random.returns)[len(random.returns) // 2])), _cartpole.clip(by_greed[best], 0)]
    run.gif(
        "play.gif",
        _cartpole.side_by_side(clips, ["random pushes", "trained"]),
        "Two games: random pushes drop the pole, the trained policy holds it",
        fps=25,
    )
    return {
        "eval_return_mean": means.mean(),
        "eval_return_worst_agent": means.min(),
        "eval_return_min": min(g.returns.min() for g in by_greed),
        "eval_return_sampled_mean": np.mean([g.returns.mean() for g in by_chance]),
        "episodes_to_solve": np.median([s or p.games for s in solved]),
        "solved_fraction": np.mean([s is not None for s in solved]),
        "env_steps": np.median([c.sum() for c in curves]),
        "random_return": random.returns.mean(),
        "rule_return": ruled.returns.mean(),
    }


def first_full_batch(returns: np.ndarray, batch: int, limit: int) -> int | None:
    """Games played when for the first time all games of a batch reached the limit (the book's end of training)."""
    full = returns[: len(returns) // batch * batch].reshape(-1, batch).min(1) >= limit
    return int((full.argmax() + 1) * batch) if full.any() else None


# ## Export
# The agent that scored best, the first among equals.
def export(run):
    import csv

    with open(run.out / "agents.csv", encoding="utf-8") as file:
        scores = [float(row["eval_mean"]) for row in csv.DictReader(file)]
    model = run.load(build(run.params), f"agent_{int(np.argmax(scores))}")

    def serve(observation):
        probability = tf.sigmoid(model(observation))
        return {"p": probability, "action": tf.cast(probability[:, 0] > 0.5, tf.int64)}

    spec = [tf.TensorSpec((None, 4), tf.float32, name="observation")]
    example = np.array([[0, 0, 0.05, 0], [0, 0, -0.05, 0]], np.float32)
    named = {"environment.json": json.dumps(environment(run.params), indent=2) + "\n"}
    saved_model(run.out / "export" / "saved_model", {"serve": (serve, spec)}, model.variables, named, example)


# ## Use
# Without input it plays: one line per game, the first one drawn into `out` (a GIF). With a CSV of states (position, velocity, angle, angular
# velocity) it says what it would do in each.
PUSHES = ("left", "right")


def answer(run, inputs: list[np.ndarray]) -> list[dict]:
    found = [run.model.serve(tf.constant(checked_numbers(states, 4), tf.float32)) for states in inputs]
    return [{"actions": [PUSHES[a] for a in one["action"].numpy()], "p_right": one["p"].numpy()[:, 0].tolist()} for one in found]


def predict(
    run,
    inputs: list[str],
    out: Path | None = None,
    *,
    episodes: Annotated[int, Field(ge=1, le=1000)] = 5,
    env: Annotated[str, Field(pattern="^CartPole-v[01]$")] = "",
    seed: Annotated[int, Field(ge=0, lt=2**31)] = EVALUATION_SEED,
):
    run.exported()
    if inputs:
        states = np.concatenate([_cartpole.read_states(Path(name)) for name in inputs])
        (found,) = answer(run, [states])
        lines = ["position,velocity,angle,angular_velocity,p_right,action"]
        for state, p, action in zip(states, found["p_right"], found["actions"], strict=True):
            print(f"{'  '.join(f'{v:8.4f}' for v in state)}   P(right) {p:.3f}   push {action}")
            lines.append(",".join([*(f"{v:.6g}" for v in state), f"{p:.6g}", str(PUSHES.index(action))]))
        if out:
            out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    if out and out.suffix.lower() != ".gif":
        raise UserError(f"{out}: games are drawn into a GIF, so the name must end in .gif")
    p = run.params.model_copy(update={"env": env} if env else {})
    games = play(lambda o: run.model.serve(tf.constant(o))["action"].numpy(), games_of(p, episodes, False), seed)
    for number, value in enumerate(games.returns):
        print(f"game {number + 1} (seed {seed + number}): {int(value)} of {longest(p)} steps")
    print(f"mean {games.returns.mean():.1f}")
    if out:
        figures.gif(_cartpole.side_by_side([_cartpole.clip(games, 0)], [p.env]), out, fps=25)
