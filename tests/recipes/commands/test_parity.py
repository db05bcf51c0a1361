"""The comparison of two finished runs, on folders made by hand."""

import gc
import json
import math
import shutil

import numpy as np
import pytest

from recipes.commands import parity
from recipes.shared.errors import UsageError

HISTORY = {"loss": [0.9, 0.5, 0.25], "val_loss": [1.0, 0.75, 0.5]}
WEIGHTS = np.array([[1.0, 2.0], [300.0, 4.0]], np.float32)


def state(kernel=WEIGHTS, **others):
    arrays = {
        "weights/000 dense/kernel": kernel,
        "weights/001 dense/bias": np.array([0.5, 0.25], np.float32),
        "optimizer/000 adam/iteration": np.array(24),
        "optimizer/001 adam/dense_kernel_momentum": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32),
        "seeds/000 dropout/seed_generator_state": np.array([7, 8], np.uint32),
    }
    return {name: array for name, array in (arrays | others).items() if array is not None}


@pytest.fixture
def side(tmp_path):
    """A function that writes what one side leaves, and returns the folder that all of the run is in."""

    def side(name, arrays=None, history=None, metrics=None, hparams=None, moved=True):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        np.savez(folder / "state.npz", **(state() if arrays is None else arrays))
        report = {"metrics": {"loss": 0.5, "accuracy": 0.9} if metrics is None else metrics, "weights_moved": moved}
        config = {"hparams": {"epochs": 3, "seed": 0, "steps_per_execution": None} | (hparams or {})}
        for file, content in (
            ("report.json", report),
            ("history.json", HISTORY if history is None else history),
            ("config.json", config),
        ):
            (folder / file).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return side


def ulp_off(array, index):
    array = array.copy()
    array[index] = np.nextafter(array[index], np.float32(np.inf))
    return array


def assert_refused(result, reason):
    assert not result.identical
    assert not result.within_tolerance
    assert not result.holds
    assert any(reason in each for each in result.reasons), result.reasons


def test_the_same_bytes_are_identical(side):
    result = parity.compare(side("a"), side("b"))
    compared = ["weights", "optimizer", "seeds"]
    assert result == parity.Parity(identical=True, within_tolerance=True, compared=compared)
    assert result.holds


def test_one_unit_in_the_last_place_of_one_weight_is_a_difference(side):
    other = ulp_off(WEIGHTS, (1, 0))
    result = parity.compare(side("a"), side("b", state(other)))
    assert_refused(result, "dense/kernel differs by up to 3.05e-05")
    assert result.weights_max_abs_diff == float(other[1, 0]) - 300.0
    assert result.history_max_abs_diff == 0
    assert result.first_in_history is None
    assert result.weights == [parity.Difference("dense/kernel", 300.0, float(other[1, 0]), float(other[1, 0]) - 300)]


def test_weights_are_listed_by_difference_largest_first(side):
    other = state(WEIGHTS + np.float32(0.125), **{"weights/001 dense/bias": np.array([0.5, 9.25], np.float32)})
    result = parity.compare(side("a"), side("b", other))
    assert [(each.name, each.size) for each in result.weights] == [("dense/bias", 9.0), ("dense/kernel", 0.125)]
    assert result.weights_max_abs_diff == 9.0


@pytest.mark.parametrize("name", ["optimizer/001 adam/dense_kernel_momentum", "seeds/000 dropout/seed_generator_state"])
def test_an_optimizer_or_seed_variable_that_differs_is_a_difference_but_no_weight(name, side):
    other = state()
    other[name] = other[name] + other[name].dtype.type(1)
    result = parity.compare(side("a"), side("b", other))
    assert_refused(result, f"{name.partition(' ')[2]} differs by up to 1")
    assert result.weights == []
    assert result.weights_max_abs_diff == 0


def test_a_history_that_parts_at_epoch_2_is_reported_there(side):
    history = {"loss": [0.9, 0.625, 0.5], "val_loss": [1.0, 0.75, 0.75]}
    result = parity.compare(side("a"), side("b", history=history))
    assert_refused(result, "the histories part at loss of epoch 2: 0.5 and 0.625")
    assert result.first_in_history == parity.Difference("loss of epoch 2", 0.5, 0.625, 0.125)
    assert result.history_max_abs_diff == 0.25
    assert result.weights_max_abs_diff == 0


def test_the_first_difference_is_that_of_the_earliest_epoch_not_of_the_first_name(side):
    history = {"loss": [0.9, 0.5, 0.3], "val_loss": [1.0, 0.8, 0.5]}
    result = parity.compare(side("a"), side("b", history=history))
    assert result.first_in_history.name == "val_loss of epoch 2"


