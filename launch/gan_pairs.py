"""gmkit's GAN training beside torch-mimicry's: a critic step and a generator step, each alone.

Networks are equal layer by layer, batches and threads too; `launch.pairs` times both sides in
turns. The peer's steps are its own `train_step` methods, with all that these do.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gmkit import nets, objectives
from gmkit.core import TrainState, optim
from gmkit.methods.lgan import GAN, Settings
from gmkit.methods.lgan.learning import learner
from launch import pairs

Player = Literal["critic", "generator"]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Metrics]]

IMAGE_SHAPE, BATCH, LATENT_DIM = (32, 32, 3), 64, 128
#: Channels of each network: a quarter of SNGAN's, so that one CPU core makes a step a second.
WIDTHS: dict[Player, int] = {"critic": 32, "generator": 64}
OPTIMIZER: dict[str, Any] = {"learning_rate": 2e-4, "b1": 0.0, "b2": 0.9}
PLAYERS: tuple[Player, ...] = ("critic", "generator")
#: What `Pair.size` says of these networks.
SIZE = f"widths {WIDTHS['critic']} (critic), {WIDTHS['generator']} (generator), batch {BATCH}"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A GAN in both libraries.

    Attributes:
      game: of gmkit, by name.
      critic: options of the residual critic.
      lipschitz: the gradient penalty, or None.
    """

    game: str
    critic: dict[str, Any]
    lipschitz: objectives.LipschitzPenalty | None = None


SETTINGS: dict[str, Setting] = {
    "sngan": Setting("hinge", {"spectral_norm": True, "pooling": "sum"}),
    "wgan_gp": Setting(
        "wasserstein",
        {"spectral_norm": False},
        objectives.LipschitzPenalty(kind="one", reduce="mean", weight=10.0),
    ),
}
NAMES: dict[str, tuple[str, Player]] = {
    f"pair/{gan}/{player}": (gan, player) for gan, player in itertools.product(SETTINGS, PLAYERS)
}
PEERS = ("torch", "torch_mimicry")
#: What installs them. torch-mimicry's networks need PyTorch only; what it declares besides,
#: TensorFlow among it, serves its metrics.
INSTALL = f"{pairs.INSTALL}; pip install --no-deps torch-mimicry"


def missing() -> list[str]:
    """The peers' packages that are not installed."""
    return [package for package in PEERS if not importlib.util.find_spec(package)]


def images() -> np.ndarray:
    """Examples uniform on [-1, 1], float32 `(64, 32, 32, 3)`."""
    return np.random.default_rng(0).uniform(-1, 1, (BATCH, *IMAGE_SHAPE)).astype(np.float32)


def model(gan: str) -> GAN:
    """gmkit's networks of a setting."""
    critic = nets.ResNetEnergy(WIDTHS["critic"], **SETTINGS[gan].critic)
    generator = nets.DistResNetGenerator(IMAGE_SHAPE, LATENT_DIM, WIDTHS["generator"])
    return GAN(critic, nets.network_decoder(generator, LATENT_DIM))


def alone(
    player: Player,
    model: GAN,
    game: objectives.Game,
    lipschitz: objectives.LipschitzPenalty | None,
) -> tuple[Callable[..., TrainState], Step]:
    """`init` and `step` of `methods.lgan` of which only one player's half is computed.

    A step is one of the critic, then one of the generator. The critic's half ignores what the
    generator's returns, so the compiler drops that; the generator's half follows a critic that
    stands still, so its gradient is dropped. Both players draw `B` fakes from `B` examples.

    Args:
      player: whose half.
      model: what plays.
      game: objectives of both.
      lipschitz: control of the critic's slope, or None.
    """
    still = optax.set_to_zero()
    txs = {name: optim.optimizer(**OPTIMIZER) if name == player else still for name in PLAYERS}
    settings = Settings(n_critic=1, generator_factor=1, ema_decay=0.0, unroll=True)
    generating = player == "generator"
    init, both = learner(model, game, lipschitz, txs, settings, "image")

    def step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
        new, metrics = both(state, batch)
        moved = {
            field: {**getattr(state, field), player: getattr(new, field)[player]}
            for field in ("params", "variables", "opt_state")
        }
        seen = {k: m for k, m in metrics.items() if k.endswith("/generator") == generating}
        return dataclasses.replace(state, step=new.step, **moved), seen

    return init, step


def _ours(gan: str, player: Player, rows: np.ndarray) -> pairs.Side:
    """gmkit's side."""
    setting, x = SETTINGS[gan], jnp.asarray(rows)
    game = objectives.game(setting.game)
    init, step = alone(player, model(gan), game, setting.lipschitz)
    state = jax.jit(init)(jax.random.key(0), {"image": x})
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params[player]))
    batch = {"image": x[None]}
    call, seconds = pairs.compiled(jax.jit(step, donate_argnums=0), state, batch)

    def fn() -> dict[str, float]:
        nonlocal state
        state, metrics = call(state, batch)
        jax.block_until_ready(state)
        return {name: float(value) for name, value in metrics.items()}

    return pairs.Side(fn, parameters, seconds)


def build(name: str) -> pairs.Pair:
    """The pair `name` of `NAMES`, compiled."""
    pairs.start_torch()
    from launch import gan_peers

    gan, player = NAMES[name]
    rows = images()
    networks = gan_peers.networks(gan, LATENT_DIM, WIDTHS["generator"], WIDTHS["critic"])
    fn = gan_peers.trainer(networks, player, rows, **OPTIMIZER)
    return pairs.Pair(
        name,
        "steps",
        1.0,
        _ours(gan, player, rows),
        pairs.Side(fn, gan_peers.count(networks[player])),
        f"torch-mimicry {importlib.metadata.version('torch-mimicry')}",
        SIZE,
    )
