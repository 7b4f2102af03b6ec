"""Linear regression with a density of residuals that learns how robust to be.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv:1701.03077, section
3 and the example that comes with the author's code.

    loss = -mean_i log p(y_i - slope . x_i - intercept | alpha, c),

minimised over the line and over what `likelihood.name` leaves open: "normal" (alpha = 2),
"cauchy" (alpha = 0), "student_t", "adaptive" (alpha and c). The columns of a row are the inputs
x and, last, the target y.

Logged: `loss` (nats), `general_loss` (mean of f(r, alpha, c), the loss without its normaliser; not
for "student_t"), `alpha` (or `df`) and `scale`.

Deviations from the author's example: the line starts at 0 instead of at random.

Run: `python launch/main.py --config=configs/robust_regression.py`; results are in the README.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import objectives, reporting
from gmkit.core import Evaluation, Method, TrainState, create, finish_step, optim, update
from gmkit.core.parallel import batch_mean
from gmkit.data.outliers import LINE
from gmkit.distributions import RESIDUALS, Adaptive, robust
from gmkit.reporting import robust as pictures

Array = jax.Array
PyTree = Any
#: alpha of the curves that are drawn.
LOSSES = (-np.inf, -2.0, 0.0, 1.0, 2.0, np.inf)
DENSITIES = (0.0, 0.5, 1.0, 1.5, 2.0, np.inf)


def predict(line: PyTree, x: Array) -> Array:
    """`slope . x + intercept` of inputs `(n, d)`, `(n,)`."""
    return jnp.sum(x * line["slope"][None], axis=1) + line["intercept"]


def residuals(line: PyTree, rows: Array) -> Array:
    """Target minus prediction of rows `(n, d + 1)`, `(n,)`."""
    return rows[:, -1] - predict(line, rows[:, :-1])


def terms(family: Adaptive, params: PyTree, rows: Array) -> dict[str, Array]:
    """What is logged: the loss to minimise under "loss", and the family's parameters."""
    residual = residuals(params["line"], rows)
    density = params.get("likelihood", {})
    found = {"loss": -batch_mean(family.log_prob(density, residual)), **family.parameters(density)}
    if "alpha" in found:
        general = objectives.general_loss(residual, found["alpha"], found["scale"])
        found["general_loss"] = batch_mean(general)
    return found


# ---------------------------------------------------------------- other fits


