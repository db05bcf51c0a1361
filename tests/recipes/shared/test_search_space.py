"""What a search may choose for a hyper-parameter."""

import json
import subprocess
import sys

import pytest

from recipes.shared import search_space
from recipes.shared.errors import UsageError
from recipes.shared.search_space import Choices, LogRange, Range

INFINITE, NAN = float("inf"), float("nan")


def refusal(domain):
    """Return the one line that `domain` is refused with."""
    with pytest.raises(UsageError) as error:
        domain.check("rate")
    assert "rate" in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "domain",
    [
        Range(0, 1),
        Range(-2.5, -1.0),
        Range(0.0, 1e-12),
        LogRange(1e-12, 1e12),
        LogRange(1, 2),
        Choices(1),
        Choices(1, 2, 3),
        Choices(3, 1),
        Choices(0.5, 0.25),
        Choices("sgd", "adam"),
        Choices(True, False),
    ],
    ids=repr,
)
def test_what_there_is_something_to_choose_from_is_accepted(domain):
    domain.check("rate")


@pytest.mark.parametrize("kind", [Range, LogRange])
@pytest.mark.parametrize(
    ("low", "high"), [(1, 1), (2, 1), (NAN, 1), (1, NAN), (1, INFINITE), (-INFINITE, 1), (NAN, NAN)]
)
def test_a_range_must_go_up_and_be_finite(kind, low, high):
    assert refusal(kind(low, high)) == (f"the range of rate goes from {low} to {high}; it must go up, and be finite")


@pytest.mark.parametrize("low", [0, -1e-9, -3])
def test_a_logarithmic_range_must_begin_above_0_and_a_plain_one_need_not(low):
    assert refusal(LogRange(low, 1)) == f"the range of rate begins at {low}; on a logarithmic scale it must be above 0"
    Range(low, 1).check("rate")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((), "rate has no values to choose from"),
        ((1, 0.5), "the values of rate are of several types: 1, 0.5"),
        ((1, "a"), "the values of rate are of several types: 1, a"),
        ((1, True), "the values of rate are of several types: 1, True"),
        ((3, 4, 3), "rate has the same value twice: 3, 4, 3"),
    ],
)
def test_values_must_be_there_and_alike_and_differ(values, says):
    assert refusal(Choices(*values)) == says


@pytest.mark.parametrize("kind", [Range, LogRange])
def test_both_ends_are_in_a_range_and_what_is_beyond_them_or_no_number_is_not(kind):
    domain = kind(0.5, 2)
    assert all(value in domain for value in (0.5, 1, 1.999, 2, 2.0))
    assert not any(value in domain for value in (0.499, 2.001, NAN, INFINITE, "1", None, (1,)))


def test_in_choices_is_what_is_one_of_them():
    assert 16 in Choices(16, 32)
    assert not any(value in Choices(16, 32) for value in (17, "16", None))


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Range(0.0, 0.5), "0..0.5"),
        (Range(-1, 1), "-1..1"),
        (LogRange(1e-4, 1e-1), "0.0001..0.1 (logarithmic)"),
        (Choices(16, 32), "16, 32"),
        (Choices("sgd", "adam"), "sgd, adam"),
    ],
)
def test_a_domain_in_words(domain, text):
    assert str(domain) == text


@pytest.mark.parametrize(
    ("domain", "content"),
    [
        (Range(0.1, 0.30000000000000004), {"range": [0.1, 0.30000000000000004]}),
        (LogRange(1e-4, 1e-1), {"log": [1e-4, 1e-1]}),
        (Choices(16, 32), {"choices": [16, 32]}),
        (Choices("sgd"), {"choices": ["sgd"]}),
        (Choices(True, False), {"choices": [True, False]}),
    ],
    ids=repr,
)
def test_a_domain_comes_back_from_a_file_as_it_was(domain, content):
    assert search_space.to_json(domain) == content
    back = search_space.of_json(json.loads(json.dumps(search_space.to_json(domain))))
    assert back == domain
    assert type(back) is type(domain)
    assert hash(back) == hash(domain)


