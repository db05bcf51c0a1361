"""Hostile and clumsy command lines: never a traceback, never a hang, never a file outside the logs folder.

`make fuzz` (FUZZ=long) tries 170 times as many, and others in every call.
"""

import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from recipes.__main__ import VERBS, main
from recipes.commands import bench, board, catalog, compare, side, tune
from recipes.commands.benchmark import rounds, whole_runs
from recipes.commands.tuning import search
from recipes.shared.errors import UsageError, in_one_line

MOST_SECONDS = 20
PAIRS = catalog.pairs()
OPTIONS = (side.Options, compare.Options, tune.Options, board.Options, bench.Options)
FLAGS = sorted(
    {
        f"{prefix}{name.replace('_', '-')}"
        for names in (
            *(pair.fit.fields for pair in PAIRS.values()),
            *(options.__dataclass_fields__ for options in OPTIONS),
            ("help", "all", "tyro-print-completion", "tyro-write-completion"),
        )
        for name in names
        for prefix in ("--", "--no-")
    }
)
NUMBERS = ["0", "1", "-1", "3", "1e400", "-1e400", "nan", "inf", "1e-400", "0.5", "1_0", "0x10", "9" * 5000, "٣"]
NUMBERS += [str(2**power + more) for power in (31, 32, 53, 63, 64, 200) for more in (-1, 0, 1)]
NAMES = [
    "",
    ".",
    "..",
    "...",
    "../x",
    "../../x",
    "/",
    "/abs",
    "a/b",
    "a/",
    "./a",
    "~",
    "-",
    "--",
    " ",
    "a b",
    ".hidden",
]
NAMES += [
    ".writing-x",
    "x" * 255,
    "x" * 256,
    "x" * 5000,
    "é" * 150,
    "\0",
    "a\0b",
    "\udcff",
    "a\nb",
    "\x1b[31m",
    "\u2028",
]
NAMES += ["\U0001f600", "con", "[bold]", "[/]", "{}", "%s", "$HOME", "$(touch pwned)", "`touch pwned`", "*", "?"]
PATHS = ["file", "file/below", "/proc/x", "/proc/self/x", "/dev/null", "/dev/null/x", "/dev/full", "/sys/x", "x" * 300]
PATHS += ["folder", "pipe.npz", "pipe.csv", "pipe.py", "pipe.json", "zero.npz", "zero.csv", "zero.json", "nothing.csv"]
PATHS += [
    "loop",
    "loop/x",
    "dangling",
    "folder.py",
    "...py",
    "..py",
    ".py",
    "own.py",
    "broken.py",
    "/".join(["d"] * 2500),
]
WORDS = [
    "digits",
    "iris",
    "diabetes",
    "everything",
    "scalars",
    "fit",
    "custom_loop",
    "random",
    "grid",
    "hyperband",
    "mlp",
]
SEARCHES = [
    "learning_rate=1..2",
    "learning_rate=2..1",
    "batch_size=1,2",
    "batch_size=1..4",
    "hidden_units=a",
    "=",
    "x=1",
]
SEARCHES += ["learning_rate=nan..1", "learning_rate=0..1", "seed=1,2", "jit_compile=1,2", "epochs=1..2", "schedule=a,b"]
SEARCHES += [
    "learning_rate=,",
    "learning_rate=1,1",
    "learning_rate=",
    f"hidden_units=1,{'9' * 5000}",
    "C=-1,1",
    "a=b=c",
]
TEXT = st.text(
    st.characters(), max_size=20
)  # single surrogates as well, as Python makes them of bytes that are no UTF-8
VALUES = st.one_of(*map(st.sampled_from, (NUMBERS, NAMES, PATHS, WORDS, SEARCHES)), TEXT)
FLAG = st.sampled_from(FLAGS) | TEXT.map("--{}".format)
ARGUMENT = st.one_of(FLAG, st.tuples(FLAG, VALUES).map("=".join), VALUES)
TARGETS = st.sampled_from([*PAIRS]) | st.sampled_from(PATHS) | VALUES
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """Notes what this process writes, while it is on. An audit hook stays for ever, so there is one for all tests."""

    def __init__(self):
        self.on = False
        self.written = []
        sys.addaudithook(self.hear)

    def hear(self, event, args):
        if not self.on:
            return
        if (
            event == "open" and isinstance(args[2], int) and args[2] & WRITES and not isinstance(args[0], int)
        ) or event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            self.note(args[0])
        elif event in ("os.rename", "os.symlink", "os.link"):
            self.note(args[1])

    def note(self, path):
        self.written.append(Path(os.path.abspath(os.fsdecode(path))))  # noqa: PTH100 - without following links


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture
def ends_well(cwd, watch, tmp_path, monkeypatch, capfd, tried):
    """A function that runs the command in this process: it succeeds, or says in one line why not."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    allowed = [cwd / "logs", tmp_path / "temporary", Path("/dev/null")]

    def ring(*_):
        raise TimeoutError("it hangs")

    previous = signal.signal(signal.SIGALRM, ring)

    def ends_well(*args):
        tried()
        watch.written.clear()
        signal.alarm(MOST_SECONDS)
        watch.on = True
        try:
            code = main(list(args))
        except SystemExit as ended:  # after --help
            code = ended.code
        finally:
            watch.on = False
            signal.alarm(0)
        captured = capfd.readouterr()
        if hypothesis.currently_in_test_context():
            hypothesis.event(f"exit {code}: {' '.join(captured.err.split()[: 0 if code == 0 else 60])[-50:]}")
        strays = [
            path
            for path in watch.written
            if not any(path.is_relative_to(each) for each in allowed)
            and not any(part.startswith(".writing-") or part == "__pycache__" for part in path.parts)
        ]
        assert not strays
        if code == 0:
            assert captured.err == ""
        else:
            assert code == 2
            (line,) = captured.err.splitlines()
            assert line.startswith("recipes: ")
            assert len(line) < 2100
            assert line.isprintable()
        return code

    yield ends_well
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def surroundings(cwd):
    """What a path may lead to that is no file of data."""
    (cwd / "file").write_text("in the way")
    (cwd / "folder").mkdir()
    (cwd / "folder.py").mkdir()
    for suffix in ("npz", "csv", "py", "json"):
        os.mkfifo(cwd / f"pipe.{suffix}")
        (cwd / f"zero.{suffix}").symlink_to("/dev/zero")
    (cwd / "loop").symlink_to("loop")
    (cwd / "dangling").symlink_to("nowhere")
    for name in ("own.py", "...py", "..py", ".py"):
        (cwd / name).write_text("def train(hparams, run): ...\n")
    (cwd / "sound.json").write_text('{"hparams": {"learning_rate": 0.5, "epochs": 2}}')
    (cwd / "broken.py").write_bytes(b"\xff\0")
    return cwd


@pytest.fixture
def nothing_trains(surroundings, monkeypatch):
    """All that a command line does, but for the training, the search, the measurements and TensorBoard itself."""

    def refuse(*args, **kwargs):
        raise UsageError("measured")

    monkeypatch.setattr(side, "train", lambda job: {"loss": 1.0})
    monkeypatch.setattr(compare, "_run", lambda *args: (2, "", "trained"))
    monkeypatch.setattr(search, "run", lambda *args: 0)
    monkeypatch.setattr(tune, "_examples", lambda *args: 100)
    monkeypatch.setattr(board.subprocess, "Popen", refuse)
    monkeypatch.setattr(rounds, "measure", refuse)
    monkeypatch.setattr(whole_runs, "measure", refuse)
    monkeypatch.setattr(sys, "path", list(sys.path))


@hypothesis.given(st.lists(ARGUMENT | st.sampled_from([*VERBS, *PAIRS]), max_size=4))
def test_words_in_any_order(nothing_trains, ends_well, args):
    ends_well(*args)


@hypothesis.given(st.sampled_from(VERBS), TARGETS, st.lists(ARGUMENT, max_size=4))
def test_verbs_with_what_follows_them(nothing_trains, ends_well, verb, target, args):
    ends_well(verb, target, *args)


SOUND = {"int": ["1", "2", "20", "100"], "float": ["0.5", "0.01", "1"], "str": ["digits", "iris", "mnist"]}
SOUND_FLAGS = [
    "--run=mine",
    "--logs=logs",
    "--log=scalars",
    "--log=nothing",
    "--json=logs/x.json",
    "--hparams=sound.json",
]
SOUND_FLAGS += [
    "--tuner=grid",
    "--trials=3",
    "--search=batch_size=16,32",
    "--side=custom_loop",
    "--workers=2",
    "--retrain",
]
SOUND_FLAGS += ["--profile", "--log-every=7", "--no-jit-compile", "--stream", "--budget=updates", "--time-limit=3"]


@st.composite
def nearly_sound(draw):
    """A command line that would train, but for a word or two."""
    verb, name = draw(st.sampled_from(["fit", "loop", "compare", "tune"])), draw(st.sampled_from([*PAIRS]))
    source = PAIRS[name].fit
    words = []
    for field in draw(st.sets(st.sampled_from(sorted(set(source.fields) - set(source.unused))), max_size=3)):
        values = SOUND.get(source.fields[field].annotation.partition(" ")[0], ["cosine", "None"])
        words.append(f"--{field.replace('_', '-')}={draw(st.sampled_from(values))}")
    words += draw(st.lists(st.sampled_from(SOUND_FLAGS), max_size=2))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(words)))
        kind = draw(st.sampled_from(["value", "value", "word", "twice", "cut"]))
        if kind == "word":
            words.insert(place, draw(ARGUMENT))
        elif place < len(words) and kind == "value":
            words[place] = f"{words[place].partition('=')[0]}={draw(VALUES)}"
        elif place < len(words) and kind == "twice":
            words.append(words[place])
        elif place < len(words):
            words[place] = words[place][: draw(st.integers(1, len(words[place])))]
    return [verb, name, *words]


@hypothesis.given(nearly_sound())
def test_command_lines_that_are_nearly_sound(nothing_trains, ends_well, args):
    ends_well(*args)


@hypothesis.given(st.sampled_from(["fit", "loop", "compare", "tune"]), st.sampled_from([*PAIRS]), st.data())
def test_flags_of_a_recipe_with_values_of_any_kind(nothing_trains, ends_well, verb, name, data):
    fields = sorted(set(PAIRS[name].fit.fields) - set(PAIRS[name].fit.unused))
    field = data.draw(st.sampled_from([*fields, "run", "log", "log_every"]))
    ends_well(verb, name, f"--{field.replace('_', '-')}={data.draw(VALUES)}")


@hypothesis.given(st.sampled_from(["fit", "compare", "tune"]), st.one_of(map(st.sampled_from, (NAMES, PATHS))) | TEXT)
def test_names_of_runs(nothing_trains, ends_well, verb, run):
    ends_well(verb, "mlp_classifier", f"--run={run}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(NUMBERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
HPARAMS = st.dictionaries(
    st.sampled_from(["learning_rate", "epochs", "data", "target", "jit_compile", "seed", "x"]), JSON
)


@hypothesis.given(
    st.one_of(
        st.builds(lambda values: json.dumps({"hparams": values}).encode(), HPARAMS),
        st.builds(lambda content: json.dumps(content).encode(), JSON),
        st.binary(max_size=50),
        st.sampled_from([b"[" * 100_000, b'{"hparams":' * 50_000, b'{"hparams": {"epochs": ' + b"9" * 5000 + b"}}"]),
    )
)
def test_files_of_hyper_parameters(nothing_trains, ends_well, cwd, content):
    (cwd / "hparams.json").write_bytes(content)
    ends_well("fit", "mlp_classifier", "--hparams", "hparams.json")


@hypothesis.given(st.sampled_from([*PAIRS]), st.data())
def test_hyper_parameters_are_taken_or_refused_in_one_line(tried, name, data):
    """Of the recipe's own class, whose checks the command reaches after it has loaded TensorFlow."""
    source = PAIRS[name].fit
    values = {
        field: data.draw(st.integers() | st.sampled_from([2**31, 2**63, -1, 0]), field)
        if source.fields[field].annotation == "int"
        else data.draw(st.floats(), field)
        for field in data.draw(st.sets(st.sampled_from(sorted(source.fields)), max_size=3))
        if source.fields[field].annotation in ("int", "float")
    }
    tried()
    try:
        hparams = catalog.load(source.path).HParams(**values)
    except UsageError as refusal:
        hypothesis.event(in_one_line(refusal)[-40:])
        return
    assert all(getattr(hparams, field) == value for field, value in values.items())
    assert all(abs(value) < 2**32 for value in values.values() if isinstance(value, int))


