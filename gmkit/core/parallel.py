"""The one place that talks to devices: meshes, compiled steps, and reductions over a mapped axis.

A step is written once, in the view "my batch is whatever I was given". Where a quantity must
run over the whole batch it uses the reductions of this module; they are plain reductions in
the global view (`jit`) and collectives where an axis named "data" is mapped (`shard_map`,
`pmap`, `vmap`). With `check_vma=False` the transpose of `psum` is `psum`, so the gradient of
a device's loss is that of the sum of all devices' losses, and the mean over devices that
`core.state.update` takes is the gradient of the global loss in every view.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any
Strategy = Literal["jit", "pmap", "jax_pmap", "vmap"]
DATA_AXIS = "data"

# ---------------------------------------------------------------- reductions over the batch


def axis_bound(name: str = DATA_AXIS) -> bool:
    """Whether a mapped axis of this name surrounds the caller (pmap, shard_map, named vmap)."""
    try:
        jax.lax.axis_index(name)
    except NameError:
        return False
    return True


def mean_over_devices(tree: PyTree) -> PyTree:
    """Mean of every leaf over the mapped device axis; the identity where there is none."""
    return jax.lax.pmean(tree, DATA_AXIS) if axis_bound() else tree


def batch_mean(x: jax.Array, axis: int | tuple[int, ...] | None = None) -> jax.Array:
    """Mean over `axis` (default: all) and over devices."""
    return mean_over_devices(jnp.mean(x, axis=axis))


def batch_max(x: jax.Array) -> jax.Array:
    """Maximum over the whole batch, on every device; gradients do not pass."""
    largest = jax.lax.stop_gradient(jnp.max(x))
    return jax.lax.pmax(largest, DATA_AXIS) if axis_bound() else largest


def batch_log_mean_exp(x: jax.Array) -> jax.Array:
    """`log mean exp(x)` over the whole batch and all devices, safe for large `|x|`."""
    shift = batch_max(x)
    shift = jnp.where(jnp.isfinite(shift), shift, 0.0)
    return shift + jnp.log(batch_mean(jnp.exp(x - shift)))


def local_index(n: int) -> jax.Array:
    """Positions in the global batch of this device's `n` rows, int32 `(n,)`."""
    offset = jax.lax.axis_index(DATA_AXIS) * n if axis_bound() else 0
    return offset + jnp.arange(n, dtype=jnp.int32)


def example_keys(key: jax.Array, n: int) -> jax.Array:
    """One PRNG key per row, `(n,)`, by position in the global batch.

    The numbers drawn for an example therefore do not depend on how many devices share the batch.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, local_index(n))


def example_normal(key: jax.Array, n: int, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal noise `(n, *shape)`, keyed per example."""
    return jax.vmap(lambda k: jax.random.normal(k, shape))(example_keys(key, n))


def example_uniform(key: jax.Array, n: int, shape: tuple[int, ...]) -> jax.Array:
    """Uniform noise on [-1, 1], `(n, *shape)`, keyed per example."""
    draw = lambda k: jax.random.uniform(k, shape, minval=-1.0)
    return jax.vmap(draw)(example_keys(key, n))


def gather_batch(x: jax.Array) -> jax.Array:
    """All devices' rows in global order, on every device; the identity where no axis is mapped."""
    return jax.lax.all_gather(x, DATA_AXIS, tiled=True) if axis_bound() else x


# ---------------------------------------------------------------- meshes and shardings


