"""KerasTuner's search loop around the recipe's own training: in one process, or as a worker of a chief."""

import time
from pathlib import Path
from typing import Any

from keras_tuner.engine import base_tuner
from keras_tuner.src import config

from recipes.commands.tuning import trials
from recipes.commands.tuning.specification import Specification
from recipes.shared import programs

IDLE_SECONDS = 0.2


class RecipeTuner(base_tuner.BaseTuner):
    """Runs the trials that the oracle proposes; the oracle keeps its own state, so there is none here.

    Args:
        specification: the search.
        oracle: where the trials come from. With KerasTuner's environment variables set, the chief's takes its place.
    """

    def __init__(self, specification: Specification, oracle: Any) -> None:
        folder = Path(specification.folder)
        super().__init__(oracle, directory=str(folder.parent), project_name=folder.name)
        self.specification = specification
        self._asked_in_vain = False

    def pre_create_trial(self) -> None:
        """Wait a little before asking again where there was no trial; KerasTuner would ask without a pause."""
        if self._asked_in_vain:
            time.sleep(IDLE_SECONDS)
        self._asked_in_vain = True

    def on_trial_begin(self, trial: Any) -> None:
        """Note that there was one."""
        self._asked_in_vain = False

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the trial's score by the objective's name."""
        return trials.run(self.specification, trial.trial_id, trial.hyperparameters.values)

    def save(self) -> None:
        """Do nothing: the oracle has saved itself, and KerasTuner would read this file instead of it."""


def search(specification: Specification, oracle: Any) -> None:
    """Run trials until the oracle has no more.

    Raises:
        UsageError: the objective is not in the history.
        KeyboardInterrupt, SystemExit: a signal came; the search can go on later.
    """
    config.DEBUG = False  # it is on as released, and prints a traceback a failed trial; its line gives the reason
    with programs.kept():
        RecipeTuner(specification, oracle).search()
