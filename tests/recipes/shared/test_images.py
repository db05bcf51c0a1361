"""Folders of images by class: held against Keras' loader and Pillow, and one line for each that cannot be used."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from recipes.__main__ import main
from recipes.shared import data, images, preprocessing
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams

RANDOM = np.random.default_rng(0)


def write(folder, count=10, size=(6, 5), mode="L", suffix="png", classes=("cat", "dog")):
    """Write images whose brightness tells the classes apart."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = RANDOM.integers(0, 100, size if mode == "L" else (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels + np.uint8(75 * number)).save(folder / name / f"{index:02}.{suffix}")
    return folder


def by_keras(folder, size, mode):
    """What Keras' loader gives of a folder: images and the names of their classes."""
    dataset = keras.utils.image_dataset_from_directory(
        str(folder), image_size=size, color_mode=mode, shuffle=False, verbose=False
    )
    batches = list(dataset.as_numpy_iterator())
    labels = np.concatenate([labels for _, labels in batches])
    return np.concatenate([x for x, _ in batches]), [dataset.class_names[label] for label in labels]


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "gif"])
@pytest.mark.parametrize(("mode", "keras_mode"), [("L", "grayscale"), ("RGB", "rgb")])
def test_images_and_classes_are_kerass(tmp_path, mode, keras_mode, suffix):
    folder = write(tmp_path / "images", mode=mode, suffix=suffix)
    raw = images.read(folder, (4, 7))
    if suffix in ("bmp", "gif"):
        keras_mode = "rgb"  # TensorFlow decodes them so or not at all
    x, names = by_keras(folder, (4, 7), keras_mode)
    np.testing.assert_array_equal(raw.features, x)
    assert raw.targets.tolist() == names
    assert raw.features.dtype == np.float32
    assert raw.test_features is None


def test_without_a_size_images_keep_theirs_to_the_pixel(tmp_path):
    folder = write(tmp_path / "images")
    raw = images.read(folder)
    files = sorted(folder.glob("*/*.png"))
    np.testing.assert_array_equal(raw.features[..., 0], [np.asarray(Image.open(file)) for file in files])
    assert raw.notes == ("20 images were read as 6 x 5, grey",)


def test_a_single_image_in_colour_makes_all_of_them_rgb(tmp_path):
    folder = write(tmp_path / "images")
    Image.fromarray(np.full((6, 5, 3), (200, 10, 90), np.uint8)).save(folder / "cat" / "00.png")
    raw = images.read(folder)
    assert raw.features.shape == (20, 6, 5, 3)
    assert raw.features[0, 0, 0].tolist() == [200, 10, 90]
    assert "RGB" in raw.notes[0]


def test_train_and_test_are_parts_and_images_reach_the_model_between_0_and_1(tmp_path):
    write(tmp_path / "images" / "train", count=20)
    write(tmp_path / "images" / "test", count=3)
    hparams = HParams(data=str(tmp_path / "images"), batch_size=8)
    dataset = data.load(hparams, "classification")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [32, 8, 6]
    assert dataset.class_names == ("cat", "dog")
    assert dataset.test.y.tolist() == [0, 0, 0, 1, 1, 1]
    x, _ = by_keras(tmp_path / "images" / "test", (6, 5), "grayscale")
    np.testing.assert_allclose(dataset.test.x, x / 255, rtol=1e-6)
    assert dataset.notes == ("46 images were read as 6 x 5, grey",)


def test_folds_are_made_of_a_folder_of_images_too(tmp_path):
    folds = data.folds(HParams(data=str(write(tmp_path / "images")), batch_size=8), 5)
    assert [len(fold.test) for fold in folds] == [4] * 5


def test_the_saved_model_takes_images_as_keras_resizes_them(tmp_path):
    folder = write(tmp_path / "images", size=(9, 9))
    dataset = data.load(HParams(data=str(folder), batch_size=8, image_size=(4, 4)), "classification")
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    preprocessing.bundle(dataset.preprocessing, model).save(tmp_path / "model.keras")
    whole = keras.saving.load_model(tmp_path / "model.keras")
    for path, resized in zip(sorted(folder.glob("*/*")), by_keras(folder, (4, 4), "grayscale")[0], strict=True):
        image = keras.utils.img_to_array(keras.utils.load_img(path, color_mode="grayscale"))  # as docs/data.md says
        raw = keras.ops.image.resize(image, (4, 4))[None]
        np.testing.assert_allclose(raw[0], resized, rtol=1e-5)
        np.testing.assert_allclose(whole(raw), model(raw / 255), rtol=1e-5, atol=1e-5)


