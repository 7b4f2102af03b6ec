"""What the attacker promises: bounds, losses by hand, sources that imitate, any classifier."""

import functools
import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data
from gmkit.core import Method, create
from gmkit.methods import advgan


def smoke():
    path = Path(__file__).parents[2] / "configs" / "advgan.py"
    spec = importlib.util.spec_from_file_location("config_advgan", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("smoke")


@functools.cache
def dataset():
    return data.load("digits")


def linear(seed, scale=4.0):
    """A stage: a linear classifier of images in [-1, 1]."""
    weights = scale * jax.random.normal(jax.random.key(seed), (64, 10)) / 8.0
    state = create(jax.random.key(0), {"net": weights}, {}, memory={"queries": jnp.int32(7)})
    refuse = lambda *_: pytest.fail("not part of a classifier")
    logits = lambda state, x: x.reshape(len(x), -1) @ state.params["net"]
    return Method("linear", refuse, refuse, refuse, refuse, refuse, logits=logits), state


def built(changes=None, **stages):
    config = smoke()
    config.update_from_flattened_dict(changes or {})
    return advgan.build(config, dataset().spec, stages)


def batch(n=16):
    rows = dataset().decode(dataset().train.gather(np.arange(n)))
    return {name: np.asarray(a)[None] for name, a in rows.items()}


def started(method, n=16):
    return jax.jit(method.init)(jax.random.key(0), {k: v[0] for k, v in batch(n).items()})


def pixels():
    return jnp.asarray((batch()["image"][0] + 1.0) / 2.0)


@pytest.mark.parametrize("bound", ["tanh", "clip"])
@pytest.mark.parametrize("goal", ["untargeted", "all_targets"])
def test_no_pixel_moves_by_more_than_epsilon(bound, goal):
    method = built(
        {"bound": bound, "goal": goal, "epsilon": 0.1}, target=linear(0), distilled=linear(1)
    )
    state = started(method)
    # Parameters so large that every bound is reached.
    large = jax.tree.map(lambda p: 300.0 * p, state.params["generator"])
    state = state.replace(params={**state.params, "generator": large})
    rows = batch()
    x, labels = rows["image"][0], rows["label"][0]
    x_adv = np.asarray(jax.jit(method.perturb)(state, jax.random.key(0), x, labels))
    assert np.abs(x_adv - x).max() == pytest.approx(0.2, abs=1e-5)
    assert x_adv.min() >= -1.0 and x_adv.max() <= 1.0


def test_adversarial_losses_by_hand():
    logits, labels = jnp.array([[2.0, 5.0, 1.0], [6.0, 5.0, 1.0]]), jnp.array([1, 1])
    loss = lambda goal, **s: np.asarray(
        advgan.adversarial_loss(advgan.Settings(**s), goal)(logits, labels)
    )
    np.testing.assert_allclose(loss("untargeted"), [3.0, 0.0])
    np.testing.assert_allclose(loss("untargeted", confidence=2.0), [3.0, -1.0])
    np.testing.assert_allclose(loss("targeted"), [0.0, 1.0])
    gap = np.diff(np.asarray(jax.nn.softmax(logits))[:, :2])[:, 0]
    np.testing.assert_allclose(
        loss("untargeted", margin_on="probabilities", confidence=1.0), gap, rtol=1e-5
    )
    entropy = loss("targeted", loss="cross_entropy")
    np.testing.assert_allclose(loss("untargeted", loss="cross_entropy"), -entropy)
    assert (entropy > 0).all()


def test_targets_are_wrong_classes_all_alike():
    model = advgan.AdvGAN(None, None, 10, goal="all_targets")
    labels = jnp.repeat(jnp.arange(10), 400)
    targets = np.asarray(model.targets_of(jax.random.split(jax.random.key(0), 4000), labels))
    assert (targets != np.asarray(labels)).all()
    counts = np.bincount(targets, minlength=10)
    assert counts.min() > 300 and counts.max() < 500


def test_sources_imitate_a_black_box_that_is_only_asked():
    method = built({"optim.sources.learning_rate": 0.05}, target=linear(0), distilled=linear(1))
    state = started(method)
    step = jax.jit(method.step)
    before, losses = state, []
    for _ in range(25):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss/distillation/distilled"]))
    assert losses[-1] < 0.5 * losses[0]
    # 7 of the stage before, and 16 images twice in every step.
    assert int(state.memory["queries"]) == 7 + 25 * 32
    moved = lambda name: not np.array_equal(state.params[name]["net"], before.params[name]["net"])
    assert moved("distilled") and not moved("target")


def test_without_a_black_box_sources_stay_and_are_fooled():
    changes = {"black_box": "", "sources": ("target",), "victims": ("target",), "epsilon": 0.5}
    method = built({**changes, "optim.generator.learning_rate": 0.01}, target=linear(0))
    state = started(method)
    step = jax.jit(method.step)
    before, losses = state, []
    for _ in range(40):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss/adversarial"]))
    assert losses[-1] < losses[0] - 1.0
    np.testing.assert_array_equal(state.params["target"]["net"], before.params["target"]["net"])
    assert "loss/distillation/target" not in metrics


@pytest.mark.slow
def test_attacks_beside_it_can_have_other_sources():
    changes = {"eval.sources": ("distilled", "other"), "eval.attacks": ("fgsm", "pgd")}
    changes |= {"attacks.pgd.n_images": 20, "attacks.pgd.n_steps": 2}
    method = built(changes, target=linear(0), distilled=linear(1), other=linear(0))
    rows = method.evaluate(started(method), dataset(), jax.random.key(0)).tables["attacks"]
    assert [(row["attack"], row["source"]) for row in rows] == [
        ("AdvGAN", "distilled"),
        *((attack, source) for source in ("distilled", "other") for attack in ("fgsm", "pgd")),
    ]
    # One of them is the black box itself.
    rate = {row["source"]: row["success_rate"] for row in rows if row["attack"] == "fgsm"}
    assert rate["other"] > rate["distilled"]


@pytest.mark.slow
def test_several_sources_share_the_loss():
    one, other = linear(0), linear(1)
    names = {"sources": ("a", "b"), "victims": ("a",), "black_box": ""}
    pair = built(names, a=one, b=other)
    first, second = (built({**names, "sources": (n,)}, a=one, b=other) for n in "ab")
    losses = []
    for method in (pair, first, second):
        _, metrics = jax.jit(method.step)(started(method), batch())
        losses.append(float(metrics["loss/adversarial"]))
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sources": ("nobody",)}, "'nobody' is none of the stages"),
        ({"sources": ()}, "name at least one stage"),
        ({"black_box": "nobody"}, "black_box='nobody'"),
        ({"black_box": "distilled"}, "is only asked"),
        ({"bound": "hard"}, "bound='hard'"),
        ({"goal": "some"}, "goal='some'"),
        ({"losses.loss": "hinge"}, "loss='hinge'"),
        ({"losses.hinge": -1.0}, "hinge=-1.0"),
        ({"target_class": 10}, "target_class=10"),
        ({"eval.attacks": ("fgsn",)}, "eval.attacks names 'fgsn'"),
        ({"attacks.fgsm.kind": "fgsn"}, "attacks.fgsm.kind='fgsn'"),
        ({"eval.sources": ("nobody",)}, "eval.sources=('nobody',)"),
        ({"eval.n_images": 0}, "eval.n_images=0"),
    ],
)
def test_settings_that_make_no_attacker(changes, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        built(changes, target=linear(0), distilled=linear(1))


def test_a_stage_without_logits_is_no_classifier():
    method, state = linear(0)
    with pytest.raises(ValueError, match="none of the stages"):
        built({}, target=(method._replace(logits=None), state), distilled=linear(1))


def test_sides_that_do_not_halve():
    method = built({"generator.widths": (4, 4, 4, 4, 4)}, target=linear(0), distilled=linear(1))
    with pytest.raises(ValueError, match=r"generator\.widths"):
        started(method)


@pytest.mark.slow
def test_a_model_of_scikit_learn_is_attacked_by_its_answers_alone():
    """A true black box: a function on the host, without gradients."""
    from sklearn.linear_model import LogisticRegression

    from gmkit import attacks

    rows = dataset().examples("train")
    flat = lambda x: np.asarray(x).reshape(len(x), -1)
    fitted = LogisticRegression(max_iter=500).fit(flat(rows["image"]), rows["label"])
    host = attacks.host_model(lambda x: fitted.predict_log_proba(flat(x)), 10)
    method, state = linear(0)
    box = (method._replace(logits=lambda state, x: host(x)), state)
    changes = {
        "optim.sources.learning_rate": 0.02,
        "losses.confidence": 5.0,
        "losses.norm": 3.0,
        "generator.widths": (8, 16),
        "training.steps": 400,
        "eval.n_images": 360,
        "eval.attacks": (),
    }
    attacker = built(changes, target=box, distilled=linear(1, scale=0.0))
    state = started(attacker, 64)
    step = jax.jit(attacker.step)
    for t in range(400):
        chosen = np.random.default_rng(t).integers(0, len(rows["label"]), 64)
        state, _ = step(state, {k: v[chosen][None] for k, v in rows.items()})
    found = attacker.evaluate(state, dataset(), jax.random.key(0)).metrics
    assert found["clean_accuracy"] > 0.93
    assert found["success_rate"] > 0.8
    assert found["bound_excess"] < 1e-6


@pytest.mark.slow
def test_a_run_becomes_a_submission(tmp_path, monkeypatch, capsys):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.syspath_prepend(str(root))
    from launch import attack
    from launch.main import main

    run = str(tmp_path / "run")
    assert main([f"--config={root}/configs/advgan.py:smoke", f"--workdir={run}"]) == 0
    output = tmp_path / "attack.npy"
    assert attack.main([f"--workdir={run}", f"--output={output}"]) == 0
    found = np.load(output)
    images = (dataset().examples("test")["image"] + 1.0) / 2.0
    assert found.shape == (360, 64) and found.dtype == np.float32
    assert 0.0 < np.abs(found - images.reshape(360, -1)).max() <= 0.3 + 1e-6
    capsys.readouterr()
    assert attack.main([f"--workdir={run}/target", f"--output={output}"]) == 2
    assert "makes no adversarial examples" in capsys.readouterr().err
