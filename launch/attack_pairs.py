"""gmkit's PGD and Carlini-Wagner attacks beside those of foolbox and torchattacks.

One network (that of Carlini & Wagner for MNIST, the same weights), the same images, steps and
threads; `launch.pairs` times both sides in turns.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gmkit import attacks, nets
from launch import pairs

BATCH, SHAPE, CLASSES = 100, (28, 28, 1), 10
EPSILON, STEP_SIZE, STEPS = 0.3, 0.01, 40
#: Iterations per constant, constants, first constant.
SEARCH = (50, 2, 1.0)
ATTACKS = ("pgd", "carlini_wagner_l2")
PEERS = ("foolbox", "torchattacks")
NAMES: dict[str, tuple[str, str]] = {
    f"pair/attack/{attack}/{peer}": (attack, peer) for attack in ATTACKS for peer in PEERS
}
#: What installs them. torchattacks declares an old `requests` that it does not need here.
INSTALL = f"{pairs.INSTALL}; pip install --no-deps torchattacks"


def missing() -> list[str]:
    """The peers' packages that are not installed."""
    return [package for package in ("torch", *PEERS) if not importlib.util.find_spec(package)]


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Images uniform on [0, 1] and labels, `(100, 28, 28, 1)` and `(100,)`."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(BATCH, *SHAPE)).astype(np.float32)
    return images, rng.integers(0, CLASSES, BATCH).astype(np.int32)


@functools.cache
def network() -> tuple[Any, Any]:
    """The classifier and its untrained parameters."""
    module = nets.classifier("c", CLASSES)
    return module, module.init(jax.random.key(0), np.zeros((1, *SHAPE), np.float32), False)


def _ours(attack: str) -> pairs.Side:
    """gmkit's side: the whole attack, its step called from Python where that is faster."""
    module, variables = network()
    logits = lambda x: module.apply(variables, x, False)
    if attack == "pgd":
        made = attacks.pgd(logits, epsilon=EPSILON, step_size=STEP_SIZE, n_steps=STEPS)
    else:
        steps, searches, const = SEARCH
        made = attacks.carlini_wagner_l2(
            logits, n_steps=steps, n_searches=searches, initial_const=const
        )
    images, labels = problem()
    run: Callable[[], np.ndarray] = lambda: attacks.attack_images(
        made, jax.random.key(0), images, labels, BATCH
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    return pairs.Side(run, parameters)


def build(name: str) -> pairs.Pair:
    """The pair `name` of `NAMES`."""
    pairs.start_torch()
    from launch import attack_peers

    attack, peer = NAMES[name]
    images, labels = problem()
    net = attack_peers.network(network()[1]["params"])
    if attack == "pgd":
        make = {"foolbox": attack_peers.foolbox_pgd, "torchattacks": attack_peers.torchattacks_pgd}
        fn = make[peer](net, images, labels, EPSILON, STEP_SIZE, STEPS)
    else:
        make = {"foolbox": attack_peers.foolbox_cw, "torchattacks": attack_peers.torchattacks_cw}
        fn = make[peer](net, images, labels, *SEARCH)
    return pairs.Pair(
        name,
        "images",
        float(BATCH),
        _ours(attack),
        pairs.Side(fn, attack_peers.count(net)),
        f"{peer} {importlib.metadata.version(peer)}",
        f"net C, batch {BATCH}",
    )
