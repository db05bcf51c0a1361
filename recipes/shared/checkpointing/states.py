"""What callbacks remember between two epochs, and which a checkpoint therefore has to keep."""

from typing import Any

import keras

# Attributes of Keras' callbacks that count what happened so far. The learning rate that ReduceLROnPlateau changes is a
# variable of the optimizer. (keras/src/callbacks, 3.15.1)
ATTRIBUTES: dict[type[keras.callbacks.Callback], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen", "_current_epoch"),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
    keras.callbacks.History: ("history", "epoch"),
}
# Those that remember nothing that decides anything later.
STATELESS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)


def is_known(owner: Any) -> bool:
    """Return whether `get_state` finds all that `owner` remembers."""
    return _attributes(owner) is not None or hasattr(owner, "get_state") or isinstance(owner, STATELESS)


def get_state(owner: Any) -> dict[str, Any]:
    """Return what `owner` remembers: what its method `get_state` says or, of Keras' callbacks, what is known.

    An object that is no callback gives all its attributes.
    """
    if hasattr(owner, "get_state"):
        state: dict[str, Any] = owner.get_state()
        return state
    return {name: getattr(owner, name) for name in _attributes(owner) or () if hasattr(owner, name)}


def set_state(owner: Any, state: dict[str, Any]) -> None:
    """Let `owner` remember what `get_state` returned."""
    if hasattr(owner, "set_state"):
        owner.set_state(state)
    else:
        for name, value in state.items():
            setattr(owner, name, value)


def _attributes(owner: Any) -> tuple[str, ...] | None:
    if not isinstance(owner, keras.callbacks.Callback):
        return tuple(vars(owner))
    return next((names for kind, names in ATTRIBUTES.items() if isinstance(owner, kind)), None)
