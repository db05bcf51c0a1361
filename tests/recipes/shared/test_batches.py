"""Batches: which examples come when, against NumPy; and whatever their form, the same bits by fit and by the loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared.batches import (
    Batches,
    ClassesOfExamples,
    Contiguous,
    InOrder,
    Misuse,
    Shuffled,
    SideBySide,
    epoch_order,
    shard_order,
)
from tests import loops
from tests.loops import BATCH, EXAMPLES, Watching, X, Y, make_batches, same_bytes
from tests.trainings import slow

SHARDS = (5, 1, 30, 12)


def test_epoch_order_is_a_permutation():
    order = epoch_order(101, 3, 4)
    assert order.dtype == tf.int32
    assert sorted(order.numpy().tolist()) == list(range(101))
    assert order.numpy().tolist() != list(range(101))


def test_epoch_order_depends_on_the_seed_and_the_epoch_alone():
    first = epoch_order(50, 3, 4).numpy().tolist()
    tf.random.set_seed(1)
    tf.random.uniform((3,))
    epoch_order(50, 3, 5)
    assert epoch_order(50, 3, 4).numpy().tolist() == first
    assert epoch_order(50, tf.constant(3), tf.constant(4)).numpy().tolist() == first
    assert tf.function(lambda epoch: epoch_order(50, 3, epoch))(tf.constant(4)).numpy().tolist() == first
    orders = {tuple(epoch_order(50, seed, epoch).numpy()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25  # (1, 2) and (2, 1) differ as well


def test_the_largest_seed_gives_an_order_of_its_own():
    orders = [epoch_order(50, seed, 0).numpy().tolist() for seed in (2**32 - 1, 2**31 - 1, 0)]
    assert sorted(orders[0]) == list(range(50))
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("shards", [SHARDS, (7,), (1, 1, 1)])
def test_the_order_over_shards_is_a_permutation_that_visits_one_after_the_other(shards):
    order = epoch_order(shards, 3, 4).numpy()
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(sum(shards)))
    visited = np.repeat(np.arange(len(shards)), shards)[order]
    assert (np.diff(visited) != 0).sum() == len(shards) - 1


def test_the_order_over_shards_depends_on_the_seed_and_the_epoch_alone():
    orders = {tuple(epoch_order(SHARDS, seed, epoch).numpy()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    again = {tuple(epoch_order(SHARDS, seed, epoch).numpy()) for seed in range(5) for epoch in range(5)}
    assert again == orders


def test_shards_of_one_size_are_shuffled_differently():
    orders = {tuple(shard_order(shard, 40, 0, epoch).numpy()) for shard in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_shards_come_in_another_order_in_another_epoch():
    starts = np.cumsum([0, *SHARDS])
    firsts = {int(np.searchsorted(starts, epoch_order(SHARDS, 0, e).numpy()[0], side="right")) for e in range(20)}
    assert firsts == {1, 2, 3, 4}


@pytest.mark.parametrize("steps_per_execution", [1, 8])
@pytest.mark.parametrize("validate", [False, True])
def test_fit_visits_exactly_the_rows_of_epoch_order(steps_per_execution, validate):
    examples, batch_size, epochs, seed = 47, 4, 3, 5  # 12 steps; the last has 3 examples
    numbers = np.arange(examples, dtype=np.float32)[:, None]
    others = -1 - numbers, -1 - numbers
    batches = Batches((numbers, numbers), batch_size, seed=seed, validation=others if validate else None)
    assert batches.train.cardinality() == batches.steps == 12
    seen = []

    def loss(y, predictions):
        tf.numpy_function(lambda rows: seen.append(rows.ravel().astype(int).tolist()), [y], [])
        return keras.ops.mean(keras.ops.square(predictions - y))

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss, steps_per_execution=steps_per_execution, jit_compile=False)
    options = {"epochs": epochs, "shuffle": False, "callbacks": [batches], "verbose": 0}
    model.fit(batches.train, validation_data=batches.validation, **options)
    trained = [batch for batch in seen if batch[0] >= 0]
    expected = []
    for epoch in range(epochs):
        visited = epoch_order(examples, seed, epoch).numpy().tolist()
        expected += [visited[first : first + batch_size] for first in range(0, examples, batch_size)]
    assert trained == expected
    assert len(seen) - len(trained) == (12 * epochs if validate else 0)


def test_a_training_that_goes_on_at_a_later_epoch_sees_the_order_of_that_epoch():
    batches = Batches((np.arange(10),), 10)
    orders = [epoch_order(10, 0, epoch).numpy().tolist() for epoch in range(4)]
    for epoch in (3, 0, 1, 1, 3):
        batches.on_epoch_begin(epoch)
        assert next(iter(batches.train))[0].numpy().tolist() == orders[epoch]


def test_features_targets_and_weights_are_shuffled_together():
    x = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)
    batches = Batches(({"a": x, "b": (-x, 2 * x)}, np.arange(10), np.arange(10) / 10), 4)
    batches.on_epoch_begin(1)
    seen = []
    for features, rows, weights in batches.train.as_numpy_iterator():
        np.testing.assert_array_equal(features["a"], x[rows])
        np.testing.assert_array_equal(features["b"][0], -x[rows])
        np.testing.assert_array_equal(features["b"][1], 2 * x[rows])
        np.testing.assert_array_equal(weights, rows / 10)
        seen += rows.tolist()
    assert seen == epoch_order(10, 0, 1).numpy().tolist()


def test_batches_for_validation_keep_their_order_and_the_short_last_one():
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    batches = Batches((x, y), 4, validation=(x, y), test=(-x, -y))
    for part, sign in (("train", 1), ("validation", 1), ("test", -1)):
        found = list(batches.in_order(part).as_numpy_iterator())
        assert [len(y) for _, y in found] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), sign * x)
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), sign * y)
    assert batches.validation.cardinality() == batches.test.cardinality() == 3


def test_a_part_that_is_not_there_is_named():
    batches = Batches((X, Y), BATCH, validation=(X[:0], Y[:0]))
    assert batches.validation is None
    assert [batches.has(part) for part in ("train", "validation", "test")] == [True, False, False]
    with pytest.raises(Misuse, match="there is no test part in memory, only train"):
        _ = batches.test
    with pytest.raises(Misuse, match="there is no validation part in memory, only train"):
        batches.in_order("validation")
    with pytest.raises(Misuse, match="there is no train part in memory, only a stream"):
        Batches(loops.stream((EXAMPLES,)), BATCH).in_order("train")


def test_an_example_is_the_first_examples_or_the_first_batch_where_batches_have_a_form():
    batches = make_batches()
    for count, length in ((1, 1), (8, 8), (1000, EXAMPLES)):
        x, y = batches.example(count)
        np.testing.assert_array_equal(x, X[:length])
        np.testing.assert_array_equal(y, Y[:length])
    order = ClassesOfExamples(Y, 2, 3)
    batches = make_batches(order=order)
    batches.on_epoch_begin(2)  # whatever the epoch is
    x, _ = batches.example(1)
    np.testing.assert_array_equal(x, X[order.rows(0, 0)[0].numpy()])


def test_how_many_examples_some_steps_see():
    assert [make_batches().examples_in(steps) for steps in (0, 1, 12, 13)] == [0, 8, 96, 100]
    order = ClassesOfExamples(Y, 2, 3)
    assert make_batches(order=order).examples_in(5) == 30


def test_the_fingerprint_tells_other_data():
    def fingerprint(x=X, y=Y, **options):
        return Batches((x, y), BATCH, **options).fingerprint()

    other = X.copy()
    other[-1, -1] += 1e-6
    assert fingerprint() == fingerprint(X.copy(), Y.copy(), seed=4)
    assert fingerprint()[0] == EXAMPLES
    different = [fingerprint(), fingerprint(other), fingerprint(y=1 - Y), fingerprint(X[:99], Y[:99])]
    assert len({tuple(each) for each in different}) == 4
    variable = tf.Variable(X)
    before = fingerprint(variable)
    variable.assign(other)  # it is meant to change
    assert fingerprint(variable) == before


def executed(batches, epoch=0, steps_per_execution=None):
    """Return the first step of each execution, and all batches of the steps that they make."""
    firsts, found = [], []
    for execution in batches.executions(epoch, steps_per_execution):
        firsts.append(execution.first)
        for chunk in execution.chunks:
            rows = chunk.rows[chunk.begin : chunk.end]
            found += [tf.nest.map_structure(lambda each: each.numpy(), chunk.gather(chunk.arrays, row)) for row in rows]
    return firsts, found


def test_a_loop_that_goes_on_amid_an_epoch_makes_the_steps_that_are_left():
    batches = Batches((np.arange(47),), 4, seed=3)
    _, all_of_1 = executed(batches, 1)
    _, all_of_2 = executed(batches, 2)
    batches.first_epoch, batches.first_step = 1, 6
    firsts, rest = executed(batches, 1, 3)
    assert firsts == [6, 9]
    assert [x.tolist() for (x,) in rest] == [x.tolist() for (x,) in all_of_1[6:]]
    firsts, rest = executed(batches, 2, 3)  # the next is whole
    assert firsts == [0, 3, 6, 9]
    assert [x.tolist() for (x,) in rest] == [x.tolist() for (x,) in all_of_2]


class Sees(loops.Watching):
    """The numbers in `seen` of every step by epoch: (epochs, steps, batch)."""

    def epochs(self, count):
        seen = self.all_values("seen")
        return seen.reshape(count, -1, *seen.shape[1:]).astype(int)


def rows_by_fit(batches, epochs):
    """Return the first part of every batch that fit sees, as `Sees.epochs` does."""
    found = []

    class Model(keras.Model):
        def train_step(self, data):
            tf.numpy_function(lambda rows: found.append(rows.astype(int)), [tf.nest.flatten(data)[0]], [])
            return {"loss": tf.constant(0.0)}  # Keras needs something

    model = Model()
    model.compile(jit_compile=False)
    model.fit(batches.train, epochs=epochs, shuffle=False, callbacks=[batches], verbose=0)
    return np.array(found).reshape(epochs, batches.steps, -1)


def rows_by_loop(batches, epochs):
    """Return the first part of every batch that a loop sees."""
    size, sees = int(batches.example(1)[0].shape[0]), Sees()
    if batches.order.rows(0, 0).shape.rank == 1:
        size = batches.batch_size

    def step(first, *others):
        return {"seen": tf.ensure_shape(first, (size,))}

    Loop(keras.Sequential([keras.Input((1,))]), step).train(batches, epochs=epochs, callbacks=[sees])
    return sees.epochs(epochs)


@pytest.mark.parametrize("rows_seen", [rows_by_fit, rows_by_loop])
def test_contiguous_rows_go_on_where_those_of_the_batch_before_ended(rows_seen):
    numbers = np.arange(23, dtype=np.float32)
    batches = Batches((numbers,), 4, order=Contiguous(23, 4))
    assert batches.steps == 5
    seen = rows_seen(batches, 2)
    for epoch in seen:
        assert epoch.T.tolist() == [[*range(start, start + 5)] for start in (0, 5, 10, 15)]  # 20, 21, 22 are left out


LABELS = np.repeat([7, 3, 5, 9, 4], [10, 6, 8, 2, 14])  # 9 has fewer examples than a batch takes of a class


@pytest.mark.parametrize("rows_seen", [rows_by_fit, rows_by_loop])
def test_a_batch_of_classes_has_so_many_examples_of_each_drawn_anew(rows_seen):
    numbers = np.arange(len(LABELS), dtype=np.float32)
    batches = Batches((numbers, LABELS), BATCH, seed=3, order=ClassesOfExamples(LABELS, 3, 4))
    assert batches.steps == len(LABELS) // 12
    seen = rows_seen(batches, 40)
    batch_of_classes = LABELS[seen].reshape(40 * batches.steps, 3, 4)
    assert (batch_of_classes == batch_of_classes[:, :, :1]).all()  # 4 in a row are of one class
    for batch, classes in zip(seen.reshape(-1, 3, 4), batch_of_classes[:, :, 0], strict=True):
        assert len(set(classes)) == 3
        for label, examples in zip(classes, batch, strict=True):
            assert len(set(examples)) == 4 or (label == 9 and len(set(examples)) <= 2)
    assert len({tuple(each) for each in seen.reshape(-1, 12)}) == 40 * batches.steps
    _, drawn = np.unique(batch_of_classes[:, :, 0], return_counts=True)
    expected = 40 * batches.steps * 3 / 5
    assert (np.abs(drawn - expected) < 4 * np.sqrt(expected * 2 / 5)).all()  # hypergeometric: 4 standard deviations
    assert set(seen.ravel()) == set(range(len(LABELS)))


def test_classes_of_examples_depend_on_the_seed_and_the_epoch_alone():
    order, other = ClassesOfExamples(LABELS, 3, 4), ClassesOfExamples(LABELS, 3, 4, steps=7)
    assert (order.rows(5, 6).numpy() == ClassesOfExamples(LABELS, 3, 4).rows(5, 6).numpy()).all()
    assert len({order.rows(seed, epoch).numpy().tobytes() for seed in range(4) for epoch in range(4)}) == 16
    assert other.rows(0, 0).shape == (7, 12)
    with pytest.raises(Misuse, match="a batch has 6 classes, and there are 5"):
        ClassesOfExamples(LABELS, 6, 1)


@pytest.mark.parametrize("rows_seen", [rows_by_fit, rows_by_loop])
@pytest.mark.parametrize("sizes", [(23, 10), (10, 23)])
def test_of_two_streams_side_by_side_the_shorter_begins_again_in_a_new_order(rows_seen, sizes):
    first, second = np.arange(sizes[0], dtype=np.float32), 1000 + np.arange(sizes[1], dtype=np.float32)
    one = Batches(((first,), (second,)), 4, seed=3, order=SideBySide(sizes, (4, 3)))
    # the second comes first here: only the first part of a batch is looked at
    other = Batches(((second,), (first,)), 4, seed=3, order=SideBySide(sizes[::-1], (3, 4)))
    steps = max(sizes[0] // 4, sizes[1] // 3)
    assert one.steps == other.steps == steps
    assert (rows_seen(other, 1)[0] >= 1000).all()
    rows = rows_seen(one, 3)
    assert rows.shape == (3, steps, 4)
    a_pass = sizes[0] // 4  # batches until all examples that fill whole ones have come
    passes = [epoch[start : start + a_pass].ravel() for epoch in rows for start in range(0, steps, a_pass)]
    assert all(len(set(each)) == len(each) and set(each) <= set(range(sizes[0])) for each in passes)
    assert len({tuple(each) for each in passes}) == len(passes) == 3 * -(-steps // a_pass)


def test_the_two_streams_are_joined_with_all_their_parts_in_the_orders_of_two_shards():
    sizes, batch_sizes, epoch = (23, 10), (4, 3), 2
    x, u = np.arange(23), np.arange(10)
    train = ({"x": x, "more": -x}, x % 2), (u + 1000,)
    batches = Batches(train, 4, seed=5, order=SideBySide(sizes, batch_sizes))
    batches.on_epoch_begin(epoch)
    longer = shard_order(0, 23, 5, epoch).numpy()[:20].reshape(5, 4)  # one pass an epoch
    passes = [shard_order(1, 10, 5, 2 * epoch + number).numpy()[:9].reshape(3, 3) for number in range(2)]
    shorter = np.concatenate(passes)[:5]  # two passes an epoch, the second not to its end
    _, by_loop = executed(batches, epoch)
    for found in (list(batches.train.as_numpy_iterator()), by_loop):
        assert len(found) == 5
        for step, (features, targets, others) in enumerate(found):
            np.testing.assert_array_equal(features["x"], longer[step])
            np.testing.assert_array_equal(features["more"], -longer[step])
            np.testing.assert_array_equal(targets, longer[step] % 2)
            np.testing.assert_array_equal(others, shorter[step] + 1000)
    with pytest.raises(Misuse, match="a batch has 3 examples, and there are 2"):
        SideBySide((23, 2), (4, 3))


def regression(inputs=None, joined=None, metrics=()):
    """Return parts of a regression on `inputs`, symbolic tensors that `joined` makes one of."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,)) if inputs is None else inputs()
    hidden = inputs if joined is None else joined(inputs)
    hidden = keras.layers.Dense(4, activation="tanh")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    return loops.Parts(model, keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError(), list(metrics))


