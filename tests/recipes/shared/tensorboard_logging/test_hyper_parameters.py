"""Sessions and the board's configuration, as the HParams plugin of TensorBoard reads them."""

import json
import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
from google.protobuf import json_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups, metadata
from tensorboard.plugins.hparams.backend_context import Context

from recipes.shared.hparams import HParams
from recipes.shared.tensorboard_logging import hyper_parameters, summaries
from recipes.shared.tensorboard_logging.event_files import EventFiles


class Board:
    """What the plugin makes of a folder."""

    def __init__(self, folder):
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        self.context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))

    @property
    def experiment(self):
        found = self.context.hparams_metadata(RequestContext(), "")
        return self.context.experiment_from_metadata(RequestContext(), "", True, found, [])

    def sessions(self, **columns):
        """Return the session of each run by name, those alone whose columns hold one of the given values."""
        chosen = [{"hparam": name, "filterDiscrete": values} for name, values in columns.items()]
        request = {"allowedStatuses": list(STATUSES), "sliceSize": 100, "colParams": chosen}
        request = json_format.ParseDict(request, api_pb2.ListSessionGroupsRequest())
        answer = list_session_groups.Handler(RequestContext(), self.context, "", request).run()
        found = {}
        for group in answer.session_groups:
            values = {name: json_format.MessageToDict(value) for name, value in group.hparams.items()}
            for session in group.sessions:
                found[session.name] = (values, session)
        return found


STATUSES = ("STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING")


@dataclass(frozen=True, kw_only=True)
class Own(HParams):
    """Fields of every kind."""

    unused: ClassVar = {"header": "there is no table"}

    kind: Literal["plain", "fancy"] = "plain"
    width: int = 3
    clip: float | None = None


@dataclass(frozen=True, kw_only=True)
class Other(HParams):
    """Fields of another recipe; two go by the same name, with other values."""

    kind: Literal["fancy", "huge"] = "huge"
    width: int | None = None
    momentum: float = 0.9


def config(hparams, **about):
    """What `config.json` says of a run."""
    return {**about, "hparams": hparams.used(), "domains": hparams.domains()}


def infos(*runs):
    """Return what the configuration of `runs` says of each hyper-parameter."""
    value = hyper_parameters.configuration(runs)
    assert value.tag == metadata.EXPERIMENT_TAG
    experiment = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    return {info.name: info for info in experiment.hparam_infos}


def domain(info):
    return list(json_format.MessageToDict(info.domain_discrete))


def metrics(*reports):
    """Return (group, tag, title) of each metric, in order, of runs with these reports."""
    value = hyper_parameters.configuration([(config(HParams()), report) for report in reports])
    experiment = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    return [(info.name.group, info.name.tag, info.display_name) for info in experiment.metric_infos]


def started(hparams, **about):
    value = hyper_parameters.session({**about, **hparams.used()}, hparams.domains())
    assert value.tag == metadata.SESSION_START_INFO_TAG
    info = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
    return info, {name: json_format.MessageToDict(number) for name, number in info.hparams.items()}


def test_several_values_are_the_same_words_in_the_run_and_in_the_board():
    hparams = HParams(drop=("name", "ticket"))
    info, _ = started(hparams)
    read_back = config(HParams()) | {"hparams": json.loads(json.dumps(hparams.used()))}  # as config.json has them
    value = hyper_parameters.configuration([(read_back, {}), (config(HParams()), {})])
    experiment = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    (words,) = ([*each.domain_discrete] for each in experiment.hparam_infos if each.name == "drop")
    assert info.hparams["drop"].string_value == "name ticket"
    assert words == ["name ticket", "none"]


def test_a_session_holds_every_hyper_parameter_with_its_type():
    _, values = started(Own(data="iris", learning_rate=0.25, seed=7, jit_compile=False), recipe="mine", side="fit")
    assert values == {
        "recipe": "mine",
        "side": "fit",
        "data": "iris",
        "target": "none",
        "drop": "none",
        "keep": "none",
        "numeric": "none",
        "categorical": "none",
        "split_column": "none",
        "image_size": "none",
        "channels_first": False,
        "split_seed": 0.0,
        "learning_rate": 0.25,
        "batch_size": 32.0,
        "epochs": 10.0,
        "seed": 7.0,
        "train_on_validation": False,
        "stream": False,
        "steps_per_execution": "none",
        "jit_compile": False,
        "kind": "plain",
        "width": 3.0,
        "clip": "none",
    }