def test_a_class_may_be_called_train(tmp_path):
    raw = images.read(write(tmp_path / "images", classes=("bus", "test", "train")))
    assert sorted(set(raw.targets.tolist())) == ["bus", "test", "train"]


def test_what_keras_leaves_out_is_said_and_what_is_hidden_is_not(tmp_path):
    folder = write(tmp_path / "images")
    (folder / "labels.csv").write_text("a,b")
    (folder / "cat" / "one.webp").write_bytes(b"")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("")
    (folder / "cat" / ".DS_Store").write_text("")
    assert images.read(folder).notes[1] == ("left out, because Keras reads no such files: cat/one.webp, labels.csv")


def hide_and_nest(folder):
    """Add what Keras takes from below a class, and what it does not."""
    for name in ("cat/.hidden/a.png", "cat/b/c.PNG", "cat/.d.png", "cat-1/e.png", ".git/f.png", "dog/b.a/g.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(folder / name)
    for name in ("cat/x.txt", "y.png"):
        (folder / name).write_bytes((folder / "cat-1" / "e.png").read_bytes())
    (folder / "link").symlink_to(folder / "cat")
    (folder / "dog" / "link").symlink_to(folder / "cat")


@pytest.mark.parametrize("parts", [False, True])
def test_what_keras_will_take_is_foreseen_without_it(tmp_path, parts):
    folder = tmp_path / "images"
    for part in ("train", "test") if parts else ("",):
        hide_and_nest(write(folder / part))
    seen, read = images.survey(folder), images.read(folder)
    assert seen.parts == images.survey(folder, find=images._list).parts
    assert seen.notes == read.notes
    raw = seen.without_pixels()
    np.testing.assert_array_equal(raw.targets, read.targets)
    assert len(raw.features) == len(read.features)
    assert (raw.test_targets is None) == (not parts)
    if parts:
        np.testing.assert_array_equal(raw.test_targets, read.test_targets)


def test_a_survey_imports_no_tensorflow(tmp_path):
    folder = write(tmp_path / "images")
    code = (
        "import sys, pathlib; from recipes.shared import images;"
        "found = images.survey(pathlib.Path(sys.argv[1])); images.thumbnails(found.parts[0].files, (3, 3), True);"
        "sys.exit(bool({'keras', 'tensorflow'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)


def test_thumbnails_are_what_pillow_reads(tmp_path):
    folder = write(tmp_path / "images", mode="RGB")
    files, labels = images.survey(folder).first(2, 3)
    assert [file.name for file in files] == ["00.png", "01.png", "02.png"] * 2
    assert labels.tolist() == ["cat"] * 3 + ["dog"] * 3
    found = images.thumbnails(files, (6, 5), False)
    np.testing.assert_array_equal(found, [np.asarray(Image.open(file)) for file in files])
    assert images.thumbnails(files, (3, 4), True).shape == (6, 3, 4, 1)
    files[1].write_text("no image")
    with pytest.raises(UsageError, match=r"01\.png: no images, or damaged"):
        images.thumbnails(files, (6, 5), False)


def two_sizes(folder):
    Image.fromarray(np.zeros((3, 20), np.uint8)).save(folder / "cat" / "00.png")


def no_image(folder):
    (folder / "cat" / "00.png").write_text("no image")


def a_header_alone(folder):
    path = folder / "dog" / "03.png"
    path.write_bytes(path.read_bytes()[:60])


def half_a_jpeg(folder):
    write(folder, suffix="jpg", size=(6, 5), count=1, classes=("cat",))
    large = folder / "cat" / "00.jpg"
    Image.fromarray(RANDOM.integers(0, 255, (6, 5), dtype=np.uint8)).save(large)
    large.write_bytes(large.read_bytes()[:-30])


def an_empty_class(folder):
    (folder / "bird").mkdir()


def a_pipe(folder):
    os.mkfifo(folder / "cat" / "10.png")


def a_loop_of_links(folder):
    (folder / "cat" / "10.png").symlink_to("10.png")


def a_name_that_is_no_unicode(folder):
    (folder / "cat" / "00.png").rename(folder / "cat" / os.fsdecode(b"\xff.png"))


def nothing_but_text(folder):
    for path in folder.glob("*/*.png"):
        path.rename(path.with_suffix(".txt"))


def a_third_part(folder):
    for part in ("train", "validation", "test"):
        write(folder / part, count=1)


def train_alone(folder):
    write(folder / "train", count=1)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (two_sizes, r"are of 2 sizes, from 3 x 20 to 6 x 5; .* such as --image-size 6 5$"),
        (no_image, r"cannot read \S*cat/00.png: no images, or damaged; mend or remove them"),
        (a_header_alone, r"cannot read \S*dog/03.png: no images, or damaged"),
        (half_a_jpeg, r"cannot read \S*cat/00.jpg: no images, or damaged"),
        (a_pipe, r"cannot read \S*cat/10.png: no images, or damaged"),
        (a_loop_of_links, r"cannot read \S*cat/10.png: no images, or damaged"),
        (a_name_that_is_no_unicode, r"cat/.udcff.png' is no Unicode; rename it"),
        (an_empty_class, "bird has no image that Keras reads; fill it, or remove it"),
        (nothing_but_text, "No images found in directory"),
        (a_third_part, "has the folders cat, dog, test, train, validation; it needs train and test alone"),
        (train_alone, "has the folders cat, dog, train; it needs train and test alone"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path, spoil, says, capfd):
    folder = write(tmp_path / "images")
    spoil(folder)
    with pytest.raises(UsageError, match=says) as error:
        images.read(folder)
    assert "\n" not in str(error.value)
    assert not capfd.readouterr().err
    if spoil in (half_a_jpeg, a_header_alone):  # their headers are sound
        assert images.survey(folder).notes
        return
    with pytest.raises(UsageError) as foreseen:
        images.survey(folder)
    assert str(foreseen.value) == str(error.value)


def test_many_files_that_cannot_be_read_are_counted(tmp_path):
    folder = write(tmp_path / "images")
    for path in folder.glob("cat/*.png"):
        path.write_text("no image")
    with pytest.raises(UsageError, match=r"cat/04.png and 5 more: no images"):
        images.read(folder)


def test_memory_is_asked_for_before_images_are_read(tmp_path, monkeypatch):
    folder = write(tmp_path / "images")
    monkeypatch.setattr(images, "_load", None)
    with pytest.raises(UsageError, match=r"GiB in memory, .*; choose a smaller --image-size"):
        images.read(folder, (10**6, 10**5))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"stream": True}, "--stream reads a folder of .npz files"),
        ({"target": "price"}, "--target describes a table"),
        ({"channels_first": True}, "--channels-first is for .npz files"),
    ],
)
def test_flags_of_other_data_are_refused(tmp_path, flags, says):
    with pytest.raises(UsageError, match=says):
        data.load(HParams(data=str(write(tmp_path / "images")), batch_size=4, **flags), "classification")


