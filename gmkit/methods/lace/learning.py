"""Pairs of latents and attributes, and the classifiers that learn from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gmkit.core import TrainState, create, finish_step, step_key, update
from gmkit.core.parallel import batch_mean, example_uniform
from gmkit.methods.lace.model import Lace

Array = jax.Array
Metrics = dict[str, Array]
#: Of the parameters' averages.
EMA_DECAY = 0.999
#: Labels of images: `x (n, H, W, C) -> (n,)`.
Labeller = Callable[[Array], Array]


def made_pairs(
    model: Lace, weights: Any, labellers: Mapping[str, Labeller], key: Array, n: int, chunk: int
) -> dict[str, Any]:
    """Latents of the prior, what the classifiers read of them, and the labels of their images.

    Args:
      model: whose generator is used.
      weights: of the generator.
      labellers: by attribute.
      key: of the latents.
      n, chunk: how many, and how many at a time; `chunk` divides `n`.

    Returns:
      "read" `(n, d)` and "labels", float `(n,)` by attribute.
    """
    generator = model.latent_generator(weights)

    def some(key: Array) -> dict[str, Any]:
        z = jax.random.normal(key, (chunk, model.z_dim))
        w = generator.mapping(z)
        x = generator.synthesis(w)
        labels = {name: label(x).astype(jnp.float32) for name, label in labellers.items()}
        return {"read": w if model.space == "w" else z, "labels": labels}

    pairs = jax.lax.map(some, jax.random.split(key, n // chunk))
    return jax.tree.map(lambda a: a.reshape(n, *a.shape[2:]), pairs)


def learner(
    model: Lace,
    pairs: Callable[[Array], dict[str, Any]],
    txs: Mapping[str, optax.GradientTransformation],
    n_held_out: int,
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: what is learned.
      pairs: `key -> pairs`, as `made_pairs` returns them.
      txs: optimiser by attribute.
      n_held_out: the last pairs, which are not learned from.
    """

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        del batch
        run_key, pair_key, *keys = jax.random.split(key, 2 + len(model.attributes))
        memory = pairs(pair_key)
        params = {
            a.name: model.networks[a.name].init(k, memory["read"][:1])["params"]
            for a, k in zip(model.attributes, keys, strict=True)
        }
        stage = model.generator
        weights = jax.tree.map(jnp.copy, (stage.params, stage.variables))
        return create(
            run_key,
            params,
            txs,
            variables={"generator": weights},
            ema=tuple(params),
            memory=memory,
        )

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        memory: Any = state.memory
        n = jax.tree.leaves(batch)[0].shape[1]
        learned = memory["read"].shape[0] - n_held_out
        rows = (example_uniform(step_key(state, "rows"), n, ()) * learned).astype(jnp.int32)
        w = memory["read"][rows]
        labels = {name: label[rows] for name, label in memory["labels"].items()}

        def loss_fn(params: Any) -> tuple[Array, Metrics]:
            metrics: Metrics = {}
            outputs = model.read(params, w)
            for attribute, output in zip(model.attributes, outputs, strict=True):
                label = labels[attribute.name]
                found = jnp.argmax(output, axis=-1) if attribute.n_classes else output
                known = attribute.known(label)
                share = jnp.maximum(batch_mean(known.astype(jnp.float32)), 1e-6)
                of_known = lambda each, known=known, share=share: (
                    batch_mean(jnp.where(known, each, 0.0)) / share
                )
                safe = jnp.where(known, label, 0.0)
                metrics[f"loss/{attribute.name}"] = of_known(attribute.loss(output, safe))
                right = attribute.accuracy(found, safe)
                metrics[f"accuracy/{attribute.name}"] = of_known(right)
            return sum(metrics[f"loss/{a.name}"] for a in model.attributes), metrics  # type: ignore

        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
        for name in state.params:
            state = update(state, name, grads[name], txs[name], ema_decay=EMA_DECAY)
        return finish_step(state), metrics

    return init, step


def read_table(path: str, names: tuple[str, ...], width: int) -> dict[str, Any]:
    """Pairs from an `.npz` file: `w (n, width)`, and labels `(n,)` under every attribute's name.

    Raises:
      ValueError: no such file, or arrays that are missing or of other shapes.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError) as error:
        raise ValueError(f"labels.table={path!r} is not to be read as .npz: {error}") from error
    if missing := [key for key in ("w", *names) if key not in arrays]:
        raise ValueError(
            f"labels.table={path!r} has {', '.join(arrays)}; it lacks {', '.join(missing)}"
        )
    w = arrays["w"]
    if w.ndim != 2 or w.shape[1] != width:
        raise ValueError(f"labels.table={path!r}: w is {w.shape}, the generator needs (n, {width})")
    for name in names:
        if arrays[name].shape != (len(w),):
            raise ValueError(
                f"labels.table={path!r}: {name} is {arrays[name].shape}, not ({len(w)},)"
            )
    labels = {name: arrays[name].astype(np.float32) for name in names}
    return {"read": w.astype(np.float32), "labels": labels}