def test_a_number_that_may_be_left_out_is_a_word_either_way():
    assert [started(Own(clip=clip))[1]["clip"] for clip in (None, 0.5)] == ["none", "0.5"]


def test_a_session_begins_now():
    before = time.time()
    info, _ = started(HParams())
    assert before <= info.start_time_secs <= time.time()


@pytest.mark.parametrize(("status", "expected"), [("success", "STATUS_SUCCESS"), ("failure", "STATUS_FAILURE")])
def test_a_session_ends_as_it_did(status, expected):
    value = hyper_parameters.session_end(status)
    assert value.tag == metadata.SESSION_END_INFO_TAG
    info = metadata.parse_session_end_info_plugin_data(value.metadata.plugin_data.content)
    assert api_pb2.Status.Name(info.status) == expected
    assert info.end_time_secs > 1.7e9


def test_numbers_range_from_the_least_to_the_largest():
    found = infos((config(Own(learning_rate=0.5)), {}), (config(Own(learning_rate=0.125, epochs=3)), {}))
    assert found["learning_rate"].type == found["epochs"].type == api_pb2.DATA_TYPE_FLOAT64
    interval = found["learning_rate"].domain_interval
    assert (interval.min_value, interval.max_value) == (0.125, 0.5)
    assert (found["epochs"].domain_interval.min_value, found["epochs"].domain_interval.max_value) == (3, 10)


def test_a_choice_has_all_its_values_whichever_was_made():
    found = infos((config(Own()), {}))
    assert found["kind"].type == api_pb2.DATA_TYPE_STRING
    assert domain(found["kind"]) == ["fancy", "plain"]


def test_truth_has_both_values():
    found = infos((config(HParams(jit_compile=False)), {}))
    assert found["jit_compile"].type == api_pb2.DATA_TYPE_BOOL
    assert domain(found["jit_compile"]) == [False, True]


def test_words_are_those_that_were_used():
    found = infos(*((config(HParams(data=data)), {}) for data in ("iris", "digits", "iris")))
    assert found["data"].type == api_pb2.DATA_TYPE_STRING
    assert domain(found["data"]) == ["digits", "iris"]


def test_what_is_left_out_is_a_word_among_the_others():
    found = infos(*((config(Own(clip=clip, steps_per_execution=None)), {}) for clip in (None, 0.5, 2.0)))
    assert domain(found["clip"]) == ["0.5", "2.0", "none"]
    assert domain(found["steps_per_execution"]) == ["none"]


def test_what_differs_between_runs_is_marked():
    runs = [(config(Own(seed=seed, jit_compile=bool(seed)), recipe="mine", side="fit"), {}) for seed in (0, 1)]
    found = infos(*runs)
    assert {name for name, info in found.items() if info.differs} == {"seed", "jit_compile"}
    assert not any(info.differs for info in infos(runs[0]).values())


def test_two_recipes_bring_the_fields_of_both():
    found = infos((config(Own(), recipe="own", side="fit"), {}), (config(Other(), recipe="other", side="fit"), {}))
    assert found.keys() == {"recipe", "side", *Own().used(), *Other().used()}
    assert "header" in found  # the one has no use for it, the other has
    assert domain(found["kind"]) == ["fancy", "huge", "plain"]
    assert domain(found["recipe"]) == ["other", "own"]
    assert found["kind"].differs
    assert not found["side"].differs


def test_a_field_that_is_a_number_in_one_recipe_and_a_word_in_another_is_a_word():
    for values in ([3, "wide"], ["wide", 3]):
        runs = [
            ({"hparams": {"width": value}, "domains": {"width": "number" if value == 3 else "text"}}, {})
            for value in values
        ]
        found = infos(*runs)
        assert found["width"].type == api_pb2.DATA_TYPE_STRING
        assert found["width"].differs
        assert not found["width"].HasField("domain_interval")


