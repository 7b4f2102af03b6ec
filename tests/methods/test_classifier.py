"""What a classifier learns from: labels, a teacher's answers, examples of every kind."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import attacks, data, nets
from gmkit.core import Method, create
from gmkit.methods import classifier
from gmkit.methods.classifier.learning import interleaved, own_label_loss, random_crop

#: Of the architectures, for 28 x 28 grey images: counted from the layers.
COUNTS = {
    "a": 3_382_346,
    "b": 710_218,
    "c": 312_202,
    "c_tramer": 4_795_082,
    "madry_mnist": 3_274_634,
}


def config(**changes):
    path = Path(__file__).parents[2] / "configs" / "classifier.py"
    spec = importlib.util.spec_from_file_location("config_classifier", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.get_config("smoke")
    made.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return made


@functools.cache
def dataset():
    return data.load("digits")


def linear(seed=0):
    """A stage that classifies by one matrix."""
    weights = jax.random.normal(jax.random.key(seed), (64, 10))
    refuse = lambda *_: pytest.fail("not part of a classifier")
    logits = lambda state, x: x.reshape(len(x), -1) @ state.params["net"]
    shift = lambda state, key, x, labels: jnp.clip(x + 0.2, -1.0, 1.0)
    method = Method("linear", refuse, refuse, refuse, refuse, refuse, logits=logits, perturb=shift)
    return method, create(jax.random.key(0), {"net": weights}, {})


def batch(n=16):
    rows = dataset().decode(dataset().train.gather(np.arange(n)))
    return {name: np.asarray(a)[None] for name, a in rows.items()}


def trained(method, steps=1, rows=None):
    rows = batch() if rows is None else rows
    state = jax.jit(method.init)(jax.random.key(0), {k: v[0] for k, v in rows.items()})
    step = jax.jit(method.step)
    for _ in range(steps):
        state, metrics = step(state, rows)
    return state, metrics


@pytest.mark.parametrize(("arch", "count"), COUNTS.items())
def test_networks_have_the_published_sizes(arch, count):
    module = nets.classifier(arch, 10)
    x = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    variables = jax.eval_shape(lambda key, x: module.init(key, x, False), jax.random.key(0), x)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize("arch", ["resnet32", "wide_resnet34", "madry_cifar"])
def test_residual_networks_take_colour_images(arch):
    module = nets.classifier(arch, 10, 0.125)
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)

    def run(key, x):
        return module.init_with_output(key, x, False)

    logits, _ = jax.eval_shape(run, jax.random.key(0), x)
    assert logits.shape == (2, 10)


def test_dropout_is_of_training_alone():
    module = nets.classifier("d_tramer", 10, 0.1)
    x = jax.random.uniform(jax.random.key(0), (4, 8, 8, 1))
    variables = module.init(jax.random.key(1), x, False)
    run = lambda train, key: module.apply(
        variables, x, train, rngs={"dropout": jax.random.key(key)}
    )
    np.testing.assert_array_equal(run(False, 0), run(False, 1))
    assert not np.array_equal(run(True, 0), run(True, 1))


def test_networks_that_do_not_exist_or_fit():
    with pytest.raises(ValueError, match="classifier arch='d'"):
        nets.classifier("d", 10)
    with pytest.raises(ValueError, match="leave no pixel"):
        nets.classifier("c", 10).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), False)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=SLOW) for k in ("undefended", "fgsm", "generator")]
    + ["ensemble", "pgd"],
)
def test_every_defence_takes_steps(kind):
    made = config(defence__kind=kind, defence__n_steps=2)
    stages = {}
    if kind == "ensemble":
        made.sources, stages = ("other",), {"other": linear()}
    if kind == "generator":
        made.generator, stages = "maker", {"maker": linear()}
    _, metrics = trained(classifier.build(made, dataset().spec, stages), 2)
    assert all(np.isfinite(v) for v in metrics.values())
    assert ("accuracy/adversarial" in metrics) == (kind != "undefended")
    assert ("accuracy" in metrics) == (kind != "pgd")


def test_a_teacher_takes_the_place_of_labels_and_counts_its_answers():
    method = classifier.build(config(teacher="box"), dataset().spec, {"box": linear()})
    rows = batch()
    state, _ = trained(method, 3, rows)
    other, _ = trained(method, 3, {**rows, "label": 9 - rows["label"]})
    assert int(state.memory["queries"]) == 3 * 16
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_own_labels_hide_the_true_ones():
    logits = jnp.array([[1.0, 3.0, 2.0]])
    found = [own_label_loss(logits, jnp.array([y]))[0] for y in range(3)]
    assert found[0] == found[1] == found[2] == attacks.cross_entropy(logits, jnp.array([1]))[0]


def test_crops_are_windows_of_the_padded_image():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    padded = np.pad(np.asarray(x[0, :, :, 0]), 1)
    windows = [padded[i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    for seed in range(5):
        cut = np.asarray(random_crop(jax.random.key(seed), x, 1))[0, :, :, 0]
        assert any(np.array_equal(cut, w) for w in windows)
    rows = interleaved(jnp.array([1, 2]), jnp.array([3, 4]))
    np.testing.assert_array_equal(rows, [1, 3, 2, 4])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"defence__kind": "none"}, "defence.kind='none'"),
        ({"defence__kind": "ensemble"}, "name stages in config.sources"),
        ({"defence__kind": "generator"}, "name a stage in config.generator"),
        ({"defence__epsilon": 0.0}, "defence.epsilon=0.0"),
        ({"teacher": "nobody"}, "teacher='nobody'"),
        ({"arch": "e"}, "arch='e'"),
        ({"eval__n_images": 0}, "eval.n_images=0"),
    ],
)
def test_settings_that_make_no_classifier(changes, text):
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        classifier.build(config(**changes), dataset().spec)


@SLOW
def test_training_on_fgsm_examples_defends_against_them():
    found = {}
    for kind in ("undefended", "fgsm"):
        made = config(defence__kind=kind, defence__epsilon=0.15, width=1.0)
        made.eval.update({"n_images": 360, "n_attacked": 360, "epsilon": 0.15, "n_steps": 5})
        made.training.steps = 500
        method = classifier.build(made, dataset().spec)
        rows = dataset().examples("train")
        state = jax.jit(method.init)(jax.random.key(0), {k: v[:64] for k, v in rows.items()})
        step = jax.jit(method.step)
        for t in range(500):
            chosen = np.random.default_rng(t).integers(0, len(rows["label"]), 64)
            state, _ = step(state, {k: v[chosen][None] for k, v in rows.items()})
        found[kind] = method.evaluate(state, dataset(), jax.random.key(1)).metrics
    assert min(found[kind]["accuracy"] for kind in found) > 0.93
    assert found["fgsm"]["success_fgsm"] < found["undefended"]["success_fgsm"] - 0.3
