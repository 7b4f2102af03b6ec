"""A small classifier that gmkit trains on the data set itself, as a feature space.

Pretrained extractors must be fetched and see natural images; a classifier of the data's own
labels needs neither. Its space is as reproducible as its weights: trained deterministically from
(data, architecture, seed, steps), kept in a cache, and named by the weights' fingerprint. Distances
in it are called "FD-clf" and are not comparable with FID.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gmkit.evaluation.features import Features, check_images, fingerprint, in_batches

logger = logging.getLogger(__name__)

_DIM = 64
_ARCHITECTURE = "conv-gn-silu/64/1"  # changes with the network or its training: renews caches
_TRAIN_BATCH = 128
_LABEL_SMOOTHING = 0.1  # bounds the logits, which also steadies the accuracy over seeds
_EVAL_BATCH = 256


class SmallClassifier(nn.Module):
    """Images `(n, height, width, channels)` to features `(n, 64)` and logits `(n, n_classes)`.

    3 x 3 convolutions halve the side until it is at most 4, with group normalisation and SiLU.
    The features are the linear outputs before the last nonlinearity: no mass sits at zero, which
    suits the Gaussian fits of the Fréchet distance better than rectified units do.
    """

    n_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = self._block(x, 32, 1 if max(x.shape[1:3]) <= 16 else 2)
        while max(x.shape[1:3]) > 4:
            x = self._block(x, 64, 2)
        x = self._block(x, 64, 1)
        features = nn.Dense(_DIM, precision="highest", name="features")(x.reshape(x.shape[0], -1))
        logits = nn.Dense(self.n_classes, precision="highest", name="logits")(nn.silu(features))
        return features, logits

    def _block(self, x: jax.Array, width: int, stride: int) -> jax.Array:
        x = nn.Conv(width, (3, 3), (stride, stride), use_bias=False, precision="highest")(x)
        return nn.silu(nn.GroupNorm(8)(x))


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A classifier of a data set's own labels.

    Attributes:
      features: its penultimate layer.
      logits: `(n, height, width, channels) -> (n, n_classes) float32`, on host arrays; images
        are in [-1, 1].
    """

    features: Features
    logits: Callable[[np.ndarray], np.ndarray]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities, the softmax of the logits; float32 `(n, n_classes)`.

        The classifier is trained with label smoothing 0.1: sure answers are near 0.9 and not 1.
        """
        logits = self.logits(images)
        # Shifted, so that the largest exponential is 1.
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def classifier_features(
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    n_classes: int,
    cache_dir: str | Path,
    seed: int = 0,
    *,
    steps: int | None = None,
    flip: bool = False,
) -> Features:
    """The penultimate layer of a classifier trained on `train`: see `trained_classifier`."""
    return trained_classifier(
        train, test, n_classes, cache_dir, seed, steps=steps, flip=flip
    ).features


def trained_classifier(
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    n_classes: int,
    cache_dir: str | Path,
    seed: int = 0,
    *,
    steps: int | None = None,
    flip: bool = False,
) -> TrainedClassifier:
    """A classifier trained on `train`, from the cache if it is there.

    Features are shifted by their training mean and divided by one common standard deviation, so
    that distances have a unit and the training set's covariance has trace 64. Training takes
    AdamW with a cosine schedule over `steps` batches of 128, random shifts and label smoothing
    0.1; on one CPU core, ten seconds for 8 x 8 digits and about a minute for 28 x 28 images.

    Args:
      train: "image" `(n, height, width, channels)` float in [-1, 1] and "label" `(n,)` integers.
      test: the same, for the accuracy that is reported.
      n_classes: number of labels.
      cache_dir: folder of the weights, made if absent; one `.npz` per (data, architecture, seed,
        steps, flip), written atomically. A file there that cannot be read is rebuilt, and logged.
      seed: of the weights and of the batches.
      steps: training budget; default 400 for sides up to 16, else 1500.
      flip: mirror images at random in training (photographs, not digits).

    Returns:
      The classifier; its features are named "clf", their fingerprint is the digest of the
      weights, and `info` has "test_accuracy" and "train_steps".

    Raises:
      ValueError: images that are not NHWC floats, or labels that do not fit them.
    """
    train = _checked(train, "train", n_classes)
    test = _checked(test, "test", n_classes, train["image"].shape[1:])
    shape = train["image"].shape[1:]
    if steps is None:
        steps = 400 if max(shape[:2]) <= 16 else 1500
    if steps < 1:
        raise ValueError(f"steps={steps}: the classifier needs at least 1 training step")
    model = SmallClassifier(n_classes)
    settings = f"{_ARCHITECTURE}|{n_classes}|{seed}|{steps}|{flip}"
    identity = {f"train/{name}": a for name, a in train.items()}
    identity |= {f"test/{name}": a for name, a in test.items()}
    identity["settings"] = np.frombuffer(settings.encode(), np.uint8)
    path = Path(cache_dir) / f"classifier-{fingerprint(identity)}.npz"

    weights = _load(path, _shapes(model, shape))
    if weights is None:
        weights = _build(model, train, test, seed, steps, flip)
        _save(path, weights)
        logger.info("trained classifier %s: test accuracy %.4f", path, weights["test_accuracy"])
    return _classifier(model, weights, shape, steps)


def _classifier(
    model: SmallClassifier, weights: Mapping[str, np.ndarray], shape: tuple[int, ...], steps: int
) -> TrainedClassifier:
    forward = functools.partial(_forward, model, _params(weights))
    mean, scale = weights["mean"], weights["scale"]

    def features(images: np.ndarray) -> np.ndarray:
        images = check_images(images, "images", shape)
        return (in_batches(lambda x: forward(x)[0], images, _EVAL_BATCH) - mean) / scale

    def logits(images: np.ndarray) -> np.ndarray:
        images = check_images(images, "images", shape)
        return in_batches(lambda x: forward(x)[1], images, _EVAL_BATCH)

    defining = {name: a for name, a in weights.items() if name != "test_accuracy"}
    info = {"test_accuracy": float(weights["test_accuracy"]), "train_steps": steps}
    space = Features("clf", fingerprint(defining), _DIM, features, info)
    return TrainedClassifier(space, logits)


@functools.partial(jax.jit, static_argnums=0)
def _forward(model: SmallClassifier, params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    return model.apply({"params": params}, images)


# ---------------------------------------------------------------- training


def _build(
    model: SmallClassifier,
    train: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    seed: int,
    steps: int,
    flip: bool,
) -> dict[str, np.ndarray]:
    """Weights, standardisation and test accuracy as flat arrays."""
    params = _train(model, train, seed, steps, flip)
    features = in_batches(lambda x: _forward(model, params, x)[0], train["image"], _EVAL_BATCH)
    logits = in_batches(lambda x: _forward(model, params, x)[1], test["image"], _EVAL_BATCH)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {
        **{f"params/{name}": np.asarray(a) for name, a in flat.items()},
        "mean": features.mean(axis=0, dtype=np.float64).astype(np.float32),
        "scale": np.asarray(max(np.sqrt(np.mean(centred**2)), 1e-6), np.float32),
        "test_accuracy": np.asarray(np.mean(logits.argmax(axis=1) == test["label"])),
    }


def _train(
    model: SmallClassifier, data: Mapping[str, np.ndarray], seed: int, steps: int, flip: bool
) -> Any:
    """Trained parameters."""
    init_key, augment_key = jax.random.split(jax.random.key(seed))
    params = _init(model, init_key, data["image"][:1])
    carry = (params, _optimiser(steps).init(params))
    # Called from Python: on a CPU the same steps inside lax.scan took 12 to 30 times as long.
    for t, rows in enumerate(_batches(len(data["label"]), steps, seed)):
        key = jax.random.fold_in(augment_key, t)
        carry = _step(model, steps, flip, carry, key, data["image"][rows], data["label"][rows])
    return carry[0]


@functools.partial(jax.jit, static_argnums=0)
def _init(model: SmallClassifier, key: jax.Array, images: jax.Array) -> Any:
    return model.init(key, images)["params"]


def _optimiser(steps: int) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, max(steps // 20, 1), steps + 1)
    return optax.adamw(rate, weight_decay=1e-2)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _step(
    model: SmallClassifier,
    steps: int,
    flip: bool,
    carry: tuple[Any, Any],
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
) -> tuple[Any, Any]:
    """One step on the smoothed cross entropy: `(params, opt_state)` to the next."""

    def loss(params: Any) -> jax.Array:
        logits = model.apply({"params": params}, _augment(key, images, flip))[1]
        targets = optax.smooth_labels(jax.nn.one_hot(labels, model.n_classes), _LABEL_SMOOTHING)
        return optax.softmax_cross_entropy(logits, targets).mean()

    params, opt_state = carry
    updates, opt_state = _optimiser(steps).update(jax.grad(loss)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _batches(n: int, steps: int, seed: int) -> np.ndarray:
    """Rows of every training batch, `(steps, 128)`: permutations of the data, one after another."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * _TRAIN_BATCH // n)
    rows = np.concatenate([rng.permutation(n) for _ in range(epochs)])
    return rows[: steps * _TRAIN_BATCH].reshape(steps, _TRAIN_BATCH)


