"""What a folder of runs shows as one board: one configuration, the verdicts, and links for a single recipe."""

import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

from recipes.commands import boards
from recipes.shared.files import UNFINISHED
from recipes.shared.hparams import HParams
from recipes.shared.tensorboard_logging import summaries
from recipes.shared.tensorboard_logging.event_files import EventFiles


def write_run(folder, report=None, **hparams):
    """Write what a run leaves behind; `hparams` come on top of those that every recipe has."""
    common = HParams()
    config = {
        "recipe": folder.parts[-3],
        "side": folder.name,
        "hparams": common.used() | hparams,
        "domains": common.domains() | dict.fromkeys(hparams.keys() - common.used().keys(), "number"),
    }
    files = EventFiles(folder)
    files.write("train", 1, summaries.scalars({"epoch_loss": 0.5}))
    files.close()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


@pytest.fixture
def logs(tmp_path):
    """Runs of three recipes, one of them without a report."""
    write_run(tmp_path / "logs" / "one" / "now" / "fit", {"metrics": {"loss": 0.5}}, learning_rate=0.5, width=3)
    write_run(tmp_path / "logs" / "one" / "now" / "custom_loop", {"metrics": {"loss": 0.5}}, learning_rate=0.125)
    write_run(tmp_path / "logs" / "two" / "now" / "fit", momentum=0.9)
    write_run(tmp_path / "logs" / "three" / "now" / "fit", {"metrics": {"mae": 0.5}}, depth=2)
    return tmp_path / "logs"


def tags(path):
    """Return what one event file holds, by tag."""
    return EventAccumulator(str(path)).Reload()


def configuration(folder):
    """Return hyper-parameters by name, and the metrics, of the one configuration in `folder` itself."""
    events = tags(folder / boards.CONFIGURATION)
    assert events.Tags()["tensors"] == [metadata.EXPERIMENT_TAG]
    data = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(data)
    found = [(info.name.group, info.name.tag) for info in experiment.metric_infos]
    return {info.name: info for info in experiment.hparam_infos}, found


def configurations(folder):
    """Return the runs in which TensorBoard finds a configuration, by its own reader."""
    found = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    return [
        run for run in found.Runs() if metadata.EXPERIMENT_TAG in found.PluginRunToTagToContent("hparams").get(run, {})
    ]


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_board_is_configured_for_all_runs_below_its_folder(logs):
    before = files_in(logs)
    boards.configure(logs, logs)
    hparams, metrics = configuration(logs)
    assert hparams.keys() == {"recipe", "side", *HParams().used(), "width", "momentum", "depth"}
    interval = hparams["learning_rate"].domain_interval
    assert (interval.min_value, interval.max_value) == (0.001, 0.5)
    assert list(hparams["recipe"].domain_discrete) == ["one", "three", "two"]
    assert hparams["side"].type == api_pb2.DATA_TYPE_STRING
    assert metrics == [("test", "final_loss"), ("test", "final_mae")]
    assert files_in(logs) == before | {boards.CONFIGURATION}
    assert configurations(logs) == ["."]


def test_a_board_is_configured_for_the_runs_of_some_folders_alone(logs, tmp_path):
    boards.configure(tmp_path, logs / "one", logs / "three")
    hparams, _ = configuration(tmp_path)
    assert {"width", "depth"} <= hparams.keys()
    assert "momentum" not in hparams


def test_a_run_that_is_added_comes_into_the_same_configuration(logs):
    boards.configure(logs, logs)
    write_run(logs / "four" / "now" / "fit", {"metrics": {"loss": 1.0}}, learning_rate=2.0)
    boards.configure(logs, logs)
    hparams, _ = configuration(logs)
    assert hparams["learning_rate"].domain_interval.max_value == 2.0
    assert configurations(logs) == ["."]
    assert {path.name for path in logs.iterdir()} == {"one", "two", "three", "four", boards.CONFIGURATION}


