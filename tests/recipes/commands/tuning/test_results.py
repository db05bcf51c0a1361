"""What a search leaves: the table, the picture and the files."""

import json
import re
from dataclasses import asdict, replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.commands import catalog, flags, side
from recipes.commands.tuning import results
from recipes.commands.tuning.specification import Specification
from recipes.commands.tuning.trials import Trial
from recipes.shared.search_space import Choices, LogRange, Range


@pytest.fixture
def search(tmp_path):
    (tmp_path / "my logs").mkdir()
    return Specification(
        recipe="mlp_classifier",
        side="fit",
        path=str(catalog.find("mlp_classifier").fit.path),
        folder=str(tmp_path / "my logs"),
        command="recipes tune mlp_classifier --trials 5",
        tuner="random",
        objective="val_loss",
        space={"learning_rate": LogRange(1e-4, 1.0), "batch_size": Choices(16, 32, 64)},
        hparams={"learning_rate": 0.1, "batch_size": 32, "epochs": 3, "seed": 7},
        seed=7,
        trials=5,
        epochs=3,
    )


def trial(number, rate=0.1, size=32, score=None, **values):
    """Return a trial: completed if it has a score."""
    hparams = {"learning_rate": rate, "batch_size": size, "epochs": 3, "seed": 7}
    defaults = {
        "number": number,
        "identifier": str(number - 1),
        "hparams": hparams,
        "values": {"learning_rate": rate, "batch_size": size},
        "status": "failed" if score is None else "completed",
        "reason": "it burned" if score is None else "",
        "score": score,
        "best_epoch": None if score is None else number + 1,
        "updates": 0 if score is None else 1000 * number,
        "examples": 0 if score is None else 32000 * number,
        "seconds": 0.5 if score is None else float(number),
    }
    return Trial(**defaults | values)


FIVE = [
    trial(1, 0.1, 32, 0.5),
    trial(2, 0.0123456, 16, 0.25),
    trial(3, 0.01, 32, 0.125),
    trial(4, 0.3, 64),
    trial(5, 0.001, 16, 0.75),
]


def lines(capsys):
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_the_files_hold_every_trial_and_the_best(search, tmp_path):
    results.write(search, FIVE)
    folder = tmp_path / "my logs"
    names = {path.name for path in folder.iterdir()}
    assert {name for name in names if "tfevents" not in name} == {
        "best.json",
        "trials.json",
        "score_over_learning_rate.png",
    }
    assert json.loads((folder / "trials.json").read_text()) == [asdict(each) for each in FIVE]
    assert json.loads((folder / "best.json").read_text()) == {
        "recipe": "mlp_classifier",
        "side": "fit",
        "tuner": "random",
        "objective": "val_loss",
        "score": 0.125,
        "scores": [],
        "spread": None,
        "best_epoch": 4,
        "trial": "2",
        "seed": 7,
        "values": {"learning_rate": 0.01, "batch_size": 32},
        "hparams": {"learning_rate": 0.01, "batch_size": 32, "epochs": 3, "seed": 7},
        "command": "recipes tune mlp_classifier --trials 5",
        "repeat": f"recipes fit mlp_classifier --hparams '{folder}/best.json'",
    }
    assert (folder / "score_over_learning_rate.png").read_bytes().startswith(b"\x89PNG")


def test_of_failed_trials_alone_there_is_no_best_and_no_picture(search, tmp_path):
    results.write(search, [trial(1), trial(2)])
    assert [path.name for path in (tmp_path / "my logs").iterdir()] == ["trials.json"]


def test_the_picture_in_tensorboard_is_the_last_alone(search, tmp_path):
    results.write(search, FIVE[:2])
    results.write(search, FIVE)
    (events,) = (tmp_path / "my logs").glob("events.out.tfevents.*")
    accumulator = EventAccumulator(str(events)).Reload()
    (image,) = accumulator.Images(results.PICTURE)
    assert image.step == 5
    assert image.encoded_image_string == (tmp_path / "my logs" / f"{results.PICTURE}.png").read_bytes()


