"""What TensorBoard shows of finished runs: a real server is asked over HTTP, a real browser opens its tabs."""

import io
import json
import re

import numpy as np
import pytest
from google.protobuf import text_format
from sklearn import metrics
from tensorboard.compat.proto.graph_pb2 import GraphDef

from recipes.shared import data
from recipes.shared.tensorboard_logging.probe import norm
from recipes.supervised import mlp_classifier

pytestmark = pytest.mark.process

SIDES = ("fit", "custom_loop")
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
PARTS = ("", "/train", "/validation", "/test")


def expected_runs(*names):
    return {f"{name}/run/{side}{part}" for name in names for side in SIDES for part in PARTS}


@pytest.fixture(scope="module")
def board(compared, start_board):
    board = start_board(compared, "mlp_classifier")
    board.wait_for(lambda: expected_runs("mlp_classifier") <= set(board.json("data/runs")))
    runs = [f"mlp_classifier/run/{side}" for side in SIDES]
    board.wait_for(lambda: all(run in board.json("data/plugin/text/tags") for run in runs))
    return board


@pytest.fixture(scope="module")
def board_of_all(compared, start_board):
    board = start_board(compared)
    board.wait_for(lambda: expected_runs("mlp_classifier", "linear_regression") <= set(board.json("data/runs")))
    return board


@pytest.fixture(params=SIDES)
def side(request):
    return request.param


@pytest.fixture
def run(side):
    return f"mlp_classifier/run/{side}"


@pytest.fixture
def folder(compared, side):
    return compared / "mlp_classifier" / "run" / side


@pytest.fixture
def state(folder):
    """The final weights, by the last part of their names."""
    with np.load(folder / "state.npz") as arrays:
        return {name.split(" ")[1]: arrays[name] for name in arrays.files if name.startswith("weights/")}


@pytest.fixture(scope="module")
def dataset():
    return data.load(mlp_classifier.HParams(), task="classification")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def scalars(board, run, tag):
    """Return steps and values."""
    points = board.wait_for(lambda: board.json("data/plugin/scalars/scalars", run=run, tag=tag))
    return [step for _, step, _ in points], [value for _, _, value in points]


def float32(values):
    return np.float32(values).tolist()


def test_the_curves_of_the_epochs_are_what_training_returned(board, run, folder):
    history = read_json(folder / "history.json")
    updates = 36
    for name in ("loss", "accuracy"):
        for part, prefix in (("train", ""), ("validation", "val_")):
            steps, values = scalars(board, f"{run}/{part}", f"epoch_{name}")
            assert steps == [updates * epoch for epoch in range(1, 11)]
            assert values == float32(history[prefix + name])


def test_the_final_scores_are_those_of_the_report(board, run, folder):
    report = read_json(folder / "report.json")
    for part, scores in (("test", report["metrics"]), ("validation", report["validation_metrics"])):
        assert len(scores) >= 5
        for name, value in scores.items():
            assert scalars(board, f"{run}/{part}", f"final_{name}") == ([360], float32([value]))


