"""The default run of `mlp_classifier` as the Keras docs would write it, for `recipes bench digits`."""

import keras

from recipes.supervised.mlp_classifier import HParams, build_model, load_data


def main() -> None:
    """Train, evaluate, print."""
    hparams = HParams()
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    model.compile(
        keras.optimizers.Adam(hparams.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    model.fit(
        dataset.train.x,
        dataset.train.y,
        batch_size=hparams.batch_size,
        epochs=hparams.epochs,
        validation_data=(dataset.validation.x, dataset.validation.y),
        verbose=2,
    )
    loss, accuracy = model.evaluate(dataset.test.x, dataset.test.y, batch_size=hparams.batch_size, verbose=0)
    print(f"test: loss {loss:.4g}, accuracy {accuracy:.4g}")


if __name__ == "__main__":
    main()
