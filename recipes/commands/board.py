"""`recipes board`: TensorBoard on the logs of one recipe, or of all."""

import errno
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
    host: Annotated[
        str, tyro.conf.arg(help="the address that is listened at; 0.0.0.0 shows the runs to all who reach this machine")
    ] = "localhost"
    logs: Annotated[Path, tyro.conf.arg(help="the folder that holds the runs")] = Path("logs")


def main(args: list[str]) -> int:
    """Run TensorBoard, bound to localhost if not told otherwise, until it ends, and return its exit code.

    Raises:
        UsageError: there are no runs, or the port is taken, or the host is none of this machine's.
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
    _require_free(options.host, options.port)
    with boards.on(options.logs, names) as logdir, processes.sigterm_exits():
        arguments = ["--logdir", str(logdir), "--host", options.host, "--port", str(options.port)]
        process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *arguments])
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0  # the usual way to close a board; TensorBoard has got the signal too
        finally:
            processes.end([process], PATIENCE)


def _require_free(host: str, port: int) -> None:
    """Raise a UsageError unless something can listen at `host` and `port`: TensorBoard's own errors fill a screen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET  # as TensorBoard's own server chooses
    try:
        *_, address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):  # the latter for a name that no host can have
        raise UsageError(f"--host {host!r} is no address; use localhost, or 0.0.0.0 for all of this machine") from None
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.ENETUNREACH):
                raise UsageError(
                    f"--host {host} is no address of this machine; use localhost, or 0.0.0.0 for all of them"
                ) from None
            raise UsageError(f"port {port} cannot be used ({error.strerror}); choose another --port") from error