def make_mesh(devices: int | None = None, model: int = 1) -> Mesh:
    """Mesh with axes ("data", "model"), both Auto.

    Args:
      devices: how many devices to use (default: all, of every process).
      model: size of the "model" axis.

    Raises:
      ValueError: more devices asked for than there are, or a size that `model` does not divide.
    """
    available = jax.devices()
    n = len(available) if devices is None else devices
    if not 1 <= n <= len(available):
        raise ValueError(
            f"devices={n}: this machine has {len(available)} ({available[0].platform})"
        )
    if n % model:
        raise ValueError(f"devices={n} cannot be split over a model axis of {model}")
    return jax.make_mesh(
        (n // model, model),
        (DATA_AXIS, "model"),
        axis_types=(AxisType.Auto,) * 2,
        devices=available[:n],
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, leading: int = 1) -> NamedSharding:
    """Sharding of a batch whose example axis comes after `leading` other axes."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * leading, DATA_AXIS))


def state_sharding(
    abstract_state: PyTree, mesh: Mesh, fsdp: bool = False, min_size: int = 4096
) -> PyTree:
    """Sharding of every leaf of a state: replicated, or (FSDP) split over "data".

    With `fsdp`, a leaf of at least `min_size` elements is split along its largest dimension
    that the axis size divides; parameters and optimiser moments follow the same rule.
    """
    n = mesh.shape[DATA_AXIS]

    def leaf(x: Any) -> NamedSharding:
        divisible = [d for d, size in enumerate(x.shape) if size % n == 0 and size >= n]
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        if not fsdp or is_key or math.prod(x.shape) < min_size or not divisible:
            return replicated(mesh)
        largest = max(divisible, key=lambda d: x.shape[d])
        return NamedSharding(mesh, PartitionSpec(*(None,) * largest, DATA_AXIS))

    return jax.tree.map(leaf, abstract_state)


def init_state(
    init: Callable[..., PyTree], mesh: Mesh, key: jax.Array, batch: PyTree, fsdp: bool = False
) -> PyTree:
    """Runs `init(key, batch)` compiled, so that large states are born sharded.

    A leaf may not share its buffer with another one (the state is donated); `init` compiled
    as one program with its own outputs guarantees that.
    """
    shardings = state_sharding(jax.eval_shape(init, key, batch), mesh, fsdp)
    return jax.jit(init, out_shardings=shardings)(key, batch)


def put_batch(local: PyTree, mesh: Mesh, leading: int = 1) -> PyTree:
    """Global device arrays from this process's rows of a batch; asynchronous."""
    sharding = batch_sharding(mesh, leading)
    if jax.process_count() == 1:
        return jax.device_put(local, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), local)