def test_a_number_that_was_not_finite_and_so_is_missing_in_the_file_does_not_close_the_board():
    runs = [({"hparams": {"clip": clip}, "domains": {"clip": "number"}}, {}) for clip in (None, 0.5, 2.0)]
    info = infos(*runs)["clip"]
    if info.type == api_pb2.DATA_TYPE_FLOAT64:
        assert (info.domain_interval.min_value, info.domain_interval.max_value) == (0.5, 2.0)
    else:
        assert {"0.5", "2.0"} <= set(domain(info))
    assert infos(runs[0])["clip"].name == "clip"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"hparams": None},
        {"hparams": [1, 2]},
        {"hparams": {"epochs": 3}, "domains": None},
        {"hparams": {"epochs": "many"}, "domains": {"epochs": "number"}},
        {"hparams": {"epochs": [3]}, "domains": {"epochs": {"a": 1}}},
    ],
    ids=str,
)
def test_what_another_version_has_written_does_not_close_the_board(broken):
    for runs in ([broken, config(HParams())], [config(HParams()), broken]):
        assert "learning_rate" in infos(*((each, {}) for each in runs))


def test_a_run_of_before_there_were_domains_counts_as_words():
    info = infos(({"hparams": {"width": 3}}, {}))["width"]
    assert (info.type, domain(info)) == (api_pb2.DATA_TYPE_STRING, ["3"])


def test_metrics_are_those_of_the_reports_the_commonest_first_and_of_these_the_loss():
    reports = [
        {"metrics": {"accuracy": 0.5, "loss": 1.0}, "validation_metrics": {"accuracy": 0.25}},
        {"metrics": {"accuracy": 0.5, "loss": 1.0, "auc": 0.5}, "validation_metrics": {"accuracy": 0.25}},
        {"metrics": {"loss": 2.0, "mae": 0.5}},
    ]
    assert metrics(*reports) == [
        ("test", "final_loss", "test loss"),
        ("test", "final_accuracy", "test accuracy"),
        ("validation", "final_accuracy", "validation accuracy"),
        ("test", "final_auc", "test auc"),
        ("test", "final_mae", "test mae"),
    ]


def test_the_loss_comes_before_what_is_as_common():
    report = {"metrics": {"accuracy": 0.5, "loss": 1.0}, "validation_metrics": {"accuracy": 0.5, "loss": 1.0}}
    assert [metric[:2] for metric in metrics(report)] == [
        ("test", "final_loss"),
        ("validation", "final_loss"),
        ("test", "final_accuracy"),
        ("validation", "final_accuracy"),
    ]


@pytest.mark.parametrize("reports", [[], [{}], [{"metrics": {}}, {}]], ids=str)
def test_where_no_run_has_a_report_the_loss_of_the_epochs_is_shown(reports):
    assert metrics(*reports) == [("validation", "epoch_loss", "validation loss")]


def test_runs_without_a_report_take_nothing_from_those_with_one():
    assert metrics({}, {"metrics": {"loss": 1.0}}) == [("test", "final_loss", "test loss")]


@pytest.mark.parametrize("report", [{"metrics": None}, {"metrics": {"loss": 1}, "validation_metrics": None}], ids=str)
def test_a_report_of_another_version_does_not_close_the_board(report):
    assert metrics(report, {"metrics": {"loss": 1.0}})[0] == ("test", "final_loss", "test loss")


def test_no_runs_at_all_have_a_configuration():
    assert infos() == {}


def test_what_tells_a_run_from_others():
    assert hyper_parameters.identity(config(HParams(seed=3), recipe="r", side="fit", command="recipes fit")) == {
        "recipe": "r",
        "side": "fit",
        **HParams(seed=3).used(),
    }
    assert hyper_parameters.identity({"hparams": {"seed": 3}}) == {"seed": 3}
    assert hyper_parameters.identity({}) == {}


