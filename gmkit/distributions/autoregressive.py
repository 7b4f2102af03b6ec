"""Autoregressive layers and densities over the masked network MADE (Germain et al. 2015)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core.parallel import example_keys
from gmkit.distributions.bijector import Bijector, Cond, Key, Params, closed_form
from gmkit.distributions.conditioners import Activation, Conditioner, dense, dense_params
from gmkit.distributions.density import Density
from gmkit.distributions.elementwise import Elementwise

_LOG_2PI = float(np.log(2.0 * np.pi))


def made_masks(d: int, hidden: Sequence[int], conditional: bool = False) -> list[np.ndarray]:
    """Masks of the kernels of a MADE in the natural order, bool `(inputs, outputs)` each.

    Input `i` has degree `i + 1`, hidden degrees are spread evenly over `1 .. d - 1`, a kernel
    connects degrees that do not fall, the last one degrees that rise: output `i` sees inputs
    before `i` only.

    Args:
      d: number of inputs, and of outputs.
      hidden: units per hidden layer.
      conditional: also give units of degree 0, which see the condition and no input: without
        them the first output could not depend on it but linearly. For `d = 1` there are no
        others.
    """
    lowest = 0 if conditional or d == 1 else 1
    degrees = [np.arange(1, d + 1)]
    degrees += [lowest + np.arange(width) * (d - lowest) // width for width in hidden]
    masks = [a[:, None] <= b[None, :] for a, b in itertools.pairwise(degrees)]
    return [*masks, degrees[-1][:, None] < np.arange(1, d + 1)[None, :]]


def made(
    hidden: Sequence[int] = (100,),
    activation: Activation = jax.nn.relu,
    last_scale: float = 0.1,
) -> Conditioner:
    """The masked network: parameters of coordinate `i` depend on the coordinates before `i`.

    `cond` enters the first hidden layer and the output without masks.

    Args:
      hidden: units per hidden layer.
      activation: after every hidden layer.
      last_scale: scale of the last layer's initial kernel.
    """
    last = len(hidden)

    def init(key: jax.Array, x: jax.Array, n_params: int, cond: Cond = None) -> Params:
        if x.ndim != 2:
            raise ValueError(f"MADE takes vectors (n, d), got shape {x.shape}: flatten them first")
        d = x.shape[1]
        sizes = (d, *hidden, d * n_params)
        keys = jax.random.split(key, last + 3)
        params = {}
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            scale = last_scale if i == last else 1.0
            params[f"dense_{i}"] = dense_params(keys[i], inputs, outputs, scale)
        if cond is not None:
            inputs = cond.shape[1]
            if hidden:
                params["cond_in"] = dense_params(keys[-2], inputs, hidden[0])["kernel"]
            params["cond_out"] = dense_params(keys[-1], inputs, sizes[-1], last_scale)["kernel"]
        return params

    def apply(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        if (cond is not None) != ("cond_out" in params):
            raise ValueError("MADE needs cond in init and in every call, or in neither")
        d = x.shape[1]
        masks = made_masks(d, hidden, cond is not None)
        masks[-1] = np.repeat(masks[-1], params[f"dense_{last}"]["bias"].shape[0] // d, axis=1)
        h = x
        for i, mask in enumerate(masks):
            layer = params[f"dense_{i}"]
            kernel = jnp.where(mask, layer["kernel"], 0.0)
            h = dense({"kernel": kernel, "bias": layer["bias"]}, h)
            if cond is not None and i in (0, last):
                h = h + cond @ params["cond_out" if i == last else "cond_in"]
            h = activation(h) if i < last else h
        return h.reshape(*x.shape, -1)

    return Conditioner(init, apply)


def autoregressive(function: Elementwise, conditioner: Conditioner) -> Bijector:
    """`z_i = f(x_i; parameters of x_1 .. x_{i-1})` for vectors `(n, d)`.

    Forward is one pass (a masked autoregressive flow); inverse takes `d` passes, one per
    coordinate. `invert` gives the inverse autoregressive flow, which samples in one pass.

    Args:
      function: applied to every coordinate.
      conditioner: an autoregressive network (`made`).
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        return conditioner.init(key, x, function.n_params, cond)

    def forward(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        z, log_slope = function.forward(x, conditioner.apply(params, x, cond))
        return z, jnp.sum(log_slope, axis=1)

    def inverse(params: Params, z: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        d = z.shape[1]

        def coordinate(carry: tuple[jax.Array, jax.Array], i: jax.Array):
            x, log_slopes = carry
            new, log_slope = function.inverse(z, conditioner.apply(params, x, cond))
            # Later coordinates stay 0: what is computed for them early could overflow, and
            # infinity times a masked weight is not a number.
            here = (jnp.arange(d) == i)[None, :]
            return (jnp.where(here, new, x), jnp.where(here, log_slope, log_slopes)), None

        start = (jnp.zeros_like(z), jnp.zeros_like(z))
        (x, log_slopes), _ = jax.lax.scan(coordinate, start, jnp.arange(d))
        return x, jnp.sum(log_slopes, axis=1)

    return closed_form(init, forward, inverse)


def made_mixture(
    d: int,
    n_components: int = 10,
    hidden: Sequence[int] = (100,),
    activation: Activation = jax.nn.relu,
    bound: float = 5.0,
) -> Density:
    """MADE whose conditionals are mixtures of Gaussians; the base of MAF MoG.

    `p(x) = prod_i sum_k w_ik N(x_i; mu_ik, exp(2 a_ik))` with parameters that are functions of
    the coordinates before `i` (Papamakarios et al. 2017, section 4). The means of the components
    start spread over [-1, 1]: equal ones would stay equal in the first coordinate, which sees no
    input. Sampling takes `d` passes.

    Args:
      d: number of coordinates.
      n_components: Gaussians per coordinate.
      hidden: units per hidden layer.
      activation: after every hidden layer.
      bound: log standard deviations stay within +-bound.
    """
    network = made(hidden, activation)
    last = f"dense_{len(hidden)}"

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        params = network.init(key, x, 3 * n_components, cond)
        bias = params[last]["bias"].reshape(d, 3, n_components)
        spread = jnp.linspace(-1.0, 1.0, n_components, dtype=bias.dtype)[None, :]
        bias = bias.at[:, 1].add(jnp.broadcast_to(spread, (d, n_components)))
        return {**params, last: {**params[last], "bias": bias.reshape(-1)}}

    def components(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, ...]:
        raw = network.apply(params, x, cond).reshape(*x.shape, 3, n_components)
        log_scale = bound * jnp.tanh(raw[..., 2, :] / bound)
        return jax.nn.log_softmax(raw[..., 0, :], axis=-1), raw[..., 1, :], log_scale

    def log_prob(params: Params, x: jax.Array, cond: Cond = None, key: Key = None) -> jax.Array:
        del key
        log_weight, mean, log_scale = components(params, x, cond)
        standard = (x[..., None] - mean) * jnp.exp(-log_scale)
        log_normal = -0.5 * (jnp.square(standard) + _LOG_2PI) - log_scale
        return jnp.sum(jax.nn.logsumexp(log_weight + log_normal, axis=-1), axis=1)

    def sample(params: Params, key: jax.Array, n: int, cond: Cond = None) -> jax.Array:
        def noise(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            which, where = jax.random.split(key)
            gumbel = jax.random.gumbel(which, (d, n_components))
            return gumbel, jax.random.normal(where, (d,))

        gumbel, normal = jax.vmap(noise)(example_keys(key, n))

        def coordinate(x: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
            log_weight, mean, log_scale = components(params, x, cond)
            chosen = jnp.argmax(log_weight + gumbel, axis=-1)[..., None]
            mean = jnp.take_along_axis(mean, chosen, axis=-1)[..., 0]
            log_scale = jnp.take_along_axis(log_scale, chosen, axis=-1)[..., 0]
            new = mean + normal * jnp.exp(log_scale)
            return jnp.where((jnp.arange(d) == i)[None, :], new, x), None

        return jax.lax.scan(coordinate, jnp.zeros_like(normal), jnp.arange(d))[0]

    return Density.of(init, log_prob, sample)
