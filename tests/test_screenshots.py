"""What a user sees: the comparison in a terminal, and TensorBoard with both sides overlaid, in a real browser.

`make screenshots` runs these tests with `--screenshots docs/images`, which makes the pictures of the README.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from rich.console import Console

from recipes.commands import catalog, compare, report

pytestmark = pytest.mark.browser

FONT = "ui-monospace, 'DejaVu Sans Mono', monospace"  # rich's own template would fetch a font from the network


@pytest.fixture(scope="module")
def browser():
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A comparison of `mlp_classifier`, trained by the real command in processes of their own."""
    logs = tmp_path_factory.mktemp("logs")
    pair = catalog.find("mlp_classifier")
    subject = compare.Subject(pair.name, pair.fit, pair.custom_loop)
    folder = logs / pair.name / "run"
    result = compare._compare_subject(subject, folder, {"data": "digits"}, "recipes compare mlp_classifier")
    assert result.holds, result.failures
    return logs, result


@pytest.fixture(scope="module")
def board(finished):
    """The address of a real TensorBoard, started by the command, on the logs of that comparison."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "recipes",
        "board",
        "mlp_classifier",
        "--logs",
        str(finished[0]),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}/"
    for _ in range(240):
        try:
            with urllib.request.urlopen(address + "data/runs") as response:
                if b"custom_loop" in response.read():
                    break
        except OSError:
            assert server.poll() is None, "TensorBoard has ended"
        time.sleep(0.25)
    yield address
    server.terminate()
    server.wait()


def test_tensorboard_draws_both_sides_in_every_chart(browser, board, request):
    page = browser.new_page(viewport={"width": 1400, "height": 680})
    page.goto(board + "?smoothing=0&tagFilter=epoch_(loss|accuracy)#timeseries", wait_until="networkidle")
    page.get_by_label("Toggle settings side pane").click()
    page.wait_for_selector("scalar-card svg path", timeout=60_000)
    page.wait_for_timeout(2000)  # the lines are drawn after the axes
    assert page.locator("text=No scalar data").count() == 0
    cards = page.locator("scalar-card")
    assert cards.count() == 2
    for card in cards.all():
        card.get_by_label("Expand Table").click()
        rows = card.locator("scalar-card-data-table").inner_text()
        for run in ("fit/train", "custom_loop/train", "fit/validation", "custom_loop/validation"):
            assert f"run/{run}" in rows
    save(page, request, "tensorboard.png")


def test_the_comparison_fits_a_terminal_of_80_columns(browser, finished, request, monkeypatch):
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(report, "Console", lambda: console)
    report.show(finished[1])
    text = console.export_text(clear=False)
    assert "IDENTICAL" in text
    assert "…" not in text
    picture = console.export_svg(title="recipes compare mlp_classifier", code_format=without_web_font())
    page = browser.new_page(viewport={"width": 1010, "height": 640})
    page.set_content(f"<body style='margin:0'>{picture}</body>")
    save(page, request, "compare.png", page.locator("svg").first)


def without_web_font():
    from rich._export_format import CONSOLE_SVG_FORMAT

    start, end = CONSOLE_SVG_FORMAT.index("@font-face"), CONSOLE_SVG_FORMAT.rindex("@font-face")
    end = CONSOLE_SVG_FORMAT.index("}}", end) + 2
    return (CONSOLE_SVG_FORMAT[:start] + CONSOLE_SVG_FORMAT[end:]).replace("Fira Code, monospace", FONT)


def save(page, request, name, part=None):
    picture = (part or page).screenshot()
    assert len(picture) > 5000  # an empty page compresses to less
    folder = request.config.getoption("--screenshots")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture)
