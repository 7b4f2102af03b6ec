"""Penalties that control the Lipschitz constant of a scalar function."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from gmkit.core import parallel

#: A function of a batch without cross-talk between examples, `(n, ...)` -> `(n,)`.
Scalar = Callable[[jax.Array], jax.Array]


def interpolate(key: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """`alpha x + (1 - alpha) y`, with one `alpha ~ U(0, 1)` per example of the global batch.

    Raises:
      ValueError: `x` and `y` differ in shape.
    """
    if x.shape != y.shape:
        raise ValueError(f"cannot interpolate {x.shape} with {y.shape}: pass equally many of both")
    alpha = jax.vmap(lambda k: jax.random.uniform(k, dtype=x.dtype))(
        parallel.example_keys(key, x.shape[0])
    ).reshape(-1, *(1,) * (x.ndim - 1))
    return alpha * x + (1.0 - alpha) * y


def squared_gradient_norms(f: Scalar, x: jax.Array) -> jax.Array:
    """`|grad f(x_i)|^2` per example, `(n,)`; no square root, so smooth at 0."""
    gradients = jax.grad(lambda y: jnp.sum(f(y)))(x)
    return jnp.sum(jnp.square(gradients), axis=tuple(range(1, x.ndim)))


def gradient_penalty(f: Scalar, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """Zero-centred penalty `mean |grad f|^2` on random interpolates of real and fake examples.

    Args:
      f: the energy, `(n, ...)` -> `(n,)`.
      real: examples `(n, ...)`.
      fake: as many others.
      key: PRNG key.

    Raises:
      ValueError: `real` and `fake` differ in shape.
    """
    points = jax.lax.stop_gradient(interpolate(key, real, fake))
    return parallel.batch_mean(squared_gradient_norms(f, points))


def mean_squared_parameters(params: Any) -> jax.Array:
    """Mean square over all entries of all parameters, scalar."""
    leaves = jax.tree.leaves(params)
    squares = jnp.stack([jnp.sum(jnp.square(p)) for p in leaves])
    return jnp.sum(squares) / sum(p.size for p in leaves)


# ---------------------------------------------------------------- the family of penalties

Kind = Literal["zero", "one", "hinge_one", "al", "ali"]
Reduce = Literal["mean", "max", "topk", "softmax"]
Norm = Literal["l2", "rms"]
Where = Literal["interpolates", "real", "fake", "dragan"]
#: What a penalty remembers between critic steps: "buffer" `(K, ...)`, "multiplier" scalar.
Memory = dict[str, jax.Array]


class Penalty(NamedTuple):
    """A penalty of one batch.

    Attributes:
      loss: scalar to add to the critic's loss, weight included.
      memory: for the next critic step; same structure, shapes and dtypes.
      metrics: float32 scalars: "slope/max" and "slope/mean" over the points; with a search
        "slope/searched" (largest slope found) and "slope/gap" (its excess over "slope/max",
        >= 0); with a multiplier "slope/multiplier".
    """

    loss: jax.Array
    memory: Memory
    metrics: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class LipschitzPenalty:
    """Penalty of a critic's slopes `s = |grad f(x)|` at points of the batch.

    The squared slopes of all points, of all devices, are reduced to one or a few numbers, to
    which the penalty applies (their mean, where there are several):

    | reduce | to |
    | --- | --- |
    | max | the largest (MaxGP, Zhou et al. 2019) |
    | topk | the `topk` largest |
    | softmax | `T log mean exp(s^2 / T)`, T = `temperature`; between mean and maximum |
    | mean | all of them |

    | kind | penalty |
    | --- | --- |
    | zero | `weight s^2` (Zhou et al. 2019; R1 and R2 of Mescheder et al. 2018) |
    | one | `weight (s - 1)^2` (WGAN-GP, Gulrajani et al. 2017) |
    | hinge_one | `weight max(0, s - 1)^2` (WGAN-LP, Petzka et al. 2018) |
    | al | `rho c^2 + m c` with `c = s - 1`: augmented Lagrangian of `s = 1` |
    | ali | the same for `s <= 1`: `c - q` for c, slack `q = min(c + m / (2 rho), 0)` |

    The multiplier m starts at 0 and moves by `multiplier_rate * c` with each call (kept >= 0 for
    "ali"). All kinds but "zero" use `sqrt(s^2 + 1e-12)`.

    Slopes have the unit score / data unit, so `weight` of "zero" is per squared data unit: data
    of twice the scale need four times the weight for the same critic. R1's convention
    `gamma / 2 E|grad f|^2` is `weight = gamma / 2` with kind "zero", reduce "mean", where "real".

    Attributes:
      kind: see the table.
      reduce: see the table.
      weight: factor of "zero", "one" and "hinge_one"; "al" and "ali" have `rho` instead.
      norm: "l2", or "rms", which divides the norm by `sqrt(dim)` (the slope of Tran et al.'s
        code; a slope of 1 is then a norm of `sqrt(dim)`).
      where: the points: random "interpolates" of real and fake examples, the "real" or "fake"
        examples themselves, or "dragan" (`real + 0.5 std U(0, 1)`, with the standard deviation
        of all entries of the batch; Kodali et al. 2017).
      buffer: r in [-1, 1]. The `K = round(|r| B)` points with the largest slopes are remembered
        and evaluated again under the next critic: a running arg-max. `r > 0` adds them to the
        points, `r < 0` puts them in place of the first K; 0 remembers none.
      topk: how many slopes "topk" averages and from how many points a search starts; at most
        all of them.
      temperature: T of "softmax", in units of the squared slope.
      search_steps: steps of gradient ascent on the squared slope, from the `topk` steepest
        points; the steepest ones on the way join the points, without entering the buffer (it
        would drift away from the data). 0 for none. A piecewise linear critic (ReLU) has no
        second derivatives, so the search stays where it is.
      search_rate: length of a step, in units of the real batch's root mean squared distance
        from its mean.
      rho: quadratic factor of "al" and "ali".
      multiplier_rate: step of the multiplier.

    Raises:
      ValueError: an unknown choice or a number out of range.
    """

    kind: Kind = "zero"
    reduce: Reduce = "max"
    weight: float = 0.1
    norm: Norm = "l2"
    where: Where = "interpolates"
    buffer: float = 0.0
    topk: int = 8
    temperature: float = 1.0
    search_steps: int = 0
    search_rate: float = 0.05
    rho: float = 1.0
    multiplier_rate: float = 1e-3

    def __post_init__(self) -> None:
        choices = {"kind": Kind, "reduce": Reduce, "norm": Norm, "where": Where}
        for name, choice in choices.items():
            value, known = getattr(self, name), get_args(choice)
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        for name in ("temperature", "rho", "search_rate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name}={getattr(self, name)}: must be positive")
        least_values = {"weight": 0, "multiplier_rate": 0, "search_steps": 0, "topk": 1}
        for name, least in least_values.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {least}")
        if not -1.0 <= self.buffer <= 1.0:
            raise ValueError(f"buffer={self.buffer}: a fraction of the batch in [-1, 1]")

    def init(self, real: jax.Array) -> Memory:
        """The first memory; empty where there is nothing to remember.

        Args:
          real: a whole batch of examples `(B, ...)`. The buffer starts with the midpoints of
            neighbours in it.

        Raises:
          ValueError: a buffer that rounds to no points.
        """
        memory = {}
        if self.buffer:
            k = round(abs(self.buffer) * real.shape[0])
            if k == 0:
                raise ValueError(
                    f"buffer={self.buffer} of a batch of {real.shape[0]} is no point; use 0 or more"
                )
            memory["buffer"] = 0.5 * (real + jnp.roll(real, 1, axis=0))[:k]
        if self.kind in ("al", "ali"):
            memory["multiplier"] = jnp.zeros((), jnp.float32)
        return memory

    def apply(
        self,
        f: Scalar,
        real: jax.Array,
        fake: jax.Array,
        key: jax.Array,
        memory: Mapping[str, jax.Array],
    ) -> Penalty:
        """The penalty of the critic `f`; no gradient reaches the examples.

        Args:
          f: the critic, `(n, ...)` -> `(n,)`, without cross-talk between examples.
          real: examples `(n, ...)`.
          fake: generated ones; as many as `real` for interpolates.
          key: PRNG key.
          memory: of `init` or the last call; whole on every device.

        Raises:
          ValueError: `real` and `fake` differ in shape (interpolates), or a buffer in place of
            more points than there are.
        """
        fresh = jax.lax.stop_gradient(self._fresh_points(real, fake, key))
        points, valid = self._with_buffer(fresh, memory)
        squared = self._squared_slopes(f, points)
        n = fresh.shape[0]
        every = parallel.gather_batch(squared[:n])
        if self.buffer > 0.0:
            kept = parallel.gather_batch(squared[n:])[: memory["buffer"].shape[0]]
            every = jnp.concatenate([every, kept])
        slopes = jnp.sqrt(jax.lax.stop_gradient(every))
        metrics = {"slope/max": jnp.max(slopes), "slope/mean": jnp.mean(slopes)}
        ranking = jnp.where(valid, jax.lax.stop_gradient(squared), -jnp.inf)

        new = dict(memory)
        if self.buffer:
            new["buffer"] = _steepest(points, ranking, memory["buffer"].shape[0])
        if self.search_steps:
            count = min(self.topk, every.shape[0])
            starts = _steepest(points, ranking, count)
            found = self._search(f, starts, real)
            searched = parallel.gather_batch(self._squared_slopes(f, found))[:count]
            top = jnp.sqrt(jnp.max(jax.lax.stop_gradient(searched)))
            metrics |= {"slope/searched": top, "slope/gap": top - metrics["slope/max"]}
            every = jnp.concatenate([every, searched])
        loss = self._loss(self._reduced(every), memory)
        if self.kind in ("al", "ali"):
            new["multiplier"] = self._next_multiplier(self._reduced(every), memory["multiplier"])
            metrics["slope/multiplier"] = new["multiplier"]
        return Penalty(loss, new, {k: v.astype(jnp.float32) for k, v in metrics.items()})

    def _fresh_points(self, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
        if self.where == "interpolates":
            return interpolate(key, real, fake)
        if self.where == "dragan":
            deviation = real - parallel.batch_mean(real)
            scale = jnp.sqrt(parallel.batch_mean(jnp.square(deviation)))
            noise = jax.vmap(lambda k: jax.random.uniform(k, real.shape[1:], real.dtype))(
                parallel.example_keys(key, real.shape[0])
            )
            return real + 0.5 * scale * noise
        return real if self.where == "real" else fake

    def _with_buffer(
        self, fresh: jax.Array, memory: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """This device's points, and which of them are no repeats."""
        valid = jnp.ones(fresh.shape[0], bool)
        if not self.buffer:
            return fresh, valid
        buffer = memory["buffer"]
        if self.buffer > 0.0:
            share, own = _share(buffer)
            return jnp.concatenate([fresh, share]), jnp.concatenate([valid, own])
        index, k = parallel.local_index(fresh.shape[0]), buffer.shape[0]
        if k > fresh.shape[0] * _devices():
            raise ValueError(
                f"buffer={self.buffer}: {k} points in place of {fresh.shape[0] * _devices()}; "
                "init with a batch of the same size"
            )
        replaced = jnp.expand_dims(index < k, tuple(range(1, fresh.ndim)))
        return jnp.where(replaced, buffer[jnp.minimum(index, k - 1)], fresh), valid

    def _squared_slopes(self, f: Scalar, points: jax.Array) -> jax.Array:
        squared = squared_gradient_norms(f, points)
        return squared / math.prod(points.shape[1:]) if self.norm == "rms" else squared

    def _search(self, f: Scalar, starts: jax.Array, real: jax.Array) -> jax.Array:
        """This device's share of the starts, each moved to the steepest point on its way up."""
        mean = parallel.batch_mean(real, axis=0)
        distance = jnp.sum(jnp.square(real - mean[None]), axis=tuple(range(1, real.ndim)))
        length = self.search_rate * jnp.sqrt(parallel.batch_mean(distance))
        x, _ = _share(starts)
        # Hoists the critic's parameters, so that no derivative of the ascent in them is built.
        frozen, constants = jax.closure_convert(f, x)
        constants = jax.lax.stop_gradient(constants)
        axes = tuple(range(1, x.ndim))

        def squared(y: jax.Array) -> tuple[jax.Array, jax.Array]:
            s2 = self._squared_slopes(lambda z: frozen(z, *constants), y)
            return jnp.sum(s2), s2

        def keep(best: tuple[jax.Array, jax.Array], y: jax.Array, s2: jax.Array):
            better = s2 > best[1]
            rows = jnp.where(jnp.expand_dims(better, axes), y, best[0])
            return rows, jnp.where(better, s2, best[1])

        def ascend(carry: tuple[jax.Array, Any], _: None) -> tuple[tuple[jax.Array, Any], None]:
            y, best = carry
            gradient, s2 = jax.grad(squared, has_aux=True)(y)
            norm = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=axes, keepdims=True))
            direction = gradient / jnp.where(norm > 0.0, norm, 1.0)
            return (y + length * direction, keep(best, y, s2)), None

        best = (x, jnp.full(x.shape[0], -jnp.inf, x.dtype))
        (x, best), _ = jax.lax.scan(ascend, (x, best), length=self.search_steps)
        return jax.lax.stop_gradient(keep(best, x, squared(x)[1])[0])

    def _reduced(self, squared: jax.Array) -> jax.Array:
        n = squared.shape[0]
        if self.reduce == "max":
            return jnp.max(squared, keepdims=True)
        if self.reduce == "topk":
            return jax.lax.top_k(squared, min(self.topk, n))[0]
        if self.reduce == "softmax":
            log_sum = jax.nn.logsumexp(squared / self.temperature, keepdims=True)
            return self.temperature * (log_sum - math.log(n))
        return squared

    def _loss(self, squared: jax.Array, memory: Mapping[str, jax.Array]) -> jax.Array:
        if self.kind == "zero":
            return self.weight * jnp.mean(squared)
        excess = _excess(squared)
        if self.kind == "one":
            return self.weight * jnp.mean(jnp.square(excess))
        if self.kind == "hinge_one":
            return self.weight * jnp.mean(jnp.square(jax.nn.relu(excess)))
        multiplier = memory["multiplier"]
        if self.kind == "ali":
            excess = excess - jnp.minimum(excess + multiplier / (2.0 * self.rho), 0.0)
        return jnp.mean(self.rho * jnp.square(excess) + multiplier * excess)

    def _next_multiplier(self, squared: jax.Array, multiplier: jax.Array) -> jax.Array:
        excess = jnp.mean(_excess(jax.lax.stop_gradient(squared)))
        moved = (multiplier + self.multiplier_rate * excess).astype(multiplier.dtype)
        return jnp.maximum(moved, 0.0) if self.kind == "ali" else moved


