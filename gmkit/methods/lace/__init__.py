"""LACE: control of a trained generator by energies of its latents (Nie, Vahdat, Anandkumar 2021).

| equation | here |
| --- | --- |
| joint energy of latent and attributes | `model.Lace.conditional` and N(0, I) |
| attribute energies, discrete and Gaussian | `attributes.Attribute.log_prob` |
| sampling by an ODE, Langevin, a reverse diffusion | `model.draw` (`gmkit.samplers`) |
| AND, OR and NOT of attributes | `model.Lace.composed` (`gmkit.energies`) |
| sequential editing | `judging.Judge.edited` (`gmkit.samplers.edit`) |

A generator stays as it is. Images of random latents are labelled, by classifiers of images that are
stages of their own, by a measurement, or in a table; small networks learn the labels from the
latents; sampling then only evaluates these networks.

Logged: `loss/<attribute>` (nats, or half a squared error), `accuracy/<attribute>`.

Deviations: parameters are averaged instead of chosen by their validation accuracy; drift
integrals run in the time of gradient ascent, which is the same flow; the truth that samplers are
compared with is the prior, drawn again by `p(c | z)`.

Run: `python launch/main.py --config=configs/lace.py`; results are in the README.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gmkit import energies, nets, samplers
from gmkit.core import FinishedStage, Method, TrainState, optim
from gmkit.methods.lace.attributes import MEASURES, Attribute
from gmkit.methods.lace.judging import Judge, Protocol
from gmkit.methods.lace.learning import learner, made_pairs, read_table
from gmkit.methods.lace.model import SAMPLERS, Lace, Weights, draw

__all__ = [
    "MEASURES",
    "SAMPLERS",
    "Attribute",
    "Judge",
    "Lace",
    "Protocol",
    "Weights",
    "build",
    "draw",
    "learner",
    "made_pairs",
    "read_table",
]

Array = jax.Array
Labeller = Callable[[Array], Array]


def build(
    config: Any, spec: Any, stages: Mapping[str, tuple[Method, TrainState]] | None = None
) -> Method:
    """The method that a config of `configs/lace.py` describes.

    Args:
      config: settings.
      spec: of the images.
      stages: earlier ones by name: the generator, and classifiers that label images.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    earlier = {name: FinishedStage(name, *stage) for name, stage in (stages or {}).items()}
    if config.generator_stage not in earlier:
        raise ValueError(
            f"generator_stage={config.generator_stage!r}: none of the stages "
            f"({', '.join(earlier) or 'there is none'})"
        )
    generator = earlier[config.generator_stage]
    z_dim, shape = config.latent_dim, tuple(spec.domain.shape)
    made = _generator(generator, z_dim, shape)
    attributes, labellers, judges = [], {}, {}
    for name, settings in config.attributes.items():
        labellers[name], n_classes = _labeller(name, "labels", settings, earlier, shape)
        judges[name], _ = _labeller(name, "judge", settings, earlier, shape)
        attributes.append(Attribute(name, n_classes, config.sigma, config.temperature))
    e = config.classifier
    networks = {a.name: nets.DenseEmbedder(a.n_outputs, e.width, e.depth) for a in attributes}
    model = Lace(tuple(attributes), networks, generator, z_dim, config.space, config.psi)
    txs = {
        a.name: optim.optimizer(**config.optim.classifier, total_steps=config.training.steps)
        for a in attributes
    }
    labels = config.labels
    if labels.table:
        names = tuple(a.name for a in attributes)
        table = read_table(labels.table, names, made.w_dim)
        pairs = lambda key: jax.tree.map(jnp.asarray, table)
    else:
        if labels.n_pairs % labels.chunk:
            raise ValueError(f"labels.chunk={labels.chunk} must divide n_pairs={labels.n_pairs}")
        weights = (generator.params, generator.variables)
        pairs = lambda key: made_pairs(model, weights, labellers, key, labels.n_pairs, labels.chunk)
    init, step = learner(model, pairs, txs, labels.n_held_out)
    judge = Judge(model, judges, _protocol(config, attributes), labels.n_held_out)
    first = next(iter(judge.protocol.samplers))

    def sample(state: TrainState, key: Array, n: int) -> Array:
        return judge.sample(state, key, n, first)

    return Method(
        name="lace",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=sample,
        figures=judge.figures,
    )


def _generator(stage: FinishedStage, z_dim: int, shape: tuple[int, ...]) -> Any:
    """The generator, whose images must be those of the data."""
    made = stage.latent_generator(stage.params, stage.variables, z_dim)
    images = lambda z: made.synthesis(made.mapping(z))
    try:
        found = jax.eval_shape(images, jax.ShapeDtypeStruct((1, z_dim), jnp.float32)).shape[1:]
    except (TypeError, ValueError) as error:
        raise ValueError(f"latent_dim={z_dim} is not that of stage {stage.name!r}") from error
    if found != shape:
        raise ValueError(f"stage {stage.name!r} makes images {found}, the data are {shape}")
    return made


def _labeller(
    name: str, field: str, settings: Any, earlier: Mapping[str, FinishedStage], shape: Any
) -> tuple[Labeller, int]:
    """What labels images, a stage that classifies or a measure, and how many classes it has."""
    source = settings[field]
    if source in MEASURES:
        low, high = settings.range
        if not high > low:
            raise ValueError(f"attributes.{name}.range={(low, high)}: must ascend")
        return lambda x: (MEASURES[source](x) - low) / (high - low), 0
    if source not in earlier or earlier[source].method.logits is None:
        raise ValueError(
            f"attributes.{name}.{field}={source!r}: choose a measure ({', '.join(MEASURES)}) or a "
            f"stage that classifies"
        )
    stage = earlier[source]
    logits = lambda x: stage.logits(stage.params, stage.variables, x)
    example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    n_classes = jax.eval_shape(logits, example).shape[-1]
    return lambda x: jnp.argmax(logits(x), axis=-1), n_classes


def _protocol(config: Any, attributes: list[Attribute]) -> Protocol:
    known = {a.name: a.n_classes or None for a in attributes}
    e = config.eval
    chosen = {}
    for name in e.samplers:
        if name not in config.samplers:
            raise ValueError(
                f"eval.samplers names {name!r}: choose {', '.join(sorted(config.samplers))}"
            )
        settings = config.samplers[name].to_dict()
        kind = settings.pop("kind")
        if kind not in SAMPLERS:
            raise ValueError(f"samplers.{name}.kind={kind!r}: choose {', '.join(SAMPLERS)}")
        chosen[name] = (kind, settings)
    if not chosen:
        raise ValueError("eval.samplers is empty: name at least one")
    if unknown := [name for name in e.edit_samplers if name not in chosen]:
        raise ValueError(f"eval.edit_samplers={unknown}: not among eval.samplers")
    for name, _ in e.edits:
        if name not in known:
            raise ValueError(f"eval.edits names {name!r}: attributes are {', '.join(known)}")
    return Protocol(
        n_samples=e.n_samples,
        samplers=chosen,
        expressions={text: energies.parse(text, attributes=known) for text in e.expressions},
        edits=tuple((name, float(target)) for name, target in e.edits),
        edit_samplers=tuple(e.edit_samplers),
        penalties=samplers.Penalties(**e.penalties),
        tolerance=e.tolerance,
        chunk=e.chunk,
    )
