"""Character models: the network against Keras's, streams, sampling, n-grams, the two data sets, the two chapters' promises."""

import math
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlbooks import UserError, catalog, export, fetch, runtime
from dlbooks.datasets import poems, shakespeare
from dlbooks.nn import language_model as lm
from dlbooks.nn import metrics
from dlbooks.nn.decoding import filtered, sample_next
from dlbooks.nn.text import Vocabulary
from dlbooks.run import Run

WEIGHTS = 99_840 + 131_584 + 8_514  # one-hot 66, 2 × LSTM 128, dense


@pytest.fixture(autouse=True)
def seeded():
    runtime.prepare("mini", 7)


# ── vocabulary ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_vocabulary():
    v = Vocabulary.from_counts({"b": 3, "a": 3, "\n": 9, "春": 1, " ": 2}, max_size=5, specials=["<unk>"])
    assert v.tokens == ("<unk>", "\n", "a", "b", " ") and len(v) == 5 and v.unk_id == 0
    assert v.encode("ab春").tolist() == [2, 3, 0] and v.encode("a").dtype == np.int32
    assert v.decode([1, 4]) == ["\n", " "]
    assert Vocabulary.from_json(v.to_json()) == v
    rare = Vocabulary.from_counts(Counter("aab"), min_count=2)
    assert rare.tokens == ("a",) and rare.unk_id is None
    with pytest.raises(UserError, match=r"'春' \(U\+6625\) is not in the vocabulary of 1 tokens"):
        rare.encode("a春")
    with pytest.raises(ValueError, match="once"):
        Vocabulary(("a", "a"))


def save(lookup, folder):
    def serve(text):
        ids = lookup.encode(tf.strings.unicode_split(text, "UTF-8"))
        return {"ids": ids, "text": tf.strings.reduce_join(lookup.decode(ids))}

    export.saved_model(folder, {"serve": (serve, [tf.TensorSpec((), tf.string, name="text")])}, [lookup])


def test_vocabulary_inside_a_graph_has_stable_bytes(tmp_path):
    v = Vocabulary.from_counts(Counter("hello\n"), specials=["<unk>"])
    for name in "ab":
        save(v.lookup(), tmp_path / name)
    answer = tf.saved_model.load(str(tmp_path / "a")).serve("hel\nx")
    assert answer["ids"].numpy().tolist() == v.encode("hel\nx").tolist() and answer["text"].numpy() == b"hel\n<unk>"
    assert (tmp_path / "a/saved_model.pb").read_bytes() == (tmp_path / "b/saved_model.pb").read_bytes()


# ── decoding ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.6439, 0.2369, 0.0871, 0.0321]),
        ({"temperature": 0.5}, [0.8650, 0.1171, 0.0158, 0.0021]),
        ({"temperature": 2.0}, [0.4551, 0.2760, 0.1674, 0.1015]),
        ({"top_k": 2}, [0.7311, 0.2689, 0, 0]),
        ({"top_p": 0.7}, [0.7311, 0.2689, 0, 0]),
        ({"top_p": 0.6}, [1, 0, 0, 0]),
        ({"top_p": 0.9, "top_k": 3}, [0.7311, 0.2689, 0, 0]),
    ],
)
def test_filters(settings, expected):
    z = tf.constant([[2.0, 1.0, 0.0, -1.0]])
    got = tf.nn.softmax(filtered(z, **settings))[0]
    np.testing.assert_allclose(got, expected, atol=5e-5)
    np.testing.assert_allclose(tf.nn.softmax(filtered(z[:, ::-1], **settings))[0], expected[::-1], atol=5e-5)


