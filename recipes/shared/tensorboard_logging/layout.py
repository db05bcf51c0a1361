"""The tab Custom scalars: one chart a metric, with every run and part in it."""

import re
from collections.abc import Iterable

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util.tensor_util import make_tensor_proto


def overlay(names: Iterable[str]) -> Summary.Value:
    """Return the layout with a chart for each of the epoch's metrics `names`.

    A chart shows its tag in all runs: fit and the custom loop, training and validation. TensorBoard merges the layouts
    of all runs, charts of one title into one, so each run can bring its own.
    """
    charts = [
        layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[f"^epoch_{re.escape(name)}$"]))
        for name in names
    ]
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="fit and custom loop", chart=charts)])
    return Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=make_tensor_proto(layout.SerializeToString(), dtype=np.object_),
    )
