"""`recipes data`: what would be trained on."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image
from sklearn.datasets import load_digits

from recipes.__main__ import main
from recipes.commands import describe_data
from recipes.shared.columns import Column


@pytest.fixture
def show(cwd, capsys, monkeypatch):
    """A function that runs `recipes data` and returns what it prints, one space for many."""
    monkeypatch.setenv("COLUMNS", "200")

    def show(*args, code=0):
        assert main(["data", *map(str, args)]) == code
        output = capsys.readouterr()
        assert code == 0 or output.out == ""
        assert not list(cwd.glob("logs"))
        return [" ".join(line.split()) for line in (output.out + output.err).splitlines()]

    return show


@pytest.fixture
def table(cwd):
    """A table of every kind of column."""
    lines = ["id,size,colour,when,nothing,words,label"]
    for row in range(150):
        size = "" if row % 10 == 0 else row % 3
        colour = ["red", "blue", "red"][row % 3]
        lines.append(f"{row},{size},{colour},2020-01-{row % 28 + 1:02},,word {row},{['no', 'yes', 'no'][row % 3]}")
    (cwd / "x.csv").write_text("\n".join(lines))
    return "x.csv"


def test_every_column_is_shown_with_its_kind_and_what_is_in_it(show, table):
    lines = show(table)
    assert lines[0] == "x.csv: 150 rows; columns to learn from: 5"
    assert "size numbers 15 3 mean 1, standard deviation 0.8165, 0 to 2" in lines
    assert "colour text 0 2 red (100), blue (50)" in lines
    assert "nothing left out empty" in lines
    assert "words text 0 150 150 distinct values, more than 100" in lines
    (when,) = [line for line in lines if line.startswith("when dates 0 28 ")]
    assert when.endswith("2020-01-01 00:00:00 to 2020-01-28 00:00:00")
    assert "target label: 2 classes: no 100 (66.7 %), yes 50 (33.3 %)" in lines
    assert "parts: train 96, validation 24, test 30" in lines
    assert "x.csv: left out: 'nothing' (empty)" in lines
    assert lines[-1].startswith("cannot be trained on like this: x.csv: the text column 'words'")
    assert lines[-1].endswith("--drop words")


def test_flags_say_what_is_left_out(show, table):
    lines = show(table, "--drop", "words", "id", "--target", "size", code=2)
    assert lines == ["recipes: x.csv: the target column 'size' is empty in data row 1; fill or drop such rows"]
    lines = show(table, "--drop", "words", "id", "--categorical", "when", "--target", "label")
    assert "words left out by --drop" in lines
    assert any(line.startswith("when text 0 28 2020-01-01 (6)") for line in lines)
    assert not any("cannot be trained" in line for line in lines)


def test_a_target_of_numbers_is_shown_with_its_spread(show, real_data):
    lines = show(real_data / "california_housing.csv", "--target", "median_house_value")
    assert "target median_house_value: numbers, mean 2.069e+05, standard deviation 1.154e+05, 14999 to 500001" in lines
    assert "parts: train 13209, validation 3303, test 4128" in lines
    assert any(line.startswith("ocean_proximity text 0 5 <1H OCEAN (9136), INLAND (6551)") for line in lines)
    assert any(line.startswith("total_bedrooms numbers 207 ") for line in lines)


def test_images_are_shown_with_their_range_and_a_sheet_of_examples(show, cwd):
    digits = load_digits()
    np.savez(cwd / "x.npz", x_train=digits.images.astype(np.uint8), y_train=digits.target)
    lines = show("x.npz", "--sheet", "sheet.png")
    assert lines[0] == "x.npz: 1797 examples of shape (8, 8), uint8"
    assert lines[1].startswith("values: 0 to 16, mean 4.88")
    assert lines[2].startswith("target: 10 classes: 3 183 (10.2 %)")
    assert lines[3] == "parts: train 1149, validation 288, test 360"
    sheet = image.imread("sheet.png")
    assert sheet.shape[:2] == (10 * 10, 12 * 10)  # a line around each of 10 by 12 images
    zero = digits.images[np.flatnonzero(digits.target == 0)[0]] / 16
    np.testing.assert_allclose(sheet[1:9, 1:9, 0], zero, atol=1 / 255)


@pytest.mark.parametrize("shape", [(20, 4, 5, 3), (20, 4, 5, 1)])
def test_a_sheet_has_a_place_for_every_class_however_few_examples_it_has(cwd, shape):
    labels = np.array([0] * 19 + [1])
    describe_data.write_sheet(cwd / "new" / "sheet.png", np.random.default_rng(0).random(shape), labels)
    assert image.imread(cwd / "new" / "sheet.png").shape[:2] == (2 * 6, 12 * 7)


def test_a_folder_of_files_is_counted(show, cwd):
    for name, count in (("train-0", 10), ("train-1", 12), ("test", 5)):
        np.savez(cwd / f"{name}.npz", x=np.zeros((count, 3)), y=np.arange(count) % 2)
    lines = show(cwd)
    assert lines[0].endswith("27 examples of shape (3,), float64, in 3 files")
    assert lines[1] == "target: 2 classes: 0 14 (51.9 %), 1 13 (48.1 %)"
    assert lines[2] == "parts: train 10, validation 12, test 5"


def test_whole_numbers_that_are_no_bytes_are_said_of_arrays_and_of_folders(show, cwd):
    x, y = np.full((40, 4, 5), 9, np.uint8), np.arange(40) % 2
    np.savez(cwd / "x.npz", x_train=x, y_train=y)
    for name in ("train-0", "train-1", "test"):
        (cwd / "parts").mkdir(exist_ok=True)
        np.savez(cwd / "parts" / f"{name}.npz", x=x, y=y)
    for data in ("x.npz", "parts"):
        assert show(data)[-1] == "images of uint8 were divided by 9, the largest magnitude in the training part"
    assert show("parts", "--split-seed", "1", code=2) == [
        "recipes: --split-seed has no meaning for parts: its files are the parts"
    ]


def test_channels_that_come_first_are_said_and_turned_on_the_sheet(show, cwd):
    x = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 7), dtype=np.uint8)
    np.savez(cwd / "x.npz", x_train=x, y_train=np.arange(60) % 2)
    assert "add --channels-first" in show("x.npz")[-1]
    assert show("x.npz", "--channels-first", "--sheet", "sheet.png")[-1] == "sheet: sheet.png"
    assert image.imread("sheet.png").shape[:2] == (2 * 10, 12 * 9)
    np.testing.assert_allclose(image.imread("sheet.png")[1:9, 1:8, :3], np.moveaxis(x[0], 0, -1) / 255, atol=2 / 255)


def test_a_folder_of_images_by_class_is_shown_from_its_headers(show, cwd):
    for label, count in (("cat", 30), ("dog", 10)):
        (cwd / "images" / label).mkdir(parents=True)
        for index in range(count):
            array = np.random.default_rng(index).integers(0, 256, (6, 5, 3), dtype=np.uint8)
            image.imsave(cwd / "images" / label / f"{index:02}.png", array)
    assert show("images", "--sheet", "sheet.png") == [
        "images: 40 images of shape (6, 5, 3)",
        "target: 2 classes: cat 30 (75.0 %), dog 10 (25.0 %)",
        "parts: train 25, validation 7, test 8",
        "40 images were read as 6 x 5, RGB",
        "sheet: sheet.png",
    ]
    assert image.imread("sheet.png").shape[:2] == (2 * 8, 12 * 7)
    assert show("images", "--image-size", "3", "4")[0] == "images: 40 images of shape (3, 4, 3)"


def test_an_embedded_set_is_shown(show):
    assert show("iris")[0] == "iris: 150 examples of shape (4,), float64"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "say which data"),
        (["nowhere.csv"], "no file nowhere.csv"),
        (["nowhere"], "no data set named 'nowhere'"),
        (["mnist"], "mnist is downloaded by Keras"),
        (["x.csv", "--target", "z"], "no column 'z'"),
        (["x.csv", "--drop", "z"], "no column 'z' for --drop"),
        (["x.csv", "--sheet", "a.png"], "--sheet is for images"),
        (["iris", "--sheet", "a.png"], "--sheet is for images"),
        (["iris", "--target", "a"], "--target describes a table"),
        (["iris", "--epochs", "3"], "unknown flag --epochs"),
        (["digits", "--sheet", "."], "is a folder; name a file"),
        (["digits", "--channels-first"], "--channels-first is for images"),
        (["x.csv", "--image-size", "4", "4"], "--image-size resizes the images of a folder"),
        (["x.csv", "--split-seed", "-1"], "--split-seed is -1; it must be at least 0"),
    ],
)
def test_mistakes_are_told_in_one_line(show, table, args, says):
    (line,) = show(*args, code=2)
    assert says in line


def test_the_most_frequent_categories_come_first():
    column = Column("text", np.array(["a", "b", "b", "", "c", "d", "c", "b"]))
    assert describe_data.summary(column) == ("text", "1", "4", "b (3), c (2), a (1)")


def test_nothing_of_it_imports_tensorflow():
    code = "import sys; from recipes.commands import describe_data; sys.exit(bool({'keras'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