def put_replicated(tree: PyTree, mesh: Mesh) -> PyTree:
    """The same host arrays on every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))


# ---------------------------------------------------------------- compiled steps

Step = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]


def over_devices(
    step: Step, mesh: Mesh, strategy: Strategy = "jit", virtual_devices: int = 4
) -> Step:
    """`step` in the view that `strategy` names, as a traceable function of a global batch.

    Batches have leaves `(K, B, ...)`; axis 1 is split.

    Args:
      step: `(state, batch) -> (state, metrics)`.
      mesh: the mesh to run on.
      strategy: "jit" (global view), "pmap" (per-device view, as `shard_map`),
        "jax_pmap" (`jax.pmap` itself) or "vmap" (per-device view on one device, for tests).
      virtual_devices: number of shares for "vmap".

    Raises:
      ValueError: unknown strategy.
    """

    def averaged(state: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
        state, metrics = step(state, batch)
        return state, mean_over_devices(metrics)

    def split(batch: PyTree, n: int) -> PyTree:
        return jax.tree.map(
            lambda x: x.reshape(x.shape[0], n, x.shape[1] // n, *x.shape[2:]), batch
        )

    if strategy == "jit":
        return step
    if strategy == "pmap":
        return jax.shard_map(
            averaged,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(None, DATA_AXIS)),
            out_specs=(PartitionSpec(), PartitionSpec()),
            check_vma=False,
        )
    if strategy == "jax_pmap":
        n = mesh.shape[DATA_AXIS]
        devices = list(mesh.devices.reshape(-1)[:n])
        mapped = jax.pmap(
            averaged, axis_name=DATA_AXIS, in_axes=(None, 1), out_axes=(None, None), devices=devices
        )
        return lambda state, batch: mapped(state, split(batch, n))
    if strategy == "vmap":
        mapped = jax.vmap(averaged, in_axes=(None, 1), out_axes=None, axis_name=DATA_AXIS)
        return lambda state, batch: mapped(state, split(batch, virtual_devices))
    raise ValueError(f"strategy={strategy!r}: choose jit, pmap, jax_pmap or vmap")


def scan_steps(step: Step, n: int, unroll: bool = False) -> Step:
    """`n` steps in one call, over batches with one more leading axis; metrics are their means."""

    def many(state: PyTree, batches: PyTree) -> tuple[PyTree, PyTree]:
        state, metrics = jax.lax.scan(step, state, batches, length=n, unroll=n if unroll else 1)
        return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    return many


def compile_step(
    step: Step,
    mesh: Mesh,
    strategy: Strategy = "jit",
    *,
    state_shardings: PyTree | None = None,
    fetch: Callable[[PyTree, jax.Array], PyTree] | None = None,
    steps_per_call: int = 1,
    unroll: bool = False,
    donate: bool = True,
) -> Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]:
    """The compiled, donating training call `(state, data) -> (state, metrics)`.

    Args:
      step: `Method.step`.
      mesh: from `make_mesh`.
      strategy: see `over_devices`.
      state_shardings: from `state_sharding` (default: replicated).
      fetch: `(data, step) -> batch`, for data that live on the devices: the call then takes the
        whole data set and gathers its own batches. Without it the call takes batches with
        leaves `(K, B, ...)`, or `(steps_per_call, K, B, ...)` for more than one step.
      steps_per_call: steps scanned in one call; metrics are averaged over them.
      unroll: unroll that scan (on CPU a convolution's gradient runs slower inside a loop).
      donate: reuse the state's buffers; the argument is then deleted.

    Raises:
      ValueError: FSDP shardings with a per-device strategy, or a strategy that cannot be
        combined with the other arguments.
    """
    sharded = state_shardings is not None and any(
        not s.is_fully_replicated for s in jax.tree.leaves(state_shardings)
    )
    if sharded and strategy != "jit":
        raise ValueError(
            f"strategy={strategy!r} keeps the whole state on every device: fsdp needs 'jit'"
        )
    if strategy == "jax_pmap":
        if fetch is not None or steps_per_call > 1:
            raise ValueError(
                "strategy='jax_pmap' takes host batches, one step a call; use strategy='pmap'"
            )
        return over_devices(step, mesh, strategy)

    inner = over_devices(step, mesh, strategy)
    leading = 1
    if fetch is not None:
        sharding = batch_sharding(mesh)

        def fetched(state: PyTree, data: PyTree) -> tuple[PyTree, PyTree]:
            batch = jax.lax.with_sharding_constraint(fetch(data, state.step), sharding)
            return inner(state, batch)

        def fetched_steps(state: PyTree, data: PyTree) -> tuple[PyTree, PyTree]:
            return scan_steps(lambda s, _: fetched(s, data), steps_per_call, unroll)(state, None)

        call: Step = fetched if steps_per_call == 1 else fetched_steps

        data_sharding: NamedSharding = replicated(mesh)
    else:
        if steps_per_call > 1:
            inner, leading = scan_steps(inner, steps_per_call, unroll), 2
        call = inner
        data_sharding = batch_sharding(mesh, leading)

    state_sh = replicated(mesh) if state_shardings is None else state_shardings
    return jax.jit(
        call,
        in_shardings=(state_sh, data_sharding),
        out_shardings=(state_sh, replicated(mesh)),
        donate_argnums=(0,) if donate else (),
    )


# ---------------------------------------------------------------- processes


def initialize(distributed: str = "off") -> None:
    """Joins a multi-process run, before any device is touched.

    Args:
      distributed: "off", "auto" (TPU pods, SLURM, Kubernetes), or "host:port,n_processes,index".

    Raises:
      ValueError: a value of another form.
    """
    if distributed == "off":
        return
    if distributed == "auto":
        jax.distributed.initialize()
        return
    try:
        address, n, index = distributed.split(",")
        n_processes, process_id = int(n), int(index)
    except ValueError as error:
        raise ValueError(
            f"--distributed={distributed!r}: use off, auto or host:port,n_processes,index"
        ) from error
    jax.distributed.initialize(
        address, num_processes=n_processes, process_id=process_id, heartbeat_timeout_seconds=30
    )


def is_main_process() -> bool:
    """Whether this process writes logs and pictures."""
    return jax.process_index() == 0
