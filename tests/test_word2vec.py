"""Word vectors: neighbors and noise of the corpus, the losses against TensorFlow's, what trained vectors know; the word data sets."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from dlbooks import UserError, catalog, fetch, runtime
from dlbooks.datasets import analogies as analogies_data
from dlbooks.datasets import english_words
from dlbooks.nn import skipgram
from dlbooks.nn.text import Vocabulary
from dlbooks.records import Records
from dlbooks.run import Run

IDS = np.array([123, 3084, 12, 6, 195, 90])


@pytest.fixture(scope="module", autouse=True)
def seeded():
    runtime.prepare("mini", 0)


# ── neighbors and noise ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pairs_of_the_book():
    centers, contexts = skipgram.skip_pairs(IDS, 1)
    assert centers.tolist() == [123, 3084, 3084, 12, 12, 6, 6, 195, 195, 90]
    assert contexts.tolist() == [3084, 123, 12, 3084, 6, 12, 195, 6, 90, 195]
    with pytest.raises(ValueError, match="ids must be a vector"):
        skipgram.skip_pairs(IDS[None], 1)
    with pytest.raises(ValueError, match="window is 0, must be ≥ 1"):
        skipgram.skip_pairs(IDS, 0)


def test_windows_end_with_the_text_and_the_reach():
    windows = skipgram.context_windows(IDS, 2)
    assert windows.tolist()[0] == [-1, -1, 3084, 12] and windows.tolist()[2] == [123, 3084, 6, 195]
    windows = skipgram.context_windows(IDS, 2, reach=np.array([2, 1, 1, 1, 1, 2]), documents=np.array([0, 0, 0, 1, 1, 1]))
    assert windows.tolist() == [[-1, -1, 3084, 12], [-1, 123, 12, -1], [-1, 3084, -1, -1], [-1, -1, 195, -1], [-1, 6, 90, -1], [6, 195, -1, -1]]
    assert skipgram.skip_pairs(np.zeros(0, int), 2)[0].shape == (0,)


def test_pairs_against_a_plain_loop():
    random = np.random.default_rng(0)
    ids, window = random.integers(0, 50, 200), 4
    reach, documents = random.integers(1, window + 1, 200), np.sort(random.integers(0, 5, 200))
    expected = [(ids[i], ids[j]) for i in range(200) for j in range(200) if 0 < abs(i - j) <= reach[i] and documents[i] == documents[j]]
    assert list(zip(*skipgram.skip_pairs(ids, window, reach, documents), strict=True)) == expected


def test_keep_probability():
    assert skipgram.keep_probability(0.01, 1e-3) == pytest.approx(0.4162, abs=1e-4)
    assert skipgram.keep_probability(1e-3, 1e-3) == pytest.approx(2)
    shares = np.array([1_061_396, 100_000]) / 17_005_207
    assert skipgram.keep_probability(shares, 1e-3) == pytest.approx([0.1426, 0.5824], abs=1e-4)
    assert skipgram.keep_probability(shares, 0).tolist() == [1, 1]


def test_noise_distributions():
    assert skipgram.noise_distribution([16, 1, 0]) == pytest.approx([8 / 9, 1 / 9, 0])
    zipf = skipgram.log_uniform(50_000)
    assert zipf.sum() == pytest.approx(1) and zipf[[0, 9]] == pytest.approx([0.06406, 0.00881], abs=5e-6)


def test_draws_follow_the_distribution():
    share = skipgram.noise_distribution(np.array([1000, 100, 10, 1]))
    drawn = skipgram.draw(tf.constant(np.cumsum(share), tf.float32), 200_000, [1, 2]).numpy()
    assert np.bincount(drawn, minlength=4) / len(drawn) == pytest.approx(share, abs=0.004)
    assert (drawn == skipgram.draw(tf.constant(np.cumsum(share), tf.float32), 200_000, [1, 2]).numpy()).all()


# ── model and losses ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def small(**options):
    runtime.prepare("mini", 3)
    return skipgram.WordVectors(20, 6, start="nce", seed=3, **options)


def test_scores_of_skipgram_and_cbow():
    model, targets, noise = small(biases=True), tf.constant([4, 5]), tf.constant([1, 2, 3])
    model.biases.assign(np.arange(20) / 10)
    rows, outputs, biases = (np.asarray(v) for v in (model.vectors, model.outputs_table, model.biases))
    words = np.array([[7, -1, 9], [8, -1, -1]])
    true, false = (np.asarray(v) for v in model((tf.constant(words, tf.int32), targets, noise)))
    hidden = np.stack([(rows[7] + rows[9]) / 2, rows[8]])
    assert true == pytest.approx((hidden * outputs[[4, 5]]).sum(1) + biases[[4, 5]], abs=1e-6)
    assert false == pytest.approx(hidden @ outputs[[1, 2, 3]].T + biases[[1, 2, 3]], abs=1e-6)
    model.combine = "sum"
    total = np.asarray(model((tf.constant(words, tf.int32), targets, noise))[0])
    assert total[0] == pytest.approx((rows[7] + rows[9]) @ outputs[4] + biases[4], abs=1e-6)


def test_nce_is_tensorflows():
    model, targets, noise = small(biases=True), np.array([4, 5]), np.array([1, 2, 3])
    expected = np.log(3 * skipgram.log_uniform(20)).astype(np.float32)
    true, false = model((tf.constant([[7], [8]]), tf.constant(targets), tf.constant(noise)))
    ours = skipgram.logistic_loss(true - expected[targets], false - expected[noise])
    sampled = (tf.constant(noise, tf.int64), tf.constant(np.exp(expected[targets]))[:, None], tf.constant(np.exp(expected[noise])))
    theirs = tf.nn.nce_loss(
        model.outputs_table.value,
        model.biases.value,
        tf.constant(targets[:, None], tf.int64),
        tf.gather(model.vectors.value, [7, 8]),
        3,
        20,
        sampled_values=sampled,
    )
    assert np.asarray(ours) == pytest.approx(np.asarray(theirs), rel=1e-5)


def test_negative_sampling_formula():
    true, false = np.array([0.3, -2.0]), np.array([[0.1, 1.0], [-1.0, 4.0]])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    expected = -np.log(sigmoid(true)) - 0.5 * np.log(sigmoid(-false)).sum(1)
    assert np.asarray(skipgram.logistic_loss(tf.constant(true), tf.constant(false), 0.5)) == pytest.approx(expected)


def test_first_loss_of_the_books():
    """Rows of ±1, 50,000 words, 64 noise words: arithmetic alone gives the 264 that B5 prints at step 0 (220 … 330)."""
    runtime.prepare("mini", 0)
    zipf = skipgram.log_uniform(50_000)
    model = skipgram.WordVectors(50_000, 128, start="nce", biases=True, seed=0)
    cumulative = tf.constant(np.cumsum(zipf), tf.float32)
    words, targets, noise = (skipgram.draw(cumulative, n, [0, s]) for n, s in ((128, 1), (128, 2), (64, 3)))
    expected = tf.constant(np.log(64 * zipf), tf.float32)
    true, false = model((words[:, None], targets, noise))
    loss = float(tf.reduce_mean(skipgram.logistic_loss(true - tf.gather(expected, targets), false - tf.gather(expected, noise))))
    assert 220 < loss < 330


# ── what vectors know ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nearest_and_analogy():
    random = np.random.default_rng(0)
    table = skipgram.unit(random.normal(size=(2000, 8)))
    ids = np.arange(1, 40)
    found, cosines = skipgram.nearest(table, table[ids], 5, ids[:, None])
    scores = table[ids] @ table.T
    assert np.diag(scores[:, ids]) == pytest.approx(1, abs=1e-6), "cosine of a word with itself"
    scores[:, 0] = scores[np.arange(39), ids] = -9
    assert (found == np.argsort(-scores, 1)[:, :5]).all() and cosines == pytest.approx(-np.sort(-scores, 1)[:, :5], abs=1e-6)
    few = skipgram.nearest(table[:50], table[ids], 3, ids[:, None])[0]
    assert not (few == ids[:, None]).any() and not (few == 0).any()
    square = skipgram.unit(np.array([[0, 0, 0], [1, 0, 0.2], [1, 0, 1.2], [0, 1, 0.2], [0, 1, 1.2], [-1, -1, 0]]))
    assert skipgram.analogy(square, np.array([[1, 2, 3]]), 1).tolist() == [[4]]


# ── data sets ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def prepared(folder, name, **options):
    found = catalog.declared(catalog.PACKAGE / "datasets" / f"{name.replace('-', '_')}.py")
    module, parameters = catalog.load(found.declaration), found.params(**options)
    fetch.fetch(found.declaration, module, parameters, folder / "raw" / name)
    fetch.preprocess(found.declaration, module, parameters, folder / "raw" / name, folder / "tfrecords" / name)
    return Records(folder / "tfrecords" / name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    prepared(folder, "english-words", words=20_000)
    prepared(folder, "analogies")
    return folder


def test_text8_clean():
    assert english_words.text8_clean("  B1, Word2Vec; don't—42") == "b one word two vec don t four two"


def test_twin_has_the_reference_machines_words():
    assert hashlib.sha256(" ".join(english_words.story(2000)).encode()).hexdigest()[:16] == "1f53f09ceb44ee23"


def test_both_editions_of_the_twin_hold_the_same_words(data, tmp_path):
    story = english_words.story(20_000)
    assert len(set(english_words.story(60_000))) == 145 and story == english_words.story(60_000)[:20_000]
    brown = Records(data / "tfrecords" / "english-words").arrays("train")
    in_order = [brown["text"][i].decode() for i in np.argsort(brown["index"])]
    assert len(in_order) == 6 and " ".join(in_order).split() == story
    text8 = prepared(tmp_path, "english-words", words=20_000, edition="text8").arrays("train")
    assert text8["text"][0].decode().split() == story
    with zipfile.ZipFile(data / "raw/english-words/brown.zip") as archive:
        assert archive.read("brown/ca01").decode().split()[0] == f"{story[0]}/nn" and "brown/cats.txt" in archive.namelist()


@pytest.mark.parametrize(
    ("edition", "members", "message"),
    [
        ("text8", {"text8": b"king Queen"}, "text8: byte 5 is 'Q', expected a to z and spaces"),
        ("text8", {"other": b"king"}, "expected the one member text8, found other"),
        ("text8", {"text8": b"king \xff"}, "byte 5 is 0xff, expected UTF-8"),
        ("brown", {"brown/ca01": b"The/at king"}, "brown/ca01: expected tokens word/tag, found 'king'"),
        ("brown", {"readme": b""}, "expected texts brown/ca01"),
    ],
)
def test_wrong_words_are_refused(tmp_path, edition, members, message):
    from dlbooks import archives

    archives.pack(tmp_path / f"{edition}.zip", members)
    with pytest.raises(UserError, match=message):
        list(english_words.examples(tmp_path, english_words.Params(edition=edition))["train"])


def test_tagged_tokens_lose_tags_and_marks(tmp_path):
    from dlbooks import archives

    archives.pack(tmp_path / "brown.zip", {"brown/ca01": b"The/at Fulton's/np$ 1/2/cd ./. said/vbd\n"})
    (found,) = english_words.examples(tmp_path, english_words.Params())["train"]
    assert found == {"text": "the fulton s one two said", "index": 0}


def test_questions_and_groups(data, tmp_path):
    records = Records(data / "tfrecords" / "analogies")
    assert records.count("questions") == 264 and records.count("groups") == 4
    analogies_data.fetch(tmp_path, analogies_data.Params(twin=False))
    own = {split: list(rows) for split, rows in analogies_data.examples(tmp_path, analogies_data.Params(twin=False)).items()}
    assert len(own["questions"]) > 1800 and {"section": "family", "words": "man woman king queen"} in own["questions"]
    assert sum(len(row["words"].split()) - 1 for row in own["groups"]) > 100
    (tmp_path / "questions-words.txt").write_text(": a\nman woman king\n")
    with pytest.raises(UserError, match=r"questions-words\.txt, line 2: expected 4 words, found 'man woman king'"):
        list(analogies_data.sections(tmp_path / "questions-words.txt", 4))


def test_googles_questions_are_verified(tmp_path, monkeypatch):
    mirrored = tmp_path / "mirror/download.tensorflow.org/data/questions-words.txt"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_text(": capital\nAthens Greece Baghdad Iraq\n")
    monkeypatch.setenv("DLBOOKS_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(UserError, match="expected SHA-1 fa92df4b"):
        analogies_data.fetch(tmp_path, analogies_data.Params(twin=False, edition="google"))


# ── the chapter ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

FAST = {"dimension": 32, "window": 2, "min_count": 1, "vocabulary": 300, "subsample": 0.0, "batch_size": 512, "learning_rate": 0.01, "shared": 64}


def started(data, out, **options):
    runtime.prepare("mini", 0)
    found = catalog.declared(catalog.PACKAGE / "chapters/language/word2vec.py")
    run = Run(found.declaration, found.params(**{**FAST, "passes": 1, "stretch": 10_000, **options}), profile="mini", out=out, data=data, quiet=True)
    run.begin()
    return run, catalog.load(found.declaration)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    run, module = started(data, tmp_path_factory.mktemp("run") / "out", passes=2)
    module.train(run)
    run.evaluate(module)
    module.export(run)
    run.finish()
    return run, module


def test_vectors_know_their_world(trained):
    run, _ = trained
    assert run.metrics["pair_auc"] > 0.95 and 0.3 < run.metrics["pair_auc_untrained"] < 0.7
    assert run.metrics["neighbor_precision"] > 0.85


@pytest.mark.parametrize(
    "options", [{"model": "cbow"}, {"model": "cbow", "combine": "sum"}, {"loss": "nce"}, {"optimizer": "sgd", "learning_rate": 1.0}]
)
def test_other_recipes_learn(data, tmp_path, options):
    run, module = started(data, tmp_path / "out", **options)
    module.train(run)
    losses = [value for _, value in run.series["loss"]]
    assert losses[-1] < losses[0]


def test_stretches_read_everything_once(data, tmp_path):
    run, module = started(data, tmp_path / "out", stretch=7000)
    corpus = module.Corpus(run)
    words, targets = zip(*(corpus.stretch(run, n) for n in range(corpus.stretches(run.params))), strict=True)
    assert len(words) == 3 and corpus.size == 20_000 and corpus.counts.sum() == 20_000 and corpus.vocabulary.tokens[0] == "UNK"
    centers = np.concatenate(words)[:, 0]
    seen = np.bincount(centers, minlength=len(corpus.vocabulary))
    assert (seen[1:] > 0).all() and len(centers) == pytest.approx(3 * 20_000, rel=0.02), "a window of 2 holds 3 words on average"
    again = corpus.stretch(run, 0)
    assert (again[0] == words[0]).all() and (again[1] == targets[0]).all()


def test_plain_sgd_moves_only_rows_it_looked_up(data, tmp_path):
    run, module = started(data, tmp_path / "out", optimizer="sgd", learning_rate=1.0, batch_size=4)
    model = module.build(run.params, 300)
    before = np.asarray(model.vectors)
    import keras

    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    model.outputs_table.assign(np.ones((300, 32), np.float32))
    module.compiled_steps(model, optimizer, run.params, np.ones(300))(
        np.array([[7], [8], [7], [9]], np.int32), np.array([1, 2, 3, 4], np.int32), 1, (1.0, 1.0)
    )
    moved = np.flatnonzero((np.asarray(model.vectors) != before).any(1))
    assert moved.tolist() == [7, 8, 9]


def test_export_answers(trained):
    run, _ = trained
    folder = run.out / "export"
    table, vocabulary = np.load(folder / "embeddings.npy"), Vocabulary.from_json((folder / "vocabulary.json").read_text())
    assert table.shape == (len(vocabulary), 32) and np.linalg.norm(table[1:], axis=1) == pytest.approx(1, abs=1e-5)
    assert len((folder / "vectors.tsv").read_text().splitlines()) == len((folder / "metadata.tsv").read_text().splitlines()) == len(vocabulary)
    saved = tf.saved_model.load(str(folder / "saved_model"))
    assert np.asarray(saved.vectors(tf.constant(["cat"]))["vectors"])[0] == pytest.approx(table[vocabulary.ids["cat"]], abs=1e-6)
    answer = saved.nearest(tf.constant(["cat", "king"]), 5)
    expected = skipgram.nearest(table, table[vocabulary.encode(["cat", "king"])], 5, vocabulary.encode(["cat", "king"])[:, None])[0]
    assert np.char.decode(np.asarray(answer["words"]).astype("S")).tolist() == [vocabulary.decode(row) for row in expected]
    assert json.loads((folder / "saved_model/assets.extra/signature.json").read_text())["inputs"]


def test_predict(trained, tmp_path, capsys):
    run, module = trained
    module.predict(run, ["cat", "king - man + woman"], tmp_path / "out", k=3)
    first, second = capsys.readouterr().out.splitlines()
    assert set(first.removeprefix("cat: ").replace(",", "").split()[::2]) < set(english_words.CLASSES["animals"])
    assert second.startswith("king - man + woman: ") and len((tmp_path / "out/neighbors.csv").read_text().splitlines()) == 7
    for words, message in (
        (["kign"], "'kign' is not in the vocabulary: did you mean king"),
        (["king -"], "write words of a to z"),
        ([], "give a word"),
    ):
        with pytest.raises(UserError, match=message):
            module.predict(run, words)
    with pytest.raises(UserError, match="k = 0"):
        module.predict(run, ["cat"], k=0)


def test_too_little_text(data, tmp_path):
    run, module = started(data, tmp_path / "out", batch_size=1_000_000)
    with pytest.raises(UserError, match="less than one batch of 1000000"):
        module.train(run)