def _excess(squared: jax.Array) -> jax.Array:
    return jnp.sqrt(squared + 1e-12) - 1.0


def _devices() -> int:
    return parallel.gather_batch(jnp.zeros(1)).shape[0]


def _share(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """This device's part of rows held by all, equally many on each; which are no repeats."""
    n = rows.shape[0]
    index = parallel.local_index(-(-n // _devices()))
    return rows[jnp.minimum(index, n - 1)], index < n


def _steepest(points: jax.Array, squared: jax.Array, count: int) -> jax.Array:
    """The `count` points of all devices with the largest `squared`, steepest first."""
    values, index = jax.lax.top_k(squared, min(count, squared.shape[0]))
    values, rows = parallel.gather_batch(values), parallel.gather_batch(points[index])
    return rows[jax.lax.top_k(values, count)[1]]


# ---------------------------------------------------------------- bounds by normalised layers


def product_of_gains(gains: Any) -> jax.Array:
    """`prod |g|` over all entries of a pytree of gains, scalar; computed in log-space.

    With spectrally normalised layers times trainable gains and 1-Lipschitz activations between
    them it bounds the network's Lipschitz constant. Where a gain is 0 so is the gradient (a
    subgradient).
    """
    return jnp.exp(_log_product(gains))


def lipschitz_bound_penalty(gains: Any, weight: float = 1.0) -> jax.Array:
    """`weight * (prod |g|)^2`: the squared bound of `product_of_gains` in place of `k(f)^2`."""
    return weight * jnp.exp(2.0 * _log_product(gains))


def _log_product(gains: Any) -> jax.Array:
    entries = jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(gains)])
    zero = entries == 0.0
    # The inner `where` keeps 0 * inf out of the gradient of the logarithm at 0.
    logs = jnp.log(jnp.abs(jnp.where(zero, 1.0, entries)))
    return jnp.sum(jnp.where(zero, -jnp.inf, logs))