def _augment(key: jax.Array, images: jax.Array, flip: bool) -> jax.Array:
    """Shifts each image by up to 1/12 of its side (at least a pixel); mirrors it if asked."""
    _, height, width, channels = images.shape
    reach = max(1, round(min(height, width) / 12))
    shift_key, flip_key = jax.random.split(key)
    corners = jax.random.randint(shift_key, (len(images), 2), 0, 2 * reach + 1)
    padding = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = jnp.pad(images, padding, mode="edge")
    images = jax.vmap(
        lambda x, c: jax.lax.dynamic_slice(x, (c[0], c[1], 0), (height, width, channels))
    )(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images


# ---------------------------------------------------------------- data and cache


def _checked(
    data: Mapping[str, Any], split: str, n_classes: int, shape: tuple[int, ...] | None = None
) -> dict[str, np.ndarray]:
    """Images and int32 labels of one split."""
    for name in ("image", "label"):
        if name not in data:
            raise ValueError(f'{split} has no "{name}": the classifier needs images and labels')
    images = check_images(data["image"], f'{split}["image"]', shape)
    labels = np.asarray(data["label"])
    fits = len(images) and labels.shape == (len(images),)
    if not fits or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f'{split}["label"] is {labels.dtype} {labels.shape} for {len(images)} images: '
            "expected one integer per image"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        found = f"{labels.min()} to {labels.max()}"
        raise ValueError(f'{split}["label"] runs from {found}: expected 0 to {n_classes - 1}')
    return {"image": images, "label": labels.astype(np.int32)}


def _shapes(model: SmallClassifier, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """What a cache file holds, for images of one shape."""
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    shapes = {f"params/{name}": a.shape for name, a in flat.items()}
    return {**shapes, "mean": (_DIM,), "scale": (), "test_accuracy": ()}


def _params(weights: Mapping[str, np.ndarray]) -> Any:
    flat = {k.removeprefix("params/"): a for k, a in weights.items() if k.startswith("params/")}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _load(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray] | None:
    """Cached arrays, or None where there is no file or none that can be used."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
        found = {name: a.shape for name, a in weights.items()}
        if found != dict(shapes):
            raise ValueError("entries do not fit the network")
        if not all(np.isfinite(a).all() for a in weights.values()):
            raise ValueError("values are not finite")
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("classifier cache %s cannot be used (%s): training it again", path, error)
        return None
    return weights


def _save(path: Path, weights: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **weights)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
