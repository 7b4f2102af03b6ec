"""Losses of a critic and a generator that play against each other.

A critic `f` scores examples, `(n, ...)` -> `(n,)`, HIGH on real data; where a probability is
meant the score is its logit. `phi` is the critic's loss on a fake, `varphi` on a real example,
`psi` the generator's loss on a fake:

    critic     min_f  E_fake phi(f) + E_real varphi(f)
    generator  min_g  E_fake psi(f)

Losses take scores `(n,)` and return a scalar; means run over the whole batch and all devices.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import parallel
from gmkit.objectives.generalized_likelihood import safe_exp

#: A function of scores, entry by entry.
Pointwise = Callable[[jax.Array], jax.Array]
#: `(real scores (n,), fake scores (m,))` -> scalar.
Loss = Callable[[jax.Array, jax.Array], jax.Array]


class Game(NamedTuple):
    """The two players' losses.

    Attributes:
      critic_loss: `(real_scores (n,), fake_scores (m,))` -> scalar the critic minimises.
      generator_loss: same arguments; scalar the generator minimises.
      needs_real: whether `generator_loss` looks at the real scores.
      phi: the critic's loss of a fake's score, or None where it is not point-wise.
      varphi: the critic's loss of a real example's score, or None.
    """

    critic_loss: Loss
    generator_loss: Loss
    needs_real: bool
    phi: Pointwise | None
    varphi: Pointwise | None


class Condition(NamedTuple):
    """What the theory of Lipschitz GANs asks of `phi` and `varphi` (Zhou et al. 2019).

    Attributes:
      increasing: `phi' > 0` everywhere.
      decreasing: `varphi' < 0` everywhere.
      convex: both are convex.
      balanced: `phi'(a) + varphi'(a) = 0` for some a.
    """

    increasing: bool
    decreasing: bool
    convex: bool
    balanced: bool

    @property
    def holds(self) -> bool:
        """Whether all four hold."""
        return all(self)


# ---------------------------------------------------------------- point-wise losses


def identity_loss(u: jax.Array) -> jax.Array:
    """`phi(u) = u`: Wasserstein."""
    return u


def exp_loss(u: jax.Array) -> jax.Array:
    """`phi(u) = exp(u)`, continued linearly above 10 (`safe_exp`)."""
    return safe_exp(u)


def log_sigmoid_loss(u: jax.Array) -> jax.Array:
    """`phi(u) = -log sigmoid(-u)`: the cross-entropy of a logit."""
    return jax.nn.softplus(u)


def sqrt_loss(u: jax.Array) -> jax.Array:
    """`phi(u) = u + sqrt(u^2 + 1)`, as `1 / (sqrt(u^2 + 1) - u)` for negative u.

    Value and gradient `1 + u / sqrt(u^2 + 1)` keep their relative accuracy for any sign of u;
    u^2 does not overflow.
    """
    # The gradient at 0 must be that of the right branch: `jnp.abs` promises none.
    magnitude = jnp.where(u >= 0.0, u, -u)
    large = magnitude > 1e9
    root = jnp.sqrt(jnp.square(jnp.where(large, 0.0, magnitude)) + 1.0)
    total = magnitude + jnp.where(large, magnitude, root)
    return jnp.where(u >= 0.0, total, 1.0 / total)


def lsgan_loss(u: jax.Array, alpha: float = 1.0) -> jax.Array:
    """`phi(u) = (u + alpha)^2` (Mao et al. 2017)."""
    return jnp.square(u + alpha)


def hinge_loss(u: jax.Array, alpha: float = 1.0) -> jax.Array:
    """`phi(u) = max(0, u + alpha)`."""
    return jax.nn.relu(u + alpha)


#: `phi` by name; `varphi(u) = phi(-u)`. "lsgan" and "hinge" take `alpha` as second argument.
PHI: Mapping[str, Callable[..., jax.Array]] = {
    "x": identity_loss,
    "exp": exp_loss,
    "log_sigmoid": log_sigmoid_loss,
    "sqrt": sqrt_loss,
    "lsgan": lsgan_loss,
    "hinge": hinge_loss,
}

# ---------------------------------------------------------------- games from point-wise losses


def minus(u: jax.Array) -> jax.Array:
    """`psi(u) = -u`: the generator's gradient is proportional to that of the critic."""
    return -u