BROKEN = ["", "{", "[]", "null", "3", '"text"', '{"hparams": {"epochs": ', "\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize("content", [*(text.encode() for text in BROKEN), b"\xff\xfe{"], ids=str)
@pytest.mark.parametrize("name", ["config.json", "report.json"])
def test_a_broken_file_of_one_run_costs_what_it_said_and_no_more(logs, name, content):
    (logs / "one" / "now" / "fit" / name).write_bytes(content)
    boards.configure(logs, logs)
    hparams, metrics = configuration(logs)
    assert {"momentum", "depth", "recipe"} <= hparams.keys()
    assert ("width" in hparams) == (name == "report.json")
    assert ("test", "final_loss") in metrics  # the other side has it


def test_a_file_that_is_being_written_is_not_read(logs):
    write_run(logs / f"{UNFINISHED}abc" / "now" / "fit", secret=1)
    boards.configure(logs, logs)
    assert "secret" not in configuration(logs)[0]


def test_a_folder_without_runs_has_a_configuration_too(tmp_path):
    boards.configure(tmp_path, tmp_path)
    assert configuration(tmp_path) == ({}, [("validation", "epoch_loss")])


def test_a_folder_that_cannot_be_written_to_is_told_from_success(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(OSError, match=folder.name):
            boards.configure(folder, tmp_path)
        with pytest.raises(OSError, match=folder.name):
            boards.write_verdict(folder, "IDENTICAL")
    assert files_in(tmp_path) == {"file"}


def test_the_verdict_is_a_text_of_the_run_and_the_last_one_counts(logs):
    run = logs / "one" / "now"
    before = files_in(logs)
    for words in ("DIFFERENT", "**IDENTICAL** — größer\n\n| a | b |"):
        boards.write_verdict(run, words)
    events = tags(run / boards.VERDICT)
    assert events.Tags()["tensors"] == ["parity"]
    (event,) = events.Tensors("parity")
    assert make_ndarray(event.tensor_proto).item().decode() == "**IDENTICAL** — größer\n\n| a | b |"
    assert events.SummaryMetadata("parity").plugin_data.plugin_name == "text"
    assert files_in(logs) == before | {f"one/now/{boards.VERDICT}"}


def test_verdict_and_configuration_are_files_that_tensorboard_looks_for():
    assert all("tfevents" in name for name in (boards.VERDICT, boards.CONFIGURATION))
    assert boards.VERDICT != boards.CONFIGURATION


def test_the_board_of_all_recipes_is_the_folder_itself(logs):
    with boards.on(logs, []) as folder:
        assert folder == logs
        assert configurations(folder) == ["."]
        assert {"momentum", "width", "depth"} <= configuration(folder)[0].keys()


@pytest.mark.parametrize("names", [["one"], ["one", "three"]], ids=str)
def test_the_board_of_some_recipes_has_links_to_their_runs_and_a_configuration_of_its_own(logs, names):
    boards.configure(logs, logs)  # that of all, which must not show here
    before = files_in(logs)
    with boards.on(logs, names) as folder:
        assert not folder.is_relative_to(logs)
        assert {path.name for path in folder.iterdir()} == {*names, boards.CONFIGURATION}
        assert all((folder / name).resolve() == (logs / name).resolve() for name in names)
        assert (folder / "one" / "now" / "fit" / "config.json").is_file()
        assert configurations(folder) == ["."]
        hparams, _ = configuration(folder)
        assert "width" in hparams
        assert ("depth" in hparams) == ("three" in names)
        assert "momentum" not in hparams
    assert not folder.exists()
    assert files_in(logs) == before


def test_a_relative_folder_is_linked_to_as_well(logs, monkeypatch):
    monkeypatch.chdir(logs.parent)
    with boards.on(logs.relative_to(logs.parent), ["one"]) as folder:
        assert (folder / "one" / "now" / "fit" / "config.json").is_file()


def test_a_link_shows_a_run_that_is_written_while_the_board_is_open(logs):
    with boards.on(logs, ["one"]) as folder:
        write_run(logs / "one" / "later" / "fit")
        assert (folder / "one" / "later" / "fit" / "train").is_dir()


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ValueError])
def test_the_links_are_removed_and_the_runs_are_not_however_the_board_ends(logs, end):
    before = files_in(logs)
    with pytest.raises(end), boards.on(logs, ["one"]) as folder:
        raise end
    assert not folder.exists()
    assert files_in(logs) == before


def test_logs_that_cannot_be_written_to_are_shown_all_the_same(tmp_path):
    with boards.on(tmp_path / "nowhere", []) as folder:
        assert folder == tmp_path / "nowhere"
    (tmp_path / "file").touch()
    with boards.on(tmp_path / "file", []) as folder:
        assert folder == tmp_path / "file"


@pytest.mark.parametrize("module", ["board", "boards", "compare"])
def test_a_command_that_shows_runs_does_not_wait_for_tensorflow(module):
    code = f"import sys, recipes.commands.{module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_boards_are_configured_without_tensorflow(logs):
    code = """
import sys
from pathlib import Path
from recipes.commands import boards
logs = Path(sys.argv[1])
boards.write_verdict(logs / "one" / "now", "IDENTICAL")
with boards.on(logs, []), boards.on(logs, ["one"]):
    print({"tensorflow", "keras"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code, str(logs)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")
    assert configurations(logs) == ["."]
