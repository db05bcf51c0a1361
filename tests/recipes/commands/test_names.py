"""Words that become names of folders and links."""

import pytest

from recipes.commands import names
from recipes.shared.errors import UsageError


@pytest.mark.parametrize("name", ["a", "a b", "2026-11-21_18-00-00_7", "é", "a.b", "-", "x" * 200, "\U0001f600"])
def test_a_plain_name_is_taken(name):
    names.require_plain(name, "--run")
    names.require_text(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".a", ".writing-a", "/", "/a", "a/", "a/b", "../a", "\0", "a\n", "\x1b", "\udcff", "x" * 201],
)
def test_a_name_that_leads_elsewhere_or_is_none_is_refused(name):
    with pytest.raises(UsageError, match=r"--run is .* must be a plain name"):
        names.require_plain(name, "--run")


def test_the_limit_is_of_bytes_as_that_of_file_systems_is():
    names.require_plain("é" * 100, "--run")
    with pytest.raises(UsageError, match="at most 200 bytes"):
        names.require_plain("é" * 101, "--run")


@pytest.mark.parametrize("word", ["\0", "a\0b", "\udcff", "a\ud83d"])
def test_what_cannot_be_written_to_a_file_is_refused(word):
    with pytest.raises(UsageError, match="no UTF-8 text"):
        names.require_text(word)