@keras.saving.register_keras_serializable()
class Reconstruction(keras.layers.Layer):
    """Adds to the losses how far its two inputs are apart."""

    def call(self, inputs):
        x, decoded = inputs
        self.add_loss(keras.ops.mean(keras.ops.square(x - decoded)))
        return decoded


def autoencoder():
    """Return parts without a loss: the model adds its own, so that batches are of features alone."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    code = keras.layers.Dense(3, activation="tanh")(inputs)
    model = keras.Model(inputs, Reconstruction()([inputs, keras.layers.Dense(5)(code)]))
    return loops.Parts(model, keras.optimizers.Adam(0.01), None, [])


TARGETS = X[:, :1] * X[:, 1:2]
WEIGHTS = np.random.default_rng(1).uniform(0, 2, EXAMPLES).astype(np.float32)


def dictionary():
    """Return the inputs of `FORMS` that have names."""
    return {"a": keras.Input((5,), name="a"), "b": keras.Input((2,), name="b")}


FORMS = {
    "x": (autoencoder, (X,)),
    "x, y": (regression, (X, TARGETS)),
    "x, y, weights": (regression, (X, TARGETS, WEIGHTS)),
    "a dict": (
        lambda: regression(dictionary, lambda each: keras.layers.Concatenate()([each["a"], each["b"]])),
        ({"a": X, "b": X[:, 3:]}, TARGETS),
    ),
    "a tuple": (
        lambda: regression(lambda: (keras.Input((5,)), keras.Input((2,))), keras.layers.Concatenate()),
        ((X, X[:, 3:]), TARGETS),
    ),
    "a dict, y, weights": (
        lambda: regression(dictionary, lambda each: keras.layers.Concatenate()([each["a"], each["b"]])),
        ({"b": X[:, 3:], "a": X}, TARGETS, WEIGHTS),
    ),
}


@pytest.mark.parametrize(
    ("form", "options"),
    [*((form, {}) for form in FORMS), *(slow(form, {"jit_compile": True}) for form in FORMS)],
)
def test_whatever_the_form_of_a_batch_fit_and_loop_end_with_the_same_bits(form, options):
    make, arrays = FORMS[form]
    held_out = tf.nest.map_structure(lambda array: array[:30], arrays)
    batches, a, b = Batches(arrays, BATCH, seed=1, validation=held_out, test=held_out), make(), make()
    by_fit, by_loop = loops.fit(a, batches, **options), loops.loop(b, batches, **options)
    assert same_bytes(a.model, b.model)
    assert same_bytes(a.optimizer, b.optimizer)
    assert by_fit == by_loop
    assert by_fit.keys() == {"loss", "val_loss"}


@pytest.mark.parametrize("form", FORMS)
def test_the_first_update_is_numpys_whatever_the_form_of_a_batch(form):
    """Of one batch by SGD, on the layer after which nothing comes: its bias."""
    make, arrays = FORMS[form]
    parts = make()
    parts = parts._replace(optimizer=keras.optimizers.SGD(0.1))
    dense = [layer for layer in parts.model.layers if isinstance(layer, keras.layers.Dense)]
    (kernel, bias), (other_kernel, other_bias) = (layer.get_weights() for layer in dense)
    x = X if np.shape(kernel)[0] == 5 else np.concatenate([X, X[:, 3:]], axis=1)
    outputs = np.tanh(x.astype(np.float64) @ kernel + bias) @ other_kernel + other_bias
    targets = X if form == "x" else TARGETS
    weights = WEIGHTS[:, None] if "weights" in form else 1.0
    gradient = (2 * weights * (outputs - targets) / outputs.shape[1]).mean(axis=0)
    loops.loop(parts, Batches(arrays, EXAMPLES), epochs=1)
    np.testing.assert_allclose(dense[1].bias.numpy(), other_bias - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def carrying(batch_size):
    """Return parts with an LSTM that keeps its state from step to step."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    inputs = keras.Input(batch_shape=(batch_size, 3, 2))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.LSTM(4, stateful=True)(inputs)))
    return loops.Parts(model, keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError(), [])


