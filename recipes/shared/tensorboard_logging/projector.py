"""The tab Projector: what the layer before the last one makes of the validation examples.

Written as files of its own, because the one that Keras' callback writes cannot be read (keras/issues/20210).
"""

import io

import keras
import numpy as np
from matplotlib.image import imsave

from recipes.shared.splits import Split
from recipes.shared.tasks import Task
from recipes.shared.tensorboard_logging.event_files import EventFiles
from recipes.shared.tensorboard_logging.pictures import as_images

MOST_POINTS = 2000  # as many as the page can lay out in a few seconds
LARGEST_SPRITE = 8192  # pixels a side, the plugin's limit


def write(files: EventFiles, model: keras.Model, split: Split, task: Task) -> None:
    """Write embeddings, labels and, for images, thumbnails of the first 2000 examples.

    A model that is neither Sequential nor functional has no layer before the last one, and nothing is written.

    Args:
        files: get `projector_config.pbtxt` and what it names.
        model: the trained model.
        split: the validation part.
        task: gives each example its label.
    """
    if not hasattr(model, "inputs"):
        return
    first = split.first(MOST_POINTS)
    x, labels = first.x, task.labels(first.y)
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs  # not .input: the bundle has called it again
    penultimate = keras.Model(inputs, model.layers[-1].input)
    outputs = keras.tree.flatten(penultimate(x, training=False))  # a layer may take several tensors
    embeddings = np.concatenate([keras.ops.convert_to_numpy(part).reshape(len(x), -1) for part in outputs], axis=1)
    width = max(embeddings.shape[1], 3)  # the page lays points out in three dimensions
    embeddings = np.pad(embeddings, ((0, 0), (0, width - embeddings.shape[1])))
    line = "\t".join(["%.6g"] * width) + "\n"
    # not raw bytes: if they happen to be UTF-8 the plugin fails, for all runs
    files.write_file("embeddings.tsv", (line * len(embeddings) % tuple(embeddings.ravel().tolist())).encode())
    files.write_file(
        "labels.tsv",
        "".join(f"{label.translate(_BLANKS) if label.strip() else '(blank)'}\n" for label in labels).encode(),
    )
    config = ['tensor_name: "penultimate_layer"', 'tensor_path: "embeddings.tsv"', 'metadata_path: "labels.tsv"']
    images = as_images(x)
    if images is not None:
        sprite = _sprite(images)
        if max(sprite.shape[:2]) <= LARGEST_SPRITE:
            png = io.BytesIO()
            imsave(png, sprite, cmap="gray", vmin=0, vmax=1, pil_kwargs={"compress_level": 1})
            files.write_file("sprite.png", png.getvalue())
            height, width = images.shape[1:3]
            config.append(f'sprite {{ image_path: "sprite.png" single_image_dim: {width} single_image_dim: {height} }}')
    text = "".join(f"  {line}\n" for line in config)
    files.write_file("projector_config.pbtxt", f"embeddings {{\n{text}}}\n".encode())


_BLANKS = str.maketrans("\t\n\r", "   ")  # the characters that divide a table


def _sprite(images: np.ndarray) -> np.ndarray:
    """Return the images in a square grid, row by row, without gaps, as the plugin cuts them out again."""
    count, height, width, *channels = images.shape
    side = int(np.ceil(np.sqrt(count)))
    grid = np.zeros((side * side, height, width, *channels), dtype=images.dtype)
    grid[:count] = images
    rows = grid.reshape(side, side, height, width, *channels).swapaxes(1, 2)
    return rows.reshape(side * height, side * width, *channels)