def other_fits(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Coefficients `(d + 1,)`, the intercept last, of least squares, Huber and RANSAC lines."""
    from sklearn.linear_model import HuberRegressor, LinearRegression, RANSACRegressor

    rows = np.asarray(rows, np.float64)
    x, y = rows[:, :-1], rows[:, -1]
    fitted = {
        "least squares": LinearRegression().fit(x, y),
        "Huber": HuberRegressor(max_iter=10_000).fit(x, y),
        "RANSAC": RANSACRegressor(random_state=0).fit(x, y).estimator_,
    }
    return {name: np.append(fit.coef_, fit.intercept_) for name, fit in fitted.items()}


def row_of(name: str, coefficients: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """A line's coefficients and errors, for a table."""
    size = np.abs(rows[:, -1] - rows[:, :-1] @ coefficients[:-1] - coefficients[-1])
    slopes = coefficients[:-1]
    names = ["slope"] if len(slopes) == 1 else [f"slope {i}" for i in range(len(slopes))]
    return {
        "fit": name,
        **dict(zip(names, map(float, slopes), strict=True)),
        "intercept": float(coefficients[-1]),
        "median error": float(np.median(size)),
        "mean error": float(np.mean(size)),
        "root mean square": float(np.sqrt(np.mean(size**2))),
    }


# ---------------------------------------------------------------- charts of the loss


def loss_charts() -> dict[str, Any]:
    """Figures of the loss, its density and its log-partition, for several alpha, at c = 1."""
    x = np.linspace(-6.0, 6.0, 481, dtype=np.float32)
    functions = {
        "loss f": objectives.general_loss,
        "derivative f'": objectives.general_loss_derivative,
        "weight f' / x": objectives.general_loss_weight,
    }
    panels = {
        title: {f"alpha {a:g}": (x, np.asarray(f(x, a))) for a in LOSSES}
        for title, f in functions.items()
    }
    limits = {"loss f": (0.0, 6.0), "derivative f'": (-3.0, 3.0), "weight f' / x": (0.0, 1.5)}
    draws = {"xlabel": "x / c", "limits": limits}
    loss = pictures.curve_panels(panels, title="the general robust loss", **draws)

    log_prob = {a: np.asarray(robust.log_prob(x, a), np.float64) for a in DENSITIES}
    panels = {
        "density": {f"alpha {a:g}": (x, np.exp(v)) for a, v in log_prob.items()},
        "negative log-density": {f"alpha {a:g}": (x, -v) for a, v in log_prob.items()},
    }
    density = pictures.curve_panels(
        panels,
        xlabel="x / c",
        ylabels=("", "nats"),
        limits={"negative log-density": (0.5, 8.0)},
        title="the density of the general robust loss",
    )
    return {"loss": loss, "density": density, "log_partition": _log_partition_chart()}


def _log_partition_chart() -> Any:
    """log Z and its slope from the table, and what they differ from the integral."""
    alpha = np.linspace(0.001, 4.0, 1000)  # 2, where the slope is infinite, is not among them

    def both(method: str) -> Any:
        rows = jax.vmap(jax.value_and_grad(lambda a: robust.log_partition(a, method)))
        with jax.enable_x64(True):
            return jax.device_get(jax.jit(rows)(alpha))

    (value, slope), (exact, exact_slope) = both("table"), both("quadrature")
    error = "table minus integral, float64"
    panels = {
        "log Z(alpha)": {"log Z": (alpha, value)},
        "slope": {"slope": (alpha, slope)},
        error: {
            "log Z": (alpha, np.abs(value - exact)),
            "slope": (alpha, np.abs(slope - exact_slope)),
        },
    }
    limits = {"slope": (-2.0, 0.1), error: (1e-16, 1.0)}
    return pictures.curve_panels(panels, xlabel="alpha", logy=(error,), limits=limits)


# ---------------------------------------------------------------- judging


class Judge:
    """Evaluation and figures.

    Args:
      family: density of residuals.
      name: its name.
    """

    def __init__(self, family: Adaptive, name: str):
        self.family, self.name = family, name

    def fits(self, state: TrainState, dataset: Any) -> dict[str, np.ndarray]:
        """Coefficients of the run's line, of others on the training rows, and the true ones."""
        line = jax.device_get(state.params["line"])
        fits = {f"model, {self.name}": np.append(line["slope"], line["intercept"])}
        fits |= other_fits(dataset.examples("train")["x"])
        if dataset.spec.name == "regression_outliers":
            fits["truth"] = np.array(LINE)
        return fits

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """The loss on the test rows, and the lines beside others.

        Metrics: `nll` (nats), `general_loss`, `alpha` (or `df`), `scale`, `intercept`, `slope`
        (`slope/i` where there are several), `median_error`. Table "fits".
        """
        rows = dataset.examples("test")["x"]
        found = {k: float(v) for k, v in terms(self.family, state.params, rows).items()}
        table = [row_of(name, fit, rows) for name, fit in self.fits(state, dataset).items()]
        own = table[0]
        slopes = {k.replace(" ", "/"): v for k, v in own.items() if k.startswith("slope")}
        metrics = {"nll": found.pop("loss"), **found, **slopes, "intercept": own["intercept"]}
        metrics["median_error"] = own["median error"]
        return Evaluation(metrics, {"test_rows": len(rows)}, {"fits": table})

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """Rows `(n, d + 1)`: inputs of training rows, picked at random, and targets drawn."""
        row_key, noise_key = jax.random.split(key)
        inputs = state.memory["inputs"]
        x = inputs[jax.random.randint(row_key, (n,), 0, len(inputs))]
        noise = self.family.sample(state.params.get("likelihood", {}), noise_key, n)
        return jnp.concatenate([x, (predict(state.params["line"], x) + noise)[:, None]], axis=1)

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: the fits, and the charts of the loss."""
        rows, fits = dataset.examples("test")["x"], self.fits(state, dataset)
        if rows.shape[1] == 2:
            drawn = pictures.fitted_lines(rows, {k: (v[0], v[1]) for k, v in fits.items()})
        else:
            error = lambda v: rows[:, -1] - rows[:, :-1] @ v[:-1] - v[-1]
            series = {name: error(fit) for name, fit in fits.items()}
            drawn = reporting.histograms(series, xlabel="residual")
        return {"fits": drawn, **loss_charts()}


# ---------------------------------------------------------------- method


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/robust_regression.py` describes, for data of `spec`.

    Raises:
      ValueError: data that are no vectors of two columns at least, or settings that do not exist
        or do not fit.
    """
    columns = spec.domain.shape[-1]
    if spec.kind != "vector" or columns < 2:
        raise ValueError(
            f"data.name={spec.name!r}: needs vectors of at least two columns, the last the target"
        )
    name = config.likelihood.name
    if name not in RESIDUALS:
        known = ", ".join(RESIDUALS)
        raise ValueError(f"likelihood.name={name!r}: choose {known}")
    family = RESIDUALS[name]((), **config.likelihoods[name])
    txs = {
        player: optim.optimizer(**config.optim[player], total_steps=config.training.steps)
        for player in ("line", "likelihood")
    }
    judge = Judge(family, name)

    def init(key: Array, batch: Any) -> TrainState:
        line = {"slope": jnp.zeros(columns - 1), "intercept": jnp.zeros(())}
        params = {"line": line} | ({"likelihood": p} if (p := family.init()) else {})
        memory = {"inputs": batch["x"][:, :-1]}
        return create(key, params, {k: txs[k] for k in params}, memory=memory)

    def loss(params: PyTree, rows: Array) -> tuple[Array, dict[str, Array]]:
        found = terms(family, params, rows)
        return found["loss"], found

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, batch["x"][0])
        for player in state.params:
            state = update(state, player, grads[player], txs[player])
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return finish_step(state), metrics

    return Method("robust_regression", init, step, judge.evaluate, judge.sample, judge.figures)
