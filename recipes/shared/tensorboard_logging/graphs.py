"""The two graphs of the tab Graphs: the operations of a train step, and the layers of the model.

Keras' own callback writes no operations in Keras 3: it looks for the graph in `train_function`, which is a plain Python
function there (tensorboard/issues/1961, /3672).
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.util.tensor_util import make_tensor_proto

from recipes.shared.batches import any_examples

LARGEST_CONSTANT = 1024  # bytes; the page shows no more of one


def of_train_step(train_step: Callable[..., Any], batch: tuple[Any, ...]) -> bytes:
    """Return the serialised graph of a train step on a batch of any size. It is traced, not run.

    Args:
        train_step: from the parts of a batch; a `tf.function` keeps the trace.
        batch: for the shapes.
    """
    if tf.distribute.has_strategy():
        compiled = tf.function(lambda *batch: tf.distribute.get_strategy().run(train_step, args=batch))
    else:
        compiled = train_step if hasattr(train_step, "get_concrete_function") else tf.function(train_step)
    specs = tf.nest.map_structure(any_examples, batch)
    graph = compiled.get_concrete_function(*specs).graph.as_graph_def()
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            value = node.attr["value"].tensor if node.op == "Const" else None
            if value is not None and value.ByteSize() > LARGEST_CONSTANT:
                node.attr["value"].tensor.CopyFrom(type(value)(dtype=value.dtype, tensor_shape=value.tensor_shape))
    return graph.SerializeToString()


def of_layers(model: keras.Model) -> Summary.Value:
    """Return the model's layers and how they are connected, for the choice "conceptual graph".

    TensorBoard reads the JSON of Keras 2 (tensorboard/plugins/graph/keras_util.py), so that of Keras 3 is translated.
    A model that is neither Sequential nor functional shows its layers unconnected.
    """
    try:
        config = json.loads(model.to_json())
    except (NotImplementedError, TypeError, ValueError):  # a subclass without get_config
        config = {}
    unconnected = not isinstance(config.get("config", {}).get("layers"), list)
    if unconnected:
        layers = [
            {"class_name": type(layer).__name__, "config": {"name": layer.name, "dtype": str(layer.compute_dtype)}}
            for layer in model.layers or [model]  # TensorBoard refuses a model of no layers
        ]
        config = {"class_name": type(model).__name__, "config": {"layers": layers}}
    config["config"]["name"] = model.name
    return Summary.Value(
        tag="keras",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1")),
        tensor=make_tensor_proto(
            json.dumps(_keras_2(config, functional=False, unconnected=unconnected)), dtype=np.object_
        ),
    )


def _keras_2(layer: dict[str, Any], functional: bool, unconnected: bool = False) -> dict[str, Any]:
    """Return the configuration of a layer as TensorBoard reads it; `functional` if its parent connects it by calls."""
    config = layer.get("config") or {}
    name = layer.get("name") or config.get("name") or layer["class_name"]
    dtype = config.get("dtype")
    if isinstance(dtype, dict):  # a dtype policy
        dtype = dtype.get("config", {}).get("name")
    translated: dict[str, Any] = {"class_name": layer["class_name"], "config": {"name": name}}
    if isinstance(dtype, str) and hasattr(tf, dtype):
        translated["config"]["dtype"] = dtype
    if isinstance(config.get("layers"), list):
        connected = "input_layers" in config
        translated["config"]["layers"] = [_keras_2(child, connected or unconnected) for child in config["layers"]]
        if connected:
            translated["config"]["input_layers"] = [reference[0] for reference in _references(config["input_layers"])]
            translated["config"]["output_layers"] = list(_references(config["output_layers"]))
    if functional:
        # once for each layer that it takes something from, whichever of its calls it was
        origins = {(origin[0], origin[2]): origin for origin in _origins(layer.get("inbound_nodes", []))}
        tensors = [{"config": {"keras_history": origin}} for origin in origins.values() if origin[0] != name]
        translated["inbound_nodes"] = [{"args": [tensors], "kwargs": {}}] if tensors else []
    return translated


def _references(nested: Any) -> Iterator[list[Any]]:
    """Yield every [layer, call, tensor] in lists and dicts of them."""
    if isinstance(nested, dict):
        for value in nested.values():
            yield from _references(value)
    elif nested and isinstance(nested[0], str):
        yield list(nested)
    else:
        for value in nested:
            yield from _references(value)


def _origins(nested: Any) -> Iterator[list[Any]]:
    """Yield the [layer, call, tensor] of every symbolic tensor in the arguments of calls."""
    if isinstance(nested, dict):
        if nested.get("class_name") == "__keras_tensor__":
            yield nested["config"]["keras_history"]
        else:
            for value in nested.values():
                yield from _origins(value)
    elif isinstance(nested, list):
        for value in nested:
            yield from _origins(value)
