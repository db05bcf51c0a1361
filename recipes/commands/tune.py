"""`recipes tune`: searches learning rate, batch size and what else a recipe declares, on either side."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from recipes.commands import catalog, flags, processes, side
from recipes.commands.tuning.specification import Budget, Specification, TunerName
from recipes.shared import runtime, search_space, tables
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import Level, LoggingOptions
from recipes.shared.search_space import SearchSpace

Side = Literal["fit", "custom_loop"]
DESCRIPTION = """Search what the recipe declares as HParams.search_space; what is given as a flag is not searched.

The same command goes on with a search that was stopped. See docs/tuning.md."""
DEFAULT_TRIALS = 10
DATA = {"data", "image_size", "channels_first", "split_seed", *tables.Options.__dataclass_fields__}
NOT_SEARCHED = DATA | {"seed", "epochs", "train_on_validation"}  # other data, or no quality
LARGER_IS_BETTER = {"accuracy", "auc", "precision", "recall", "f1", "r2"}
SMALLER_IS_BETTER = {"loss", "mse", "mae"}


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `tune` that are not hyper-parameters; a hyper-parameter that is given is not searched."""

    side: Annotated[Side, tyro.conf.arg(help="which side trains; both give the same scores")] = "fit"
    tuner: Annotated[TunerName, tyro.conf.arg(help="which of KerasTuner's tuners proposes the values")] = "bayesian"
    trials: Annotated[
        int | None, tyro.conf.arg(help="how many; 10 if not given, a grid whole. Hyperband has a number of its own")
    ] = None
    objective: Annotated[
        str | None,
        tyro.conf.arg(
            help="what decides, at its best epoch: NAME, or NAME:min or NAME:max where its direction is not known;"
            " the recipe's own, mostly val_loss, if not given"
        ),
    ] = None
    executions_per_trial: Annotated[
        int, tyro.conf.arg(help="train each trial so often, with --seed, --seed + 1, ...; the mean is its score")
    ] = 1
    budget: Annotated[
        Budget, tyro.conf.arg(help="what all trials have alike: passes over the data, or updates of the weights")
    ] = "epochs"
    search: Annotated[
        tuple[str, ...], tyro.conf.arg(help="search this instead: NAME=LOW..HIGH or NAME=VALUE,VALUE,... (several)")
    ] = ()
    workers: Annotated[int, tyro.conf.arg(help="processes of this machine that train besides a chief")] = 0
    time_limit: Annotated[
        float, tyro.conf.arg(help="seconds after which a worker's trial is given to another, once")
    ] = 3600.0
    retrain: Annotated[
        bool, tyro.conf.arg(help="then train with the best values on training and validation part, and test")
    ] = False
    logs: Annotated[Path, tyro.conf.arg(help="the folder that gets the search")] = Path("logs")
    run: Annotated[str | None, tyro.conf.arg(help="the search's name, tune-NAME; side and tuner if not given")] = None
    log: Annotated[Level, tyro.conf.arg(help="what TensorBoard gets of each trial")] = "scalars"


def main(args: list[str]) -> int:
    """Search as `args` say, or go on with a search, and return the exit code: 1 if every trial failed.

    Raises:
        UsageError: for any mistake of the user's; no trial has run then.
        TrainingDiverged: in the training that follows the search.
    """
    names, rest = flags.split_names(args)
    if len(names) != 1:
        if rest in (["--help"], ["-h"]):
            print("usage: recipes tune NAME [flags]\n")
            print("`recipes list` shows the names, `recipes tune NAME --help` the flags.")
            return 0
        raise UsageError("say which recipe, before any flag: recipes tune NAME [flags]; `recipes list` shows the names")
    # The flags are the same on both sides; which side it is, they say themselves.
    _, source = side.resolve(names[0], "fit")
    hparams, options = flags.parse_hparams(source, Options, rest, f"recipes tune {names[0]}", DESCRIPTION)
    name, source = side.resolve(names[0], options.side)
    _check(options, name, source, hparams["seed"])
    run = options.run or f"{options.side}-{options.tuner}"
    folder = side.run_folder(options.logs, name, options.run).with_name(f"tune-{run}")

    side.show_notes(side.check_data(source, hparams))

    server = processes.Server()
    if options.workers:
        server.prepare()  # it imports while this process does
    runtime.configure()
    from recipes.commands.tuning import search

    command = shlex.join(["recipes", "tune", *args])
    specification = _specify(options, name, source, hparams, flags.given(rest), folder, command)
    with processes.sigterm_exits():
        return search.run(specification, server, options.retrain)


def _check(options: Options, name: str, source: catalog.Source, seed: int) -> None:
    if options.trials is not None and options.trials < 1:
        raise UsageError(f"--trials is {options.trials}; it must be at least 1")
    if options.trials is not None and options.tuner == "hyperband":
        raise UsageError("--trials has no meaning for Hyperband: how many trials it makes follows from --epochs")
    executions = options.executions_per_trial
    if executions < 1:
        raise UsageError(f"--executions-per-trial is {executions}; it must be at least 1")
    if seed + executions > 2**32:
        raise UsageError(f"--executions-per-trial is {executions}, so seeds from {seed} on would pass 4294967295")
    if options.workers < 0:
        raise UsageError(f"--workers is {options.workers}; it must be at least 0")
    if not options.time_limit > 0:
        raise UsageError(f"--time-limit is {options.time_limit}; it must be greater than 0")
    if options.retrain and "train_on_validation" in source.unused:
        raise UsageError(f"--retrain has no meaning for {name}: {source.unused['train_on_validation']}")
    known = [f"{part}{metric}" for part in ("val_", "") for metric in source.metrics]
    objective, _ = _objective(options.objective or "val_loss")
    if options.objective is not None and objective not in known and name in catalog.pairs():
        raise UsageError(f"no objective {objective!r}; {name} has {', '.join(known)}")


