"""The two graphs: operations as GraphDef has them, layers as TensorBoard's own translator shows them."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.graph import metadata as graph_metadata
from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def
from tensorboard.util.tensor_util import make_ndarray

from recipes.shared.tensorboard_logging import graphs

BATCH = np.ones((7, 3), np.float32), np.zeros(7, np.int32)
LARGEST = 1024  # bytes of a constant


def parsed(serialised):
    return GraphDef.FromString(serialised)


def nodes(graph):
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def operations(graph):
    return {node.op for node in nodes(graph)}


def classifier():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])


@pytest.mark.parametrize("side", ["fit", "loop"])
def test_the_graph_of_a_train_step_has_its_way_forward_and_back_and_the_update(side):
    model = classifier()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.1)
    if side == "fit":
        model.compile(optimizer, loss, jit_compile=False)

        def train_step(x, y):
            return model.train_step((x, y))
    else:
        optimizer.build(model.trainable_variables)

        @tf.function
        def train_step(x, y):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    before = model.get_weights()
    graph = parsed(graphs.of_train_step(train_step, BATCH))
    found = operations(graph)
    assert {"MatMul", "Relu", "SparseSoftmaxCrossEntropyWithLogits"} <= found
    assert "ReluGrad" in found
    assert found & {"AssignSubVariableOp", "AssignVariableOp", "ResourceApplyGradientDescent"}
    assert all(map(np.array_equal, before, model.get_weights()))  # it was traced, not run
    assert int(optimizer.iterations) == 0


def test_the_graph_is_that_of_a_batch_of_any_size():
    graph = parsed(graphs.of_train_step(lambda x, y: tf.reduce_sum(x) + tf.cast(tf.size(y), tf.float32), BATCH))
    shapes = [
        ([dim.size for dim in node.attr["shape"].shape.dim], node.attr["dtype"].type)
        for node in graph.node
        if node.op == "Placeholder"
    ]
    assert shapes == [([-1, 3], tf.float32.as_datatype_enum), ([-1], tf.int32.as_datatype_enum)]


def test_the_parts_of_a_batch_may_be_one_or_three_and_dictionaries():
    def placeholders(step, batch):
        graph = parsed(graphs.of_train_step(step, batch))
        return [[dim.size for dim in node.attr["shape"].shape.dim] for node in graph.node if node.op == "Placeholder"]

    x, y = BATCH
    assert placeholders(lambda x: tf.reduce_sum(x), (x,)) == [[-1, 3]]
    by_name = {"one": x, "two": x[:, :2]}

    def step(x, y, weights):
        return tf.reduce_sum(x["one"]) + tf.reduce_sum(x["two"]) + tf.reduce_sum(weights)

    assert placeholders(step, (by_name, y, np.ones(7, np.float32))) == [[-1, 3], [-1, 2], [-1], [-1]]


def test_a_step_that_is_traced_for_that_already_is_not_traced_again():
    traced = []

    @tf.function
    def train_step(x, y):
        traced.append(x.shape)
        return tf.reduce_sum(x)

    train_step.get_concrete_function(tf.TensorSpec((None, 3), tf.float32), tf.TensorSpec((None,), tf.int32))
    graphs.of_train_step(train_step, BATCH)
    assert len(traced) == 1


CONSTANTS = {
    "float32": np.arange(5000, dtype=np.float32),
    "float64": np.arange(5000, dtype=np.float64),
    "int32": np.arange(5000, dtype=np.int32),
    "float16": np.arange(5000, dtype=np.float16),
    "bool": np.arange(5000) % 2 == 0,
    "complex64": np.arange(5000).astype(np.complex64),
    "string": np.array(["a word", "another"] * 2500, dtype=object),
}


@pytest.mark.parametrize("nested", [False, True], ids=["in the step", "in a function of it"])
@pytest.mark.parametrize("dtype", CONSTANTS)
def test_large_constants_keep_their_type_and_shape_alone(dtype, nested):
    def of_constant(x):
        return tf.gather(tf.constant(CONSTANTS[dtype]), tf.cast(x[0, 0], tf.int32))

    if nested:
        of_constant = tf.function(of_constant)
    graph = parsed(graphs.of_train_step(lambda x, y: of_constant(x), BATCH))
    constants = [node.attr["value"].tensor for node in nodes(graph) if node.op == "Const"]
    (large,) = (tensor for tensor in constants if [dim.size for dim in tensor.tensor_shape.dim] == [5000])
    assert large.dtype == tf.as_dtype(dtype).as_datatype_enum
    assert large.ByteSize() <= LARGEST


def test_small_constants_stay():
    graph = parsed(graphs.of_train_step(lambda x, y: x * tf.constant([1.5, 2.5, 3.5]), BATCH))
    values = [make_ndarray(node.attr["value"].tensor).tolist() for node in graph.node if node.op == "Const"]
    assert [1.5, 2.5, 3.5] in values


def shown(model):
    """Return {name: (class, inputs)} of what TensorBoard draws, with the model's own name taken off."""
    value = graphs.of_layers(model)
    assert value.tag == "keras"
    assert value.metadata.plugin_data.plugin_name == graph_metadata.PLUGIN_NAME_KERAS_MODEL
    graph = keras_model_to_graph_def(json.loads(make_ndarray(value.tensor).item()))
    prefix = f"{model.name}/"
    assert all(node.name.startswith(prefix) for node in graph.node)
    assert len({node.name for node in graph.node}) == len(graph.node)
    return {
        node.name.removeprefix(prefix): (
            node.attr["keras_class"].s.decode(),
            [name.removeprefix(prefix) for name in node.input],
        )
        for node in graph.node
    }