def flip(phi: Pointwise) -> Pointwise:
    """`u -> phi(-u)`."""
    return lambda u: phi(-u)


def condition(phi: Pointwise, varphi: Pointwise, limit: float = 80.0, n: int = 401) -> Condition:
    """Checks the condition on `phi` and `varphi` by their derivatives on a grid.

    Args:
      phi: the critic's loss on fakes, scalar to scalar.
      varphi: the critic's loss on reals.
      limit: the grid covers `[-limit, limit]`, densest around 0; what happens outside is not
        seen. (Beyond 80 the derivatives of exponentials underflow in float32.)
      n: number of grid points, odd so that 0 is one.
    """
    end = math.asinh(limit)
    with jax.ensure_compile_time_eval():
        u = jnp.asarray(np.sinh(np.linspace(-end, end, n)), jnp.float32)
        derivatives = jax.jit(lambda u: (jax.vmap(jax.grad(phi))(u), jax.vmap(jax.grad(varphi))(u)))
        d_phi, d_varphi = (np.asarray(d) for d in derivatives(u))
    total = d_phi + d_varphi
    return Condition(
        increasing=bool(np.all(d_phi > 0.0)),
        decreasing=bool(np.all(d_varphi < 0.0)),
        convex=_non_decreasing(d_phi) and _non_decreasing(d_varphi),
        balanced=bool(np.min(total) <= 0.0 <= np.max(total)),
    )


def _non_decreasing(y: np.ndarray) -> bool:
    # Rounding may lower a derivative that is constant.
    return bool(np.all(np.diff(y) >= -1e-6 * (1.0 + np.abs(y[1:]))))


def pointwise(
    phi: Pointwise, varphi: Pointwise | None = None, psi: Pointwise | None = None
) -> Game:
    """The game of point-wise losses.

    Args:
      phi: the critic's loss on fakes; maps scalars to scalars and arrays entry by entry.
      varphi: its loss on reals (default: `phi(-u)`).
      psi: the generator's loss on fakes (default: `-u`).

    Warns:
      UserWarning: `condition` fails, so that a Lipschitz penalty need not give the critic
        informative gradients; the game can still be played.
    """
    varphi = flip(phi) if varphi is None else varphi
    found = condition(phi, varphi)
    if not found.holds:
        broken = ", ".join(name for name, ok in found._asdict().items() if not ok)
        warnings.warn(
            f"phi, varphi: not {broken}; gradients of a Lipschitz critic may be uninformative",
            UserWarning,
            stacklevel=2,
        )
    return _pointwise(phi, varphi, minus if psi is None else psi)


def _pointwise(phi: Pointwise, varphi: Pointwise, psi: Pointwise) -> Game:
    def critic_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
        return parallel.batch_mean(varphi(real)) + parallel.batch_mean(phi(fake))

    def generator_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
        del real
        return parallel.batch_mean(psi(fake))

    return Game(critic_loss, generator_loss, False, phi, varphi)


# ---------------------------------------------------------------- games of whole batches


def relativistic_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """`mean softplus(-(f(real_i) - f(fake_i)))` (RpGAN, Jolicoeur-Martineau 2019).

    The generator's loss is the same with the arguments exchanged.

    Raises:
      ValueError: `real` and `fake` differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"cannot pair {real.shape} with {fake.shape}: pass equally many of both")
    return parallel.batch_mean(jax.nn.softplus(fake - real))


def relativistic_average_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Cross-entropy of scores relative to the other side's mean (RaGAN, same paper).

    `mean softplus(-(f(real) - mean f(fake))) + mean softplus(f(fake) - mean f(real))`, without
    the factor 1/2 of some code. The generator's loss is the same with the arguments exchanged.
    """
    real_part = jax.nn.softplus(parallel.batch_mean(fake) - real)
    fake_part = jax.nn.softplus(fake - parallel.batch_mean(real))
    return parallel.batch_mean(real_part) + parallel.batch_mean(fake_part)


