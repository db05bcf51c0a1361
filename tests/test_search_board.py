"""What a real TensorBoard shows of real searches, asked over HTTP and seen by a real browser."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
SIDES = ("fit", "custom_loop")
TRIALS = 5


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The logs folder of a search on each side, one of whose trials fails."""
    logs = tmp_path_factory.mktemp("searched")
    grid = ["--tuner", "grid", "--search", "learning_rate=0.001,0.01,1e30", "batch_size=32,64", "--trials", str(TRIALS)]
    for side in SIDES:
        options = ["--side", side, "--epochs", "3", "--logs", str(logs), "--run", side]
        done = subprocess.run(
            [sys.executable, "-m", "recipes", "tune", "mlp_classifier", *options, *grid],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return logs / "mlp_classifier"


@pytest.fixture(scope="module")
def board(searched, start_board):
    return start_board(searched.parent, "mlp_classifier")


@pytest.fixture
def found(searched):
    """The trials by their runs in TensorBoard."""
    return {
        f"mlp_classifier/tune-{side}/trial_{trial['identifier']}": (side, trial)
        for side in SIDES
        for trial in read_json(searched / f"tune-{side}" / "trials.json")
    }


def groups_of(board, count):
    body = {"allowedStatuses": STATUSES, "startIndex": 0, "sliceSize": 100, "colParams": []}
    groups = board.json("data/plugin/hparams/session_groups", body).get("sessionGroups", [])
    ended = all(session["status"] != "STATUS_RUNNING" for group in groups for session in group["sessions"])
    return groups if len(groups) == count and ended else None


def test_every_trial_is_a_session_with_its_values_and_its_final_and_best_metrics(board, found, searched):
    groups = board.wait_for(lambda: groups_of(board, 2 * TRIALS))
    by_run = {group["sessions"][0]["name"]: group for group in groups}
    assert by_run.keys() == found.keys()
    assert [trial["status"] for _, trial in found.values()].count("failed") == 2
    for run, group in by_run.items():
        side, trial = found[run]
        assert group["hparams"]["side"] == side
        assert group["hparams"].items() >= trial["values"].items()
        (session,) = group["sessions"]
        metrics = {(m["name"]["group"], m["name"]["tag"]): m["value"] for m in session.get("metricValues", [])}
        if trial["status"] == "failed":
            assert session["status"] == "STATUS_FAILURE"
            assert ("validation", "best_loss") not in metrics
            continue
        assert session["status"] == "STATUS_SUCCESS"
        assert metrics["validation", "best_loss"] == pytest.approx(trial["score"], rel=1e-6)
        report = read_json(searched.parent / run / "report.json")
        assert metrics["validation", "final_f1"] == pytest.approx(report["validation_metrics"]["f1"], rel=1e-6)


def test_the_configuration_has_the_domains_and_the_score_of_the_search_first(board):
    experiment = board.json("data/plugin/hparams/experiment", {})
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert infos["batch_size"]["domainInterval"] == {"minValue": 32, "maxValue": 64}
    assert infos["learning_rate"]["domainInterval"] == {"minValue": 0.001, "maxValue": pytest.approx(1e30)}
    assert {name for name, info in infos.items() if info.get("differs")} == {"side", "batch_size", "learning_rate"}
    assert experiment["metricInfos"][0]["name"] == {"group": "validation", "tag": "best_loss"}


def test_the_curves_of_every_trial_are_its_history(board, found, searched):
    for run, (_, trial) in found.items():
        if trial["status"] == "completed":
            history = read_json(searched.parent / run / "history.json")

            def points(run=run):
                asked = {"run": f"{run}/validation", "tag": "epoch_loss"}
                return board.json("data/plugin/scalars/scalars", **asked)

            values = [value for *_, value in board.wait_for(points)]
            assert values == pytest.approx(history["val_loss"], rel=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_the_picture_of_the_scores_is_in_images_and_beside_the_search(side, board, searched):
    asked = {"run": f"mlp_classifier/tune-{side}", "tag": "score_over_learning_rate", "sample": 0}
    (image,) = board.json("data/plugin/images/images", **asked)
    picture = board.ask(f"data/plugin/images/individualImage?{image['query']}")
    assert picture == (searched / f"tune-{side}" / "score_over_learning_rate.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.browser
def test_the_browser_draws_a_line_a_trial_through_the_parallel_coordinates(browser, board, keep_picture):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    try:
        page.goto(f"{board.address}#hparams")
        page.locator("vaadin-grid-cell-content").nth(1).wait_for(state="attached", timeout=60_000)
        page.get_by_text("PARALLEL COORDINATES VIEW").click()
        lines = page.locator("hparams-parallel-coords-plot g.foreground path, tf-hparams-parallel-coords-plot path")
        lines.nth(2).wait_for(state="attached")
        page.wait_for_timeout(1000)
        drawn = {line.get_attribute("d") for line in lines.all()} - {None, ""}
        assert len(drawn) >= 3  # as many as there are different pairs of completed trials
        keep_picture("tensorboard_search.png", page.screenshot())
    finally:
        page.close()
