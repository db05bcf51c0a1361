"""What `compare` shows, on results made by hand."""

import json
import math
from pathlib import Path

import pytest

from recipes.commands import report
from recipes.commands.parity import Difference, Parity

FOLDER = Path("logs/mlp_classifier/now")
SIDE = {
    "first_epoch_seconds": 1.5,
    "seconds_per_epoch": 0.25,
    "seconds_total": 4.0,
    "peak_memory_mib": 512.25,
    "metrics": {"f1": 0.5, "accuracy": 0.875, "loss": 0.125},
    "steps_per_execution": 1,
    "jit_compile": True,
    "lines_of_code": 57,
}
KEYS = {
    "recipe",
    "identical",
    "within_tolerance",
    "tolerance",
    "weights_max_abs_diff",
    "history_max_abs_diff",
    "fit",
    "custom_loop",
    "speedup",
}
IDENTICAL = Parity(identical=True, within_tolerance=True, compared=["weights", "optimizer"])
NEAR = Parity(
    within_tolerance=True, tolerance=1e-6, weights_max_abs_diff=1e-7, reasons=["kernel differs by up to 1e-07"]
)
FAR = Parity(weights_max_abs_diff=0.5, history_max_abs_diff=0.25, reasons=["the histories part at loss of epoch 1"])


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def result():
    """A function that returns a result in which the loop is five times as fast."""

    def result(parity=IDENTICAL, **others):
        sides = {"fit": SIDE, "custom_loop": SIDE | {"seconds_per_epoch": 0.05, "steps_per_execution": 36}}
        return report.Result("mlp_classifier", "digits", FOLDER, **({"sides": sides, "parity": parity} | others))

    return result


@pytest.mark.parametrize(
    ("parity", "failures", "holds", "verdict"),
    [
        (IDENTICAL, [], True, "IDENTICAL"),
        (NEAR, [], True, "WITHIN TOLERANCE"),
        (FAR, [], False, "DIFFERENT"),
        (IDENTICAL, ["fit: broke"], False, "STOPPED"),
        (None, ["fit: broke"], False, "STOPPED"),
        (None, [], False, "STOPPED"),
    ],
)
def test_the_verdict_says_what_holds(parity, failures, holds, verdict, result, capsys):
    each = result(parity, failures=failures)
    assert each.holds is holds
    assert each.verdict[0] == verdict
    report.show(each)
    assert f"mlp_classifier on digits: {verdict}\n" in capsys.readouterr().out


@pytest.mark.parametrize(("parity", "colour"), [(IDENTICAL, "green"), (NEAR, "yellow"), (FAR, "red"), (None, "red")])
def test_the_verdict_has_the_colour_of_what_holds(parity, colour, result):
    assert result(parity).verdict[1] == colour


def test_the_speed_up_is_the_steady_epoch_of_fit_over_that_of_the_loop(result):
    assert result().speedup == 5.0
    one_epoch = SIDE | {"seconds_per_epoch": None}
    assert result(sides={"fit": SIDE, "custom_loop": one_epoch}).speedup is None
    assert result(sides={"fit": SIDE, "custom_loop": {}}).speedup is None


def test_the_json_of_a_result_has_the_keys_that_the_readme_promises(result):
    content = json.loads(json.dumps(result().to_json()))
    assert content.keys() >= KEYS
    assert content["recipe"] == "mlp_classifier"
    assert content["identical"] is True
    assert content["within_tolerance"] is True
    assert content["weights_max_abs_diff"] == content["history_max_abs_diff"] == 0
    assert content["fit"] == SIDE
    assert content["custom_loop"]["seconds_per_epoch"] == 0.05
    assert content["speedup"] == 5.0
    assert content["run"] == str(FOLDER)