def test_one_unit_in_the_last_place_of_a_logged_value_is_a_difference(side):
    history = HISTORY | {"loss": [0.9, 0.5, math.nextafter(0.25, 1)]}
    assert_refused(parity.compare(side("a"), side("b", history=history)), "loss of epoch 3")


def test_an_extra_epoch_is_a_difference_even_if_the_rest_is_the_same(side):
    longer = {name: [*values, 0.125] for name, values in HISTORY.items()}
    for a, b in ((HISTORY, longer), (longer, HISTORY)):
        result = parity.compare(
            side(f"a{len(a['loss'])}", history=a), side(f"b{len(b['loss'])}", history=b), tolerance=1
        )
        assert_refused(result, f"{len(a['loss'])} epochs and {len(b['loss'])}")


def test_a_metric_that_only_one_side_logs_is_a_difference(side):
    result = parity.compare(side("a"), side("b", history={"loss": HISTORY["loss"]}), tolerance=1)
    assert_refused(result, "only one side logs val_loss")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_identical_is_withheld_from_weights_that_are_not_finite(value, side):
    broken = state(np.full((2, 2), value, np.float32))
    assert_refused(parity.compare(side("a", broken), side("b", broken), tolerance=1), "dense/kernel is not finite")


def test_identical_is_withheld_from_a_history_that_is_not_finite(side):
    history = HISTORY | {"loss": [0.9, None, 0.25]}  # what write_json makes of NaN
    result = parity.compare(side("a", history=history), side("b", history=history), tolerance=1)
    assert_refused(result, "loss of epoch 2 is not finite")


def test_identical_is_withheld_from_an_empty_history(side):
    result = parity.compare(side("a", history={}), side("b", history={}), tolerance=1)
    assert_refused(result, "the history is empty")


@pytest.mark.parametrize("moved", [(False, False), (True, False), (False, True)])
def test_identical_is_withheld_from_weights_that_did_not_move(moved, side):
    result = parity.compare(side("a", moved=moved[0]), side("b", moved=moved[1]), tolerance=1)
    assert_refused(result, "the weights did not move")


def test_identical_is_withheld_from_metrics_that_are_not_finite(side):
    metrics = {"loss": None}
    assert_refused(parity.compare(side("a", metrics=metrics), side("b", metrics=metrics), tolerance=1), "final loss")


@pytest.mark.parametrize("metrics", [{"loss": 0.5, "accuracy": 0.875}, {"loss": 0.5}])
def test_other_final_metrics_are_a_difference(metrics, side):
    assert_refused(parity.compare(side("a"), side("b", metrics=metrics)), "final accuracy: 0.9 and")


@pytest.mark.parametrize("kind", ["optimizer", "seeds"])
@pytest.mark.parametrize("lacking", ["a", "b"])
@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_a_side_without_optimizer_or_seeds_holds_only_where_a_tolerance_is_stated(kind, lacking, tolerance, side):
    less = {name: array for name, array in state().items() if not name.startswith(kind)}
    result = parity.compare(*(side(name, less if name == lacking else None) for name in ("a", "b")), tolerance)
    assert not result.identical
    assert result.within_tolerance == result.holds == (tolerance > 0)
    assert result.reasons[0].startswith(f"only one side keeps {kind} variables: they are not compared")


@pytest.mark.parametrize("shorter", [[], [1.0], [1.0, 0.75]])
def test_a_validation_that_ended_earlier_is_a_difference(shorter, side):
    result = parity.compare(side("a"), side("b", history=HISTORY | {"val_loss": shorter}))
    assert_refused(result, f"val_loss has 3 epochs and {len(shorter)}")


def test_what_a_killed_process_had_not_finished_writing_is_no_run(side):
    a, b = side("a"), side("b")
    (a / ".writing-x").mkdir()
    shutil.copy(a / "state.npz", a / ".writing-x" / "state.npz")
    assert parity.compare(a, b).identical


def test_seed_states_and_iterations_are_right_or_wrong_whatever_the_tolerance(side):
    other = state(**{"seeds/000 dropout/seed_generator_state": np.array([7, 9], np.uint32)})
    assert not parity.compare(side("a"), side("b", other), tolerance=1.0).holds


def test_two_sides_without_optimizer_are_identical(side):
    less = {name: array for name, array in state().items() if not name.startswith("optimizer")}
    assert parity.compare(side("a", less), side("b", less)).identical


@pytest.mark.parametrize("name", ["weights/001 dense/bias", "optimizer/001 adam/dense_kernel_momentum"])
def test_a_variable_that_only_one_side_has_is_a_difference(name, side):
    result = parity.compare(side("a"), side("b", state(**{name: None})), tolerance=1)
    assert_refused(result, f"{name.partition('/')[0]} variables and")