def test_best_json_gives_the_flags_of_the_trial_back(search, tmp_path):
    fields = "".join(f"    {name}: {type(value).__name__} = 9\n" for name, value in FIVE[0].hparams.items())
    path = tmp_path / "mlp_classifier.py"
    path.write_text(f"class HParams:\n{fields}")
    results.write(search, FIVE)
    args = ["--hparams", str(tmp_path / "my logs" / "best.json")]
    values, _ = flags.parse_hparams(catalog.Source(path), side.Options, args, "recipes fit")
    assert values == FIVE[2].hparams


@pytest.mark.parametrize(("where", "verb"), [("fit", "fit"), ("custom_loop", "loop")])
def test_the_command_that_repeats_the_trial_is_of_its_side(search, where, verb):
    path = str(catalog.find("mlp_classifier").side(where).path)
    best = results.best_json(replace(search, side=where, path=path, folder="logs/tune"), FIVE[0])
    assert best["repeat"] == f"recipes {verb} mlp_classifier --hparams logs/tune/best.json"


def test_the_command_that_repeats_a_trial_of_a_file_of_the_users_own_names_the_file(search):
    search = replace(search, recipe="mine", path="/home/me/mine.py", folder="logs/tune")
    assert results.best_json(search, FIVE[0])["repeat"] == "recipes fit /home/me/mine.py --hparams logs/tune/best.json"


def test_the_table_has_a_row_a_batch_size_with_its_best_trial(search, capsys):
    results.show(search, FIVE)
    shown = lines(capsys)
    assert shown[0] == "mlp_classifier, fit: 5 trials by random, 1 of them failed; held fixed: 3 epochs"
    heads = [
        "batch size",
        "best learning rate",
        "val_loss",
        "epoch",
        "updates",
        "examples",
        "seconds",
        "trials",
        "all seconds",
    ]
    assert re.split(r"\s{2,}", shown[1].strip()) == heads
    assert [line.split() for line in shown[3:6]] == [
        ["16", "0.01235", "0.25", "3", "2,000", "64,000", "2.0", "2", "7.0"],
        ["32", "0.01", "0.125", "4", "3,000", "96,000", "3.0", "2", "4.0"],
        ["64", "all", "failed", "1", "0.5"],
    ]
    assert shown[6] == "best: trial 3, val_loss 0.125 in epoch 4, with learning_rate 0.01, batch_size 32"
    assert shown[7].startswith("A batch size decides how fast you train")
    assert shown[8] == f"repeat it:  recipes fit mlp_classifier --hparams '{search.folder}/best.json'"
    assert shown[9] == f"files:      {search.folder}/best.json, trials.json, score_over_learning_rate.png"
    assert len(shown) == 10
    assert max(map(len, shown[:7])) <= results.WIDTH


def test_the_largest_score_is_the_best_where_it_should_be(search, capsys):
    results.show(replace(search, objective="val_accuracy", larger_is_better=True), FIVE)
    shown = lines(capsys)
    assert [line.split()[2] for line in shown[3:5]] == ["0.75", "0.5"]
    assert shown[6].startswith("best: trial 5, val_accuracy 0.75")


def test_of_failed_trials_alone_only_their_number_is_shown(search, capsys):
    results.show(search, [trial(1), trial(2)])
    assert lines(capsys) == [
        "mlp_classifier, fit: 2 trials by random, 2 of them failed; held fixed: 3 epochs",
    ]


def test_no_trials_at_all_are_shown_as_such(search, capsys):
    results.show(search, [])
    assert lines(capsys) == ["mlp_classifier, fit: 0 trials by random; held fixed: 3 epochs"]


def test_one_batch_size_needs_no_word_about_batch_sizes(search, capsys):
    results.show(search, [FIVE[0], FIVE[2]])
    assert "A batch size" not in capsys.readouterr().out


