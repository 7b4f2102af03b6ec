"""Pairs of two-dimensional distributions on which critics are studied without a generator.

Every row holds one real point "x" and one fake point "fake", drawn independently of each other:
the synthetic cases of Lipschitz generative adversarial nets (Zhou et al. 2019) and of their
public code, and sets of atoms for which the best critic is known in closed form.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, vector_dataset
from gmkit.data.spec import DataError

Sampler = Callable[[np.random.Generator, int], np.ndarray]

_LEFT, _RIGHT = (-1.0, 0.0), (1.0, 0.0)
_LATTICE = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 2, indexing="ij"), -1).reshape(-1, 2)
# The 16 of 5 x 5 lattice points that lie on the edge of the square of half-width 0.5.
_EDGE = 0.5 * _LATTICE[np.abs(_LATTICE).max(axis=1) == 1] + _LEFT


def _square(half_width: float, centre: tuple[float, float]) -> Sampler:
    """Uniform on a square."""
    return lambda rng, n: half_width * rng.uniform(-1, 1, (n, 2)) + centre


def _normal(centre: tuple[float, float], std: float) -> Sampler:
    """Isotropic Gaussian."""
    return lambda rng, n: std * rng.standard_normal((n, 2)) + centre


def _atoms(points: np.ndarray) -> Sampler:
    """Points of equal weight: each stands in every `len(points)`-th row, in random order."""
    return lambda rng, n: points[rng.permutation(n) % len(points)]


def _mix(weight: float, first: Sampler, second: Sampler) -> Sampler:
    """`weight` of the first and `1 - weight` of the second."""

    def sample(rng: np.random.Generator, n: int) -> np.ndarray:
        chosen = rng.random((n, 1)) < weight
        return np.where(chosen, first(rng, n), second(rng, n))

    return sample


def _roll(rng: np.random.Generator, n: int) -> np.ndarray:
    """The spiral `a (cos a, sin a) / (4.5 pi)`, a uniform on [1.5 pi, 4.5 pi]: radius at most 1."""
    angle = rng.uniform(1.5 * math.pi, 4.5 * math.pi, (n, 1))
    return angle * np.concatenate([np.cos(angle), np.sin(angle)], axis=1) / (4.5 * math.pi)


def _noisy_roll(rng: np.random.Generator, n: int) -> np.ndarray:
    return _roll(rng, n) + rng.standard_normal((n, 2))


def _five_pairs() -> tuple[np.ndarray, np.ndarray]:
    # The legacy generator is frozen: these numbers are the same in every release of NumPy.
    rng = np.random.RandomState(3)
    real = (rng.rand(5, 2) - 0.5) * 2
    return real, (rng.rand(5, 2) - 0.5) * 2


_CASE_4_FIXED = (np.array([(0.8, 0.5), (-0.8, -0.5)]), np.array([(-0.8, 0.5), (0.8, -0.5)]))

#: Fixed atoms, `(real (n, 2), fake (n, 2))`. Those of case 6 are equally far from one another:
#: the direction of the best critic's gradient is not defined at its fakes.
ATOMS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "case6": (np.array([(0.5, 0.5), (-0.5, -0.5)]), np.array([(-0.5, 0.5), (0.5, -0.5)])),
    "two_atoms": (np.array([_RIGHT]), np.array([_LEFT])),
    "five_pairs": _five_pairs(),
}

_SAMPLERS: dict[str, tuple[Sampler, Sampler]] = {
    "case1": (_square(0.5, _RIGHT), _mix(0.2, _atoms(_EDGE), _square(0.25, _LEFT))),
    "case1_1": (_square(0.5, _RIGHT), _square(0.5, _LEFT)),
    "case2": (
        _mix(0.2, _square(0.5, _LEFT), _square(0.5, _RIGHT)),
        _mix(0.8, _square(0.5, _LEFT), _square(0.5, _RIGHT)),
    ),
    "case3": (
        _mix(0.5, _normal((1.0, 0.0), 0.15), _normal((-1.25, 0.0), 0.15)),
        _normal((-0.75, 0.0), 0.15),
    ),
    "case3_3": (_normal(_RIGHT, 0.15), _normal(_LEFT, 0.15)),
    "case5": (_roll, _noisy_roll),
}

#: Names of the pairs, each with one line about it.
CASES: dict[str, str] = {
    "case1": "real: a square on the right; fake: a smaller one on the left and atoms around it",
    "case1_1": "real and fake: two equal squares, apart",
    "case2": "real and fake: the same two squares with weights 0.2, 0.8 and 0.8, 0.2",
    "case3": "real: two Gaussians; fake: one Gaussian between them",
    "case3_3": "real and fake: two equal Gaussians, apart",
    "case4": "real and fake: equally many random atoms each (data.atoms; 0: two fixed ones)",
    "case5": "real: a swiss roll; fake: a swiss roll with unit noise",
    "case6": "real and fake: two atoms each, the corners of a square",
    "two_atoms": "real: the point (1, 0); fake: the point (-1, 0)",
    "five_pairs": "real and fake: five fixed atoms each, Wasserstein-1 distance 0.52184",
}


def atoms_of(name: str, *, atoms: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Real and fake atoms of a discrete pair, each float64 `(n, 2)`, all of equal weight.

    Args:
      name: "case4" or one of `ATOMS`.
      atoms: for case4, how many; uniform in [-1, 1] squared. 0 gives the reals (0.8, 0.5),
        (-0.8, -0.5) and the fakes (-0.8, 0.5), (0.8, -0.5).
      seed: for case4, the seed they are drawn by.

    Raises:
      DataError: a pair that is not discrete.
    """
    if name == "case4":
        if atoms == 0:
            return _CASE_4_FIXED
        real, fake = np.random.default_rng([seed, 2]).uniform(-1, 1, (2, atoms, 2))
        return real, fake
    if name not in ATOMS:
        raise DataError(f"name={name!r} is not a set of atoms; choose {', '.join(ATOMS)} or case4")
    return ATOMS[name]


def decode_pair(raw: Mapping[str, jax.Array], key: jax.Array | None = None) -> dict[str, jax.Array]:
    """Real rows "x" and fake rows "fake" as they are, in float32. The key is not used."""
    return {name: jnp.asarray(raw[name], jnp.float32) for name in ("x", "fake")}


def case(
    name: str, *, n_train: int = 20_000, n_test: int = 20_000, seed: int = 0, atoms: int = 5
) -> Dataset:
    """Rows of a pair: "x" real and "fake" fake, both float32 `(N, 2)`.

    Train and test are independent draws; real and fake points of a row are independent.

    Args:
      name: one of `CASES`.
      n_train: rows to train on.
      n_test: rows to test on.
      seed: seed of the draws, non-negative.
      atoms: for case4, the number of atoms; see `atoms_of`.
    """
    if name in _SAMPLERS:
        samplers = _SAMPLERS[name]
    else:
        real, fake = atoms_of(name, atoms=atoms, seed=seed)
        samplers = _atoms(real), _atoms(fake)

    def draw(stream: int, n: int) -> ArraySplit:
        rng = np.random.default_rng([seed, stream])
        points = {key: sample(rng, n) for key, sample in zip(("x", "fake"), samplers, strict=True)}
        return ArraySplit({key: x.astype(np.float32) for key, x in points.items()})

    dataset = vector_dataset(name, draw(0, n_train), draw(1, n_test), 2)
    return dataclasses.replace(dataset, decode=decode_pair)
