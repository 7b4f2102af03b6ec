"""Shuffling without state: the rows of batch t are a pure function of (seed, t).

Every epoch has its own keyed bijection of {0 .. n-1}: an alternating Feistel network on the
bits of n - 1 with xor-shift-multiply mixing in 32-bit integers, and cycle-walking for the
values from n on (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). No
permutation is stored, so that a run resumes at any step and any process computes its own
rows. The NumPy and the JAX version run the same integer arithmetic and agree bit for bit.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.data.spec import DataError

# Six rounds leave rows of data sets smaller than about 30 measurably uneven over the epochs.
ROUNDS = 12
_GOLDEN = 0x9E3779B9  # 2**32 / golden ratio: spreads consecutive round numbers
_WORD = 0xFFFFFFFF


def _mix(x: Any) -> Any:
    """A bijection of uint32 in which every input bit moves every output bit."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _divmod_product(xp: ModuleType, step: Any, m: int, n: int) -> tuple[Any, Any]:
    """`divmod(step * m, n)` in uint32 although the product may need 62 bits.

    Long division over the digits of `step` in the largest base for which the running
    remainder (< n < 2**31) times the base still fits; the quotient is taken modulo 2**32.
    """
    bits = 32 - n.bit_length()
    m_quotient, m_remainder = (np.uint32(part) for part in divmod(m, n))
    divisor = np.uint32(n)
    quotient = remainder = xp.zeros_like(step)
    for shift in reversed(range(0, 31, bits)):
        digit = (step >> shift) & np.uint32((1 << bits) - 1)
        carried, added = remainder << bits, digit * m_remainder
        quotient = (quotient << bits) + digit * m_quotient + carried // divisor + added // divisor
        remainder = carried % divisor + added % divisor
        quotient = quotient + remainder // divisor
        remainder = remainder % divisor
    return quotient, remainder


def _epoch_key(seed: int, epoch: Any) -> Any:
    """Key of the permutation that each element belongs to, from (seed, epoch)."""
    seed = seed % 2**64
    low, high = np.array([[seed & _WORD]], np.uint32), np.array([[seed >> 32]], np.uint32)
    return _mix(epoch + np.uint32(_GOLDEN)) ^ _mix(_mix(low) ^ high)


def _feistel(value: Any, key: Any, bits: int) -> Any:
    """A keyed bijection of {0 .. 2**bits - 1}: the halves are changed in turn."""
    low_bits = bits // 2
    low_mask, high_mask = (np.uint32((1 << b) - 1) for b in (low_bits, bits - low_bits))
    low, high = value & low_mask, value >> low_bits
    for r in range(ROUNDS):
        round_key = _mix(key + np.uint32((r + 1) * _GOLDEN & _WORD))
        if r % 2 == 0:
            high = high ^ (_mix(low ^ round_key) & high_mask)
        else:
            low = low ^ (_mix(high ^ round_key) & low_mask)
    return (high << low_bits) | low


def _walk(xp: ModuleType, value: Any, key: Any, n: int) -> Any:
    """The bijection of {0 .. n-1}: apply that of the next power of two until inside again."""
    bits = (n - 1).bit_length()
    if n == 1 << bits:
        return _feistel(value, key, bits)
    limit = np.uint32(n)

    def walk(state: tuple[Any, Any]) -> tuple[Any, Any]:
        value, outside = state
        value = xp.where(outside, _feistel(value, key, bits), value)
        return value, value >= limit

    state = (value, xp.ones_like(value, dtype=bool))
    if xp is jnp:
        return jax.lax.while_loop(lambda state: jnp.any(state[1]), walk, state)[0]
    while state[1].any():
        state = walk(state)
    return state[0]


def _rows(xp: ModuleType, seed: int, step: Any, batches: int, batch_size: int, n: int) -> Any:
    for name, size in (("batches", batches), ("batch_size", batch_size), ("n", n)):
        if size < 1:
            raise DataError(f"{name}={size}: must be at least 1")
    m = batches * batch_size
    if max(n, m) >= 2**31:
        raise DataError(f"n={n}, batches * batch_size={m}: both must stay below 2**31")
    step = xp.asarray(step).astype(xp.uint32).reshape(1, 1)
    epoch, offset = _divmod_product(xp, step, m, n)
    position = offset + xp.arange(m, dtype=xp.uint32).reshape(batches, batch_size)
    epoch = epoch + position // np.uint32(n)
    rows = _walk(xp, position % np.uint32(n), _epoch_key(seed, epoch), n)
    return rows.astype(xp.int32)


def indices(seed: int, step: int | jax.Array, batches: int, batch_size: int, n: int) -> jax.Array:
    """Rows of the global batches that step `step` consumes, int32 `(batches, batch_size)`.

    Position `p = (step * batches + k) * batch_size + b` of the run holds row
    `permutation_e(p mod n)` of epoch `e = p // n`, so that every epoch visits each row exactly
    once and a batch may straddle epochs. Exact for every non-negative int32 step.

    Args:
      seed: any integer (taken modulo 2**64); static.
      step: completed steps, int or int32 scalar; may be traced.
      batches: minibatches per step.
      batch_size: rows per global minibatch.
      n: rows of the data set, below 2**31.

    Raises:
      DataError: a size below 1, or too large for 32-bit positions.
    """
    return _rows(jnp, seed, step, batches, batch_size, n)


def host_indices(seed: int, step: int, batches: int, batch_size: int, n: int) -> np.ndarray:
    """`indices` in NumPy, with the same result."""
    return _rows(np, seed, step, batches, batch_size, n)


def permutation(seed: int, n: int) -> np.ndarray:
    """The order of epoch 0, int32 `(n,)`: a keyed permutation that no library version changes."""
    return host_indices(seed, 0, 1, n, n)[0]
