"""Judging a GAN's samples, and a critic between known sets of points."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, objectives, reporting
from gmkit.core import Evaluation, TrainState
from gmkit.methods.lgan import theory
from gmkit.methods.lgan.model import FAKE, GAN

Array = jax.Array
#: Points of a set beyond which it is a sample, not a list of atoms.
MAX_ATOMS = 64
#: Points of each set that a pairing uses, at most.
MAX_PAIRED = 256
GRID = 120


class Judge:
    """Evaluation and figures of one model.

    Args:
      model: what is judged.
      game: whose closed forms are compared with.
      lipschitz: what controlled the critic.
      protocol: how samples are judged.
      field: entry of a batch that holds the data.
    """

    def __init__(
        self,
        model: GAN,
        game: objectives.Game,
        lipschitz: objectives.LipschitzPenalty | None,
        protocol: evaluation.SampleProtocol,
        field: str,
    ):
        self.model, self.game, self.lipschitz = model, game, lipschitz
        self.protocol, self.field = protocol, field
        self._latents = jax.jit(model.latents, static_argnums=1)
        self._decode = jax.jit(model.decode)
        self._scores = jax.jit(model.scores)
        self._slopes = jax.jit(jax.grad(lambda x, state: jnp.sum(model.scores(state, x))))

    def drawn(self, state: TrainState, key: Array, n: int) -> np.ndarray:
        """Samples of the generator."""
        z = np.asarray(self._latents(key, n))
        return evaluation.in_batches(lambda v: self._decode(state, v), z, 1000)

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: samples against data, or the critic against theory."""
        if self.model.generator is None:
            return self.judge_critic(state, dataset)
        x = self.drawn(state, key, self.protocol.n_samples)
        return evaluation.judge_samples(self.protocol, dataset, self.field, {"samples": x})

    # ------------------------------------------------------------ a critic between two sets

    def judge_critic(self, state: TrainState, dataset: Any) -> Evaluation:
        """Slopes at the fakes, where they point, and the objective beside its closed form.

        Metrics: `slope_max`, `slope_mean`, `slope_min`, `slope_spread` (at the fakes);
        `cos_transport_min`, `_mean` (to the optimal-transport partner), `cos_best_min` (to any
        real point); `w1`; `critic_loss`; `k` (largest slope on segments between the sets) and, if
        that was penalised, `value = critic_loss + lambda k^2`. Where a closed form exists:
        `k_theory` and `value_theory` (phi(u) = u), or `k_theory`, `score_theory` (two atoms). The
        table "fakes" has a row per fake. Sets that are no atoms are judged by 256 points of each.
        """
        real, fake = self._points(dataset)
        gradients = np.asarray(self._slopes(jnp.asarray(fake), state))
        slopes = evaluation.slopes(gradients)
        cosines = evaluation.gradient_cosines(gradients, fake, real)
        transport = evaluation.optimal_transport(fake, real)
        f_real, f_fake = (np.asarray(self._scores(state, jnp.asarray(x))) for x in (real, fake))
        loss = float(self.game.critic_loss(jnp.asarray(f_real), jnp.asarray(f_fake)))
        metrics = {
            "slope_max": slopes.max,
            "slope_mean": slopes.mean,
            "slope_min": slopes.min,
            "slope_spread": slopes.spread,
            "cos_transport_min": float(cosines.partner.min()),
            "cos_transport_mean": float(cosines.partner.mean()),
            "cos_best_min": float(cosines.best.min()),
            "w1": transport.distance,
            "score_real": float(f_real.mean()),
            "score_fake": float(f_fake.mean()),
            "critic_loss": loss,
            "k": (k := self._largest_slope(state, real, fake)),
        }
        metrics |= self._closed_forms(real, fake, transport.distance)
        if self._controls_k():
            metrics["value"] = loss + self.lipschitz.weight * k**2
        rows = [
            {
                "fake": i,
                "x": float(fake[i, 0]),
                "y": float(fake[i, 1]),
                "score": float(f_fake[i]),
                "slope": float(np.linalg.norm(gradients[i])),
                "cos_transport": float(cosines.partner[i]),
                "cos_best": float(cosines.best[i]),
            }
            for i in range(min(len(fake), MAX_ATOMS))
        ]
        return Evaluation(metrics, {"points": len(fake)}, {"fakes": rows})

    def _points(self, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        """Equally many distinct reals and fakes: the atoms, where both sets are atoms."""
        rows = dataset.examples("test", 8192)
        real, fake = (np.unique(rows[name], axis=0) for name in (self.field, FAKE))
        if len(real) == len(fake) <= MAX_ATOMS:
            return real, fake
        n = min(len(rows[FAKE]), MAX_PAIRED)
        return rows[self.field][:n], rows[FAKE][:n]

    def _largest_slope(self, state: TrainState, real: np.ndarray, fake: np.ndarray) -> float:
        """On 51 points of every segment between a fake and a real point."""
        share = np.linspace(0.0, 1.0, 51)[:, None, None, None]
        x = share * real[None, None] + (1.0 - share) * fake[None, :, None]
        gradients = evaluation.in_batches(
            lambda v: self._slopes(v, state), x.reshape(-1, 2).astype(np.float32), 4096
        )
        return float(np.linalg.norm(gradients, axis=1).max())

    def _controls_k(self) -> bool:
        """Whether the penalty is `lambda k(f)^2`."""
        how = self.lipschitz
        return how is not None and (how.kind, how.reduce, how.norm, how.where) == (
            "zero",
            "max",
            "l2",
            "interpolates",
        )

    def _closed_forms(self, real: np.ndarray, fake: np.ndarray, w1: float) -> dict[str, float]:
        how, phi = self.lipschitz, self.game.phi
        if how is None or phi is None or not self._controls_k():
            return {}
        if phi is objectives.PHI["x"]:
            k = theory.wasserstein_slope(w1, how.weight)
            return {"k_theory": k, "value_theory": -how.weight * k**2}
        if len(real) > 1:
            return {}
        distance = float(np.linalg.norm(real[0] - fake[0]))
        score = theory.two_atom_score(phi, how.weight, distance)
        return {"k_theory": 2.0 * score / distance, "score_theory": score}

    # ------------------------------------------------------------ pictures

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: samples beside data, and on the plane the critic with its gradients."""
        if self.model.generator is None:
            real, fake = self._points(dataset)
            return {"critic": self._critic(state, real, fake)}
        real = dataset.examples("test", reporting.MAX_COMPARED)[self.field]
        x = self.drawn(state, key, len(real))
        drawn = {"samples": reporting.compare_sets({"data": real, "samples": x})}
        if real.shape[1:] == (2,) and self.model.packing == 1:
            drawn["critic"] = self._critic(state, real[:MAX_PAIRED], x[:MAX_PAIRED])
        return drawn

    def _critic(self, state: TrainState, real: np.ndarray, fake: np.ndarray) -> Any:
        extent, grid = evaluation.plane(np.concatenate([real, fake]), GRID, margin=0.3)
        values = evaluation.in_batches(lambda v: self._scores(state, v), grid, 4096)
        shown = fake[:MAX_ATOMS]
        arrows = np.asarray(self._slopes(jnp.asarray(shown), state))
        return reporting.critic_map(values.reshape(GRID, GRID), extent, real, fake, shown, arrows)