def test_the_tolerance_is_a_share_of_each_value_and_absolute_below_1(side):
    close = WEIGHTS + np.array([[0, 0], [0.25, 0]], np.float32)  # 300 may be 0.3 off
    result = parity.compare(side("a"), side("b", state(close)), tolerance=1e-3)
    assert not result.identical
    assert result.within_tolerance
    assert result.holds
    assert result.tolerance == 1e-3
    assert result.reasons

    far = WEIGHTS + np.array([[0.25, 0], [0, 0]], np.float32)  # as far, but 1 may be only 0.001 off
    assert_refused(parity.compare(side("c"), side("d", state(far)), tolerance=1e-3), "kernel")


def test_one_element_out_of_tolerance_is_not_hidden_by_a_larger_one_within(side):
    other = WEIGHTS + np.array([[0.0078125, 0], [0.25, 0]], np.float32)  # 0.25 of 300 is allowed, 0.0078 of 1 is not
    assert_refused(parity.compare(side("a"), side("b", state(other)), tolerance=1e-3), "dense/kernel")


def test_the_tolerance_holds_for_history_and_metrics_too(side):
    near = {"loss": [0.9, 0.5 + 1e-7, 0.25], "val_loss": HISTORY["val_loss"]}
    far = {"loss": [0.9, 0.5 + 1e-5, 0.25], "val_loss": HISTORY["val_loss"]}
    fit = side("fit")
    assert parity.compare(fit, side("near", history=near), tolerance=1e-6).within_tolerance
    assert not parity.compare(fit, side("far", history=far), tolerance=1e-6).within_tolerance
    near, far = ({"loss": 0.5 + off, "accuracy": 0.9} for off in (1e-7, 1e-5))
    assert parity.compare(fit, side("near metric", metrics=near), tolerance=1e-6).within_tolerance
    assert not parity.compare(fit, side("far metric", metrics=far), tolerance=1e-6).within_tolerance


def test_zero_and_minus_zero_are_not_the_same_bytes(side):
    kernels = [np.array([[0.0, 1.0]], np.float32), np.array([[-0.0, 1.0]], np.float32)]
    result = parity.compare(*(side(f"kernel{index}", state(kernel)) for index, kernel in enumerate(kernels)))
    assert not result.identical
    assert result.reasons == ["dense/kernel differs by up to 0"]
    histories = [{"loss": [0.0]}, {"loss": [-0.0]}]
    result = parity.compare(*(side(f"history{index}", history=each) for index, each in enumerate(histories)))
    assert not result.identical
    assert result.first_in_history.name == "loss of epoch 1"


@pytest.mark.parametrize(
    ("other", "description"),
    [
        (WEIGHTS.astype(np.float64), "float32[2, 2] on one side and float64[2, 2]"),
        (WEIGHTS.ravel(), "float32[2, 2] on one side and float32[4]"),
        (WEIGHTS[:, :1], "float32[2, 2] on one side and float32[2, 1]"),
    ],
)
def test_another_type_or_shape_is_a_difference_whatever_the_tolerance(other, description, side):
    assert_refused(parity.compare(side("a"), side("b", state(other)), tolerance=1), f"dense/kernel is {description}")


def test_other_hyper_parameters_are_a_reason_but_no_difference(side):
    result = parity.compare(side("a"), side("b", hparams={"seed": 1, "steps_per_execution": 8}))
    assert result.identical
    assert result.reasons == ["seed is 0 on one side and 1 on the other"]


def test_the_verdict_over_children_is_that_of_the_worst(side, tmp_path):
    for run in ("fit", "custom_loop"):
        side(f"{run}/fold_1")
        side(f"{run}/fold_2", state(WEIGHTS + np.float32(run == "fit")))
        side(f"{run}/fold_3")
    result = parity.compare(tmp_path / "fit", tmp_path / "custom_loop")
    assert_refused(result, "fold_2: dense/kernel differs by up to 1")
    assert [each.name for each in result.weights] == ["fold_2: dense/kernel"]
    assert all(reason.startswith("fold_2: ") for reason in result.reasons)


def test_identical_children_are_identical(side, tmp_path):
    for run in ("fit", "custom_loop"):
        side(run)
        side(f"{run}/fold_1")
    assert parity.compare(tmp_path / "fit", tmp_path / "custom_loop").identical


def test_a_child_that_only_one_side_has_is_a_difference(side, tmp_path):
    for name in ("fit", "fit/fold_1", "custom_loop"):
        side(name)
    assert_refused(parity.compare(tmp_path / "fit", tmp_path / "custom_loop", tolerance=1), "only one side has fold_1")


