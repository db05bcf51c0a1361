"""What the tests share. TensorFlow is configured once, as the command does it, before anything is traced."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

from recipes.commands import catalog
from recipes.shared import runtime
from tests import budget, trainings

# The same inputs in every `make test` and, four times as many, in every `.ci/run`; new ones in each `make fuzz`. The
# time that one takes says nothing here.
SAME_INPUTS = hypothesis.settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=hypothesis.HealthCheck
)
hypothesis.settings.register_profile("short", SAME_INPUTS, max_examples=15)
hypothesis.settings.register_profile("ci", SAME_INPUTS, max_examples=60)
hypothesis.settings.register_profile("long", SAME_INPUTS, max_examples=2500, derandomize=False, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("FUZZ", "short"))
INPUTS_TRIED: Counter[str] = Counter()

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CASES = REAL_DATA.parent / "cases"


def pytest_addoption(parser):
    parser.addoption("--screenshots", type=Path, help="the folder that gets the pictures of the README")
    budget.add_options(parser)


def pytest_configure(config):
    began = time.process_time()
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        runtime.configure()  # where tests run; the process that gives them out needs no TensorFlow
    budget.register(config, pairs=len(catalog.pairs()), import_seconds=time.process_time() - began)


def pytest_terminal_summary(terminalreporter):
    if INPUTS_TRIED:
        kinds = ", ".join(f"{count} {kind}" for kind, count in INPUTS_TRIED.items())
        terminalreporter.write_line(f"hostile inputs tried: {INPUTS_TRIED.total()} ({kinds})")


@pytest.fixture
def tried(request):
    """A function that counts an input, under the name of the test; the sum is printed in the end."""

    def tried():
        INPUTS_TRIED[request.node.originalname.removeprefix("test_").replace("_", " ")] += 1

    return tried


def beside_the_project(folder, what):
    """Return a folder that lies beside the project on its own machines, and must in CI; elsewhere the test skips."""
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the {what} in {folder}")
        pytest.skip(f"no {what} in {folder}")
    return folder


@pytest.fixture
def real_data():
    """The folder of real data sets."""
    return beside_the_project(REAL_DATA, "real data sets")


@pytest.fixture
def cases():
    """The folder of files that once gave a silently wrong training."""
    return beside_the_project(CASES, "cases")


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    """The working directory of a test; `logs` is in it if anything was left."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cwd"


@pytest.fixture
def no_variables(monkeypatch):
    """Without KerasTuner's environment variables, which make a worker of a process."""
    from recipes.commands.tuning import worker

    for name in worker.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def wait_for():
    """A function that returns the first true value of a condition, which it asks again until then."""

    def wait_for(condition, seconds=120):
        ends = time.monotonic() + seconds
        while not (result := condition()):
            assert time.monotonic() < ends, "it did not happen in time"
            time.sleep(0.01)
        return result

    return wait_for


@pytest.fixture(scope="session")
def server():
    """A fork server that has imported; multiprocessing has one for all processes of a session."""
    from recipes.commands import processes

    server = processes.Server()
    server.wait_until_ready()
    return server


@pytest.fixture(scope="session")
def result():
    """A function that runs a child: its exit code, its output, its errors, and how it ended."""

    def result(server, function, *arguments, **options):
        child = server.start(function, *arguments, **options)
        try:
            return child.wait(60), *child.written(), child.last_words()
        finally:
            child.close()

    return result


@pytest.fixture(scope="session")
def descendants():
    """A function that returns the processes that a process has started, and those that they have."""

    def descendants(process):
        try:
            threads = list(Path(f"/proc/{process}/task").iterdir())
            children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:  # it has ended meanwhile
            return []
        return [*children, *(each for child in children for each in descendants(child))]

    return descendants


@pytest.fixture(scope="session")
def train_into():
    """A function that trains one side of a pair in this process, into a folder, and returns its run."""
    return trainings.train


@pytest.fixture
def train(tmp_path):
    """A function that trains one side of a pair and returns its run, in a new folder."""

    def train(name, side, **hparams):
        return trainings.train(tmp_path / f"run_{len(list(tmp_path.iterdir()))}" / side, name, side, **hparams)

    return train


@pytest.fixture(scope="session")
def trained(tmp_path_factory, pytestconfig):
    """A function that returns a finished run of one side of a pair, which all tests share and none may change."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if hasattr(pytestconfig, "workerinput") else base  # pytest-xdist gives each worker a part of it
    return trainings.Cache(root / "trained", pytestconfig.pluginmanager.get_plugin("meter").apart)


@pytest.fixture(scope="session")
def names_in():
    """A function that returns what lies in a folder; an event file goes without what tells it from others."""

    def names_in(folder):
        return {"events" if path.name.startswith("events.out.tfevents.") else path.name for path in folder.iterdir()}

    return names_in


class Board:
    """A real TensorBoard, started by `recipes board`, and questions to its HTTP API."""

    MOST_SECONDS = 60

    def __init__(self, process, address):
        self.process = process
        self.address = address

    def ask(self, path, _post=None, **query):
        """Return the answer's bytes."""
        url = self.address + path + ("?" + urllib.parse.urlencode(query) if query else "")
        body = None if _post is None else json.dumps(_post).encode()
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=self.MOST_SECONDS) as response:
            return response.read()

    def json(self, path, _post=None, **query):
        """Return the answer as Python values."""
        return json.loads(self.ask(path, _post, **query))

    def wait_for(self, condition):
        """Return the first true value of `condition`, which is asked again while TensorBoard starts and loads."""
        ends = time.monotonic() + self.MOST_SECONDS
        while time.monotonic() < ends:
            assert self.process.poll() is None, "TensorBoard has ended"
            with contextlib.suppress(OSError):  # it does not listen yet
                if result := condition():
                    return result
            time.sleep(0.2)
        return pytest.fail("TensorBoard has not loaded what it should")


@pytest.fixture(scope="session")
def start_board():
    """A function that opens a board on the runs of a logs folder, for all recipes or one, until the tests end."""
    with contextlib.ExitStack() as stack:

        def start_board(logs, *names):
            with socket.socket() as probe:
                probe.bind(("localhost", 0))
                port = probe.getsockname()[1]
            command = [sys.executable, "-m", "recipes", "board", *names, "--logs", str(logs), "--port", str(port)]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = stack.enter_context(subprocess.Popen(command, **quiet))
            stack.callback(process.terminate)
            board = Board(process, f"http://localhost:{port}/")
            board.wait_for(lambda: board.ask(""))  # a browser does not ask again
            return board

        yield start_board


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium without a screen."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a browser: chromium")
        pytest.skip("no browser: install chromium to run the browser tests")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """The logs folder of two comparisons, by the real command: a classification and a regression."""
    logs = tmp_path_factory.mktemp("logs")
    for name, epochs in (("mlp_classifier", 10), ("linear_regression", 3)):
        options = ["--logs", str(logs), "--run", "run", "--epochs", str(epochs), "--json", str(logs / f"{name}.json")]
        done = subprocess.run(
            [sys.executable, "-m", "recipes", "compare", name, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return logs


@pytest.fixture
def keep_picture(request):
    """A function that checks the picture of a page and, where it has a name, keeps it if `--screenshots` says where."""

    def keep_picture(name, picture):
        assert len(picture) > 20_000  # an empty page compresses to less
        folder = request.config.getoption("--screenshots")
        if folder is not None and name is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(picture)

    return keep_picture