def test_the_json_of_a_difference_gives_its_size_and_reasons(result):
    content = result(FAR).to_json()
    assert (content["identical"], content["within_tolerance"]) == (False, False)
    assert (content["weights_max_abs_diff"], content["history_max_abs_diff"]) == (0.5, 0.25)
    assert content["reasons"] == FAR.reasons


def test_the_json_of_a_side_that_stopped_claims_no_parity(result):
    content = result(None, failures=["fit: broke"], sides={"fit": {}, "custom_loop": SIDE}).to_json()
    assert content.keys() >= KEYS
    assert (content["identical"], content["within_tolerance"], content["speedup"]) == (False, False, None)
    assert content["weights_max_abs_diff"] is None
    assert content["reasons"] == ["fit: broke"]


def test_the_table_holds_times_memory_settings_and_metrics_of_both_sides(result, capsys):
    report.show(result())
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "fit custom loop" in rows
    assert "first epoch, compilation included 1.5 s 1.5 s" in rows
    assert "steady epoch 250 ms 50 ms 5.0 x" in rows
    assert "peak memory 512 MiB 512 MiB" in rows
    assert "steps per execution 1 36" in rows
    assert "XLA (jit_compile) on on" in rows
    assert "lines of code 57 57" in rows
    metrics = [row for row in rows if row.startswith("test ")]
    assert metrics == ["test f1 0.5 0.5", "test accuracy 0.875 0.875", "test loss 0.125 0.125"]


def test_a_single_epoch_has_no_steady_time_and_no_speed_up(result, capsys):
    one_epoch = SIDE | {"seconds_per_epoch": None}
    report.show(result(sides={"fit": one_epoch, "custom_loop": one_epoch}))
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "steady epoch - -" in rows


def test_a_metric_that_is_not_finite_is_called_so(result, capsys):
    broken = SIDE | {"metrics": {"loss": None}}
    report.show(result(FAR, sides={"fit": broken, "custom_loop": broken}))
    assert "not finite" in capsys.readouterr().out


def test_a_side_that_stopped_shows_its_failure_and_no_table(result, capsys):
    report.show(result(None, failures=["fit: the loss [sic] became NaN"], sides={"fit": {}, "custom_loop": SIDE}))
    out = capsys.readouterr().out
    assert "fit: the loss [sic] became NaN" in out
    assert "peak memory" not in out


@pytest.mark.parametrize(
    ("parity", "said"),
    [
        (IDENTICAL, ["the same bytes: weights, optimizer, history, test metrics", "weights 0, history 0"]),
        (NEAR, ["weights 1e-07", "allowed: 1e-06, or that share of a larger value", "kernel differs by up to 1e-07"]),
        (FAR, ["weights 0.5, history 0.25", "the histories part at loss of epoch 1"]),
        (Parity(history_max_abs_diff=math.inf, reasons=["loss of epoch 1 is not finite"]), ["history inf"]),
    ],
)
def test_the_explanation_says_what_the_verdict_rests_on(parity, said, result):
    explanation = report.explain(result(parity))
    assert all(each in explanation for each in said)


def test_reasons_are_shown_as_they_are_even_with_brackets(result, capsys):
    report.show(result(Parity(reasons=["kernel is float32[2, 2] on one side and float32[4] on the other"])))
    assert "float32[2, 2] on one side and float32[4]" in capsys.readouterr().out


def test_the_summary_has_a_line_for_every_pair(result, capsys):
    report.summarise([result(), result(FAR), result(None, failures=["x"], sides={})])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "mlp_classifier" in line]
    assert [row[:4] for row in rows[:2]] == [
        ["mlp_classifier", "IDENTICAL", "0", "0"],
        ["mlp_classifier", "DIFFERENT", "0.5", "0.25"],
    ]
    assert [row[-2:] for row in rows[:2]] == [["5.0", "x"]] * 2
    assert rows[2][:2] == ["mlp_classifier", "STOPPED"]
    assert len(rows) == 3


