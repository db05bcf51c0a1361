"""What the README shows must work as it stands there."""

import json
import re
from pathlib import Path

import pytest

from recipes.__main__ import main
from recipes.commands import catalog

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The two files of the example, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, flags=re.DOTALL):
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.process
def test_the_users_own_pair_is_identical(example):
    assert main(["compare", "fit.py", "loop.py", "--epochs", "3", "--json", "result.json"]) == 0
    (result,) = json.loads(Path("result.json").read_text())
    assert result["identical"]


def test_every_pair_is_in_the_table():
    assert [name for name in catalog.pairs() if f"`{name}`" not in README] == []


def test_every_file_that_is_linked_exists():
    for document in ("README.md", "CONTRIBUTING.md", "docs/why-results-differ.md", "docs/performance.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text(encoding="utf-8"))
        missing = [link for link in links if not ((ROOT / document).parent / link).exists()]
        assert missing == [], document
