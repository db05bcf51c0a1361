"""What a user sees: the comparison in a terminal, and TensorBoard with both sides overlaid, in a real browser.

`make screenshots` runs these tests with `--screenshots docs/images`, which makes the pictures of the README.
"""

import io

import pytest
from rich.console import Console

from recipes.commands import catalog, compare, parity, report

pytestmark = pytest.mark.browser

FONT = "ui-monospace, 'DejaVu Sans Mono', monospace"  # rich's own template would fetch a font from the network
RUNS = ("fit/train", "custom_loop/train", "fit/validation", "custom_loop/validation")


@pytest.fixture(scope="module")
def result(compared):
    """What the comparison of `mlp_classifier` gave."""
    pair = catalog.find("mlp_classifier")
    folder = compared / pair.name / "run"
    sides = {side: compare._read_side(folder / side, pair.side(side)) for side in catalog.SIDES}
    verdict = parity.compare(folder / "fit", folder / "custom_loop")
    return report.Result(pair.name, "digits", folder, sides, verdict)


@pytest.fixture(scope="module")
def board(compared, start_board):
    board = start_board(compared, "mlp_classifier")
    board.wait_for(lambda: {f"mlp_classifier/run/{run}" for run in RUNS} <= set(board.json("data/runs")))
    return board


def test_tensorboard_draws_both_sides_in_every_chart(browser, board, keep_picture):
    page = browser.new_page(viewport={"width": 1400, "height": 680})
    page.goto(board.address + "?smoothing=0&tagFilter=epoch_(loss|accuracy)#timeseries", wait_until="networkidle")
    page.get_by_label("Toggle settings side pane").click()
    page.wait_for_selector("scalar-card svg path", timeout=60_000)
    page.wait_for_timeout(2000)  # the lines are drawn after the axes
    assert page.locator("text=No scalar data").count() == 0
    cards = page.locator("scalar-card")
    assert cards.count() == 2
    for card in cards.all():
        card.get_by_label("Expand Table").click()
        rows = card.locator("scalar-card-data-table").inner_text()
        for run in RUNS:
            assert f"run/{run}" in rows
    keep_picture("tensorboard.png", page.screenshot())


def test_the_comparison_fits_a_terminal_of_80_columns(browser, result, keep_picture, monkeypatch):
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(report, "Console", lambda: console)
    report.show(result)
    text = console.export_text(clear=False)
    assert "IDENTICAL" in text
    assert "…" not in text
    picture = console.export_svg(title="recipes compare mlp_classifier", code_format=without_web_font())
    page = browser.new_page(viewport={"width": 1010, "height": 640})
    page.set_content(f"<body style='margin:0'>{picture}</body>")
    keep_picture("compare.png", page.locator("svg").first.screenshot())


def without_web_font():
    from rich._export_format import CONSOLE_SVG_FORMAT

    start, end = CONSOLE_SVG_FORMAT.index("@font-face"), CONSOLE_SVG_FORMAT.rindex("@font-face")
    end = CONSOLE_SVG_FORMAT.index("}}", end) + 2
    return (CONSOLE_SVG_FORMAT[:start] + CONSOLE_SVG_FORMAT[end:]).replace("Fira Code, monospace", FONT)
