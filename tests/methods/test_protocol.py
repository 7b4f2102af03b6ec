"""What every method must hold to: each new one enters by one line in `METHODS`.

The settings are those of the `smoke` preset with SGD in place of every optimiser, because SGD
shows a wrongly scaled gradient that Adam would hide.
"""

import functools
import importlib
import importlib.util
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data
from gmkit.core import Method, TrainState, parallel
from gmkit.training import Checkpointer

#: Method, and changes to its smoke preset that reach other paths of it.
METHODS = [
    ("gebm", {}),
    ("gebm", {"criterion": "cd", "cd.buffer_size": 32, "cd.n_steps": 2}),
    (
        "gebm",
        {
            "base.arch": "small",
            "energy.arch": "small",
            "energy.spectral_norm": True,
            "base.width": 8,
            "energy.width": 8,
            "energy.floor": -0.5,
            "base.ema_decay": 0.9,
            "weighting": "learned_c",
            "n_critic": 2,
            "n_critic_warmup": 4,
            "warmup_every": 3,
            "noise_factor": 2,
            "log_z.rule": "adam",
        },
    ),
    ("gebm", {"criterion": "logistic", "lr_rule_every": 2}),
    (
        "gebm",
        {
            "data.name": "moons",
            "train_mode": "energy",
            "base.arch": "normal",
            "base.latent_dim": None,
            "energy.arch": "density_ratio",
            "energy.ema_decay": 0.9,
            "flows.real_nvp.n_layers": 2,
            "flows.real_nvp.hidden": (8,),
            "penalty.weight": 0.0,
            "log_z.rule": "average",
        },
    ),
    ("flow", {"ema_decay": 0.9}),
    (
        "flow",
        {"flows.real_nvp.norm": "batch_norm", "flows.real_nvp.hidden": (16,), "flow": "real_nvp"},
    ),
    (
        "flow",
        {
            "data.name": "digits",
            "data.n_train": None,
            "data.n_test": None,
            "flows.real_nvp.hidden": (8,),
            "optim.flow.learning_rate": 1e-4,
        },
    ),
    ("lgan", {}),
    (
        "lgan",
        {
            "objective": "relativistic",
            "packing": 2,
            "generator.prior": "uniform",
            "lip.kind": "one",
            "lip.reduce": "topk",
            "lip.buffer": 0.25,
            "critic.spectral_norm": True,
        },
    ),
    ("gaan", {"ema_decay": 0.9, "discriminator.spectral_norm": True}),
    (
        "gaan",
        {
            "data.name": "25grid",
            "space": "data",
            "reconstruction": "cross_entropy",
            "generator.options.output": "sigmoid",
            "regulariser": "sample",
        },
    ),
    ("robust_regression", {}),
    ("robust_stereo", {"data.n_train": 8}),
    ("gfgr", {}),
    # A smaller scale: what the device count changes in the last digit must stay there.
    ("gfgr", {"annealing": "shape", "schedules.shape.scale": 0.3}),
    # Plain gradients of narrow densities are large.
    (
        "robust_vae",
        {
            "likelihood.scale_init": 0.3,
            "optim.vae.learning_rate": 1e-4,
            "optim.likelihood.learning_rate": 1e-4,
        },
    ),
    (
        "classifier",
        {"defence.kind": "pgd", "defence.n_steps": 2, "defence.unroll": False, "crop": 1},
    ),
    ("advgan", {"goal": "all_targets", "losses.ema_decay": 0.9}),
    ("lace", {}),
    ("stylegan2", {}),
]
#: Whose steps take long to compile: all their tests are slow ones.
HEAVY = ("stylegan2",)
#: Whose samples are solutions, which a key only picks from.
SOLVERS = ("gfgr", "grcc")
BATCH = 8
SLOW = pytest.mark.slow
leaves_with_path = jax.tree_util.tree_leaves_with_path


def load_config(name, preset):
    path = Path(__file__).parents[2] / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"config_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


def build(config, dataset, given=()):
    """The method, on untrained stages where it has any."""
    stages = dict(given)
    for i, name in enumerate(config.get("stages", ())):
        stage = build(config[name], dataset, stages)
        rows = dataset.decode(dataset.train.gather(np.arange(BATCH)))
        stages[name] = (stage, jax.jit(stage.init)(jax.random.key(i), rows))
    made = importlib.import_module(f"gmkit.methods.{config.method}").build
    return made(config, dataset.spec, stages) if stages else made(config, dataset.spec)


@functools.cache
def made(index):
    """The method, its data set and one batch of a step."""
    name, changes = METHODS[index]
    config = load_config(name, "smoke")
    for player in config.get("optim", {}).values():
        player.update({"name": "sgd", "grad_transform": "none", "learning_rate": 1e-2})
    config.update_from_flattened_dict(changes)
    options = config.data.to_dict()
    dataset = data.load(options.pop("name"), **options)
    method = build(config, dataset)
    rows = np.arange(method.batches_per_step * BATCH).reshape(-1, BATCH)
    batch = jax.tree.map(np.asarray, dataset.decode(dataset.train.gather(rows)))
    return method, dataset, batch


@pytest.fixture(
    params=[
        pytest.param(i, id=f"{name}-{i}", marks=SLOW if name in HEAVY else ())
        for i, (name, _) in enumerate(METHODS)
    ]
)
def case(request):
    return made(request.param)


def started(method, batch, devices=1, fsdp=False):
    mesh = parallel.make_mesh(devices)
    example = jax.tree.map(lambda x: x[0], batch)
    return mesh, parallel.init_state(method.init, mesh, jax.random.key(3), example, fsdp)