def _specify(
    options: Options,
    name: str,
    source: catalog.Source,
    hparams: dict[str, Any],
    given: set[str],
    folder: Path,
    command: str,
) -> Specification:
    """Return the search that the flags describe."""
    module = catalog.load(source.path)
    hparams_class: type[HParams] = getattr(module, "HParams", HParams)
    declared = hparams_class.search_space
    named = dict(search_space.parse(text, declared) for text in options.search)
    for each in named:
        if each not in hparams or each in NOT_SEARCHED:
            raise UsageError(
                f"--search {each}: {name} has nothing of that name to search; it searches {', '.join(declared)}"
            )
    if hparams.get("train_on_validation"):
        raise UsageError("--train-on-validation leaves nothing to choose by; --retrain does that after the search")
    space = {each: domain for each, domain in (declared | named).items() if each in hparams}
    both = sorted(given & named.keys())
    if both:
        raise UsageError(f"{both[0]} is searched by --search and fixed by its own flag; give one of them")
    space = {each: domain for each, domain in space.items() if each not in given}
    for each, domain in space.items():
        domain.check(each)
    _check_values(source, hparams_class, hparams, space)
    if not hparams_class.search_space and not space:
        raise UsageError(f"{source.path.stem} has no score of validation to search by")
    if not space:
        raise UsageError("there is nothing to search: every hyper-parameter of the search space is fixed")

    examples = _examples(module, hparams_class, hparams)  # mistakes in the data are told now, not once a trial
    budget: dict[str, Any] = {"budget": options.budget}
    if options.budget == "updates":
        if not examples:
            raise UsageError(f"--budget updates needs a function load_data(hparams) in {source.path}")
        if "batch_size" not in space:
            raise UsageError("--budget updates is for searches over the batch size, and this one has none")
        updates = hparams["epochs"] * -(-examples // hparams["batch_size"])
        budget |= {"examples": examples, "updates": updates}
    trials = options.trials
    if trials is None and options.tuner in ("bayesian", "random"):
        trials = DEFAULT_TRIALS
    objective, direction = _objective(options.objective or hparams_class.objective)
    return Specification(
        recipe=name,
        side=options.side,
        path=str(source.path.absolute()),
        folder=str(folder),
        command=command,
        tuner=options.tuner,
        objective=objective,
        larger_is_better=_larger_is_better(objective) if direction is None else direction == "max",
        space=space,
        hparams=hparams,
        seed=hparams["seed"],
        trials=trials,
        epochs=hparams["epochs"],
        executions_per_trial=options.executions_per_trial,
        workers=options.workers,
        time_limit=options.time_limit,
        logging=LoggingOptions(level=options.log),
        **budget,
    )


def _check_values(
    source: catalog.Source, hparams_class: type[HParams], hparams: dict[str, Any], space: SearchSpace
) -> None:
    """Raise a UsageError if a value that may come up is none that the recipe can train with."""
    for name, domain in space.items():
        kind = flags.base_type(source, name)
        values = domain.values if isinstance(domain, search_space.Choices) else (domain.low, domain.high)
        known: dict[type, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}
        allowed = known.get(kind, (object,))
        if isinstance(domain, search_space.Range) and float not in allowed:
            raise UsageError(f"{name} is no number with a fraction; list the values: --search {name}=...,...")
        for value in values:
            if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
                raise UsageError(f"{name} cannot be {value!r}: it is of type {getattr(kind, '__name__', kind)}")
            try:
                hparams_class(**hparams | {name: value})
            except UsageError as error:
                raise UsageError(f"the search space of {name}: {error}") from None


def _examples(module: Any, hparams_class: type[HParams], hparams: dict[str, Any]) -> int:
    """Return how many examples the training part has, with folds that of the first; 0 where `train` loads its own."""
    if not hasattr(module, "load_data"):
        return 0
    dataset = module.load_data(hparams_class(**hparams))
    return len((dataset[0] if isinstance(dataset, list) else dataset).train)


def _objective(text: str) -> tuple[str, str | None]:
    """Return the name of what decides, and `min` or `max` where `text` is NAME:min or NAME:max.

    Raises:
        UsageError: there is something else behind a colon.
    """
    name, colon, direction = text.rpartition(":")
    if not colon:
        return text, None
    if not name or direction not in ("min", "max"):
        raise UsageError(f"--objective is {text!r}; write NAME, NAME:min or NAME:max")
    return name, direction


def _larger_is_better(objective: str) -> bool:
    """Return whether `objective` is to be maximised, as far as it or KerasTuner knows.

    Raises:
        UsageError: neither does.
    """
    from keras_tuner.src.engine.metrics_tracking import infer_metric_direction

    name = objective.removeprefix("val_")
    if name in LARGER_IS_BETTER | SMALLER_IS_BETTER:
        return name in LARGER_IS_BETTER
    try:
        direction = infer_metric_direction(name)
    except Exception:  # it makes the metric, and some cannot be made without arguments
        direction = None
    if direction is None:
        raise UsageError(
            f"whether a larger or a smaller {objective} is better is not known; say --objective {objective}:max or"
            f" --objective {objective}:min"
        )
    return bool(direction == "max")