def test_the_layers_of_a_sequential_model_follow_each_other():
    model = keras.Sequential(
        [keras.Input((4,), name="in"), keras.layers.Dense(3, name="a"), keras.layers.ReLU(name="b")]
    )
    found = list(shown(model).items())
    assert found[-2:] == [("a", ("Dense", ["in"])), ("b", ("ReLU", ["a"]))]
    assert found[0] == ("in", ("InputLayer", []))


def test_branches_of_a_functional_model_part_and_meet():
    first, second = keras.Input((4,), name="first"), keras.Input((2,), name="second")
    left = keras.layers.Dense(3, name="left")(first)
    right = keras.layers.Dense(3, name="right")(keras.layers.Concatenate(name="both")([first, second]))
    outputs = [keras.layers.Add(name="sum")([left, right]), keras.layers.Dense(1, name="aside")(right)]
    assert shown(keras.Model([first, second], outputs)) == {
        "first": ("InputLayer", []),
        "second": ("InputLayer", []),
        "left": ("Dense", ["first"]),
        "both": ("Concatenate", ["first", "second"]),
        "right": ("Dense", ["both"]),
        "sum": ("Add", ["left", "right"]),
        "aside": ("Dense", ["right"]),
    }


def test_tensors_given_by_keyword_and_in_dictionaries_are_connected():
    inputs = {"one": keras.Input((5, 4), name="one"), "two": keras.Input((6, 4), name="two")}
    attended = keras.layers.MultiHeadAttention(1, 2, name="attention")(
        query=inputs["one"], value=inputs["two"], key=inputs["two"]
    )
    found = shown(keras.Model(inputs, {"out": keras.layers.Flatten(name="flat")(attended)}))
    assert {name: sorted(sources) for name, (_, sources) in found.items()} == {
        "one": [],
        "two": [],
        "attention": ["one", "two"],
        "flat": ["attention"],
    }


def test_operations_between_layers_are_shown():
    inputs = keras.Input((4,), name="in")
    found = shown(keras.Model(inputs, keras.layers.Dense(1, name="out")(inputs * 2 + keras.ops.sin(inputs))))
    (added,) = found["out"][1]
    assert found[added][0] == "Add"
    assert {found[source][0] for source in found[added][1]} == {"Multiply", "Sin"}
    assert all(found[source][1] == ["in"] for source in found[added][1])


def test_a_layer_that_is_called_twice_is_shown_once_and_without_a_loop():
    inputs, twice = keras.Input((4,), name="in"), keras.layers.Dense(4, name="twice")
    outputs = keras.layers.Dense(1, name="out")(twice(twice(inputs)))
    assert shown(keras.Model(inputs, outputs)) == {
        "in": ("InputLayer", []),
        "twice": ("Dense", ["in"]),
        "out": ("Dense", ["twice"]),
    }