@pytest.fixture
def board(tmp_path):
    """The board of two recipes: one run has ended well, one badly, one is still going on."""
    runs = {
        "own/fit": (config(Own(kind="fancy", clip=0.5), recipe="own", side="fit"), {"metrics": {"loss": 0.5}}),
        "own/custom_loop": (config(Own(), recipe="own", side="custom_loop"), {}),
        "other/fit": (config(Other(learning_rate=0.25), recipe="other", side="fit"), {}),
    }
    for name, (run, report) in runs.items():
        files = EventFiles(tmp_path / name)
        files.write("", 0, [hyper_parameters.session(hyper_parameters.identity(run), run["domains"])])
        if report:
            files.write("test", 9, summaries.scalars(report["metrics"], "final_"))
        if name.startswith("own"):
            files.write("", 9, [hyper_parameters.session_end("success" if report else "failure")])
        files.close()
    files = EventFiles(tmp_path)
    files.write("", 0, [hyper_parameters.configuration(runs.values())])
    files.close()
    return Board(tmp_path)


def test_the_board_shows_every_session_with_its_values_its_end_and_its_scores(board):
    sessions = board.sessions()
    assert sessions.keys() == {"own/fit", "own/custom_loop", "other/fit"}
    ends = {name: api_pb2.Status.Name(session.status) for name, (_, session) in sessions.items()}
    assert ends == {
        "own/fit": "STATUS_SUCCESS",
        "own/custom_loop": "STATUS_FAILURE",
        "other/fit": "STATUS_UNKNOWN",
    }
    values, session = sessions["own/fit"]
    assert (values["recipe"], values["kind"], values["clip"], values["learning_rate"]) == ("own", "fancy", "0.5", 0.001)
    ((name, step, value),) = ((m.name, m.training_step, m.value) for m in session.metric_values)
    assert ((name.group, name.tag), step, value) == (("test", "final_loss"), 9, 0.5)
    assert sessions["other/fit"][0]["momentum"] == 0.9
    assert not sessions["other/fit"][1].metric_values


def test_the_boards_own_configuration_is_the_one_that_counts(board):
    names = {info.name for info in board.experiment.hparam_infos}
    assert names == {"recipe", "side", *Own().used(), *Other().used()}
    assert [info.name.tag for info in board.experiment.metric_infos] == ["final_loss"]


@pytest.mark.parametrize("name", ["kind", "width", "clip", "jit_compile", "data", "recipe", "steps_per_execution"])
def test_no_session_is_hidden_as_long_as_every_box_of_a_column_is_ticked(board, name):
    (info,) = (info for info in board.experiment.hparam_infos if info.name == name)
    everyone = {session: values[name] for session, (values, _) in board.sessions().items() if name in values}
    boxes = domain(info)
    assert not boxes or board.sessions(**{name: boxes}).keys() >= everyone.keys()
    for box in boxes:
        found = board.sessions(**{name: [box]})
        assert found.keys() & everyone == {session for session, value in everyone.items() if value == box}


@pytest.mark.parametrize(
    ("objective", "metric"),
    [
        ("val_loss", ("validation", "best_loss", "validation best loss")),
        ("val_accuracy", ("validation", "best_accuracy", "validation best accuracy")),
        ("loss", ("train", "best_loss", "train best loss")),
    ],
)
def test_what_a_search_compares_is_a_metric(objective, metric):
    assert metrics({"best": {objective: 0.5}}) == [metric]


def test_what_a_search_compares_comes_first_unless_few_runs_have_it():
    report = {"metrics": {"loss": 1.0}, "validation_metrics": {"loss": 1.0}}
    trial = report | {"best": {"val_loss": 0.5}, "best_epoch": 3}
    best = ("validation", "best_loss", "validation best loss")
    others = [("validation", "final_loss", "validation loss"), ("test", "final_loss", "test loss")]
    assert metrics(trial, trial, report) == [best, *others]
    assert metrics(trial, report) == [best, *others]
    assert metrics(trial, report, report) == [*reversed(others), best]
    assert metrics({"best": {"loss": 0.5}}) == [("train", "best_loss", "train best loss")]


@pytest.mark.parametrize("best", [None, 3, [], "val_loss"], ids=str)
def test_a_best_of_another_version_does_not_close_the_board(best):
    assert metrics({"best": best, "metrics": {"loss": 1.0}}) == [("test", "final_loss", "test loss")]
