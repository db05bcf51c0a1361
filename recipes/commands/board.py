"""`recipes board`: TensorBoard on the logs of one recipe, or of all."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recipes.commands import boards, catalog, flags, processes
from recipes.commands.names import require_plain
from recipes.shared.errors import UsageError

PATIENCE = 10  # seconds that TensorBoard gets to close


@dataclass(frozen=True)
class Options:
    """The flags of `board`."""

    port: Annotated[int, tyro.conf.arg(help="where the page is served; 0 picks a free port")] = 6006
    logs: Annotated[Path, tyro.conf.arg(help="the folder that holds the runs")] = Path("logs")


def main(args: list[str]) -> int:
    """Run TensorBoard, bound to localhost, until it ends, and return its exit code.

    Raises:
        UsageError: there are no runs, or the port is taken.
    """
    names, rest = flags.split_names(args)
    description = "Open TensorBoard on one recipe's runs, recipes board NAME, or on all."
    options = flags.parse_options(Options, rest, "recipes board [NAME]", description)
    if len(names) > 1:
        raise UsageError("recipes board takes one recipe, or none for all of them")
    for name in names:
        require_plain(name, "the recipe's name")  # a link on the board gets it
    folder = options.logs.joinpath(*names)
    files = (name for _, _, names in os.walk(folder) for name in names)  # rglob fails where a run removes a folder
    if not any(name.startswith("events.out.tfevents.") for name in files):
        for name in names:
            catalog.find(name)  # a mistyped name is told the nearest
        raise UsageError(
            f"no runs in {folder}; make one with `recipes compare {names[0] if names else 'mlp_classifier'}`"
        )
    if not 0 <= options.port < 2**16:
        raise UsageError(f"--port is {options.port}; it must be between 0 and 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", options.port))
        except OSError as error:
            raise UsageError(f"port {options.port} cannot be used ({error.strerror}); choose another --port") from error
    with boards.on(options.logs, names) as logdir, processes.sigterm_exits():
        arguments = ["--logdir", str(logdir), "--host", "localhost", "--port", str(options.port)]
        process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *arguments])
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0  # the usual way to close a board; TensorBoard has got the signal too
        finally:
            processes.end([process], PATIENCE)
