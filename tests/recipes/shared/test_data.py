"""The three parts of a data set, and what feeds both sides with them."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from recipes.shared import data
from recipes.shared.batches import Contiguous, epoch_order
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams

N = 203  # no multiple of five


@pytest.fixture
def write(tmp_path):
    """A function that writes arrays to a new .npz file and returns hyper-parameters for it."""

    def write(batch_size=8, **arrays):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        np.savez(path, **arrays)
        return HParams(data=str(path), batch_size=batch_size)

    return write


@pytest.fixture
def numbered():
    """Examples that can be told by their target, which is their row; a fraction says that it is no class."""
    return {"x_train": np.random.default_rng(0).normal(5, 3, (N, 2)), "y_train": np.arange(N) + 0.25}


@pytest.fixture
def classes():
    """Images that can be told by their one pixel, which is their row plus one, of a rare and a common class."""
    labels = np.where(np.random.default_rng(0).permutation(N) < 20, 7, 3)
    return {"x_train": (np.arange(N) + 1.0).reshape(N, 1, 1), "y_train": labels}


def rows(split):
    return (split.y[:, 0] - 0.25).astype(int).tolist()


def image_rows(dataset, split):
    return (np.rint(split.x.ravel() / dataset.preprocessing.layers[1].scale).astype(int) - 1).tolist()


def test_the_parts_are_disjoint_and_hold_80_percent_and_again_80_percent(write, numbered):
    dataset = data.load(write(**numbered), "regression")
    parts = [rows(split) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(N))
    assert [len(part) for part in parts] == [129, 33, 41]  # 203 = 162 + 41, 162 = 129 + 33
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [129, 33, 41]


def test_the_split_is_scikit_learns_twice(write, numbered):
    dataset = data.load(write(**numbered), "regression")
    kept, test = train_test_split(np.arange(N), test_size=0.2, random_state=0)
    train, validation = train_test_split(kept, test_size=0.2, random_state=0)
    assert rows(dataset.train) == train.tolist()
    assert rows(dataset.validation) == validation.tolist()
    assert rows(dataset.test) == test.tolist()


def test_every_part_has_its_share_of_every_class_and_examples_keep_their_labels(write, classes):
    dataset = data.load(write(**classes), "classification")
    assert dataset.class_names == ("3", "7")
    seen = []
    for split, examples, rare in ((dataset.train, 129, 13), (dataset.validation, 33, 3), (dataset.test, 41, 4)):
        assert split.y.dtype == np.int32
        assert np.bincount(split.y).tolist() == [examples - rare, rare]
        part = image_rows(dataset, split)
        np.testing.assert_array_equal(split.y, classes["y_train"][part] == 7)
        seen += part
    assert sorted(seen) == list(range(N))


def test_runs_of_different_seeds_are_judged_on_the_same_examples(write, numbered):
    hparams = write(**numbered)
    one, other = (data.load(replace(hparams, seed=seed), "regression") for seed in (0, 1))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, part).y, getattr(other, part).y)


def test_a_test_part_of_the_sources_own_is_used_as_it_is(write, numbered):
    own = np.random.default_rng(1).normal(0, 1, (30, 2))
    dataset = data.load(write(**numbered, x_test=own, y_test=np.arange(30.0)), "regression")
    assert [len(dataset.train), len(dataset.validation)] == [162, 41]
    assert sorted(rows(dataset.train) + rows(dataset.validation)) == list(range(N))
    np.testing.assert_array_equal(dataset.test.y[:, 0], np.arange(30))
    scaler = StandardScaler().fit(numbered["x_train"][rows(dataset.train)])
    np.testing.assert_allclose(dataset.test.x, scaler.transform(own), rtol=1e-5, atol=1e-5)


def test_the_features_of_every_part_are_standardised_by_the_training_part(write, numbered):
    dataset = data.load(write(**numbered), "regression")
    scaler = StandardScaler().fit(numbered["x_train"][rows(dataset.train)])
    for split in (dataset.train, dataset.validation, dataset.test):
        expected = scaler.transform(numbered["x_train"][rows(split)])
        assert split.x.dtype == np.float32
        np.testing.assert_allclose(split.x, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("part", "changes"), [("test", False), ("validation", False), ("train", True)])
def test_only_the_training_part_decides_how_vectors_are_scaled(write, numbered, part, changes):
    before = data.load(write(**numbered), "regression")
    numbered["x_train"][rows(getattr(before, part))] *= 100
    after = data.load(write(**numbered), "regression")
    assert rows(after.train) == rows(before.train)
    assert not np.array_equal(getattr(after, part).x, getattr(before, part).x)
    raw = np.float32([[1, 2]])
    same = np.array_equal(before.preprocessing(raw), after.preprocessing(raw))
    assert same is not changes
    assert np.array_equal(before.train.x, after.train.x) is not changes


@pytest.mark.parametrize(("part", "changes"), [("test", False), ("validation", False), ("train", True)])
def test_only_the_training_part_decides_how_a_table_is_encoded(tmp_path, numbered, part, changes):
    size = np.round(numbered["x_train"][:, 0], 3).astype(str)
    size[::9] = ""
    colour = np.array(["red", "blue", "green"], dtype="<U8")[np.arange(N) % 3]

    def load():
        lines = zip(size, colour, numbered["y_train"], strict=True)
        text = "size,colour,y\n" + "".join(f"{a},{b},{c}\n" for a, b, c in lines)
        (tmp_path / "table.csv").write_text(text)
        return data.load(HParams(data=str(tmp_path / "table.csv"), batch_size=8), "regression")

    before = load()
    changed = rows(getattr(before, part))
    size[changed], colour[changed[0]] = "1000", "violet"
    after = load()
    assert (after.input_shape != before.input_shape) is changes  # a new colour is a new column
    raw = {"size": tf.constant([[np.nan], [3.0]]), "colour": tf.constant([["red"], ["violet"]])}
    outputs = [np.asarray(dataset.preprocessing(raw)) for dataset in (before, after)]
    assert np.array_equal(outputs[0][:, 0], outputs[1][:, 0]) is not changes
    if part == "test":
        assert after.test.x[0].tolist()[1:] == [1, 0, 0, 0]  # violet is unseen


@pytest.mark.parametrize(("part", "changes"), [("test", False), ("train", True)])
def test_only_the_training_part_decides_how_images_are_scaled(write, classes, part, changes):
    before = data.load(write(**classes), "classification")
    classes["x_train"][image_rows(before, getattr(before, part))[0]] = 1e4
    after = data.load(write(**classes), "classification")
    scales = [dataset.preprocessing.layers[1].scale for dataset in (before, after)]
    assert (scales[0] != scales[1]) is changes
    if changes:
        assert scales[1] == 1e-4


def test_text_classes_are_numbered_in_alphabetical_order(tmp_path):
    labels = ["spam", "ham", "eggs"] * 20
    path = tmp_path / "mail.csv"
    path.write_text("row,label\n" + "".join(f"{row},{label}\n" for row, label in enumerate(labels)))
    dataset = data.load(HParams(data=str(path)), "classification")
    assert dataset.class_names == ("eggs", "ham", "spam")
    assert dataset.num_classes == 3
    parts = (dataset.train, dataset.validation, dataset.test)
    row = np.argsort(np.concatenate([split.x[:, 0] for split in parts]))
    assert [dataset.class_names[index] for index in np.concatenate([split.y for split in parts])[row]] == labels


@pytest.mark.parametrize(
    ("values", "names"),
    [([1.0, 2.0], ("1", "2")), ([True, False], ("False", "True")), (["v1", "v1.0"], ("v1", "v1.0"))],
    ids=["floats", "booleans", "text"],
)
def test_class_names_are_the_values_of_the_target(write, values, names):
    dataset = data.load(write(x_train=np.arange(80.0).reshape(40, 2), y_train=np.array(values * 20)), "classification")
    assert dataset.class_names == names


def test_regression_has_no_classes_and_targets_of_two_axes(write, numbered):
    dataset = data.load(write(**numbered), "regression")
    assert dataset.class_names == ()
    assert dataset.num_classes == 0
    assert dataset.input_shape == (2,)
    assert dataset.test.y.shape == (41, 1)
    assert dataset.test.y.dtype == np.float32


def test_one_hot_rows_have_a_one_at_the_class(write, classes):
    dataset = data.load(write(**classes), "classification")
    encoded = data.one_hot(dataset)
    for part in ("train", "validation", "test"):
        rows_of_part, labels = getattr(encoded, part).y, getattr(dataset, part).y
        assert rows_of_part.dtype == np.float32
        np.testing.assert_array_equal(rows_of_part, np.stack([labels == 0, labels == 1], axis=1))
        np.testing.assert_array_equal(getattr(encoded, part).x, getattr(dataset, part).x)


def test_map_targets_leaves_the_features_and_the_original_alone(write, numbered):
    dataset = data.load(write(**numbered), "regression")
    before = dataset.validation.y.copy()
    mapped = data.map_targets(dataset, lambda y: -y)
    np.testing.assert_array_equal(mapped.validation.y, -before)
    np.testing.assert_array_equal(dataset.validation.y, before)
    assert mapped.validation.x is dataset.validation.x
    assert mapped.preprocessing is dataset.preprocessing


def test_arrays_of_a_pairs_own_are_split_once_and_whole():
    x = np.arange(100, dtype=np.float32)[:, None]
    made = {seed: data.of_arrays(HParams(split_seed=seed), x, {"a": x + 1, "b": -x}) for seed in (0, 1)}
    for dataset in made.values():
        parts = dataset.train, dataset.validation, dataset.test
        assert [len(part) for part in parts] == [64, 16, 20]
        assert sorted(np.concatenate([part.x for part in parts]).ravel()) == list(range(100))
        for part in parts:
            np.testing.assert_array_equal(part.y["a"], part.x + 1)
            np.testing.assert_array_equal(part.y["b"], -part.x)
        np.testing.assert_array_equal(dataset.preprocessing(x), x)
    assert made[0].train.x.tolist() != made[1].train.x.tolist()


def test_arrays_of_a_pairs_own_keep_the_validation_part_for_training_if_asked():
    x = np.arange(100, dtype=np.float32)[:, None]
    plain, more = (data.of_arrays(HParams(train_on_validation=asked), x) for asked in (False, True))
    assert more.train.x.tolist() == [*plain.train.x.tolist(), *plain.validation.x.tolist()]
    assert more.validation.x.tolist() == plain.validation.x.tolist()
    assert more.test.x.tolist() == plain.test.x.tolist()


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ({"stream": True}, "--stream reads a folder"),
        ({"target": "y"}, "--target"),
        ({"image_size": (8, 8)}, "--image-size"),
        ({"channels_first": True}, "--channels-first"),
        ({"batch_size": 65}, "--batch-size is 65, more than the 64"),
    ],
)
def test_arrays_of_a_pairs_own_have_no_use_for_flags_about_files(flag, says):
    with pytest.raises(UsageError, match=says):
        data.of_arrays(HParams(data="mine", **flag), np.zeros((100, 1), np.float32))


X = np.random.default_rng(0).normal(size=(60, 2))
HALVES = np.arange(60) % 2


@pytest.mark.parametrize(
    ("task", "arrays", "says"),
    [
        ("classification", {"y_train": HALVES + 0.5}, "the target holds fractions; this recipe predicts classes"),
        ("classification", {"y_train": np.where(HALVES, np.nan, 1)}, "the target has NaN or infinite values"),
        ("classification", {"y_train": np.where(HALVES, np.inf, 1)}, "the target has NaN or infinite values"),
        ("classification", {"y_train": np.ones(60)}, "every example has the target 1"),
        ("classification", {"y_train": np.arange(60), "x_train": X}, "60 examples cannot be split 80/20"),
        ("classification", {"x_test": X, "y_test": HALVES * 2}, "the test part has the class 2, which the training"),
        ("classification", {"x_test": X, "y_test": HALVES * np.nan}, "the test part has the class nan"),
        ("regression", {"y_train": HALVES}, "the target looks like 2 classes.* decimal point"),
        ("regression", {"y_train": HALVES.astype(bool)}, "the target holds true and false"),
        ("regression", {"y_train": HALVES.astype(str)}, "the target holds text; this recipe predicts numbers"),
        ("regression", {"y_train": np.where(HALVES, np.nan, 1.5)}, "the target has NaN or infinite values"),
        ("regression", {"y_train": np.where(HALVES, -np.inf, 1.5)}, "the target has NaN or infinite values"),
        ("regression", {"y_train": np.where(HALVES, 1e39, 1.5)}, "too large for float32"),
        ("regression", {"y_train": np.arange(60.0), "x_train": X * 1e39}, "too large for float32"),
        ("regression", {"y_train": np.arange(60.0), "x_train": X * 1e300}, "too large for float32"),
        (
            "regression",
            {"y_train": np.arange(60.0), "x_train": (X * 1e39).reshape(60, 2, 1)},
            "too large for float32",
        ),
        ("regression", {"y_train": np.arange(60.0), "x_test": X * 1e39, "y_test": np.arange(60.0)}, "too large"),
    ],
)
def test_data_that_does_not_fit_the_task_is_refused_in_one_line(write, task, arrays, says):
    hparams = write(**{"x_train": X, "y_train": HALVES} | arrays)
    with pytest.raises(UsageError, match=says) as error:
        data.load(hparams, task)
    assert "\n" not in str(error.value)
    assert hparams.data in str(error.value)


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("diabetes", "classification", "diabetes holds numbers to predict; this recipe predicts classes"),
        ("digits", "regression", "digits holds classes to predict; this recipe predicts numbers"),
    ],
)
def test_an_embedded_set_for_the_other_task_is_refused(name, task, says):
    with pytest.raises(UsageError, match=says):
        data.load(HParams(data=name), task)


@pytest.mark.parametrize(("classes", "refused"), [(100, False), (101, True)])
def test_more_than_100_distinct_values_are_no_classes(write, classes, refused):
    arrays = {"x_train": np.ones((classes * 10, 2)), "y_train": np.arange(classes * 10) % classes}
    if refused:
        with pytest.raises(UsageError, match="the target has 101 distinct values; this recipe predicts classes"):
            data.load(write(**arrays), "classification")
    else:
        assert data.load(write(**arrays), "classification").num_classes == 100


def test_a_batch_may_be_as_large_as_the_training_part_and_no_larger(write, numbered):
    assert len(data.load(write(batch_size=129, **numbered), "regression").train) == 129
    with pytest.raises(UsageError, match="--batch-size is 130, more than the 129 training examples"):
        data.load(write(batch_size=130, **numbered), "regression")


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_examples_to_split_are_refused_in_one_line(write, count):
    arrays = {"x_train": np.ones((count, 1)), "y_train": np.arange(count) + 0.5}
    with pytest.raises(UsageError, match="cannot be split 80/20") as error:
        data.load(write(batch_size=1, **arrays), "regression")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("examples", [200, 400])
def test_many_distinct_whole_numbers_are_quantities(write, examples):
    arrays = {"x_train": np.ones((examples, 1)), "y_train": np.arange(examples) % 21}
    data.load(write(**arrays), "regression")


def test_counts_are_quantities_even_if_a_part_holds_few_distinct_ones(write):
    counts = np.zeros(1000, int)
    counts[:40] = np.arange(40)  # 40 distinct values; of the rare ones the test part gets a few
    arrays = {"x_train": np.ones((1000, 1)), "y_train": counts}
    assert len(data.load(write(**arrays), "regression").test) == 200


def test_batches_are_of_the_size_and_the_order_that_the_hyper_parameters_say(write, numbered):
    hparams = replace(write(**numbered), seed=5)
    dataset = data.load(hparams, "regression")
    batches = dataset.batches(hparams)
    assert (batches.steps, batches.examples) == (17, 129)  # 16 batches of 8, and one
    for epoch in (0, 3):
        batches.on_epoch_begin(epoch)
        order = epoch_order(129, 5, epoch).numpy()
        found = list(batches.train.as_numpy_iterator())
        assert [len(y) for _, y in found] == [8] * 16 + [1]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), dataset.train.x[order])
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), dataset.train.y[order])
    for part in ("validation", "test"):
        found = list(getattr(batches, part).as_numpy_iterator())
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), getattr(dataset, part).x)
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), getattr(dataset, part).y)


def test_batches_take_another_order_for_the_training_part_alone(write, numbered):
    hparams = write(**numbered)
    dataset = data.load(hparams, "regression")
    batches = dataset.batches(hparams, Contiguous(len(dataset.train), hparams.batch_size))
    assert batches.steps == 16
    first = next(iter(batches.train))[1].numpy()
    np.testing.assert_array_equal(first, dataset.train.y[np.arange(8) * 16])
    np.testing.assert_array_equal(next(iter(batches.test))[1], dataset.test.y[:8])


def test_mnist_keeps_its_own_test_part_and_its_pixels_become_0_to_1(real_data):
    dataset = data.load(HParams(data=str(real_data / "mnist.npz")), "classification")
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [48000, 12000, 10000]
    assert dataset.input_shape == (28, 28)
    assert dataset.class_names == tuple("0123456789")
    with np.load(real_data / "mnist.npz") as archive:
        np.testing.assert_allclose(dataset.test.x[:100], archive["x_test"][:100] / 255, rtol=1e-6)
        np.testing.assert_array_equal(dataset.test.y, archive["y_test"])
        shares = np.bincount(archive["y_train"]) / 60000
    np.testing.assert_allclose(np.bincount(dataset.train.y) / 48000, shares, atol=1e-4)


def test_california_housing_is_ready_for_regression(real_data):
    hparams = HParams(data=str(real_data / "california_housing.csv"), target="median_house_value")
    dataset = data.load(hparams, "regression")
    examples = [len(dataset.train), len(dataset.validation), len(dataset.test)]
    assert examples == [13209, 3303, 4128]
    assert np.isfinite(dataset.train.x).all()
    assert dataset.input_shape == (8 + 1 + 5,)  # eight numbers, unseen, five kinds of places
    numbers, places = dataset.train.x[:, :8].astype(np.float64), dataset.train.x[:, 8:]
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(places.sum(axis=1), 1)


def test_boston_housing_and_spambase_are_ready_for_their_tasks(real_data):
    boston = data.load(HParams(data=str(real_data / "boston_housing.csv")), "regression")
    assert [len(boston.train), len(boston.validation), len(boston.test)] == [323, 81, 102]
    assert boston.input_shape == (13,)
    spam = data.load(HParams(data=str(real_data / "spambase.csv")), "classification")
    assert [len(spam.train), len(spam.validation), len(spam.test)] == [2944, 736, 921]
    assert spam.class_names == ("0", "1")
    assert np.concatenate([spam.train.y, spam.validation.y, spam.test.y]).sum() == 1813  # spam mails in the set


@pytest.mark.parametrize(
    ("file", "target", "task", "says"),
    [
        ("spambase.csv", None, "regression", "the target looks like 2 classes"),
        ("boston_housing.csv", None, "classification", "the target holds fractions"),
        ("california_housing.csv", None, "regression", "the target holds text"),
        ("california_housing.csv", "median_house_value", "classification", "distinct values; this recipe predicts"),
        ("mnist.npz", None, "regression", "the target looks like 10 classes"),
        ("sms_spam.tsv", "ham", "classification", "the text column 'Go until jurong point.* distinct values"),
    ],
)
def test_a_real_file_for_the_other_task_is_refused_in_one_line(real_data, file, target, task, says):
    with pytest.raises(UsageError, match=says) as error:
        data.load(HParams(data=str(real_data / file), target=target), task)
    assert "\n" not in str(error.value)


@pytest.fixture
def marked():
    """Vectors that can be told apart by their first value, which is their row, of a rare and a common class."""
    labels = np.where(np.random.default_rng(0).permutation(N) < 20, 7, 3)
    other = np.random.default_rng(1).normal(5, 3, N)
    return {"x_train": np.column_stack([np.arange(N), other]), "y_train": labels}


def marked_rows(dataset, split, raw):
    """The rows of `split`, by undoing the scaling of the training part, whose rows the others leave."""
    return [int(np.argmin(np.abs(np.asarray(dataset.preprocessing(np.float32(raw)))[:, 0] - x[0]))) for x in split.x]


def test_every_example_is_held_out_by_exactly_one_fold(write, marked):
    folds = data.folds(write(**marked), 5)
    held_out = []
    for fold in folds:
        train, validation = (marked_rows(fold, part, marked["x_train"]) for part in (fold.train, fold.validation))
        assert sorted(train + validation) == list(range(N))
        np.testing.assert_array_equal(fold.train.y, marked["y_train"][train] == 7)
        np.testing.assert_array_equal(fold.validation.y, marked["y_train"][validation] == 7)
        held_out += validation
    assert sorted(held_out) == list(range(N))
    assert [len(fold.validation) for fold in folds] == [41, 41, 41, 40, 40]


@pytest.mark.parametrize("count", [2, 3, 20])
def test_every_fold_has_its_share_of_every_class(write, marked, count):
    folds = data.folds(write(**marked), count)
    assert len(folds) == count
    for fold in folds:
        common, rare = np.bincount(fold.validation.y)
        assert abs(rare - 20 / count) < 1
        assert abs(common - 183 / count) < 1
        assert fold.class_names == ("3", "7")


def test_the_folds_are_shuffled(write, marked):
    first = data.folds(write(**marked), 5)[0]
    assert np.ptp(marked_rows(first, first.validation, marked["x_train"])) > N / 2


def test_the_held_out_fold_is_the_test_part_too(write, marked):
    for fold in data.folds(write(**marked), 3):
        assert fold.test is fold.validation


def test_every_fold_is_scaled_by_its_own_training_part(write, marked):
    folds, raw = data.folds(write(**marked), 4), marked["x_train"]
    for fold in folds:
        np.testing.assert_allclose(fold.train.x.mean(axis=0, dtype=np.float64), 0, atol=1e-5)
        np.testing.assert_allclose(fold.train.x.var(axis=0, dtype=np.float64), 1, rtol=1e-5)
        train, held_out = (marked_rows(fold, part, raw) for part in (fold.train, fold.validation))
        mean, deviation = raw[train].mean(axis=0), raw[train].std(axis=0)
        np.testing.assert_allclose(fold.validation.x, (raw[held_out] - mean) / deviation, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fold.preprocessing(np.float32(raw[:5])), (raw[:5] - mean) / deviation, rtol=1e-4)
    means = [np.asarray(fold.preprocessing(np.float32(raw[:1]))).tobytes() for fold in folds]
    assert len(set(means)) == 4


def test_the_folds_are_the_same_whatever_the_seed_of_the_run(write, marked):
    hparams = write(**marked)
    for one, other in zip(*(data.folds(replace(hparams, seed=seed), 3) for seed in (0, 1)), strict=True):
        np.testing.assert_array_equal(one.train.x, other.train.x)
        np.testing.assert_array_equal(one.validation.x, other.validation.x)
        np.testing.assert_array_equal(one.validation.y, other.validation.y)


def test_a_test_part_of_the_sources_own_is_in_no_fold(write, marked):
    own = {"x_test": np.full((30, 2), 1e6), "y_test": np.arange(30) % 2 * 4 + 3}
    for with_own, without in zip(data.folds(write(**marked, **own), 3), data.folds(write(**marked), 3), strict=True):
        for part in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(with_own, part).x, getattr(without, part).x)
            np.testing.assert_array_equal(getattr(with_own, part).y, getattr(without, part).y)


def test_the_folds_of_text_classes_in_a_table_partition_it(tmp_path):
    labels = ["spam", "ham", "eggs"] * 20
    path = tmp_path / "mail.csv"
    path.write_text("row,label\n" + "".join(f"{row},{label}\n" for row, label in enumerate(labels)))
    held_out = []
    for fold in data.folds(HParams(data=str(path), batch_size=8), 4):
        assert fold.class_names == ("eggs", "ham", "spam")
        assert np.bincount(fold.validation.y).tolist() == [5, 5, 5]
        order = np.argsort(np.concatenate([fold.train.x[:, 0], fold.validation.x[:, 0]]))
        encoded = np.concatenate([fold.train.y, fold.validation.y])[order]
        assert [fold.class_names[index] for index in encoded] == labels
        held_out += np.flatnonzero(order >= len(fold.train)).tolist()
    assert sorted(held_out) == list(range(60))


@pytest.mark.parametrize("count", [21, 30])
def test_a_class_with_fewer_examples_than_folds_is_refused(write, marked, count):
    says = f"the class 7 has 20 examples, too few for {count} folds"
    with pytest.raises(UsageError, match=says) as error:
        data.folds(write(**marked), count)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("y", "batch_size", "says"),
    [
        (np.arange(60) / 4, 8, "the target holds fractions"),
        (np.zeros(60), 8, "every example has the target 0"),
        (np.arange(60) % 2, 41, "--batch-size is 41, more than the 40 training examples"),
    ],
)
def test_what_no_recipe_can_use_makes_no_folds(write, y, batch_size, says):
    with pytest.raises(UsageError, match=says):
        data.folds(write(batch_size, x_train=X, y_train=y), 3)


def test_the_largest_batch_is_the_smallest_training_part(write):
    hparams = write(40, x_train=X, y_train=HALVES)
    assert [len(fold.train) for fold in data.folds(hparams, 3)] == [40, 40, 40]


def test_with_the_validation_part_the_training_part_is_all_but_the_test_part(write, numbered):
    hparams = write(**numbered)
    before, after = (
        data.load(hparams, "regression"),
        data.load(replace(hparams, train_on_validation=True), "regression"),
    )
    assert [len(after.train), len(after.validation), len(after.test)] == [162, 33, 41]
    assert sorted(rows(after.train)) == sorted(rows(before.train) + rows(before.validation))
    assert rows(after.validation) == rows(before.validation)
    assert rows(after.test) == rows(before.test)


def test_with_the_validation_part_it_decides_too_how_features_are_scaled(write, numbered):
    dataset = data.load(replace(write(**numbered), train_on_validation=True), "regression")
    scaler = StandardScaler().fit(numbered["x_train"][rows(dataset.train)])
    for split in (dataset.train, dataset.validation, dataset.test):
        np.testing.assert_allclose(split.x, scaler.transform(numbered["x_train"][rows(split)]), rtol=1e-5, atol=1e-5)


def test_a_test_part_of_the_sources_own_is_not_trained_on_with_the_validation_part_either(write, numbered):
    own = np.random.default_rng(1).normal(0, 1, (30, 2))
    hparams = write(**numbered, x_test=own, y_test=np.arange(30.0))
    dataset = data.load(replace(hparams, train_on_validation=True), "regression")
    assert sorted(rows(dataset.train)) == list(range(N))
    assert len(dataset.validation) == 41
    np.testing.assert_array_equal(dataset.test.y[:, 0], np.arange(30))


def test_with_the_validation_part_every_class_keeps_its_share_and_its_labels(write, classes):
    dataset = data.load(replace(write(**classes), train_on_validation=True), "classification")
    assert np.bincount(dataset.train.y).tolist() == [146, 16]
    np.testing.assert_array_equal(dataset.train.y, classes["y_train"][image_rows(dataset, dataset.train)] == 7)


@pytest.mark.parametrize("name", ["mask_uint8", "int8", "series", "tokens"])
def test_the_cases_train_on_what_their_values_as_floats_give(cases, write, name):
    arrays = dict(np.load(cases / f"{name}.npz"))
    floats = {part: array.astype(np.float64) if part[0] == "x" else array for part, array in arrays.items()}
    as_it_is, as_floats = (data.load(write(**each), "classification") for each in (arrays, floats))
    for part in ("train", "validation", "test"):
        np.testing.assert_allclose(getattr(as_it_is, part).x, getattr(as_floats, part).x, rtol=1e-6, atol=1e-7)
    if as_it_is.train.x.ndim > 2:
        assert np.abs(as_it_is.train.x).max() == pytest.approx(1)


@pytest.mark.parametrize("folder", [False, True])
def test_the_scale_is_that_of_the_training_part(tmp_path, write, folder):
    x, y = (np.arange(3200) % 2).reshape(200, 4, 4).astype(np.uint8), np.arange(200) % 2
    if folder:
        for part in ("train-0", "validation", "test"):
            np.savez(tmp_path / f"{part}.npz", x=x * (1 if part == "train-0" else 200), y=y)
        hparams = HParams(data=str(tmp_path))
    else:
        hparams = write(x_train=x, y_train=y, x_test=200 * x, y_test=y)
    dataset = data.load(hparams, "classification")
    assert (dataset.train.x.max(), dataset.test.x.max()) == (1, 200)
    assert dataset.notes == ("images of uint8 were divided by 1, the largest magnitude in the training part",)


def shapes(dataset):
    return [part.x.shape[1:] for part in (dataset.train, dataset.validation, dataset.test)]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("folder", [False, True])
def test_channels_that_come_first_are_found_and_turned_by_the_flag(tmp_path, write, channels, folder):
    x = np.random.default_rng(0).integers(0, 256, (60, channels, 8, 7), dtype=np.uint8)
    y = np.arange(60) % 2
    if folder:
        for part in ("train-0", "train-1", "test"):
            np.savez(tmp_path / f"{part}.npz", x=x, y=y)
        hparams = HParams(data=str(tmp_path))
    else:
        hparams = write(x_train=x, y_train=y)
    says = rf"shape \({channels}, 8, 7\), .* channels first.*add --channels-first.* turned to \(8, 7, {channels}\)"
    with pytest.raises(UsageError, match=says):
        data.load(hparams, "classification")
    dataset = data.load(replace(hparams, channels_first=True), "classification")
    assert shapes(dataset) == [(8, 7, channels)] * 3
    turned = np.moveaxis(x, 1, -1) / 255
    distances = np.abs(turned - dataset.train.x[0]).max(axis=(1, 2, 3))
    assert distances.min() < 1e-6


def test_a_stream_of_images_with_the_channels_first_is_turned_too(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 7), dtype=np.uint8)
    for part in ("train-0", "train-1", "test"):
        np.savez(tmp_path / f"{part}.npz", x=x, y=np.arange(40) % 2)
    hparams = HParams(data=str(tmp_path), channels_first=True, stream=True, batch_size=8)
    dataset = data.load(hparams, "classification")
    assert dataset.train.input_shape == (8, 7, 3)
    batch, _ = next(iter(dataset.batches(hparams).train))
    assert batch.shape == (8, 8, 7, 3)


@pytest.mark.parametrize("shape", [(8, 8), (8, 7, 3), (8, 7, 1), (3, 4, 4), (5, 8, 7), (2, 3, 8, 7), (3,)])
def test_what_has_no_channels_first_is_left_alone(write, shape):
    hparams = write(x_train=np.ones((60, *shape)), y_train=np.arange(60) % 2)
    assert shapes(data.load(hparams, "classification")) == [shape] * 3


@pytest.mark.parametrize("shape", [(8, 8), (8, 7, 3), (2, 3, 8, 7), (3,)])
def test_the_flag_is_refused_where_no_channels_come_first(write, shape):
    hparams = write(x_train=np.ones((60, *shape)), y_train=np.arange(60) % 2)
    with pytest.raises(UsageError, match=r"--channels-first is for images of shape .*; leave it out"):
        data.load(replace(hparams, channels_first=True), "classification")


def test_a_table_has_no_channels(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n" + "1,x\n2,y\n" * 20)
    with pytest.raises(UsageError, match=r"--channels-first is for images of shape .* has columns; leave it out"):
        data.load(HParams(data=str(tmp_path / "table.csv"), channels_first=True), "classification")


@pytest.mark.parametrize("folder", [False, True])
def test_a_size_is_for_images_in_folders_by_class(tmp_path, write, classes, folder):
    hparams = HParams(data=str(tmp_path)) if folder else write(**classes)
    with pytest.raises(UsageError, match="--image-size resizes"):
        data.load(replace(hparams, image_size=(8, 8)), "classification")


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_split_seed_is_scikit_learns(write, numbered, seed):
    dataset = data.load(replace(write(**numbered), split_seed=seed), "regression")
    kept, test = train_test_split(np.arange(N), test_size=0.2, random_state=seed)
    train, validation = train_test_split(kept, test_size=0.2, random_state=seed)
    assert [rows(part) for part in (dataset.train, dataset.validation, dataset.test)] == [
        each.tolist() for each in (train, validation, test)
    ]


def test_other_split_seeds_make_other_folds(write, marked):
    parts = [data.folds(replace(write(**marked), split_seed=seed), 3)[0].test.x for seed in (0, 0, 1)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert parts[0].shape != parts[2].shape or (parts[0] != parts[2]).any()


def test_a_folder_of_parts_has_no_split_to_seed(tmp_path):
    with pytest.raises(UsageError, match=r"--split-seed has no meaning for .*: its files are the parts"):
        data.load(HParams(data=str(tmp_path), split_seed=1), "classification")


def with_parts(path, parts):
    """Write a table whose target is the row, and the part of each row; return hyper-parameters for it."""
    lines = [f"{row % 7},{part},{row}.25" for row, part in enumerate(parts)]
    path.write_text("a,part,y\n" + "\n".join(lines))
    return HParams(data=str(path), batch_size=4, target="y", split_column="part")


def test_a_column_of_a_table_gives_the_parts(tmp_path):
    parts = np.random.default_rng(0).choice(["train", "validation", "test"], 60)
    hparams = with_parts(tmp_path / "x.csv", parts)
    dataset = data.load(hparams, "regression")
    for part in ("train", "validation", "test"):
        assert rows(getattr(dataset, part)) == np.flatnonzero(parts == part).tolist()
    assert dataset.train.input_shape == (1,)
    dataset = data.load(replace(hparams, train_on_validation=True), "regression")
    assert rows(dataset.train) == np.flatnonzero(parts != "test").tolist()


def test_without_rows_for_validation_a_fifth_of_the_training_part_is_taken(tmp_path):
    parts = np.random.default_rng(0).choice(["train", "test"], 60)
    dataset = data.load(with_parts(tmp_path / "x.csv", parts), "regression")
    train, validation = train_test_split(np.flatnonzero(parts == "train"), test_size=0.2, random_state=0)
    assert rows(dataset.test) == np.flatnonzero(parts == "test").tolist()
    assert rows(dataset.validation) == validation.tolist()
    assert rows(dataset.train) == train.tolist()


def test_a_class_that_only_the_test_part_has_is_refused(tmp_path):
    rows = "".join(f"{row},{'test' if row > 15 else 'train'},{2 if row > 17 else row % 2}\n" for row in range(20))
    (tmp_path / "x.csv").write_text("a,part,y\n" + rows)
    hparams = HParams(data=str(tmp_path / "x.csv"), batch_size=4, split_column="part")
    with pytest.raises(UsageError, match="the test part has the class 2"):
        data.load(hparams, "classification")
    with pytest.raises(UsageError, match="whatever --split-column says"):
        data.folds(hparams, 3)


def test_a_data_set_says_what_was_decided(tmp_path):
    (tmp_path / "x.csv").write_text("a;b;y\n" + "".join(f"{row % 9};1;{row % 2}\n" for row in range(20)))
    dataset = data.load(HParams(data=str(tmp_path / "x.csv"), batch_size=4), "classification")
    assert [note.partition(": ")[2] for note in dataset.notes] == [
        "fields are separated by semicolons",
        "left out: 'b' (always 1)",
    ]
