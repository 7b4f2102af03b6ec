"""Where a run's batches come from: a function of (seed, step), on the devices or on the host."""

from __future__ import annotations

import collections
import contextlib
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gmkit.core import parallel
from gmkit.data import host_indices, indices
from gmkit.training.settings import LoopConfig

PyTree = Any
Inputs = Generator[tuple["Call", PyTree], None, None]
PREFETCH = 2  # batches being gathered and copied while the devices work


class Call(NamedTuple):
    """One compiled call: `n` steps after `step` completed ones."""

    step: int
    n: int


class Feed(NamedTuple):
    """What the compiled calls of a run consume.

    Attributes:
      fetch: `(data, step) -> batch`, traced inside the call, or None where calls get batches.
      inputs: `calls -> iterator of (call, data)`; closing it stops its thread.
    """

    fetch: Callable[[PyTree, jax.Array], PyTree] | None
    inputs: Callable[[Iterable[Call]], Inputs]


def schedule(start: int, stop: int, steps_per_call: int) -> Iterator[Call]:
    """The calls from `start` to `stop` completed steps.

    Whole calls begin at multiples of `steps_per_call`, whatever `start` is, so that a resumed
    run makes the same calls as one that never stopped; what is left over goes step by step.
    """
    step = start
    while step < stop:
        whole = step % steps_per_call == 0 and step + steps_per_call <= stop
        call = Call(step, steps_per_call if whole else 1)
        yield call
        step += call.n


def make_feed(dataset: Any, loop: LoopConfig, batches_per_step: int, mesh: Mesh) -> Feed:
    """Batches with leaves `(batches_per_step, B, ...)`, decoded, split over the mesh."""
    make = _resident if loop.resident(dataset) else _streaming
    return make(dataset, loop, batches_per_step, mesh)


def init_batch(dataset: Any, loop: LoopConfig) -> dict[str, jax.Array]:
    """The run's first minibatch, decoded without random changes; leaves `(B, ...)`."""
    rows = host_indices(loop.seed, 0, 1, loop.batch_size, len(dataset.train))
    return dict(dataset.decode(dataset.train.gather(np.asarray(rows)[0]), None))


def _decode_step(dataset: Any, seed: int, raw: PyTree, step: jax.Array) -> PyTree:
    """Decodes one step's rows `(K, B, ...)`; the randomness is a function of (seed, step)."""
    stream = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"decode"))
    return dict(dataset.decode(raw, jax.random.fold_in(stream, step)))


def _resident(dataset: Any, loop: LoopConfig, batches_per_step: int, mesh: Mesh) -> Feed:
    data = parallel.put_replicated(dict(dataset.train.arrays), mesh)
    n = len(dataset.train)

    def fetch(data: PyTree, step: jax.Array) -> PyTree:
        rows = indices(loop.seed, step, batches_per_step, loop.batch_size, n)
        return _decode_step(dataset, loop.seed, jax.tree.map(lambda x: x[rows], data), step)

    return Feed(fetch, lambda calls: ((call, data) for call in calls))


def _streaming(dataset: Any, loop: LoopConfig, batches_per_step: int, mesh: Mesh) -> Feed:
    mine = local_rows(mesh, loop.batch_size)
    n = len(dataset.train)

    def load(call: Call) -> PyTree:
        rows = np.stack(
            [
                np.asarray(host_indices(loop.seed, step, batches_per_step, loop.batch_size, n))
                for step in range(call.step, call.step + call.n)
            ]
        )[:, :, mine]
        rows = rows[0] if call.n == 1 else rows
        return parallel.put_batch(dataset.train.gather(rows), mesh, leading=rows.ndim - 1)

    def one(raw: PyTree, step: jax.Array) -> PyTree:
        return _decode_step(dataset, loop.seed, raw, step)

    def many(raw: PyTree, step: jax.Array) -> PyTree:
        return jax.vmap(one)(raw, step + jnp.arange(jax.tree.leaves(raw)[0].shape[0]))

    # In the global view, whatever the strategy, so that an example's random changes depend on
    # its place in the global batch only.
    decode_one = jax.jit(one, out_shardings=parallel.batch_sharding(mesh, 1))
    decode_many = jax.jit(many, out_shardings=parallel.batch_sharding(mesh, 2))

    def inputs(calls: Iterable[Call]) -> Inputs:
        with contextlib.closing(prefetch(load, calls)) as loaded:
            for call, raw in loaded:
                decode = decode_one if call.n == 1 else decode_many
                yield call, decode(raw, np.int32(call.step))

    return Feed(None, inputs)


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Positions in a global batch of the rows that this process's devices hold, in order."""
    sharding = parallel.batch_sharding(mesh, 0)
    shares = sharding.addressable_devices_indices_map((batch_size,)).values()
    spans = sorted({share[0].indices(batch_size)[:2] for share in shares if share})
    return np.concatenate([np.arange(*span) for span in spans])


def prefetch(
    load: Callable[[Call], PyTree], calls: Iterable[Call], depth: int = PREFETCH
) -> Inputs:
    """`(call, load(call))` in order, loaded by one thread up to `depth` calls ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="gmkit-prefetch") as pool:
        waiting: collections.deque[tuple[Call, Any]] = collections.deque()
        try:
            for call in calls:
                waiting.append((call, pool.submit(load, call)))
                if len(waiting) > depth:
                    ready, future = waiting.popleft()
                    yield ready, future.result()
            while waiting:
                ready, future = waiting.popleft()
                yield ready, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