@pytest.mark.parametrize("file", ["state.npz", "report.json", "history.json", "config.json"])
@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_run_that_lacks_a_file_is_refused_as_not_finished(file, broken, side):
    folders = {name: side(name) for name in ("a", "b")}
    (folders[broken] / file).unlink()
    with pytest.raises(UsageError, match="holds no finished run") as error:
        parity.compare(folders["a"], folders["b"])
    assert str(folders[broken]) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # NumPy leaves a broken .npz open
@pytest.mark.parametrize("file", ["report.json", "history.json", "config.json", "state.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file"])
def test_a_run_with_a_broken_file_is_refused_in_one_line(file, content, side):
    folders = [side("a"), side("b")]
    (folders[1] / file).write_bytes(content)
    with pytest.raises(UsageError) as error:
        parity.compare(*folders)
    message = str(error.value)
    del error
    gc.collect()  # closes the file here rather than in another test
    assert file in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "found"), [('{"a": 1}', {"a": 1}), (None, {}), ("", {}), ('{"a": ', {}), ("[1]", {}), ("null", {})]
)
def test_only_a_json_object_is_read_as_one(content, found, tmp_path):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    assert parity.read_object(tmp_path / "report.json") == found


def test_a_folder_that_is_not_there_holds_no_run(side, tmp_path):
    folder = side("a")
    shutil.rmtree(side("b"))
    with pytest.raises(UsageError, match="holds no finished run"):
        parity.compare(folder, tmp_path / "b")


@pytest.fixture
def summarised(side, tmp_path):
    """A function that writes a run which trained in two children only, and returns its folder."""

    def summarised(name, metrics):
        for child in ("fold_1", "fold_2"):
            side(f"{name}/{child}")
        if metrics is not None:
            report = {"metrics": metrics, "weights_moved": True}
            (tmp_path / name / "report.json").write_text(json.dumps(report), encoding="utf-8")
        return tmp_path / name

    return summarised


def test_equal_summaries_of_identical_children_are_identical(summarised):
    result = parity.compare(*(summarised(name, {"loss_mean": 0.5, "loss_spread": 0.0}) for name in ("a", "b")))
    assert result.identical
    assert result.reasons == []


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"loss_mean": math.nextafter(0.5, 1), "auc_mean": 0.9}, "final loss_mean: 0.5 and 0.5000000000000001"),
        ({"loss_mean": -0.5, "auc_mean": 0.9}, "final loss_mean: 0.5 and -0.5"),
        ({"loss_mean": 0.5}, "final auc_mean: 0.9 and None"),
        ({"loss_mean": 0.5, "auc_mean": 0.9, "f1_mean": 0.25}, "final f1_mean: None and 0.25"),
    ],
)
def test_another_metric_of_the_summary_is_a_difference(summarised, other, reason):
    result = parity.compare(summarised("a", {"loss_mean": 0.5, "auc_mean": 0.9}), summarised("b", other))
    assert_refused(result, reason)
    assert result.reasons == [reason]


def test_a_summary_is_held_to_the_tolerance(summarised):
    fit = summarised("fit", {"loss_mean": 0.5})
    near, far = (summarised(name, {"loss_mean": 0.5 + off}) for name, off in (("near", 1e-7), ("far", 1e-5)))
    result = parity.compare(fit, near, tolerance=1e-6)
    assert (result.identical, result.within_tolerance) == (False, True)
    assert_refused(parity.compare(fit, far, tolerance=1e-6), "final loss_mean")


def test_identical_is_withheld_from_a_summary_that_is_not_finite(summarised):
    result = parity.compare(*(summarised(name, {"loss_mean": None}) for name in ("a", "b")), tolerance=1)
    assert_refused(result, "final loss_mean: None and None")


def test_a_run_that_trained_itself_is_not_compared_twice(side, tmp_path):
    for name, loss in (("a", 0.5), ("b", 0.625)):
        side(name, metrics={"loss": loss})
        side(f"{name}/fold_1")
    assert parity.compare(tmp_path / "a", tmp_path / "b").reasons == ["final loss: 0.5 and 0.625"]


def test_a_summary_that_is_no_json_is_refused(summarised):
    folders = [summarised(name, {"loss_mean": 0.5}) for name in ("a", "b")]
    (folders[1] / "report.json").write_text("half a", encoding="utf-8")
    with pytest.raises(UsageError, match=r"b holds no finished run \(report\.json"):
        parity.compare(*folders)


@pytest.mark.parametrize("lacking", ["a", "b"])
def test_a_summary_that_only_one_side_has_is_a_difference(summarised, lacking):
    folders = [summarised(name, None if name == lacking else {"loss_mean": 0.5}) for name in ("a", "b")]
    assert not parity.compare(*folders).holds