@pytest.mark.parametrize("path", ["pipe", "zero"])
@pytest.mark.parametrize(("suffix", "flag"), [("csv", "--data"), ("npz", "--data"), ("json", "--hparams")])
def test_what_has_no_end_is_not_read(surroundings, ends_well, path, suffix, flag):
    assert ends_well("fit", "softmax_classifier", flag, f"{path}.{suffix}") == 2


def test_a_socket_is_no_data(surroundings, ends_well):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.csv")
        assert ends_well("fit", "mlp_classifier", "--data", "socket.csv") == 2


@pytest.mark.parametrize("verb", ["fit", "loop", "compare", "tune"])
@pytest.mark.parametrize(
    "run", ["../x", "/abs", ".", "..", ".hidden", ".writing-x", "a/b", "\0", "x" * 300, "", "a\nb"]
)
def test_a_run_cannot_leave_the_logs_folder(nothing_trains, ends_well, cwd, verb, run):
    assert ends_well(verb, "mlp_classifier", "--run", run) == 2
    assert not (cwd / "logs").exists()


@pytest.mark.parametrize("name", ["...py", "..py", ".py"])
@pytest.mark.parametrize("verb", ["fit", "loop", "tune"])
def test_a_users_file_cannot_leave_the_logs_folder_by_its_name(nothing_trains, ends_well, verb, name):
    assert ends_well(verb, name) == 2


