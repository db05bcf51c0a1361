"""The text of a run: enough to repeat it, and well-formed Markdown as TensorBoard renders it."""

import html
import os
import platform
import re
import warnings
from typing import ClassVar

import keras
import pytest
import tensorflow as tf

from recipes.shared.hparams import HParams
from recipes.shared.tensorboard_logging import description

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of what TensorBoard brings along
    from tensorboard import plugin_util


class Own(HParams):
    unused: ClassVar = {"header": "there is no table"}


def texts(hparams=None, about=None, source=None, model=None):
    return description.texts(hparams or HParams(), about or {}, source, model)


def rendered(markdown):
    return plugin_util.markdown_to_safe_html(markdown)


def rows(markdown):
    """Return {name: value} of a table of two columns, as the page shows it."""
    cells = re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*</tr>", rendered(markdown), re.DOTALL)
    return {name: html.unescape(value) for name, value in cells}


def code(markdown):
    """Return what the page shows as code; it must show nothing else."""
    (found,) = re.findall(r"^<pre><code[^>]*>(.*)\n</code></pre>$", rendered(markdown), re.DOTALL)
    assert "<code" not in found
    return html.unescape(found)


def test_the_command_is_shown_as_it_was_given():
    assert code(texts(about={"command": "recipes fit x --data 'a b.csv' | tee"})["command"]) == (
        "recipes fit x --data 'a b.csv' | tee"
    )


def test_a_run_that_was_started_by_other_code_says_so():
    assert "started by other code" in code(texts()["command"])


def test_the_hyper_parameters_are_all_that_the_recipe_uses():
    hparams = Own(learning_rate=0.25, data="iris")
    found = rows(texts(hparams)["hyper_parameters"])
    assert found == {name: str(value) for name, value in hparams.used().items()}
    assert (found["learning_rate"], found["target"]) == ("0.25", "None")
    assert "header" not in found


@pytest.mark.parametrize("name", ["a|b.csv", "||", "a | b"])
def test_a_bar_in_a_value_does_not_divide_the_table(name):
    found = rows(texts(HParams(data=name))["hyper_parameters"])
    assert found["data"] == name
    assert found["seed"] == "0"


def test_a_line_break_in_a_value_does_not_end_the_table():
    found = rows(texts(HParams(target="two\nlines"))["hyper_parameters"])
    assert re.sub(r"<br ?/?>|\s+", " ", found["target"]) == "two lines"
    assert found["seed"] == "0"


def test_versions_and_hardware_are_those_of_this_process():
    found = texts()
    versions, hardware = rows(found["versions"]), rows(found["hardware"])
    assert versions["python"] == platform.python_version()
    assert versions["tensorflow"] == tf.__version__
    assert versions["keras"] == keras.__version__
    assert hardware["cores"] == str(os.cpu_count())
    assert hardware["processor"]


def test_the_model_is_its_summary_with_all_layers_and_no_control_characters():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.Dense(2)])
    shown = code(texts(model=model)["model"])
    assert "first (Dense)" in shown
    assert "Trainable params: 23" in shown
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", shown)


def test_a_model_that_has_seen_no_data_can_be_described():
    assert "dense" in code(texts(model=keras.Sequential([keras.layers.Dense(3)]))["model"])


SOURCES = {
    "plain": 'print("<b>&amp;</b>", a | b)\n',
    "letters": "# größer, 中文\n",
    "a fence in a docstring": '"""Example:\n\n```python\nx = 1\n```\n"""\ny = 2\n',
    "a longer fence": '"""\n````\n```\n````\n"""\n',
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_source_is_shown_as_it_is(tmp_path, name):
    path = tmp_path / "mine.py"
    path.write_text(SOURCES[name], encoding="utf-8")
    assert code(texts(source=path)["source"]).strip() == SOURCES[name].strip()


def test_a_source_that_declares_another_encoding_is_read_in_it(tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes("# -*- coding: latin-1 -*-\n# größer\n".encode("latin-1"))
    assert "größer" in texts(source=path)["source"]


def test_a_source_that_is_gone_does_not_stop_the_training(tmp_path):
    found = texts(source=tmp_path / "gone.py")
    assert "command" in found


def test_what_is_not_known_is_left_out():
    assert texts().keys() == {"command", "hyper_parameters", "versions", "hardware"}