def test_a_recipe_without_batches_has_a_row_all_the_same(search, capsys, tmp_path):
    search = replace(search, space={"learning_rate": LogRange(1e-4, 1.0)})
    found = [
        replace(each, hparams={"learning_rate": each.hparams["learning_rate"]}, values={"learning_rate": 0.5})
        for each in FIVE
    ]
    results.show(search, found)
    row = lines(capsys)[3].split()
    assert row == ["-", "0.5", "0.125", "4", "3,000", "96,000", "3.0", "5", "11.5"]
    results.write(search, found)
    assert (tmp_path / "my logs" / "best.json").is_file()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "3 epochs"),
        ({"tuner": "hyperband"}, "3 epochs at most"),
        ({"budget": "updates", "updates": 360}, "about 360 updates"),
        ({"budget": "updates", "updates": 360, "tuner": "hyperband"}, "about 360 updates at most"),
    ],
)
def test_what_all_trials_have_alike(search, values, text):
    assert results.held_fixed(replace(search, **values)) == text


def drawn(search, trials):
    """Return the axes of the picture, and its lines by their label; failed trials and the ring go without."""
    (axes,) = results.plot(search, trials).axes
    return axes, {line.get_label(): line for line in axes.get_lines()}


def points(line):
    return list(zip(*(list(map(float, each)) for each in line.get_data()), strict=True))


def test_the_picture_has_a_line_a_batch_size_in_the_order_of_the_rates(search):
    axes, found = drawn(search, FIVE)
    assert points(found["batch size 16"]) == [(0.001, 0.75), (0.0123456, 0.25)]
    assert points(found["batch size 32"]) == [(0.01, 0.125), (0.1, 0.5)]
    assert "batch size 64" not in found
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "val_loss")
    assert axes.get_title() == "best val_loss 0.125 at 0.01"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["batch size 16", "batch size 32"]
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert [points(line) for line in crosses] == [[(0.3, 1.0)]]
    rings = [line for line in axes.get_lines() if line.get_fillstyle() == "none"]
    assert [points(line) for line in rings] == [[(0.01, 0.125)]]
    colours = [found["batch size 16"].get_color(), found["batch size 32"].get_color(), crosses[0].get_color()]
    assert len(set(colours)) == 3


@pytest.mark.parametrize(
    ("scores", "scale"),
    [((0.1, 1.1), "log"), ((0.1, 0.9), "linear"), ((0.0, 5.0), "linear"), ((-1.0, 100.0), "linear")],
)
def test_scores_of_several_magnitudes_are_drawn_on_a_logarithmic_axis(search, scores, scale):
    axes, _ = drawn(search, [trial(number, 0.1 * number, 32, score) for number, score in enumerate(scores, start=1)])
    assert axes.get_yscale() == scale


def test_without_a_learning_rate_in_the_space_the_first_range_is_across(search):
    search = replace(search, space={"batch_size": Choices(32), "dropout": Range(0.0, 0.5), "l2": LogRange(0.1, 1.0)})
    found = [replace(each, hparams=each.hparams | {"dropout": each.number / 10, "l2": 0.5}) for each in FIVE]
    axes, _ = drawn(search, found)
    assert (axes.get_xlabel(), axes.get_xscale()) == ("dropout", "linear")
    assert axes.get_title() == "best val_loss 0.125 at 0.3"


def test_a_space_without_any_range_has_a_picture_too(search):
    axes, _ = drawn(replace(search, space={"batch_size": Choices(16, 32, 64)}), FIVE)
    assert axes.get_xlabel() == "batch size"


def test_a_recipe_without_a_learning_rate_has_results(search, tmp_path):
    found = [replace(each, hparams={"batch_size": each.hparams["batch_size"]}) for each in FIVE]
    results.write(replace(search, space={"batch_size": Choices(16, 32, 64)}), found)
    assert (tmp_path / "my logs" / "best.json").is_file()
