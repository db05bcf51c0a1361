"""Scaling, imputation and encoding, held against scikit-learn."""

import keras
import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from recipes.shared import preprocessing
from recipes.shared.errors import UsageError


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def columns(random):
    """A table of numbers with gaps between text."""
    size = random.normal(50, 20, 41).astype(np.float32)
    size[[0, 7, 20]] = np.nan
    return {
        "size": size,
        "colour": random.choice(["red", "blue", ""], 41),
        "age": random.integers(1, 90, 41).astype(np.float32),
    }


def test_vectors_are_standardised_as_by_scikit_learn(random):
    train, other = random.normal(3, [1, 10, 0.01], (50, 3)), random.normal(0, 10, (20, 3))
    layers = preprocessing.fit(train)
    scaler = StandardScaler().fit(train)
    for values in (train, other):
        result = preprocessing.apply(layers, values)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, scaler.transform(values), rtol=1e-5, atol=1e-4)


def test_byte_images_are_divided_by_255(random):
    images = random.integers(0, 200, (5, 4, 4), dtype=np.uint8)  # none reaches 255
    np.testing.assert_allclose(preprocessing.apply(preprocessing.fit(images), images), images / 255, rtol=1e-6)


BYTES = np.arange(0, 256).reshape(4, 8, 8)
SCALED_ALIKE = [
    (BYTES, 255, ["uint8", "int16", "uint16", "float32", "float64"]),
    (BYTES // 2 + 1, 255, ["uint8", "int32", "float32"]),  # dark: none is above 128
    (BYTES // 2, 127, ["uint8", "int8", "float32"]),
    (BYTES // 16, 15, ["uint8", "int8", "uint16", "float32"]),
    (BYTES // 128, 1, ["bool", "uint8", "int8", "uint16", "int64", "float32"]),  # a mask
    (BYTES - 255, 255, ["int16", "int64", "float32"]),
    (BYTES // 2 - 128, 128, ["int8", "int16", "float32"]),
    (BYTES * 257, 65535, ["uint16", "int32", "float32"]),
    (BYTES * 2.0**55, 255 * 2**55, ["int64", "uint64", "float64"]),
    (BYTES * 0, 1, ["bool", "uint8", "int8", "float32"]),
]


@pytest.mark.parametrize(("values", "divisor", "types"), SCALED_ALIKE)
def test_the_values_of_images_decide_how_they_are_scaled_not_their_type(values, divisor, types):
    for dtype in types:
        images = values.astype(dtype)
        result = preprocessing.apply(preprocessing.fit(images), images)
        np.testing.assert_allclose(result, values / divisor, rtol=1e-6, err_msg=dtype)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (BYTES.astype(np.uint8), []),
        (BYTES.astype(np.float32), []),
        (BYTES / 255, []),
        ((BYTES // 128).astype(np.uint8), ["images of uint8 were divided by 1, the largest magnitude"]),
        ((BYTES // 2 - 128).astype(np.int8), ["images of int8 were divided by 128, the largest magnitude"]),
    ],
)
def test_a_scale_that_the_type_does_not_suggest_is_said(images, says):
    notes = preprocessing.scaling_notes(preprocessing.fit(images), images.dtype)
    assert notes == [f"{each} in the training part" for each in says]


def test_vectors_have_nothing_to_say_about_a_scale(random):
    layers = preprocessing.fit(random.normal(size=(5, 3)))
    assert preprocessing.scaling_notes(layers, np.dtype(np.int8)) == []


def test_channels_that_come_first_are_turned_in_the_saved_model_too(random, tmp_path):
    images = random.integers(0, 256, (6, 3, 8, 7), dtype=np.uint8)
    layers = preprocessing.fit(images, channels_first=True)
    expected = np.moveaxis(images, 1, -1) / 255
    np.testing.assert_allclose(preprocessing.apply(layers, images), expected, rtol=1e-6)
    model = keras.Sequential([keras.Input((8, 7, 3)), keras.layers.Identity()])
    preprocessing.bundle(layers, model).save(tmp_path / "model.keras")
    whole = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(whole(images.astype(np.float32)), expected, rtol=1e-6)


def test_other_images_are_divided_by_the_largest_magnitude_seen_in_fitting(random):
    images = random.uniform(-8, 4, (5, 4, 4, 3))
    images[2, 1, 1, 0] = -16
    layers = preprocessing.fit(images)
    np.testing.assert_allclose(preprocessing.apply(layers, 3 * images), 3 * images / 16, rtol=1e-6)


def test_black_images_stay_black():
    images = np.zeros((3, 2, 2))
    np.testing.assert_array_equal(preprocessing.apply(preprocessing.fit(images), images), images)


def test_table_numbers_are_imputed_by_the_median_and_standardised(columns):
    numbers = {name: columns[name] for name in ("size", "age")}
    layers = preprocessing.fit(numbers)
    matrix = np.column_stack(list(numbers.values())).astype(np.float64)
    expected = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(matrix)
    np.testing.assert_allclose(preprocessing.apply(layers, numbers), expected.transform(matrix), rtol=1e-5, atol=1e-5)
    new = {"size": np.float32([np.nan, 12]), "age": np.float32([np.nan, 200])}
    matrix = np.column_stack(list(new.values())).astype(np.float64)
    np.testing.assert_allclose(preprocessing.apply(layers, new), expected.transform(matrix), rtol=1e-5, atol=1e-5)


def test_table_text_is_one_hot_with_a_first_column_for_unseen_values(columns):
    text = {"colour": columns["colour"]}
    layers = preprocessing.fit(text)
    result = preprocessing.apply(layers, text)
    expected = OneHotEncoder(sparse_output=False).fit_transform(columns["colour"][:, None])
    np.testing.assert_array_equal(result[:, 1:], expected)
    assert not result[:, 0].any()
    unseen = preprocessing.apply(layers, {"colour": np.array(["green", "blue"])})
    np.testing.assert_array_equal(unseen, [[1, 0, 0, 0], [0, 0, 1, 0]])


def test_table_columns_keep_their_order_and_their_rows(columns):
    together = preprocessing.apply(preprocessing.fit(columns), columns)
    alone = [preprocessing.apply(preprocessing.fit({name: columns[name]}), {name: columns[name]}) for name in columns]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))
    assert together.shape == (41, 1 + 4 + 1)
    assert together.dtype == np.float32


@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1, 0.7, 1 / 3])
def test_a_feature_that_is_constant_in_training_is_only_centred(random, constant):
    vectors = np.column_stack([np.full(90, constant), random.normal(size=90)])
    layers = preprocessing.fit(vectors)
    result = preprocessing.apply(layers, np.array([[constant, 0.0], [constant + 1, 0.0]]))
    np.testing.assert_allclose(result[:, 0], [0, 1], atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1])
def test_a_table_column_that_is_constant_in_training_is_only_centred(constant):
    layers = preprocessing.fit({"a": np.full(90, constant, np.float32)})
    result = preprocessing.apply(layers, {"a": np.float32([constant, constant + 1, np.nan])})
    np.testing.assert_allclose(result[:, 0], [0, 1, 0], atol=1e-5)


def test_a_column_that_is_empty_in_the_training_part_is_refused_by_name():
    with pytest.raises(UsageError, match="the column 'a' is empty in the training part"):
        preprocessing.fit({"a": np.full(3, np.nan, np.float32), "b": np.ones(3, np.float32)})


def test_a_bundle_takes_raw_vectors_and_switches_dropout_off(random):
    vectors = random.normal(7, 3, (30, 4))
    layers = preprocessing.fit(vectors)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    bundle = preprocessing.bundle(layers, model)
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in model.weights)
    expected = StandardScaler().fit_transform(vectors) @ kernel + bias
    np.testing.assert_allclose(bundle(vectors.astype(np.float32)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["length (cm)", "ü", "a.b", "a:0", "1", "name", "dense", "input_layer", "keras_tensor"]
)
def test_a_column_may_have_almost_any_name(columns, name, tmp_path):
    keras.backend.clear_session()  # Keras names the first layer of a kind after the kind
    columns[name] = columns.pop("size")
    layers = preprocessing.fit(columns)
    features = preprocessing.apply(layers, columns)
    model = keras.Sequential([keras.Input(features.shape[1:]), keras.layers.Dense(1)])
    bundle = preprocessing.bundle(layers, model)
    bundle.save(tmp_path / "model.keras")
    raw = {
        key: keras.ops.convert_to_tensor(column[:, None].tolist(), "string" if column.dtype.kind == "U" else "float32")
        for key, column in columns.items()
    }
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(raw), model(features))


def test_numbers_that_float32_cannot_hold_are_shifted_before_they_become_float32(columns, random):
    seconds = 1.7e9 + random.permutation(41)  # float32 would merge up to 128 of them
    columns["when"] = np.where(np.arange(41) % 9 == 4, np.nan, seconds)
    layers = preprocessing.fit(columns)
    result = preprocessing.apply(layers, columns)[:, -1]
    column = columns["when"][:, None]
    expected = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(column)
    np.testing.assert_allclose(result, expected[:, 0], rtol=1e-5, atol=1e-5)


def test_the_saved_model_takes_raw_seconds(columns, tmp_path):
    columns["when"] = 1.7e9 + np.arange(41.0)
    layers = preprocessing.fit(columns)
    features = preprocessing.apply(layers, columns)
    model = keras.Sequential([keras.Input(features.shape[1:]), keras.layers.Dense(1)])
    preprocessing.bundle(layers, model).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    raw = {name: keras.ops.convert_to_tensor(columns[name][:, None]) for name in ("size", "age")}
    raw["colour"] = keras.ops.convert_to_tensor(columns["colour"][:, None].tolist(), "string")
    for dtype in (np.int64, np.float64):
        raw["when"] = keras.ops.convert_to_tensor(columns["when"].astype(dtype)[:, None])
        np.testing.assert_array_equal(loaded(raw), model(features))
