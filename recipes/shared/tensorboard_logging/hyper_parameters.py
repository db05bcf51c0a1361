"""The tab HParams: one session a run, and the configuration of the board that shows them. No TensorFlow in here.

TensorBoard picks any one of the configurations that it finds, at random (tensorboard-data-server 0.7.2), so a board
must hold exactly one: runs bring none, and whoever opens a board or adds to its folder writes it for all runs in it.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

MIXED = "mixed"
STATUS = {"success": api_pb2.STATUS_SUCCESS, "failure": api_pb2.STATUS_FAILURE}


def session(values: Mapping[str, Any], domains: Mapping[str, Any]) -> Summary.Value:
    """Return the beginning of a session.

    Args:
        values: hyper-parameters and whatever else tells this run from others, by name.
        domains: as `HParams.domains` has them; what it does not name is text.
    """
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for name, value in values.items():
        domain = domains.get(name, "text")
        if domain == "number":
            info.hparams[name].number_value = value
        elif domain == [False, True]:
            info.hparams[name].bool_value = value
        else:
            info.hparams[name].string_value = _text(value)
    return _value(metadata.SESSION_START_INFO_TAG, session_start_info=info)


def _text(value: Any) -> str:
    """Return a value as the table shows it: several as on a command line; a tuple of Python's is a list in JSON."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def session_end(status: str) -> Summary.Value:
    """Return the end of a session: `success` or `failure`."""
    info = plugin_data_pb2.SessionEndInfo(status=STATUS[status], end_time_secs=time.time())
    return _value(metadata.SESSION_END_INFO_TAG, session_end_info=info)


def configuration(runs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Summary.Value:
    """Return the configuration of a board: every hyper-parameter of any run with its domain, and every final metric.

    Args:
        runs: each run's `config.json`, and its `report.json` or nothing.
    """
    hparams: dict[str, list[Any]] = {}
    domains: dict[str, Any] = {}
    metrics: Counter[tuple[str, str]] = Counter()
    for config, report in runs:
        for name, value in identity(config).items():
            hparams.setdefault(name, []).append(value)
            domains[name] = _union(domains.get(name), _mapping(config, "domains").get(name, "text"))
        metrics.update({("test", f"final_{name}"): 1 for name in _mapping(report, "metrics")})
        metrics.update({("validation", f"final_{name}"): 1 for name in _mapping(report, "validation_metrics")})
        for name in _mapping(report, "best"):  # of the trials of a search
            part = "validation" if name.startswith("val_") else "train"
            metrics[part, f"best_{name.removeprefix('val_')}"] += 1
    metrics = metrics or Counter({("validation", "epoch_loss"): 1})
    # TensorBoard ticks the first five of either, and leaves out of its plots the sessions that lack one of them: so
    # what few runs have comes last. In a search what it compares comes first, and the test part, by which nothing may
    # be chosen, after the validation part.
    most = max(metrics.values())
    searches = any(tag.startswith("best_") and 2 * count >= most for (_, tag), count in metrics.items())
    ordered = sorted(
        metrics,
        key=lambda each: (
            2 * metrics[each] < most,
            not each[1].startswith("best_"),
            searches and each[0] == "test",
            -metrics[each],
            each[1] != "final_loss",
            each,
        ),
    )
    experiment = api_pb2.Experiment(
        hparam_infos=[_info(name, values, domains[name]) for name, values in sorted(hparams.items())],
        metric_infos=[
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(group=part, tag=tag),
                display_name=f"{part} {tag.removeprefix('final_').removeprefix('epoch_').replace('_', ' ')}",
            )
            for part, tag in ordered
        ],
    )
    return _value(metadata.EXPERIMENT_TAG, experiment=experiment)


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a run from others: the hyper-parameters of its `config.json`, its recipe and its side."""
    return {name: config[name] for name in ("recipe", "side") if name in config} | _mapping(config, "hparams")


def _union(known: Any, domain: Any) -> Any:
    if known is None or known == domain:
        return domain
    if isinstance(known, list) and isinstance(domain, list):
        return [*known, *(value for value in domain if value not in known)]
    return MIXED


def _mapping(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object `name` of a file, or an empty one: another version may have written something else."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _info(name: str, values: list[Any], domain: Any) -> api_pb2.HParamInfo:
    differs = len({str(value) for value in values}) > 1
    info = api_pb2.HParamInfo(name=name, differs=differs)
    if domain == "number":
        info.type = api_pb2.DATA_TYPE_FLOAT64
        numbers = [value for value in values if isinstance(value, int | float)]  # others come from a mended config.json
        if numbers:
            info.domain_interval.min_value, info.domain_interval.max_value = min(numbers), max(numbers)
    elif domain == [False, True]:
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(domain)
    else:
        info.type = api_pb2.DATA_TYPE_STRING
        if domain == MIXED:  # numbers in one session and words in another: a choice of words would hide the numbers
            return info
        words = {_text(value) for value in values}
        info.domain_discrete.extend(sorted(words | {str(value) for value in domain if isinstance(domain, list)}))
    return info


def _value(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(**content)
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