@pytest.mark.parametrize("name", ["../events", "/tmp", "a/b", ".", ".."])
def test_a_link_on_a_board_cannot_lie_elsewhere(nothing_trains, ends_well, cwd, name):
    for folder in ("logs", "logs/a/b", "events"):
        (cwd / folder).mkdir(parents=True, exist_ok=True)
        (cwd / folder / "events.out.tfevents.1").touch()
    assert ends_well("board", name) == 2


@pytest.mark.parametrize(
    "logs",
    ["file", "file/below", "/proc/x", "/proc/self/x", "/dev/null", "/dev/null/x", "/sys/x", "x" * 300, "d/" * 2500],
)
def test_logs_that_cannot_be(nothing_trains, ends_well, logs):
    for verb in ("fit", "compare", "tune"):
        assert ends_well(verb, "mlp_classifier", "--logs", logs) == 2


@pytest.mark.parametrize("path", ["", ".", "folder", "file/below", "/dev/null/x", "x" * 300, "/proc/x", "\0"])
def test_results_that_cannot_be_written(nothing_trains, ends_well, path):
    assert ends_well("compare", "mlp_classifier", "--json", path) == 2
    assert ends_well("bench", "mlp", "--json", path) == 2


def test_a_command_knows_its_flags_and_no_others(nothing_trains, ends_well, cwd):
    """tyro would write its completion to any file."""
    assert ends_well("fit", "mlp_classifier", "--tyro-write-completion", "bash", "../completion") == 2
    assert ends_well("list", "--tyro-print-completion") == 2
    assert not (cwd.parent / "completion").exists()


def test_nothing_in_the_house_unpickles(request):
    root = request.config.rootpath
    for path in (*(root / "recipes").rglob("*.py"), *(root / "custom_loops").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for word in ("pickle.load", "allow_pickle=True", "safe_mode=False", "enable_unsafe", "import pickle", "joblib"):
            assert word not in text, path