def test_sampling_follows_the_distribution():
    z = tf.tile(tf.constant([[2.0, 1.0, 0.0, -1.0]]), (20_000, 1))
    ids = sample_next(z, tf.constant([1, 2])).numpy()
    np.testing.assert_allclose(np.bincount(ids, minlength=4) / 20_000, [0.6439, 0.2369, 0.0871, 0.0321], atol=0.01)
    assert np.array_equal(ids, sample_next(z, tf.constant([1, 2])).numpy()) and not np.array_equal(ids, sample_next(z, tf.constant([1, 3])).numpy())
    assert set(sample_next(z, tf.constant([1, 2]), top_k=2).numpy()) == {0, 1}
    ties = tf.constant([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    assert sample_next(ties, tf.constant([0, 0]), temperature=0.0).numpy().tolist() == [1, 0], "the lowest id wins a tie"
    mixed = sample_next(tf.tile(ties[:1], (2, 1)), tf.constant([5, 0]), temperature=[0.0, 1.0], top_k=[0, 1])
    assert mixed.numpy().tolist() == [1, 1]


# ── the network ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lstm_is_keras_lstm():
    ours, theirs = lm.Lstm(6), keras.layers.LSTM(6, return_sequences=True, return_state=True)
    x, h, c = (tf.random.stateless_normal(s, (1, n)) for n, s in enumerate([(2, 5, 3), (2, 6), (2, 6)]))
    theirs(x)
    ours.build((3,))
    assert [tuple(w.shape) for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    np.testing.assert_array_equal(ours.bias, theirs.weights[2])
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        value = tf.random.stateless_normal(b.shape, (3, b.shape[-1]), stddev=0.5)
        a.assign(value), b.assign(value)
    read = [*ours.trainable_variables, *theirs.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, h, c])
        y, *states = ours(tf.transpose(x, (1, 0, 2)), h, c, training=True)
        expected, *their_states = theirs(x, initial_state=[h, c])
        weigh = tf.reshape(tf.range(60.0), (2, 5, 6)) / 10
        losses = [tf.reduce_sum(tf.transpose(y, (1, 0, 2)) * weigh) + tf.reduce_sum(states[1]), tf.reduce_sum(expected * weigh)]
        losses[1] += tf.reduce_sum(their_states[1])
    np.testing.assert_allclose(tf.transpose(y, (1, 0, 2)), expected, atol=1e-6)
    np.testing.assert_allclose(states, their_states, atol=1e-6)
    for got, want in zip(ours(tf.transpose(x, (1, 0, 2)), h, c), [y, *states], strict=True):
        np.testing.assert_array_equal(got, want)
    half = len(read) // 2
    for got, want in zip(tape.gradient(losses[0], [*read[:half], x, h, c]), tape.gradient(losses[1], [*read[half:], x, h, c]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_one_hot_is_a_lookup():
    layer = lm.Lstm(4)
    layer.build((7,))
    ids, zero = tf.constant([[1, 6], [0, 3], [6, 2]]), tf.zeros((2, 4))
    np.testing.assert_allclose(layer(ids, zero, zero)[0], layer(tf.one_hot(ids, 7), zero, zero)[0], atol=1e-6)


def test_network_sizes_and_states():
    assert lm.RecurrentLM(66).count_params() == WEIGHTS == 239_938
    assert lm.RecurrentLM(3501, embedding=128).count_params() == 1_162_925 and lm.RecurrentLM(3501).count_params() == 2_441_773
    model = lm.RecurrentLM(11, units=8, layers=2, dropout=0.5)
    ids = tf.constant(np.random.default_rng(0).integers(0, 11, (3, 12)), tf.int32)
    whole, states = model(ids)
    first, middle = model(ids[:, :5])
    second, last = model(ids[:, 5:], middle)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=1e-5)
    np.testing.assert_allclose(last, states, atol=1e-5)
    np.testing.assert_allclose(model(ids, pieces=4)[0], whole, atol=1e-6)
    assert whole.shape == (3, 12, 11) and not np.allclose(model(ids, training=True)[0], whole)


def test_start_loss_is_that_of_guessing():
    ids = np.random.default_rng(1).integers(0, 66, 2000)
    bits = lm.token_bits(lm.RecurrentLM(66))(ids).mean()
    assert abs(bits * math.log(2) - math.log(66)) < 0.05 and abs(math.log(66) - 4.19) < 0.005 and abs(math.log(3501) - 8.16) < 0.005


# ── streams, evaluation, baseline ───────────────────────────────────────────────────────────────────────────────────────────────


def test_streams():
    v = Vocabulary.from_counts(Counter("Hello!"))
    inputs, targets = lm.streams(v.encode("Hello!"), 1)
    assert "".join(v.decode(inputs[0])) == "Hello" and "".join(v.decode(targets[0])) == "ello!"
    ids = np.arange(103)
    inputs, targets = lm.streams(ids, 4)
    assert inputs.shape == (4, 25) and np.array_equal(targets, inputs + 1), "across window borders, too"
    assert lm.streams(ids, 4, 13)[0].shape == (4, 13)
    with pytest.raises(UserError, match="too few for 64 rows"):
        lm.streams(np.arange(20), 64)


def test_windows_do_not_matter_to_the_evaluation():
    model, ids = lm.RecurrentLM(9, units=8, dropout=0.9), np.random.default_rng(2).integers(0, 9, 400)
    found = [lm.token_bits(model, 4, window)(ids) for window in (10, 50, 1000)]
    assert found[0].shape == (4, 99)
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)
    np.testing.assert_allclose(found[1], found[2], atol=1e-5)


def test_witten_bell_by_hand():
    train, test = [0, 1, 0, 1, 1], [0, 1, 0]
    bits = lm.ngram_bits(np.array(train), np.array(test), 1, 3)
    p0, p1 = (2 + 2 / 3) / 7, (3 + 2 / 3) / 7  # N 5, T 2, uniform 1/3
    assert abs(bits[0] + math.log2(p0 * p1 * p0) / 3) < 1e-12
    after_0, after_1 = (2 + 1 * p1) / 3, (1 + 2 * p0) / 4  # 0 → 1, 1; 1 → 0, 1
    assert abs(bits[1] + math.log2(p0 * after_0 * after_1) / 3) < 1e-12


# ── generation ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_generation():
    model, vocabulary = lm.RecurrentLM(5, units=8), Vocabulary(("<unk>", "a", "b", "\n", "c"))
    model.readout.bias.assign([9.0, 0, 0, 0, 0])  # the model would say <unk> all the time
    sample = lm.sampler(model, vocabulary, "ab")
    one = sample(40, 3, [1.0, 0.0, 0.5, 1.0], top_k=[0, 0, 0, 1])
    assert [len(t) for t in one] == [40] * 4 and "<" not in "".join(one)
    assert one == sample(40, 3, [1.0, 0.0, 0.5, 1.0], top_k=[0, 0, 0, 1]) and one[0] != sample(40, 4, [1.0])[0]
    assert one[1] == one[3], "temperature 0 and top_k 1 take the likeliest"
    assert lm.primer("abc\nde\nf", "\n", 4) == "\nde\n"
    forced = lm.generate(model, tf.constant([[1]]), 5, 0, constrain=lambda step, z: tf.one_hot([step % 5], 5) * 1e9)
    assert forced.numpy().tolist() == [[0, 1, 2, 3, 4]]


# ── data sets ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_texts(tmp_path):
    shakespeare.twin(tmp_path, shakespeare.Params())
    (parts,) = zip(*shakespeare.examples(tmp_path, shakespeare.Params()).values(), strict=True)
    texts = [p["text"] for p in parts]
    assert [len(t) for t in texts] == [54_000, 3_000, 3_000] and len(set("".join(texts))) == 48
    v = Vocabulary.from_counts(Counter(texts[0]), 3501, specials=["<unk>"])
    bits = lm.ngram_bits(v.encode(texts[0]), v.encode(texts[1] + texts[2]), 4, len(v))
    np.testing.assert_allclose(bits, [4.665, 2.55, 1.106, 0.686, 0.535], atol=0.002)
    (tmp_path / "input.txt").write_bytes(b"fine \xff")
    with pytest.raises(UserError, match=r"input\.txt is not UTF-8: byte 0xff at offset 5"):
        shakespeare.examples(tmp_path, shakespeare.Params())

    poems.twin(tmp_path, poems.Params())
    texts = [p[0]["text"] for p in poems.examples(tmp_path, poems.Params()).values()]
    assert [len(t) for t in texts] == [1350 * 13, 75 * 13, 75 * 13]
    v = Vocabulary.from_counts(Counter(texts[0]), 3501, specials=["<unk>"])
    assert len(v) == 66
    np.testing.assert_allclose(lm.ngram_bits(v.encode(texts[0]), v.encode(texts[1] + texts[2]), 2, 66), [5.677, 4.482, 4.577], atol=0.002)
    (tmp_path / "poetry.txt").write_text("古水三竹随，新竹几鸟去。\n短", encoding="utf-8")
    with pytest.raises(UserError, match=r"poetry\.txt, line 2: 1 characters, expected 12"):
        poems.examples(tmp_path, poems.Params())


# ── the chapters ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def small(tmp_path, chapter, dataset, size, **parameters):
    """A chapter trained for a moment and exported, without evaluation."""
    found, source = catalog.chapter(chapter), catalog.dataset(dataset)
    module, drawn = catalog.load(found.declaration), source.params(**size)
    fetch.fetch(source.declaration, catalog.load(source.declaration), drawn, tmp_path / "raw")
    fetch.preprocess(source.declaration, catalog.load(source.declaration), drawn, tmp_path / "raw", tmp_path / "tfrecords" / dataset)
    few = found.params(units=8, steps=3, log_every=2, rows=4, **parameters)
    run = Run(found.declaration, few, profile="smoke", out=tmp_path / "out", data=tmp_path, quiet=True)
    run.begin()
    module.train(run)
    module.export(run)
    return run, module


def test_plays_are_written(tmp_path, capsys):
    run, module = small(tmp_path, "char-rnn-shakespeare", "shakespeare", {"characters": 4000})
    assert [step for step, _ in run.series["valid_bits"]] == [2, 3]
    module.predict(run, ["ROMEO:", "ROMEO:", "", "Ω"], tmp_path / "play.txt", length=30, seed=5, unknown="allow")
    text = capsys.readouterr().out
    assert (tmp_path / "play.txt").read_text() == text and len(text) == 4 * 30 + 2 * 6 + 1 + 3 * 2 + 1
    assert text[:36] == text[38:74] and text.startswith("ROMEO:") and "<unk>" not in text
    module.predict(run, ["ROMEO:"], length=30, seed=6)
    other = capsys.readouterr().out
    assert len(other) == 37 and other[:36] != text[:36]
    for options, message in [
        ({"length": 0}, "length = 0: must be between 1 and 100000"),
        ({"temperature": -1.0}, "temperature = -1.0"),
        ({"top_p": 0.0}, "top_p = 0.0"),
        ({"unknown": "maybe"}, "it is refuse or allow"),
    ]:
        with pytest.raises(UserError, match=message):
            module.predict(run, ["R"], **options)
    with pytest.raises(UserError, match=r"does not know 'Ω' \(U\+03A9\)"):
        module.predict(run, ["RΩΩ"])


def test_poems_keep_the_form(tmp_path, capsys):
    run, module = small(tmp_path, "char-rnn-poems", "poems", {"lines": 100}, embedding=4)
    module.predict(run, ["古山", ""], tmp_path / "poem.txt", lines=4, seed=1, acrostic="山水云月")
    started, free = (poem.splitlines() for poem in capsys.readouterr().out.split("\n\n"))
    assert len(started) == len(free) == 4 and all(module.FORM.fullmatch(line) for line in started + free), "an untrained network, too"
    assert started[0].startswith("古山") and [line[0] for line in started[1:]] == list("水云月") and [line[0] for line in free] == list("山水云月")
    module.predict(run, [""], lines=2, strict=False)
    assert len(capsys.readouterr().out) == 26
    for given, options, message in [
        ("", {"acrostic": "龙山"}, r"does not know '龙' \(U\+9F99\)"),
        ("", {"lines": 101}, "lines = 101"),
        ("", {"lines": 1, "acrostic": "山水"}, "2 characters for 1 lines"),
        ("古水三竹随，新竹几鸟去。", {}, "at most 11 characters"),
    ]:
        with pytest.raises(UserError, match=message):
            module.predict(run, [given], **options)


def test_measures_of_text():
    module = catalog.load(catalog.chapter("char-rnn-poems").declaration)
    assert module.FORM.fullmatch("古水三竹随，新竹几鸟去。") and not module.FORM.fullmatch("古水三竹，随新竹几鸟去。")
    ids = np.arange(13 * 8 + 1)
    _, targets = lm.streams(ids, 4)
    np.testing.assert_allclose(module.position_means(targets % 13), np.arange(13)), "the cost stands at its target's place"
    assert metrics.distinct_n(["abab"], 2) == 2 / 3 and metrics.distinct_n([[1, 2], [3, 4]], 2) == 1
    words = catalog.load(catalog.chapter("char-rnn-shakespeare").declaration).words
    assert words("say'st thou, O king!") == ["say'st", "thou", "O", "king"]