@functools.cache
def after_three_steps(index, view):
    method, _, batch = made(index)
    strategy, devices = view.split("-")
    fsdp = strategy == "fsdp"
    mesh, state = started(method, batch, int(devices), fsdp)
    shardings = parallel.state_sharding(state, mesh, fsdp, min_size=256) if fsdp else None
    if fsdp:
        state = jax.device_put(state, shardings)
    strategy = "jit" if fsdp else strategy
    step = parallel.compile_step(method.step, mesh, strategy, state_shardings=shardings)
    for _ in range(3):
        state, metrics = step(state, batch)
    return jax.device_get(state.replace(key=jax.random.key_data(state.key))), jax.device_get(
        metrics
    )


NAMES = [name for name, _ in METHODS]
#: Every view of the first case, and the per-device view of all but those that compile longest.
LONG = ("robust_stereo", "robust_vae", "classifier", "advgan", *HEAVY)
VIEWS = [
    pytest.param(
        i, view, marks=() if i == 0 or (view == "pmap-4" and NAMES[i] not in LONG) else SLOW
    )
    for i in range(len(NAMES))
    for view in ("jit-4", "pmap-4", "vmap-1")
]


@pytest.mark.parametrize(("index", "view"), [*VIEWS, (0, "fsdp-4")])
def test_every_view_of_the_devices_gives_the_same_numbers(index, view):
    state, metrics = after_three_steps(index, "jit-1")
    other, other_metrics = after_three_steps(index, view)
    chex.assert_trees_all_close(other.params, state.params, atol=1e-6)
    chex.assert_trees_all_close(other.variables, state.variables, atol=1e-6)
    chex.assert_trees_all_close(other.memory, state.memory, atol=1e-5)
    for name, value in metrics.items():
        np.testing.assert_allclose(other_metrics[name], value, atol=1e-5, err_msg=name)


def test_is_a_method(case):
    method, dataset, batch = case
    assert isinstance(method, Method)
    state = jax.eval_shape(method.init, jax.random.key(0), jax.tree.map(lambda x: x[0], batch))
    assert isinstance(state, TrainState)
    assert {name.split("/")[0] for name in state.opt_state} <= set(state.params)
    assert set(state.ema) <= set(state.params)
    shape = jax.eval_shape(lambda s, k: method.sample(s, k, 5), state, jax.random.key(0)).shape
    assert shape == (5, *dataset.spec.domain.shape)


def test_one_trace_and_float32_scalars(case):
    method, _, batch = case
    mesh, state = started(method, batch)
    chex.clear_trace_counter()
    traced = chex.assert_max_traces(method.step, n=1)
    step = parallel.compile_step(traced, mesh)
    for expected in (1, 2, 3):
        before = state
        state, metrics = step(state, batch)
        assert int(state.step) == expected
        assert before.step.is_deleted()
    for name, value in metrics.items():
        assert value.dtype == jnp.float32 and value.shape == (), name
        assert np.isfinite(value), name


def test_every_trained_leaf_moves_and_stays_finite(case):
    method, _, batch = case
    mesh, state = started(method, batch)
    step = parallel.compile_step(method.step, mesh, donate=False)
    end = state
    for _ in range(4):
        end, _ = step(end, batch)
    for name in state.opt_state.keys() & state.params.keys():
        changed = jax.tree.map(
            lambda a, b: bool(jnp.any(a != b)), state.params[name], end.params[name]
        )
        still = {jax.tree_util.keystr(p) for p, moved in leaves_with_path(changed) if not moved}
        # The output bias shifts all energies alike; contrastive divergence cannot see it.
        assert not still or (len(still) == 1 and still.pop().endswith("['bias']")), still
        chex.assert_tree_all_finite(end.params[name])
    for name in state.ema:
        assert any(
            jax.tree.leaves(
                jax.tree.map(lambda a, b: bool(jnp.any(a != b)), end.ema[name], end.params[name])
            )
        )


def test_a_step_is_a_function_of_its_arguments(case):
    method, _, batch = case
    mesh, state = started(method, batch)
    step = parallel.compile_step(method.step, mesh, donate=False)
    first, second = step(state, batch), step(state, batch)
    data_of = lambda s: jax.device_get(s.replace(key=jax.random.key_data(s.key)))
    chex.assert_trees_all_equal(data_of(first[0]), data_of(second[0]))
    chex.assert_trees_all_equal(first[1], second[1])


def test_samples_lie_in_the_domain(case):
    method, dataset, batch = case
    _, state = started(method, batch)
    draw = jax.jit(method.sample, static_argnums=2)
    x = np.asarray(draw(state, jax.random.key(0), 6))
    assert x.dtype == np.float32 and np.isfinite(x).all()
    low, high = dataset.spec.value_range
    assert x.min() >= low and x.max() <= high
    assert np.array_equal(x, draw(state, jax.random.key(0), 6))
    if method.name not in SOLVERS:
        assert not np.array_equal(x, draw(state, jax.random.key(1), 6))
    if method.energy is not None:
        assert method.energy(state, x).shape == (6,)


def test_a_restored_state_steps_alike(case, tmp_path):
    method, _, batch = case
    mesh, state = started(method, batch)
    step = parallel.compile_step(method.step, mesh, donate=False)
    state, _ = step(state, batch)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        checkpointer.wait()
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        restored = checkpointer.restore_latest_valid(target)
    assert restored is not None and restored.step == 1
    data_of = lambda s: jax.device_get(s.replace(key=jax.random.key_data(s.key)))
    expected, found = step(state, batch), step(restored.state, batch)
    chex.assert_trees_all_equal(data_of(found[0]), data_of(expected[0]))
    chex.assert_trees_all_equal(found[1], expected[1])