def test_a_recipe_that_predicts_numbers_takes_no_images(tmp_path):
    with pytest.raises(UsageError, match="holds classes to predict; this recipe predicts numbers"):
        data.load(HParams(data=str(write(tmp_path / "images")), batch_size=4), "regression")


def test_a_folder_of_npz_files_is_none_of_images_though_there_are_folders_in_it(tmp_path):
    x, y = np.arange(96, dtype=np.uint8).reshape(24, 2, 2), np.arange(24) % 2
    for name in ("train-0", "train-1", "test"):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    write(tmp_path)
    assert not images.is_folder_of_images(tmp_path)
    assert len(data.load(HParams(data=str(tmp_path), batch_size=4), "classification").train) == 24


def test_a_folder_of_neither_says_what_a_folder_may_be(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match=r"train-\*.npz and test.npz, .* or a folder of images for each class"):
        data.load(HParams(data=str(tmp_path)), "classification")


@pytest.mark.slow
def test_the_command_trains_on_a_folder_and_says_how_it_was_read(tmp_path, cwd, capsys):
    write(cwd / "images", count=60, mode="RGB", suffix="jpg", size=(8, 8))
    flags = ["--data", "images", "--image-size", "6", "6", "--epochs", "1", "--batch-size", "16", "--filters", "2"]
    assert main(["fit", "cnn_classifier", *flags, "--run", "run", "--log", "nothing"]) == 0
    captured = capsys.readouterr()
    note = "120 images were read as 6 x 6, RGB"
    assert captured.err.splitlines() == [note]  # before training, and not again with the scores
    assert note not in captured.out
    report = json.loads((cwd / "logs" / "cnn_classifier" / "run" / "fit" / "report.json").read_text())
    assert note in report["notes"]
    again = ["--hparams", "logs/cnn_classifier/run/fit/config.json", "--run", "run", "--log", "nothing"]
    assert main(["loop", "cnn_classifier", *again]) == 0
    assert main(["compare", "logs/cnn_classifier/run"]) == 0


def test_a_damaged_image_ends_the_command_in_one_line_and_leaves_nothing(cwd, capfd):
    no_image(write(cwd / "images"))
    assert main(["fit", "cnn_classifier", "--data", "images"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "recipes: cannot read images/cat/00.png: no images, or damaged; mend or remove them\n"
    assert not (cwd / "logs").exists()
