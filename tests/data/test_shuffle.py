"""The stateless shuffle: a bijection in every epoch, the same on host and device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data
from gmkit.data.shuffle import _divmod_product

SIZES = (1, 2, 3, 5, 8, 1797, 60_000)


@pytest.mark.parametrize("n", SIZES)
def test_every_epoch_visits_each_row_once(n: int) -> None:
    epochs = data.host_indices(7, 3, 2, n, n)  # epochs 6 and 7, one batch each
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(n), (2, 1)))
    if n > 8:
        assert (epochs[0] != epochs[1]).mean() > 0.99


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1797])
def test_batches_may_straddle_epochs(n: int) -> None:
    batches, batch_size, epochs = 3, 7, 21
    rows = [data.host_indices(0, t, batches, batch_size, n).reshape(-1) for t in range(n)]
    stream = np.concatenate(rows)  # n steps of 21 rows are 21 epochs
    per_epoch = np.sort(stream.reshape(epochs, n), axis=1)
    np.testing.assert_array_equal(per_epoch, np.tile(np.arange(n), (epochs, 1)))


@pytest.mark.parametrize("n", SIZES)
def test_device_and_host_agree_with_a_traced_step(n: int) -> None:
    compiled = jax.jit(lambda step: data.indices(3, step, 5, 16, n))
    for step in (0, 1, 37, 2**31 - 1):
        device = compiled(jnp.int32(step))
        assert device.dtype == jnp.int32 and device.shape == (5, 16)
        np.testing.assert_array_equal(device, data.host_indices(3, step, 5, 16, n))


def test_pure_function_of_seed_and_step() -> None:
    first = data.host_indices(1, 4, 2, 64, 1797)
    np.testing.assert_array_equal(first, data.host_indices(1, 4, 2, 64, 1797))
    for seed in (2, -1, 1 + 2**32, 2**63):
        assert (first != data.host_indices(seed, 4, 2, 64, 1797)).mean() > 0.9
    assert data.indices(1, 4, 2, 64, 1797).dtype == jnp.int32


def test_the_order_never_changes() -> None:
    # Published splits and resumed runs depend on these very numbers.
    np.testing.assert_array_equal(data.permutation(0, 10), PINNED)


PINNED = [6, 1, 2, 7, 8, 4, 0, 5, 9, 3]


@pytest.mark.parametrize("n", [1, 2, 3, 60_000, 1_281_167, 2**30, 2**31 - 1])
@pytest.mark.parametrize("m", [1, 640, 131_071, 2**31 - 1])
def test_positions_are_exact_beyond_32_bits(n: int, m: int) -> None:
    for step in (0, 1, 12_345_678, 2**31 - 1):
        quotient, remainder = _divmod_product(np, np.full((1, 1), step, np.uint32), m, n)
        exact = divmod(step * m, n)
        assert (int(quotient[0, 0]), int(remainder[0, 0])) == (exact[0] % 2**32, exact[1])


@pytest.mark.parametrize("n", [2, 3, 5, 7, 17])
def test_rows_are_uniform_over_epochs(n: int) -> None:
    epochs = 20_000
    stream = data.host_indices(11, 0, epochs, n, n)
    counts = np.stack([np.bincount(stream[:, place], minlength=n) for place in range(n)])
    chi2 = ((counts - epochs / n) ** 2 / (epochs / n)).sum()
    freedom = (n - 1) ** 2
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)


def test_neighbours_are_unrelated() -> None:
    order = data.permutation(5, 60_000).astype(np.float64)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(order, np.arange(60_000))[0, 1]) < 0.02


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 2**31), (2**16,) * 3])
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(data.DataError):
        data.host_indices(0, 0, *sizes)