def test_every_step_has_its_own_loss_and_the_epochs_mean_is_made_of_them(board, run, folder, dataset):
    steps, losses = scalars(board, f"{run}/train", "step_loss")
    assert steps == list(range(1, 361))
    weights = np.full(36, 32.0)
    weights[-1] = len(dataset.train) - 35 * 32
    means = [np.average(losses[start : start + 36], weights=weights) for start in range(0, 360, 36)]
    np.testing.assert_allclose(means, read_json(folder / "history.json")["loss"], rtol=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    steps, rates = scalars(board, f"{run}/train", "step_learning_rate")
    assert steps == list(range(1, 361))
    assert set(rates) == set(float32([0.001]))


def test_both_sides_have_the_same_tags_and_the_same_values(board):
    tags = board.json("data/plugin/scalars/tags")
    for part in PARTS:
        fit, loop = (tags.get(f"mlp_classifier/run/{side}{part}", {}) for side in SIDES)
        assert fit.keys() == loop.keys()
        for tag in fit.keys() - {"epoch_steps_per_second", "epoch_examples_per_second", "epoch_memory_mib"}:
            (steps, a), (other_steps, b) = (scalars(board, f"mlp_classifier/run/{s}{part}", tag) for s in SIDES)
            assert steps == other_steps
            if tag == "step_loss":  # recovered from a running mean on the side of fit
                np.testing.assert_allclose(a, b, rtol=1e-4)
            else:
                assert a == b, tag


def test_speed_and_memory_are_believable(board, run, dataset):
    _, steps_per_second = scalars(board, f"{run}/train", "epoch_steps_per_second")
    _, examples_per_second = scalars(board, f"{run}/train", "epoch_examples_per_second")
    np.testing.assert_allclose(np.divide(examples_per_second, steps_per_second), len(dataset.train) / 36, rtol=1e-5)
    assert min(steps_per_second) > 1
    _, memory = scalars(board, f"{run}/train", "epoch_memory_mib")
    assert all(100 < value < 100_000 for value in memory)


def test_histograms_hold_every_weight_of_the_trained_model(board, run, state):
    assert len(state) == 6
    for name, weights in state.items():
        points = board.json("data/plugin/histograms/histograms", run=f"{run}/train", tag=f"weights/{name}")
        assert [step for _, step, _ in points] == list(range(0, 361, 36))
        left, right, counts = np.transpose(points[-1][2])
        assert counts.sum() == weights.size
        assert (left[0], right[-1]) == pytest.approx((weights.min(), weights.max()))
        recounted, _ = np.histogram(weights, bins=np.append(left, right[-1]))
        assert np.abs(recounted - counts).sum() <= 2  # a value on an edge may fall either way


def test_histograms_of_gradients_agree_with_their_norm(board, run, state):
    _, norms = scalars(board, f"{run}/train", "probe_gradient_norm")
    points = {
        name: board.json("data/plugin/histograms/histograms", run=f"{run}/train", tag=f"gradients/{name}")
        for name in state
    }
    for epoch, total in enumerate(norms):
        buckets = np.concatenate([found[epoch][2] for found in points.values()])
        middles = buckets[:, :2].mean(axis=1)
        assert norm([np.repeat(middles, buckets[:, 2].astype(int))]) == pytest.approx(total, rel=0.1)
    assert norms[-1] != pytest.approx(norms[0], rel=1e-3)


def test_the_last_update_of_each_epoch_is_set_against_the_weights(board, run, state):
    steps, ratios = scalars(board, f"{run}/train", "update_to_weight")
    assert steps == list(range(36, 361, 36))
    assert all(1e-5 < ratio < 0.1 for ratio in ratios)
    for name in state:
        assert scalars(board, f"{run}/train", f"update_to_weight/{name}")[0] == steps


def test_the_graph_shows_the_operations_of_a_step_and_the_layers(board, run):
    info = board.json("data/plugin/graphs/info")[f"{run}/train"]
    assert info["run_graph"]
    graph = text_format.Parse(board.ask("data/plugin/graphs/graph", run=f"{run}/train"), GraphDef())
    operations = {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }
    assert {"MatMul", "Relu", "ReluGrad", "SparseSoftmaxCrossEntropyWithLogits", "AssignVariableOp"} <= operations
    layers = board.ask("data/plugin/graphs/graph", run=f"{run}/train", tag="keras", conceptual="true")
    names = [node.name for node in text_format.Parse(layers, GraphDef()).node]
    assert [name.rpartition("/")[2] for name in names][-4:] == ["flatten", "dense", "dense_1", "dense_2"]


def test_hparams_has_one_session_a_side_with_all_values_and_the_final_scores(board, compared):
    answer = board.wait_for(lambda: _sessions(board, 2))
    by_side = {group["hparams"]["side"]: group for group in answer}
    assert by_side.keys() == set(SIDES)
    for side, group in by_side.items():
        config = read_json(compared / "mlp_classifier" / "run" / side / "config.json")
        for name, value in config["hparams"].items():
            assert group["hparams"][name] == ("none" if value in (None, []) else value)
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        found = {(m["name"]["group"], m["name"]["tag"]): m["value"] for m in session["metricValues"]}
        report = read_json(compared / "mlp_classifier" / "run" / side / "report.json")
        assert found["test", "final_accuracy"] == pytest.approx(report["metrics"]["accuracy"])
        assert found["validation", "final_loss" if "final_loss" in report["validation_metrics"] else "final_f1"]


def test_the_board_of_a_recipe_has_its_fields_and_that_of_all_has_everyones(board, board_of_all):
    own = {info["name"]: info for info in board.json("data/plugin/hparams/experiment", {})["hparamInfos"]}
    both = {info["name"]: info for info in board_of_all.json("data/plugin/hparams/experiment", {})["hparamInfos"]}
    assert "hidden_units" in own
    assert "momentum" not in own  # linear_regression's
    assert {"hidden_units", "momentum", "recipe", "side"} <= both.keys()
    assert both["recipe"]["domainDiscrete"] == ["linear_regression", "mlp_classifier"]
    assert both["learning_rate"]["domainInterval"] == {"minValue": 0.001, "maxValue": 0.01}
    assert both["jit_compile"]["type"] == "DATA_TYPE_BOOL"
    groups = board_of_all.wait_for(lambda: _sessions(board_of_all, 4))
    assert {(group["hparams"]["recipe"], group["hparams"]["side"]) for group in groups} == {
        (recipe, side) for recipe in ("mlp_classifier", "linear_regression") for side in SIDES
    }


def _sessions(board, count):
    body = {"allowedStatuses": STATUSES, "startIndex": 0, "sliceSize": 100, "colParams": []}
    groups = board.json("data/plugin/hparams/session_groups", body).get("sessionGroups", [])
    complete = all(session.get("metricValues") for group in groups for session in group["sessions"])
    return groups if len(groups) == count and complete else None


@pytest.mark.parametrize("tag", ["confusion_matrix", "worst_mistakes", "filters"])
def test_the_pictures_are_there_and_the_same_on_both_sides(board, tag):
    pictures = [_picture(board, f"mlp_classifier/run/{side}/test", tag) for side in SIDES]
    assert pictures[0].startswith(b"\x89PNG")
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("tag", ["predicted_against_true", "residuals"])
def test_a_regression_has_its_own_pictures(board_of_all, side, tag):
    assert _picture(board_of_all, f"linear_regression/run/{side}/test", tag).startswith(b"\x89PNG")


def _picture(board, run, tag):
    (image,) = board.wait_for(lambda: board.json("data/plugin/images/images", run=run, tag=tag))
    return board.ask("data/plugin/images/individualImage?" + image["query"])


def test_the_precision_recall_curves_are_scikit_learns(board, run, folder, dataset):
    import keras

    model = keras.saving.load_model(folder / "model.keras")
    raw = dataset.test.x * 16  # digits are scaled by their largest value, 16; the saved model takes them raw
    logits = np.asarray(model(raw, training=False), dtype=np.float64)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    for index in (0, 3, 9):
        tag = f"pr_curve/{index}"
        where = f"{run}/test"
        (curve,) = board.json("data/plugin/pr_curves/pr_curves", run=where, tag=tag)[where]
        labels = dataset.test.y == index
        for threshold, precision, recall in zip(curve["thresholds"], curve["precision"], curve["recall"], strict=True):
            positive = probabilities[:, index] >= threshold
            if abs(probabilities[:, index] - threshold).min() > 1e-6:
                assert recall == pytest.approx(metrics.recall_score(labels, positive), abs=1e-6)
                assert precision == pytest.approx(metrics.precision_score(labels, positive, zero_division=0), abs=1e-6)


def test_the_text_is_enough_to_repeat_the_run(board, run, side):
    def text(tag, where=run):
        (event,) = board.wait_for(lambda: board.json("data/plugin/text/text", run=where, tag=tag))
        return event["text"]

    assert "recipes compare mlp_classifier" in text("command")
    assert re.search(r"<td>learning_rate</td>\s*<td>0.001</td>", text("hyper_parameters"))
    assert "2.21" in text("versions")
    assert "cores" in text("hardware")
    assert "dense_2" in text("model")
    assert {"fit": "model.fit(", "custom_loop": "GradientTape"}[side] in text("source")
    assert "IDENTICAL" in text("parity", "mlp_classifier/run")


def test_the_projector_reads_the_embeddings_with_labels_and_thumbnails(board, run, dataset):
    board.wait_for(lambda: run in board.json("data/plugin/projector/runs"))
    (embedding,) = board.json("data/plugin/projector/info", run=run)["embeddings"]
    count = len(dataset.validation)
    assert embedding["tensorShape"] == [count, 64]
    name = embedding["tensorName"]
    tensor = np.frombuffer(board.ask("data/plugin/projector/tensor", run=run, name=name), np.float32)
    assert tensor.size == count * 64
    assert tensor.min() == 0  # they come out of a ReLU
    assert tensor.max() > 0
    labels = board.ask("data/plugin/projector/metadata", run=run, name=name).decode().split()
    assert labels == [str(label) for label in dataset.validation.y]
    from matplotlib.image import imread

    sprite = imread(io.BytesIO(board.ask("data/plugin/projector/sprite_image", run=run, name=name)))
    assert embedding["sprite"]["singleImageDim"] == [8, 8]
    np.testing.assert_allclose(sprite[8:16, :8, 0], dataset.validation.x[17], atol=1 / 255)  # 17 a row


def test_custom_scalars_has_one_chart_a_metric_and_all_curves_in_it(board_of_all, run):
    (category,) = board_of_all.wait_for(lambda: board_of_all.json("data/plugin/custom_scalars/layout").get("category"))
    titles = [chart["title"] for chart in category["chart"]]
    assert sorted(titles) == sorted(set(titles))
    assert {"loss", "accuracy"} <= set(titles)
    (tag,) = next(chart for chart in category["chart"] if chart["title"] == "loss")["multiline"]["tag"]
    for part in ("train", "validation"):
        answer = board_of_all.json("data/plugin/custom_scalars/scalars", run=f"{run}/{part}", tag=tag)
        assert [len(points) for points in answer["tag_to_events"].values()] == [10]


TABS = {
    "timeseries": ["scalar-card svg path", "image-card img"],
    "scalars": ["vz-line-chart2 svg path"],
    "custom_scalars": ["tf-custom-scalar-multi-line-chart-card vz-line-chart2 path"],
    "images": ["tf-image-loader img"],
    "graphs": ["g.node"],
    "distributions": ["vz-distribution-chart path"],
    "histograms": ["vz-histogram-timeseries path"],
    "text": ["tf-text-loader tf-markdown-view"],
    "pr_curves": ["vz-line-chart2 path"],
    "hparams": ["vaadin-grid-cell-content"],
    "projector": [],  # in a frame of its own
}
SHOWN = ("histograms", "images", "hparams", "projector", "graphs")  # in docs/tensorboard.md


@pytest.mark.browser
@pytest.mark.parametrize("tab", TABS)
def test_the_browser_draws_every_tab(browser, board, tab, keep_picture):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    try:
        page.goto(f"{board.address}#{tab}")
        for part in TABS[tab]:
            page.locator(part).nth(1).wait_for(state="attached", timeout=60_000)
        page.wait_for_timeout(1000)
        nothing = page.get_by_text(re.compile(r"No .*(data|files|dashboards).*(found|active)", re.IGNORECASE))
        assert not any(words.is_visible() for words in nothing.all())
        if tab == "images":
            for image in page.locator("tf-image-loader img").all():
                assert image.evaluate("image => image.complete && image.naturalWidth > 100")
        if tab == "hparams":
            cells = page.locator("vaadin-grid-cell-content").all_inner_texts()
            assert set(SIDES) <= set(cells)
            page.get_by_text("PARALLEL COORDINATES VIEW").click()
            page.locator("tf-hparams-parallel-coords-plot path, hparams-parallel-coords-view path").nth(1).wait_for(
                state="attached"
            )
        if tab == "projector":
            frame = page.frame_locator("iframe").frame_locator("iframe")
            frame.locator("#scatter canvas, canvas").first.wait_for(state="attached", timeout=60_000)
            frame.get_by_text("288", exact=True).first.wait_for(timeout=60_000)  # points
            page.wait_for_timeout(5000)  # they fly to their places
        keep_picture(f"tensorboard_{tab}.png" if tab in SHOWN else None, page.screenshot())
    finally:
        page.close()
