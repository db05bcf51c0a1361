"""What a search found: the table by batch size, the picture, and files for those who go on from there."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from recipes.commands import catalog
from recipes.commands.tuning.progress import number, score
from recipes.commands.tuning.specification import Specification
from recipes.commands.tuning.trials import Trial, best
from recipes.shared.files import replace_file, write_json
from recipes.shared.search_space import LogRange, Range
from recipes.shared.tensorboard_logging import pictures, summaries
from recipes.shared.tensorboard_logging.event_files import EventFiles

WIDTH = 120  # of the table where it goes into a file
BEST, TRIALS, PICTURE = "best.json", "trials.json", "score_over_learning_rate"


def write(specification: Specification, trials: Sequence[Trial]) -> None:
    """Write `trials.json`, and of completed trials `best.json` and the picture, into the search's folder."""
    folder = Path(specification.folder)
    write_json(folder / TRIALS, [dataclasses.asdict(trial) for trial in trials])
    winner = best(specification, trials)
    if winner is None:
        return
    write_json(folder / BEST, best_json(specification, winner))
    png = pictures.png(plot(specification, trials))
    replace_file(folder / f"{PICTURE}.png", lambda path: path.write_bytes(png))
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()  # the pictures of earlier calls
    files = EventFiles(folder)
    files.write("", len(trials), [summaries.picture(PICTURE, png)])
    files.close()


def best_json(specification: Specification, winner: Trial) -> dict[str, Any]:
    """Return what `best.json` says; `recipes fit NAME --hparams best.json` repeats the trial."""
    return {
        "recipe": specification.recipe,
        "side": specification.side,
        "tuner": specification.tuner,
        "objective": specification.objective,
        "score": winner.score,
        "scores": winner.scores,
        "spread": winner.spread,
        "best_epoch": winner.best_epoch,
        "trial": winner.identifier,
        "seed": specification.seed,
        "values": winner.values,
        "hparams": winner.hparams,
        "command": specification.command,
        "repeat": _repeat(specification),
    }


def _repeat(specification: Specification) -> str:
    """Return the command that repeats the best trial."""
    verb = "fit" if specification.side == "fit" else "loop"
    name = catalog.name_or_path(specification.path, specification.side)
    return shlex.join(["recipes", verb, name, "--hparams", str(Path(specification.folder) / BEST)])


def show(specification: Specification, trials: Sequence[Trial]) -> None:
    """Print the best trial of every batch size, then the winner and what to do with it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    winner = best(specification, trials)
    failed = [trial for trial in trials if trial.status == "failed"]
    console.print()
    console.print(
        f"{specification.recipe}, {specification.side.replace('_', ' ')}: {len(trials)} trials by {specification.tuner}"
        + (f", {len(failed)} of them failed" if failed else "")
        + f"; held fixed: {held_fixed(specification)}",
        soft_wrap=True,
        highlight=False,
    )
    if winner is None:
        return
    console.print(_table(specification, trials))
    values = ", ".join(f"{name} {number(value)}" for name, value in winner.values.items())
    console.print(
        f"best: trial {winner.number}, {specification.objective} {score(winner)} in epoch {winner.best_epoch},"
        f" with {values}",
        soft_wrap=True,
        highlight=False,
    )
    if len({trial.values.get("batch_size") for trial in trials}) > 1:
        print("A batch size decides how fast you train, not how well: compare rows at their own best learning rate.")
    print(f"repeat it:  {_repeat(specification)}")
    if winner.scores:
        print(f"            that is the first of {len(winner.scores)} seeds: {_scores(specification, winner)}")
    print(f"files:      {specification.folder}/{BEST}, {TRIALS}, {PICTURE}.png")


def _scores(specification: Specification, winner: Trial) -> str:
    """Return the score of each execution, by the flag that repeats it."""
    return ", ".join(
        f"--seed {seed} gives {number(each)}" for seed, each in enumerate(winner.scores, start=specification.seed)
    )


def held_fixed(specification: Specification) -> str:
    """Return in words what all trials have alike."""
    updates = specification.budget == "updates"
    held = f"about {specification.updates} updates" if updates else f"{specification.epochs} epochs"
    held += " at most" if specification.tuner == "hyperband" else ""
    executions = specification.executions_per_trial
    return held + (f"; each trial trained with {executions} seeds, mean +- spread" if executions > 1 else "")


def _table(specification: Specification, trials: Sequence[Trial]) -> Table:
    """Return a row a batch size: its best trial, what that cost, and the wall time of all its trials."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    others = [name for name in specification.space if name != "batch_size"]
    columns = ["batch size", *(f"best {name}".replace("_", " ") for name in others), specification.objective, "epoch"]
    for column in [*columns, "updates", "examples", "seconds", "trials", "all seconds"]:
        table.add_column(column, justify="right")
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.hparams.get("batch_size", "-"), []).append(trial)
    for batch_size in sorted(groups, key=lambda size: (isinstance(size, str), size)):
        group = groups[batch_size]
        first = best(specification, group)
        all_seconds = f"{sum(trial.seconds for trial in group):.1f}"
        if first is None:
            row = [str(batch_size), *("" for _ in others), "all failed", *[""] * 4]
            table.add_row(*row, str(len(group)), all_seconds)
            continue
        table.add_row(
            str(batch_size),
            *(number(first.values[name]) for name in others),
            score(first),
            str(first.best_epoch),
            f"{first.updates:,}",
            f"{first.examples:,}",
            f"{first.seconds:.1f}",
            str(len(group)),
            all_seconds,
        )
    return table


def plot(specification: Specification, trials: Sequence[Trial]) -> Figure:
    """Return the score over the learning rate, or over the first range of the space, a colour a batch size."""
    ranges = [name for name, domain in specification.space.items() if isinstance(domain, Range)]
    across = "learning_rate" if "learning_rate" in specification.space else [*ranges, *specification.space][0]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel=across.replace("_", " "), ylabel=specification.objective)
    sizes = sorted({trial.hparams.get("batch_size", 0) for trial in trials})
    colours = {size: f"C{index}" for index, size in enumerate(sizes)}
    for size in sizes:
        group = sorted(
            (trial.hparams[across], trial.score)
            for trial in trials
            if trial.score is not None and trial.hparams.get("batch_size", 0) == size
        )
        if group:
            label = f"batch size {size}" if size else None
            axes.plot(*zip(*group, strict=True), "o-", color=colours[size], label=label, linewidth=0.8)
    for trial in trials:
        if trial.status == "failed":  # on the frame: it has no score
            size = trial.hparams.get("batch_size", 0)
            axes.plot(trial.hparams[across], 1.0, "x", color=colours[size], transform=axes.get_xaxis_transform())
    domain = specification.space.get(across)
    if isinstance(domain, LogRange):
        axes.set_xscale("log")
    scores = [trial.score for trial in trials if trial.score is not None]
    if scores and min(scores) > 0 and max(scores) / min(scores) > 10:
        axes.set_yscale("log")
    winner = best(specification, trials)
    if winner is not None and winner.score is not None:
        axes.plot(winner.hparams[across], winner.score, "o", markersize=14, fillstyle="none", color="black")
        axes.set_title(f"best {specification.objective} {number(winner.score)} at {number(winner.hparams[across])}")
    if any(sizes):
        axes.legend()
    return figure