class Forgets(keras.callbacks.Callback):
    """Resets what the LSTM carries when an epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.layers[1].reset_state()


@pytest.mark.parametrize("options", [{}, slow({"jit_compile": True})])
def test_a_carried_state_goes_through_contiguous_rows_by_fit_as_by_loop(options):
    series = np.sin(np.arange(23 * 3 * 2, dtype=np.float32)).reshape(23, 3, 2)
    batches = Batches((series, series[:, 0, :1]), 4, order=Contiguous(23, 4))
    a, b = carrying(4), carrying(4)
    lstm = b.model.layers[1]
    weights = [array.copy() for array in b.model.get_weights()]
    by_fit, by_loop = (
        loops.fit(a, batches, [Forgets()], **options),
        loops.loop(b, batches, [Forgets()], **options),
    )
    assert same_bytes(a.model, b.model)
    assert by_fit == by_loop
    assert np.abs(lstm.states[0].numpy()).min() > 0

    fixed = carrying(4)  # what it carries after an epoch is what 5 windows in a row, 15 steps, would leave
    fixed.model.set_weights(weights)
    fixed = fixed._replace(optimizer=keras.optimizers.SGD(0.0))
    loops.loop(fixed, batches, epochs=1, **options)
    whole = keras.layers.LSTM(4)
    whole.build((4, 15, 2))
    whole.set_weights(fixed.model.layers[1].get_weights()[:3])
    expected = whole(series[:20].reshape(4, 15, 2)).numpy()
    np.testing.assert_allclose(fixed.model.layers[1].states[0].numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, slow({"jit_compile": True})])
def test_batches_of_classes_end_with_the_same_bits_by_fit_and_by_loop(options):
    batches = Batches((X, Y), BATCH, seed=2, order=ClassesOfExamples(Y, 2, 5), validation=(X[:30], Y[:30]))
    a, b, watching = loops.classifier(), loops.classifier(), Watching()
    by_fit, by_loop = loops.fit(a, batches, **options), loops.loop(b, batches, [watching], **options)
    assert same_bytes(a.model, b.model)
    assert by_fit == by_loop
    assert watching.ended == [(0, 10), (0, 10)]


class Consistent(keras.Model):
    """A network that learns from examples with targets, and to say the same of others and of their negatives."""

    def __init__(self):
        super().__init__()
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        self.network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
        self.mean = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.mean]

    def update(self, x, y, others):
        with tf.GradientTape() as tape:
            supervised = tf.reduce_mean(tf.square(self.network(x, training=True) - y))
            spread = tf.square(self.network(others, training=True) - self.network(-others, training=True))
            loss = supervised + tf.reduce_mean(spread)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.mean.update_state(loss)
        return {"supervised": supervised}

    def train_step(self, data):
        self.update(*data)
        return {"loss": self.mean.result()}


@pytest.mark.parametrize("options", [{}, slow({"jit_compile": True})])
def test_two_streams_side_by_side_end_with_the_same_bits_by_fit_and_by_loop(options):
    batches = Batches(((X, TARGETS), (X[:37],)), 8, seed=1, order=SideBySide((EXAMPLES, 37), (8, 5)))
    a, b = Consistent(), Consistent()
    a.compile(keras.optimizers.SGD(0.05, momentum=0.9), **{"jit_compile": False} | options)
    a.optimizer.build(a.network.trainable_variables)
    by_fit = a.fit(batches.train, epochs=3, shuffle=False, callbacks=[batches], verbose=0).history
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    driver = Loop(b, b.update, metrics=b.metrics, optimizers={optimizer: b.network}, **options)
    assert driver.train(batches, epochs=3) == by_fit
    assert same_bytes(a.network, b.network)
    assert same_bytes(a.optimizer, optimizer)
    assert int(optimizer.iterations) == 3 * 12


class Fills(keras.callbacks.Callback):
    """Writes other features into a variable before each epoch."""

    def __init__(self, variable):
        super().__init__()
        self.variable = variable

    def on_epoch_begin(self, epoch, logs=None):
        self.variable.assign(X * (epoch + 1))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 5}, slow({"jit_compile": True})])
def test_data_in_a_variable_are_what_a_callback_has_written_before_the_epoch(options):
    variable = tf.Variable(np.zeros_like(X), trainable=False)
    batches, a, b = Batches((variable, Y), BATCH, seed=4), loops.classifier(), loops.classifier()
    by_fit = loops.fit(a, batches, [Fills(variable)], epochs=3, **options)
    variable.assign(np.zeros_like(X))
    assert loops.loop(b, batches, [Fills(variable)], epochs=3, **options) == by_fit
    assert same_bytes(a.model, b.model)

    sums, watching = [], Watching()
    driver = Loop(a.model, lambda x, y: {"sum": tf.reduce_sum(x)}, **options)
    driver.train(batches, epochs=3, callbacks=[Fills(variable), watching])
    for epoch in range(3):
        order = epoch_order(EXAMPLES, 4, epoch).numpy()
        sums += [(epoch + 1) * X[order[at : at + BATCH]].sum(dtype=np.float64) for at in range(0, EXAMPLES, BATCH)]
    np.testing.assert_allclose(watching.all_values("sum"), sums, rtol=1e-4, atol=1e-4)


def test_the_order_may_be_that_of_the_examples_and_of_shards():
    in_order = Batches((np.arange(10),), 4, order=InOrder(10, 4))
    by_shards = Batches((np.arange(48),), 5, seed=2, order=Shuffled(48, 5, SHARDS))
    for epoch in (0, 3):
        for batches in (in_order, by_shards):
            batches.on_epoch_begin(epoch)
        assert [x.tolist() for (x,) in in_order.train.as_numpy_iterator()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        found = np.concatenate([x for (x,) in by_shards.train.as_numpy_iterator()])
        assert found.tolist() == epoch_order(SHARDS, 2, epoch).numpy().tolist()


def test_held_out_parts_take_the_order_that_they_are_given():
    """Such as whole batches alone, for a model with a fixed batch size."""
    batches = Batches((np.arange(10),), 4, test=(np.arange(11),), held_out=Contiguous)
    assert [x.tolist() for (x,) in batches.test.as_numpy_iterator()] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    seen = []
    for execution in batches.executions_in_order("test"):
        for chunk in execution.chunks:
            seen += chunk.rows.numpy().tolist()
    assert seen == [[0, 2, 4, 6], [1, 3, 5, 7]]