def test_domains_of_different_kinds_or_orders_are_not_the_same():
    assert Range(1, 2) != LogRange(1, 2)
    assert Choices(1, 2) != Choices(2, 1)


@pytest.mark.parametrize(
    ("text", "name", "domain"),
    [
        ("momentum=0..0.9", "momentum", Range(0.0, 0.9)),
        ("momentum=-1e-2..1", "momentum", Range(-0.01, 1.0)),
        ("learning_rate=1e-4..1", "learning_rate", LogRange(1e-4, 1.0)),
        ("learning-rate=0.001..1", "learning_rate", LogRange(1e-3, 1.0)),
        ("penalty=1..10", "penalty", LogRange(1.0, 10.0)),
        ("dropout=0.1..0.5", "dropout", Range(0.1, 0.5)),
        ("batch_size=8..16", "batch_size", Range(8.0, 16.0)),
        ("batch-size=8,16,32", "batch_size", Choices(8, 16, 32)),
        ("batch_size=8", "batch_size", Choices(8)),
        ("learning_rate=1,0.5,1e-2", "learning_rate", Choices(1.0, 0.5, 0.01)),
        ("optimizer=sgd,adam", "optimizer", Choices("sgd", "adam")),
        ("nesterov=true,False", "nesterov", Choices(True, False)),
        ("name=a=b,c", "name", Choices("a=b", "c")),
        ("widths=3,,4,", "widths", Choices(3, 4)),
    ],
)
def test_a_text_names_a_hyper_parameter_and_its_domain(text, name, domain):
    declared = {"penalty": LogRange(0.1, 100.0), "dropout": Range(0.0, 0.5), "batch_size": Choices(1, 2)}
    found_name, found = search_space.parse(text, declared)
    assert (found_name, found) == (name, domain)
    assert type(found) is type(domain)
    if isinstance(domain, Choices):
        assert [type(value) for value in found.values] == [type(value) for value in domain.values]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("momentum", "--search momentum: write NAME=LOW..HIGH or NAME=VALUE,VALUE,..."),
        ("", "--search : write NAME=LOW..HIGH or NAME=VALUE,VALUE,..."),
        ("=1,2", "--search =1,2: write NAME=LOW..HIGH or NAME=VALUE,VALUE,..."),
        ("momentum=a..b", "--search momentum=a..b: the ends of a range must be numbers"),
        ("momentum=..1", "--search momentum=..1: the ends of a range must be numbers"),
        ("momentum=0..", "--search momentum=0..: the ends of a range must be numbers"),
        ("momentum=0..1..2", "--search momentum=0..1..2: the ends of a range must be numbers"),
        ("momentum=1..0", "the range of momentum goes from 1.0 to 0.0; it must go up, and be finite"),
        ("momentum=0..inf", "the range of momentum goes from 0.0 to inf; it must go up, and be finite"),
        (
            "learning_rate=0..1",
            "the range of learning_rate begins at 0.0; on a logarithmic scale it must be above 0",
        ),
        ("momentum=", "momentum has no values to choose from"),
        ("momentum=,", "momentum has no values to choose from"),
        ("momentum=1,1.0", "momentum has the same value twice: 1.0, 1.0"),
        ("momentum=1,high", "the values of momentum are of several types: 1, high"),
        ("momentum=true,1", "the values of momentum are of several types: True, 1"),
    ],
)
def test_a_text_that_is_neither_is_refused_in_one_line(text, says):
    with pytest.raises(UsageError) as error:
        search_space.parse(text, {})
    assert str(error.value) == says


def test_the_module_imports_neither_tensorflow_nor_numpy():
    code = (
        "import sys, recipes.shared.search_space;"
        " sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy', 'keras_tuner')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
