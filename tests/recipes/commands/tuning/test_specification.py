"""What a search is, in a form for files and other processes."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from recipes.commands.tuning.specification import FILE, LOCK, Specification
from recipes.shared.errors import UsageError
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.search_space import Choices, LogRange, Range

SPACE = {"learning_rate": LogRange(1e-4, 1e-1), "batch_size": Choices(16, 32), "dropout": Range(0.0, 0.5)}


def enter(search):
    with search.entered():
        pass


@pytest.fixture
def search(tmp_path):
    return Specification(
        recipe="mine",
        side="fit",
        path=str(tmp_path / "mine.py"),
        folder=str(tmp_path / "logs" / "mine" / "tune-fit"),
        command="recipes tune mine",
        tuner="bayesian",
        objective="val_loss",
        space=SPACE,
        hparams={
            "data": "digits",
            "target": None,
            "learning_rate": 0.001,
            "batch_size": 32,
            "dropout": 0.25,
            "epochs": 9,
            "seed": 3,
            "widths": (8, 4),
        },
        seed=3,
        trials=7,
        epochs=9,
    )


def changed(search, **values):
    return replace(search, hparams=search.hparams | values)


def refusal(search):
    """Return the one line with which a search is not gone on with."""
    with pytest.raises(UsageError) as error:
        enter(search)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("larger", [False, True])
def test_the_better_score_is_the_larger_or_the_smaller_one(search, larger):
    search = replace(search, larger_is_better=larger)
    assert search.better(0.75, 0.5) is larger
    assert search.better(0.5, 0.75) is not larger
    assert not search.better(0.5, 0.5)
    assert not search.better(math.nan, 0.5)


def test_a_trial_has_the_values_that_were_proposed_and_the_recipes_own_for_the_rest(search):
    values = search.hparams_of({"learning_rate": 0.5, "batch_size": 16, "dropout": 0.125})
    assert values == search.hparams | {"learning_rate": 0.5, "batch_size": 16, "dropout": 0.125}
    assert search.hparams["learning_rate"] == 0.001


def test_every_trial_has_the_seed_and_the_epochs_of_the_search(search):
    search = replace(changed(search, seed=99, epochs=99), seed=5, epochs=4)
    values = search.hparams_of({"learning_rate": 0.5})
    assert (values["seed"], values["epochs"]) == (5, 4)


def test_hyperbands_own_values_are_no_hyper_parameters_and_its_epochs_count(search):
    proposed = {
        "learning_rate": 0.5,
        "tuner/epochs": 3,
        "tuner/initial_epoch": 1,
        "tuner/bracket": 2,
        "tuner/round": 1,
        "tuner/trial_id": "0004",
    }
    assert search.hparams_of(proposed) == search.hparams | {"learning_rate": 0.5, "epochs": 3}


@pytest.mark.parametrize(
    ("batch_size", "epochs"),
    [
        (32, 9),  # 4 updates an epoch, as many as the budget was made of
        (16, 5),  # 7 updates an epoch: 36 / 7 = 5.14
        (8, 3),  # 13 an epoch: 36 / 13 = 2.77
        (50, 18),  # 2 an epoch
        (100, 36),  # 1 an epoch
        (1, 1),  # 100 an epoch: 0.36, and one pass is the least
        (2, 1),  # 50 an epoch: 0.72
    ],
)
def test_with_a_budget_of_updates_a_batch_size_has_as_many_epochs_as_these_take(search, batch_size, epochs):
    search = replace(search, budget="updates", updates=36, examples=100)
    assert search.hparams_of({"batch_size": batch_size})["epochs"] == epochs


@pytest.mark.parametrize(("hyperbands", "epochs"), [(9, 18), (3, 6), (1, 2)])
def test_hyperband_shares_a_budget_of_updates_out_as_it_does_epochs(search, hyperbands, epochs):
    search = replace(search, tuner="hyperband", budget="updates", updates=36, examples=100)
    assert search.hparams_of({"batch_size": 50, "tuner/epochs": hyperbands})["epochs"] == epochs


def test_a_budget_of_epochs_does_not_care_about_the_batch_size(search):
    search = replace(search, updates=36, examples=100)
    assert {search.hparams_of({"batch_size": size})["epochs"] for size in (1, 8, 100)} == {9}


def test_truth_stays_truth_though_kerastuner_makes_numbers_of_it(search):
    search = replace(search, space={"nesterov": Choices(True, False)}, hparams=search.hparams | {"nesterov": True})
    assert [search.hparams_of({"nesterov": value})["nesterov"] for value in (1, 0)] == [True, False]
    assert all(type(search.hparams_of({"nesterov": value})["nesterov"]) is bool for value in (1, 0))


FLOATS = [
    *(float(value) for value in np.random.default_rng(0).uniform(-1, 1, 300)),
    *(float(value) for value in 10.0 ** np.random.default_rng(1).uniform(-30, 30, 300)),
    *(0.0, 1.0, 0.1, 1e-4, 1e-45, 1e-38, 3.4e38, 16777217.0, -0.3),
]


def test_a_search_comes_back_from_json_as_it_was(search):
    search = replace(
        changed(search, widths=3),
        budget="updates",
        updates=36,
        examples=100,
        workers=2,
        time_limit=1.5,
        trials=None,
        logging=LoggingOptions(level="nothing"),
    )
    back = Specification.of_json(json.loads(json.dumps(search.to_json())))
    assert back == search
    assert {name: type(domain) for name, domain in back.space.items()} == {
        name: type(domain) for name, domain in SPACE.items()
    }
    assert list(back.space) == list(SPACE)
    assert isinstance(back.logging, LoggingOptions)


def test_every_field_is_in_the_json(search):
    assert search.to_json().keys() == {field.name for field in fields(Specification)}


def test_entering_makes_the_folder_and_describes_the_search_in_it(search, tmp_path):
    enter(search)
    folder = tmp_path / "logs" / "mine" / "tune-fit"
    assert [path.name for path in folder.iterdir() if path.name != LOCK] == [FILE]
    written = Specification.of_json(json.loads((folder / FILE).read_text()))
    assert written == changed(search, widths=[8, 4])  # JSON has no tuples


def test_the_same_search_is_entered_again(search):
    enter(search)
    enter(search)


@pytest.mark.parametrize(
    "other",
    [
        {"trials": 70},
        {"trials": None},
        {"workers": 3},
        {"time_limit": 5.0},
        {"command": "recipes tune mine --trials 70"},
        {"logging": LoggingOptions(level="nothing")},
        {"path": "elsewhere/mine.py"},
    ],
    ids=str,
)
def test_a_search_goes_on_with_what_does_not_change_its_scores(search, other, tmp_path):
    enter(search)
    other = replace(search, **other)
    enter(other)
    written = Specification.of_json(json.loads((tmp_path / "logs" / "mine" / "tune-fit" / FILE).read_text()))
    assert written == changed(other, widths=[8, 4])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"recipe": "yours"}, "recipe mine, not yours"),
        ({"side": "custom_loop"}, "side fit, not custom_loop"),
        ({"tuner": "grid"}, "tuner bayesian, not grid"),
        ({"objective": "val_accuracy"}, "objective val_loss, not val_accuracy"),
        ({"epochs": 10}, "epochs 9, not 10"),
        ({"seed": 4}, "seed 3, not 4"),
        ({"budget": "updates", "updates": 36, "examples": 100}, "budget epochs, not updates"),
        ({"space": SPACE | {"dropout": Range(0.0, 0.6)}}, "dropout 0..0.5, not 0..0.6"),
        ({"space": SPACE | {"dropout": LogRange(0.1, 0.5)}}, "dropout 0..0.5, not 0.1..0.5 (logarithmic)"),
        ({"space": SPACE | {"batch_size": Choices(32, 16)}}, "batch_size 16, 32, not 32, 16"),
        ({"space": {"learning_rate": LogRange(1e-4, 1e-1)}}, "batch_size 16, 32, not fixed"),
        ({"space": SPACE | {"momentum": Range(0.0, 1.0)}}, "momentum fixed, not 0..1"),
    ],
    ids=str,
)
def test_another_search_is_refused_by_the_name_of_what_differs(search, other, says, tmp_path):
    enter(search)
    file = tmp_path / "logs" / "mine" / "tune-fit" / FILE
    before = file.read_text()
    message = refusal(replace(search, **other))
    assert message.startswith(f"{search.folder} is a search with {says}; choose another --run")
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data": "iris"}, "data digits, not iris"),
        ({"target": "price"}, "target None, not price"),
        ({"widths": (8, 5)}, "widths [8, 4], not [8, 5]"),
        ({"clip": 1.5}, "clip None, not 1.5"),
        ({"epochs": 10}, "epochs 9, not 10"),
    ],
    ids=str,
)
def test_other_fixed_hyper_parameters_are_refused_by_name(search, values, says):
    enter(search)
    assert f"is a search with {says}; choose another --run" in refusal(changed(search, **values))


def test_a_hyper_parameter_that_is_new_and_left_out_changes_nothing_or_is_named(search):
    enter(search)
    search = changed(search, clip=None)  # a field that the recipe did not have when the search began
    try:
        enter(search)
    except UsageError as error:
        assert "clip" in str(error)  # noqa: PT017


def test_a_hyper_parameter_that_is_infinite_is_the_same_as_itself(search):
    search = changed(search, clip=math.inf)
    enter(search)
    enter(search)


@pytest.mark.parametrize("damaged", ["", "{", "[]", "3", "null", '"text"', "{}", b"\xff"], ids=str)
def test_a_damaged_description_is_refused_in_one_line(search, damaged, tmp_path):
    enter(search)
    file = tmp_path / "logs" / "mine" / "tune-fit" / FILE
    file.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    assert search.folder in refusal(search)
    assert file.read_bytes() == (damaged if isinstance(damaged, bytes) else damaged.encode())


def test_a_folder_of_something_else_is_left_alone(search, tmp_path):
    folder = tmp_path / "logs" / "mine" / "tune-fit"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("mine")
    assert refusal(search) == f"{folder} holds something else than a search; choose another --run"
    assert [path.name for path in folder.iterdir()] == ["report.json"]


def test_an_empty_folder_is_taken(search, tmp_path):
    folder = tmp_path / "logs" / "mine" / "tune-fit"
    folder.mkdir(parents=True)
    enter(search)
    assert (folder / FILE).is_file()


def test_a_file_in_the_place_of_the_folder_is_refused(search, tmp_path):
    (tmp_path / "logs" / "mine").mkdir(parents=True)
    (tmp_path / "logs" / "mine" / "tune-fit").write_text("mine")
    assert refusal(search) == f"{search.folder} holds something else than a search; choose another --run"


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason(search, tmp_path):
    (tmp_path / "logs").write_text("a file")
    assert refusal(search) == f"cannot write to {search.folder} (Not a directory); choose another --logs"
