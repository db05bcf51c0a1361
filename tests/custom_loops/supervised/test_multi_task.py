import keras
import numpy as np
import pytest

from recipes.supervised import multi_task
from tests.trainings import seeds


def predictions(folder, x):
    """The outputs of a run's model for `x`, and its log variances, computed in NumPy from its state."""
    with np.load(folder / "state.npz") as state:
        arrays = {name.partition(" ")[2]: state[name] for name in state.files if name.startswith("weights/")}
    for layer in ("dense", "dense_1"):
        x = np.tanh(x @ arrays[f"{layer}/kernel"] + arrays[f"{layer}/bias"])
    outputs = {task: x @ arrays[f"{task}/kernel"] + arrays[f"{task}/bias"] for task in multi_task.NOISE}
    log_variances = {task: next(v for k, v in arrays.items() if f"log_variance_{task}" in k) for task in outputs}
    return outputs, log_variances


@pytest.mark.parametrize("seed", seeds(3))
def test_the_learned_sigmas_are_those_of_the_noise_and_of_the_residuals(trained, seed):
    run = trained("multi_task", "custom_loop", seed=seed)
    dataset = multi_task.load_data(multi_task.HParams())
    outputs, log_variances = predictions(run.folder, dataset.train.x)
    for task, sigma in multi_task.NOISE.items():
        learned = run.metrics[f"sigma_{task}"]
        assert learned == pytest.approx(sigma, rel=0.1)
        assert learned == pytest.approx(np.exp(log_variances[task] / 2), rel=1e-6)
        residuals = dataset.train.y[task] - outputs[task]
        assert learned == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=0.05)  # where s is best


def test_the_loss_is_the_likelihood_of_gaussian_noise_but_for_a_constant(trained):
    run = trained("multi_task", "custom_loop", seed=0)
    dataset = multi_task.load_data(multi_task.HParams())
    outputs, log_variances = predictions(run.folder, dataset.test.x)
    expected = 0.0
    for task, sigma in multi_task.NOISE.items():
        variance = np.exp(log_variances[task].astype(np.float64))
        squares = (dataset.test.y[task] - outputs[task]).astype(np.float64) ** 2
        density = np.exp(-squares / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        expected += -np.log(density).mean() - np.log(2 * np.pi) / 2
        assert run.metrics[f"{task}_mse"] == pytest.approx(squares.mean(), rel=1e-5)
        assert run.metrics[f"{task}_mse"] == pytest.approx(sigma**2, rel=0.2)
    assert run.metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_every_part_has_both_targets_of_its_own_examples():
    datasets = [multi_task.load_data(multi_task.HParams(split_seed=seed)) for seed in (0, 1)]
    found = []
    for dataset in datasets:
        parts = dataset.train, dataset.validation, dataset.test
        assert [len(part) for part in parts] == [6400, 1600, 2000]
        assert {task: y.shape for task, y in dataset.train.first(3).y.items()} == {"task_1": (3, 1), "task_2": (3, 1)}
        found.append(np.unique(np.concatenate([np.hstack([part.x, *part.y.values()]) for part in parts]), axis=0))
    assert found[0].tobytes() == found[1].tobytes()
    assert datasets[0].train.x.tobytes() != datasets[1].train.x.tobytes()


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_the_saved_model_predicts_both_tasks(trained, side):
    run = trained("multi_task", side, epochs=1)
    assert run.report["notes"] == []
    kinds = {kind.__name__: kind for kind in (multi_task.MultiTask, multi_task.TrainedByFit)}
    model = keras.models.load_model(run.folder / "model.keras", custom_objects=kinds)
    x = multi_task.load_data(multi_task.HParams()).test.x
    outputs, log_variances = predictions(run.folder, x)
    for task, output in model(x).items():
        np.testing.assert_allclose(output, outputs[task], atol=1e-5)
        assert float(model.log_variances[task]) == log_variances[task]