def score_distance_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Generator's loss `|mean sigmoid(f(real)) - mean sigmoid(f(fake))|` (Tran et al. 2018).

    Generated scores are pulled to the level of the real ones from either side; at equality the
    gradient is 0.
    """
    gap = parallel.batch_mean(jax.nn.sigmoid(real)) - parallel.batch_mean(jax.nn.sigmoid(fake))
    # JAX gives `jnp.abs` the gradient 1 at 0.
    return gap * jnp.sign(gap)


# ---------------------------------------------------------------- games by name

Psi = Literal["default", "minus", "flipped"]
_FIXED = ("minimax", "non_saturating", "relativistic", "relativistic_average", "score_distance")


def game(name: str, *, alpha: float = 1.0, psi: Psi = "default") -> Game:
    """A game by name.

    | name | phi(u); varphi(u) = phi(-u) | psi by default |
    | --- | --- | --- |
    | x, wasserstein | u | -u |
    | exp | exp(u) | -u |
    | log_sigmoid | -log sigmoid(-u) | -u |
    | sqrt | u + sqrt(u^2 + 1) | -u |
    | lsgan | (u + alpha)^2 | (u - alpha)^2 |
    | hinge | max(0, u + alpha) | -u |
    | minimax | as log_sigmoid | log(1 - sigmoid(u)) |
    | non_saturating | as log_sigmoid | -log sigmoid(u) |
    | relativistic, relativistic_average | not point-wise | arguments exchanged |
    | score_distance | as log_sigmoid | distance of mean scores |

    The first four meet `condition`; lsgan and hinge do not (Zhou et al. 2019).

    Args:
      name: of the table.
      alpha: margin of lsgan and hinge, positive; other games have none.
      psi: "default" (table), "minus" (`-u`) or "flipped" (`phi(-u)`), for the first six.

    Raises:
      ValueError: unknown name or psi, `alpha <= 0`, or a psi for a game that has its own.
    """
    if psi not in ("default", "minus", "flipped"):
        raise ValueError(f"psi={psi!r}: choose default, minus or flipped")
    if not alpha > 0.0:
        raise ValueError(f"alpha={alpha}: the margin must be positive")
    if name in _FIXED:
        if psi != "default":
            raise ValueError(f"psi={psi!r}: {name!r} has its own generator's loss; use 'default'")
        return _fixed(name)
    name = "x" if name == "wasserstein" else name
    if name not in PHI:
        known = ", ".join(("wasserstein", *PHI, *_FIXED))
        raise ValueError(f"game {name!r} is unknown; choose one of {known}")
    phi = PHI[name]
    if name in ("lsgan", "hinge"):
        phi = lambda u: PHI[name](u, alpha)
    flipped = psi == "flipped" or (psi == "default" and name == "lsgan")
    return _pointwise(phi, flip(phi), flip(phi) if flipped else minus)


def _fixed(name: str) -> Game:
    phi, varphi = log_sigmoid_loss, flip(log_sigmoid_loss)
    if name == "minimax":
        return _pointwise(phi, varphi, lambda u: -phi(u))
    if name == "non_saturating":
        return _pointwise(phi, varphi, varphi)
    if name == "score_distance":
        cross_entropy = _pointwise(phi, varphi, minus)
        return cross_entropy._replace(generator_loss=score_distance_loss, needs_real=True)
    loss = relativistic_loss if name == "relativistic" else relativistic_average_loss
    return Game(loss, lambda real, fake: loss(fake, real), True, None, None)