def test_the_next_steps_point_to_the_explanation_only_where_results_differ(result, capsys):
    report.show_next_steps([result()], "mlp_classifier", "")
    out = capsys.readouterr().out
    assert "why-results-differ" not in out
    assert "recipes board mlp_classifier\n" in out
    assert "recipes diff mlp_classifier\n" in out
    report.show_next_steps([result(), result(FAR)], "a.py b.py", " --logs x")
    out = capsys.readouterr().out
    assert "recipes board --logs x\n" in out
    assert "recipes diff a.py b.py\n" in out
    assert "why-results-differ" in out
    assert out.count(str(FOLDER)) == 2


def test_finished_runs_show_where_the_histories_part_and_which_weights_differ_most(capsys):
    parity = Parity(
        reasons=["the histories part at loss of epoch 2: 0.5 and 0.75", "a/kernel differs by up to 2"],
        weights=[Difference("a/kernel", 1.0, 3.0, 2.0), Difference("b/kernel", 1.0, 1.5, 0.5)],
        first_in_history=Difference("loss of epoch 2", 0.5, 0.75, 0.25),
    )
    report.show_finished([Path("runs/one"), Path("runs/two")], parity)
    out = capsys.readouterr().out
    assert "runs/one and runs/two: DIFFERENT" in out
    assert "the histories first part at loss of epoch 2: 0.5 and 0.75" in out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows.index("a/kernel 1 3 2") < rows.index("b/kernel 1 1.5 0.5")
    assert "weight one two difference" in rows


def test_finished_runs_that_are_identical_are_called_so(capsys):
    report.show_finished([Path("one"), Path("two")], IDENTICAL)
    out = capsys.readouterr().out
    assert "one and two: IDENTICAL" in out
    assert "part" not in out


def test_names_of_finished_runs_are_shown_as_they_are_even_with_brackets(capsys):
    parity = Parity(weights=[Difference("kernel", 1.0, 3.0, 2.0)])
    report.show_finished([Path("[first]"), Path("[red]")], parity)
    header = next(line for line in capsys.readouterr().out.splitlines() if "difference" in line)
    assert header.split() == ["weight", "[first]", "[red]", "difference"]


def test_outside_a_terminal_the_status_is_one_plain_line(capsys):
    with report.status("training"):
        pass
    out = capsys.readouterr().out
    assert out.startswith("training: ")
    assert out.endswith(" s\n")
    assert out.count("\n") == 1


def metric_rows(capsys):
    """The first column of the rows above that of the times."""
    lines = capsys.readouterr().out.splitlines()
    head = next(index for index, line in enumerate(lines) if line.split() == ["fit", "custom", "loop"])
    rows = [line.strip().split("  ")[0] for line in lines[head + 2 :]]  # below the head is a rule
    return rows[: rows.index("first epoch, compilation included")]


def test_metrics_of_a_run_with_children_are_called_as_the_recipe_named_them(result, capsys):
    summary = SIDE | {"metrics": {"loss_mean": 0.5, "test_loss": 0.25}, "children": ["fold_1", "fold_2"]}
    report.show(result(sides={"fit": summary, "custom_loop": summary}))
    assert metric_rows(capsys) == ["loss_mean", "test_loss"]


@pytest.mark.parametrize("children", [{}, {"children": []}])
def test_metrics_of_a_run_without_children_are_those_of_the_test_part(result, capsys, children):
    report.show(result(sides={"fit": SIDE | children, "custom_loop": SIDE | children}))
    assert metric_rows(capsys) == ["test f1", "test accuracy", "test loss"]


def test_metrics_are_shown_in_the_order_of_the_report(result, capsys):
    metrics = {"loss": 0.5, "zeta": 1.0, "alpha": 2.0, "mid": 3.0}
    fit, loop = SIDE | {"metrics": metrics}, SIDE | {"metrics": dict(sorted(metrics.items()))}
    report.show(result(sides={"fit": fit, "custom_loop": loop}))
    assert metric_rows(capsys) == ["test loss", "test zeta", "test alpha", "test mid"]