def test_models_within_models_are_connected_at_their_ends():
    inner_in = keras.Input((3,), name="inner_in")
    inner = keras.Model(inner_in, keras.layers.Dense(2, name="inner_dense")(inner_in), name="inner")
    chain = keras.Sequential(
        [keras.Input((2,), name="chain_in"), keras.layers.Dense(5, name="chain_dense")], name="chain"
    )
    inputs = keras.Input((4,), name="in")
    between = keras.layers.ReLU(name="between")(inner(keras.layers.Dense(3, name="before")(inputs)))
    outputs = keras.layers.Dense(1, name="out")(chain(between))
    found = shown(keras.Model(inputs, outputs))
    assert {name: sources for name, (_, sources) in found.items()} == {
        "in": [],
        "before": ["in"],
        "inner/inner_in": ["before"],
        "inner/inner_dense": ["inner/inner_in"],
        "between": ["inner/inner_dense"],
        "chain/chain_in": ["between"],
        "chain/chain_dense": ["chain/chain_in"],
        "out": ["chain/chain_dense"],
    }


def test_a_model_of_two_inputs_and_two_outputs_is_connected_within_another():
    ends = [keras.Input((3,), name="a"), keras.Input((3,), name="b")]
    inner = keras.Model(ends, [keras.layers.Dense(2, name="x")(ends[0]), keras.layers.Dense(2, name="y")(ends[1])])
    inner.name = "inner"
    inputs = [keras.Input((3,), name="p"), keras.Input((3,), name="q")]
    x, y = inner(inputs)
    outputs = [keras.layers.Dense(1, name="of_x")(x), keras.layers.Dense(1, name="of_y")(y)]
    outputs.append(keras.layers.Add(name="of_both")([x, y]))
    found = shown(keras.Model(inputs, outputs))
    assert {name: sources for name, (_, sources) in found.items()} == {
        "p": [],
        "q": [],
        "inner/a": ["p"],
        "inner/b": ["q"],
        "inner/x": ["inner/a"],
        "inner/y": ["inner/b"],
        "of_x": ["inner/x"],
        "of_y": ["inner/y"],
        "of_both": ["inner/x", "inner/y"],
    }


class Subclassed(keras.Model):
    """Two layers side by side, and an argument that no configuration can hold."""

    def __init__(self, unknown):
        super().__init__()
        self.left = keras.layers.Dense(2, name="left")
        self.right = keras.layers.Dense(2, name="right")
        self.unknown = unknown

    def call(self, x):
        return self.left(x) + self.right(x)


class Plain(Subclassed):
    """One that Keras can make a configuration of."""

    def __init__(self):
        super().__init__(None)


@pytest.mark.parametrize("make", [lambda: Subclassed(object()), Plain], ids=["without a configuration", "with one"])
def test_the_layers_of_a_subclassed_model_are_shown_unconnected(make):
    model = make()
    model(BATCH[0])
    assert shown(model) == {"left": ("Dense", []), "right": ("Dense", [])}


class Bare(keras.Model):
    """A model that has weights and no layers."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1))

    def call(self, x):
        return x @ self.kernel


def test_a_model_without_layers_does_not_break_the_page():
    model = Bare()
    model(BATCH[0])
    assert all(not sources for _, sources in shown(model).values())


def test_a_layer_that_keras_cannot_describe_is_shown_all_the_same():
    class Own(keras.layers.Layer):
        def __init__(self, function):
            super().__init__(name="own")
            self.function = function

        def call(self, x):
            return self.function(x)

    inputs = keras.Input((4,), name="in")
    found = shown(keras.Model(inputs, keras.layers.Dense(1, name="out")(Own(lambda x: 2 * x)(inputs))))
    assert {name: kind for name, (kind, _) in found.items()} == {"in": "InputLayer", "own": "Own", "out": "Dense"}


def test_types_are_those_of_the_layers_and_a_mixed_one_does_not_make_tensorboard_complain(caplog):
    layers = [
        keras.layers.Dense(3, name="plain", dtype="float32"),
        keras.layers.Dense(3, name="double", dtype="float64"),
        keras.layers.Dense(3, name="mixed", dtype="mixed_float16"),
    ]
    value = graphs.of_layers(keras.Sequential([keras.Input((4,)), *layers]))
    with caplog.at_level(logging.WARNING, logger="tensorboard"):
        graph = keras_model_to_graph_def(json.loads(make_ndarray(value.tensor).item()))
    assert not caplog.records
    types = {node.name.rpartition("/")[2]: node.attr["dtype"].type for node in graph.node}
    assert types["plain"] == tf.float32.as_datatype_enum
    assert types["double"] == tf.float64.as_datatype_enum


def test_a_model_that_was_renamed_goes_by_its_name():
    model = classifier()
    model.name = "renamed"
    assert len(shown(model)) == 3
