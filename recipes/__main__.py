"""The command `recipes`: finds the verb and hands over. Nothing in here or in a verb's module imports TensorFlow."""

import difflib
import sys
from pathlib import Path
from typing import NoReturn

from recipes.commands.names import require_text
from recipes.shared.errors import TrainingDiverged, UsageError, WorkerLost, in_one_line

USAGE = """usage: recipes VERB ...

  list [--json]                  show every recipe
  data FILE [--target COLUMN]    show what would be trained on: columns, what is left out and why, classes, parts
  fit NAME [flags]               train a recipe with model.fit
  loop NAME [flags]              train it with the custom loop
  compare NAME... | --all        train both ways and hold them against each other, to the last bit
  compare FIT.py LOOP.py         the same for your own two files
  compare RUN_A RUN_B            hold two finished runs against each other
  diff NAME | FIT.py LOOP.py     show two files side by side
  tune NAME [flags]              search its learning rate, batch size and more
  board [NAME] [--port N]        open TensorBoard on the runs
  bench [CASE...] [--peers]      measure a step of both sides, of Keras as documented, and of other frameworks

`recipes VERB --help` and `recipes fit NAME --help` say more."""
VERBS = ("list", "data", "fit", "loop", "compare", "diff", "tune", "board", "bench")


def main(args: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: well; 1: a run diverged, parity fails, or another worker is lost; 2: bad usage; 130: Ctrl-C.
    """
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    try:
        for arg in args:
            require_text(arg)
        return _run(args[0], args[1:])
    except UsageError as error:
        print(f"recipes: {in_one_line(error)}", file=sys.stderr)
        return 2
    except (TrainingDiverged, WorkerLost) as error:
        print(f"recipes: {in_one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrecipes: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 0


def script(path: str) -> NoReturn:
    """Run a recipe's file as a script, as `python recipes/T/x.py [flags]` does, and exit.

    Called at the end of the file. The module runs once more, under its own name rather than as `__main__`, so that its
    classes are those that a saved run names.
    """
    from recipes.commands import catalog

    side = catalog.side_of(Path(path))
    name = catalog.name_or_path(path, side)
    if "--tune" in sys.argv[1:]:
        flags = [flag for flag in sys.argv[1:] if flag != "--tune"]
        sys.exit(main(["tune", name, "--side", side, *flags]))
    if set(sys.argv[1:]) & {"--help", "-h"}:
        print("With --tune, search hyper-parameters instead; --tune --help lists the flags of that.\n")
    sys.exit(main(["loop" if side == "custom_loop" else "fit", name, *sys.argv[1:]]))


def _run(verb: str, args: list[str]) -> int:
    # Each verb is imported only when asked for, so that `recipes list` stays under half a second.
    if verb == "list":
        from recipes.commands import listing

        return listing.main(args)
    if verb == "data":
        from recipes.commands import describe_data

        return describe_data.main(args)
    if verb in ("fit", "loop"):
        from recipes.commands import side

        return side.main(verb, args)
    if verb == "compare":
        from recipes.commands import compare

        return compare.main(args)
    if verb == "diff":
        from recipes.commands import diff

        return diff.main(args)
    if verb == "tune":
        from recipes.commands import tune

        return tune.main(args)
    if verb == "board":
        from recipes.commands import board

        return board.main(args)
    if verb == "bench":
        from recipes.commands import bench

        return bench.main(args)
    near = difflib.get_close_matches(verb, VERBS, n=1)
    raise UsageError(
        f"no verb {verb!r}; " + (f"did you mean {near[0]}? " if near else "") + "`recipes --help` lists them"
    )


if __name__ == "__main__":
    sys.exit(main())
