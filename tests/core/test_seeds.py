"""Many runs at once: each is what it would have been alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit.core import (
    Evaluation,
    Hook,
    Method,
    create,
    finish_step,
    over_seeds,
    run_of,
    step_key,
    update,
)

TX = optax.sgd(0.1)


def regression():
    """Noisy steps towards the mean of the batches."""

    def init(key, batch):
        start, run = jax.random.split(key)
        params = {"net": jax.random.normal(start, batch["x"].shape[1:])}
        return create(run, params, {"net": TX}, ema=("net",), memory=jnp.zeros((), jnp.int32))

    def step(state, batch):
        noise = jax.random.normal(step_key(state, "noise"), state.params["net"].shape)
        gradient = state.params["net"] - jnp.mean(batch["x"], axis=(0, 1)) + noise
        state = update(state, "net", gradient, TX)
        state = dataclasses.replace(state, memory=state.memory + 1)
        return finish_step(state), {"norm": jnp.linalg.norm(gradient)}

    def evaluate(state, dataset, key):
        size = float(jnp.linalg.norm(state.params["net"]))
        only = {f"only_{int(size * 1e6)}": 1.0} if dataset is None else {}
        numbers = {"size": size, "size_std": 0.5, **only}
        return Evaluation(numbers, {"how": "norm"}, {"rows": [{"size": size}]})

    return Method(
        name="regression",
        init=init,
        step=step,
        evaluate=evaluate,
        sample=lambda state, key, n: state.params["net"] + jax.random.normal(key, (n, 3)),
        figures=lambda state, dataset, key: {},
        batches_per_step=2,
        decode=lambda state, z: z + state.params["net"],
    )


def test_every_run_is_what_it_would_be_alone():
    one, n = regression(), 3
    many = over_seeds(one, n)
    assert many.batches_per_step == 6
    x = jax.random.normal(jax.random.key(1), (6, 4, 3))
    state = jax.jit(many.init)(jax.random.key(0), {"x": x[0]})
    alone = [run_of(state, i) for i in range(n)]
    assert len({float(s.params["net"][0]) for s in alone}) == n, "each starts for itself"
    for _ in range(3):
        state, metrics = jax.jit(many.step)(state, {"x": x})
        seen = []
        for i in range(n):
            alone[i], found = one.step(alone[i], {"x": x[2 * i : 2 * i + 2]})
            seen.append(float(found["norm"]))
        assert float(metrics["norm"]) == pytest.approx(np.mean(seen), rel=1e-6)
    assert int(state.step) == 3 and int(run_of(state, 1).memory) == 3
    for i in range(n):
        np.testing.assert_allclose(
            run_of(state, i).params["net"], alone[i].params["net"], rtol=1e-6
        )


def test_numbers_are_means_with_spreads_and_a_row_per_run():
    many = over_seeds(regression(), 4)
    state = many.init(jax.random.key(0), {"x": jnp.zeros((4, 3))})
    found = many.evaluate(state, None, jax.random.key(1))
    sizes = [float(jnp.linalg.norm(p)) for p in state.params["net"]]
    assert found.metrics["size"] == pytest.approx(np.mean(sizes))
    assert found.metrics["size_over_seeds"] == pytest.approx(np.std(sizes, ddof=1))
    assert [row["size"] for row in found.tables["seeds"]] == pytest.approx(sizes)
    assert [row["run"] for row in found.tables["rows"]] == [0, 1, 2, 3]
    assert found.metrics["size_std"] == 0.5, "a name that ends alike is another number"
    assert not any(name.startswith("only") for name in found.metrics), "not in every run"
    assert any(name.startswith("only") for name in found.tables["seeds"][0])
    assert found.provenance == {"how": "norm", "seeds": 4}
    z = jnp.zeros(3)
    np.testing.assert_array_equal(many.decode(state, z), state.params["net"][0])


@pytest.mark.parametrize(("n", "hooks"), [(0, ()), (2, (Hook(1, lambda s, d: (s, {})),))])
def test_what_cannot_be_mapped_is_refused(n, hooks):
    with pytest.raises(ValueError, match=f"seeds={n}"):
        over_seeds(regression()._replace(hooks=hooks), n)
