"""`recipes list`: complete, readable, and at once."""

import json
import subprocess
import sys
import time

import pytest

from recipes.__main__ import main
from recipes.commands import catalog

MOST_SECONDS = 0.5


def test_the_json_list_holds_every_pair_with_topic_title_and_default_data(capsys):
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(catalog.pairs())
    for row in rows:
        assert set(row) == {"topic", "name", "title", "data"}
        assert all(row.values())
        assert "\n" not in row["title"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["mlp_classifier"]["topic"] == "supervised"
    assert by_name["mlp_classifier"]["data"] == "digits"
    assert by_name["mlp_classifier"]["title"].startswith("Multi-layer perceptron")
    assert by_name["gradient_descent"]["topic"] == "foundations"
    assert by_name["gradient_descent"]["data"] == "make_regression"


def test_the_table_holds_every_pair_with_topic_title_and_default_data(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    topics = [line.strip() for line in lines if len(line.split()) == 1 and line.strip().isalpha()]
    assert topics == list(dict.fromkeys(pair.topic for pair in catalog.pairs().values()))
    for pair in catalog.pairs().values():
        above, row = next((lines[:at], line) for at, line in enumerate(lines) if f" {pair.name} " in line)
        assert [line.strip() for line in above if line.strip() in topics][-1] == pair.topic
        assert pair.fit.title in row
        assert pair.fit.fields["data"].default in row


def test_nothing_of_the_table_is_cut_off_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["list"]) == 0
    letters = "".join(capsys.readouterr().out.split())
    assert "…" not in letters
    assert "mlp_classifier" in letters or "mlp_class" in letters


@pytest.mark.parametrize("args", [["list"], ["list", "--json"]])
def test_the_list_takes_less_than_half_a_second(args, tmp_path):
    seconds = []
    for _ in range(10):  # the best of several: other processes may be busy
        began = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "recipes", *args], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        seconds.append(time.perf_counter() - began)
        assert process.returncode == 0
        assert process.stderr == ""
        assert all(name in process.stdout for name in catalog.pairs())
        if seconds[-1] < MOST_SECONDS:
            break
    assert min(seconds) < MOST_SECONDS


@pytest.mark.parametrize("args", [["list", "mlp_classifier"], ["list", "--jsno"], ["list", "--json", "x"]])
def test_what_list_does_not_know_is_refused_in_one_line(args, capsys):
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert args[-1] in captured.err
