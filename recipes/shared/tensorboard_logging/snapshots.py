"""Pictures of a model while it trains, such as what a generator makes of the same noise every tenth epoch."""

from collections.abc import Callable

import keras
from matplotlib.figure import Figure

from recipes.shared import state
from recipes.shared.batches import Misuse
from recipes.shared.callbacks import Logs, StepCallback
from recipes.shared.errors import noted
from recipes.shared.tensorboard_logging import pictures

Draw = Callable[[keras.Model], Figure]


class Snapshots(StepCallback):
    """Draws a picture every nth epoch, and of the trained model when the training ends.

    The look leaves no trace in the model: what it changes of seeds, statistics and metrics is put back. What fails in
    it is a note, and the training goes on.

    Args:
        name: of the picture, in TensorBoard and in the run's folder.
        draw: from the model to a picture of it; it draws random numbers from the model's own generators, or from new
            ones with a seed.
        write: takes the name and the picture as PNG.
        every: epochs between two pictures.
        only_last: whether none is drawn before the training ends.

    Attributes:
        notes: why a picture could not be drawn, the first time.

    Raises:
        Misuse: `every` is less than 1.
    """

    def __init__(
        self, name: str, draw: Draw, write: Callable[[str, bytes], None], every: int = 1, only_last: bool = False
    ) -> None:
        super().__init__()
        if every < 1:
            raise Misuse(f"a picture every {every} epochs; it must be 1 or more")
        self.name, self.draw, self.write = name, draw, write
        self.every, self.only_last = every, only_last
        self.notes: list[str] = []
        self._is_new = False  # the model has not trained since the newest picture

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remember that the newest picture grows old."""
        self._is_new = False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Draw a picture if it is time; that of the last epoch waits until averaged weights, if any, are in place."""
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        if (epoch + 1) % self.every == 0 and not is_last and not self.only_last:
            self._draw()
            self._is_new = True

    def on_train_end(self, logs: Logs = None) -> None:
        """Draw the trained model, unless the training was stopped right after a picture."""
        if not self._is_new:
            self._draw()

    def get_state(self) -> dict[str, list[str]]:
        """Return what a checkpoint saves."""
        return {"notes": self.notes}

    def set_state(self, values: dict[str, list[str]]) -> None:
        """Go on from what `get_state` returned."""
        self.notes = values["notes"]

    def _draw(self) -> None:
        notes: list[str] = []
        png = None
        with noted(notes, f"the picture {self.name} could not be drawn", (MemoryError,)):
            metrics = self.model.metrics if self.loop is None else self.loop.metrics
            with state.untouched(self.model, metrics):
                figure = self.draw(self.model)
            png = pictures.png(figure)
        self.notes = self.notes or notes
        if png is not None:
            self.write(self.name, png)