def test_a_metric_that_one_side_lacks_is_left_out(result, capsys):
    loop = SIDE | {"metrics": {"loss": 0.5, "only_here": 1.0}}
    report.show(result(FAR, sides={"fit": SIDE, "custom_loop": loop}))
    assert metric_rows(capsys) == ["test loss"]


def table_of(markdown):
    """Return the rows of the table in a Markdown text, without the rule below its head."""
    rows = [line.strip("|").split("|") for line in markdown.splitlines() if line.startswith("|")]
    assert set("".join(rows[1])) == set("-")
    return [[cell.strip() for cell in row] for row in (rows[0], *rows[2:])]


def test_as_markdown_it_is_verdict_reasons_metrics_and_times(result):
    markdown = report.as_markdown(result())
    lines = markdown.splitlines()
    assert lines[:2] == ["## mlp_classifier on digits: IDENTICAL", ""]
    assert "the same bytes: weights, optimizer, history, test metrics" in lines
    assert lines[lines.index("| | fit | custom loop |") - 1] == ""  # a table needs a blank line above it
    assert table_of(markdown) == [
        ["", "fit", "custom loop"],
        ["f1", "0.5", "0.5"],
        ["accuracy", "0.875", "0.875"],
        ["loss", "0.125", "0.125"],
        ["steady epoch", "250 ms", "50 ms"],
    ]


@pytest.mark.parametrize(
    ("parity", "verdict", "reason"),
    [
        (NEAR, "WITHIN TOLERANCE", "- kernel differs by up to 1e-07"),
        (FAR, "DIFFERENT", "- the histories part at loss of epoch 1"),
    ],
)
def test_as_markdown_the_reasons_are_a_list(result, parity, verdict, reason):
    lines = report.as_markdown(result(parity)).splitlines()
    assert lines[0] == f"## mlp_classifier on digits: {verdict}"
    assert reason in lines


def test_as_markdown_a_side_that_stopped_has_its_failure_and_no_table(result):
    markdown = report.as_markdown(result(None, failures=["fit: it broke"], sides={"fit": {}, "custom_loop": SIDE}))
    assert markdown.splitlines() == ["## mlp_classifier on digits: STOPPED", "", "fit: it broke"]


def test_as_markdown_what_is_not_known_or_not_finite_or_on_one_side_only_is_said_so(result):
    fit = SIDE | {"metrics": {"loss": None, "only_here": 1.0}, "seconds_per_epoch": None}
    loop = SIDE | {"metrics": {"loss": 0.5}}
    markdown = report.as_markdown(result(FAR, sides={"fit": fit, "custom_loop": loop}))
    assert table_of(markdown)[1:] == [["loss", "not finite", "0.5"], ["steady epoch", "-", "250 ms"]]


def test_what_the_sides_note_stands_once_under_the_verdict(result, capsys):
    note = "the test part has no example of [b]: precision is left out"
    each = result(sides={"fit": SIDE | {"notes": [note]}, "custom_loop": SIDE | {"notes": [note, "another"]}})
    report.show(each)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("note: ")] == [f"note: {note}", "note: another"]
    assert lines.index(f"note: {note}") < next(index for index, line in enumerate(lines) if "test accuracy" in line)
    assert report.as_markdown(each).count(note) == 1
    assert each.to_json()["fit"]["notes"] == [note]


def test_what_was_said_before_training_is_not_repeated_under_the_verdict(result, capsys):
    each = result(sides={"fit": SIDE | {"notes": ["of data", "of scores"]}, "custom_loop": SIDE}, said=["of data"])
    report.show(each)
    shown = capsys.readouterr().out + report.as_markdown(each)
    assert "note: of scores" in shown
    assert "of data" not in shown
    assert each.to_json()["fit"]["notes"] == ["of data", "of scores"]
