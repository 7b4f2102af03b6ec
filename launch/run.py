"""One command, start to end: data, stages, training, evaluation, report."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from rich.console import Console

from gmkit import data, reporting, training
from gmkit.core import Method, TrainState, over_seeds, parallel
from gmkit.training import feed
from launch import cost, flags


@dataclasses.dataclass(frozen=True)
class Stage:
    """One Method to be trained or restored, before it is built.

    Attributes:
      name: the stage's name; "" for the run itself.
      config: its config, with `method`, `data`, `training`, `seed` resolved.
      workdir: its run directory.
      trains: False where `workdir` is restored as it is.
      dataset: what it is trained on.
      loop: how it is trained.
      builder: makes its Method, `(config, spec[, stages]) -> Method`.
      earlier: the stages that come before it, in order.
    """

    name: str
    config: flags.Config
    workdir: Path
    trains: bool
    dataset: data.Dataset
    loop: training.LoopConfig
    builder: Callable[..., Method]
    earlier: tuple[Stage, ...] = ()


class Outcome(NamedTuple):
    """A finished stage: its method, its state, and what training it took."""

    method: Method
    state: TrainState
    provenance: dict[str, Any]


def run(command: flags.Command) -> None:
    """Carries a command out.

    Raises:
      flags.UsageError: something in it does not exist or does not fit; nothing was written.
      training.NonFiniteError, training.Interrupted: from training.
    """
    assert command.config is not None
    use_compilation_cache(command.compilation_cache)
    with usage(ValueError):
        parallel.initialize(command.distributed)
    with usage(data.DataError, training.UsageError):
        stage = plan(command.config, command.workdir, trains=command.mode == "train")
    if command.dry_run:
        rehearse(stage, print_cost)
        return
    if stage.trains and stage.earlier:
        # Hours of an earlier stage must not end in a mistake that could be seen now.
        rehearse(stage)
        with usage(training.UsageError):
            training.open_workdir(stage.workdir, resolved(stage))
    started = time.monotonic()
    outcome = finish(stage)
    if command.mode == "sample":
        paths = save_samples(stage, outcome, command.n_samples)
    else:
        paths = write_report(stage, outcome, command.n_samples, started)
    if parallel.is_main_process():
        print("\n".join(str(path) for path in paths))


# ---------------------------------------------------------------- stages


def plan(config: flags.Config, workdir: Path, trains: bool, name: str = "") -> Stage:
    """Loads and checks what every stage needs, so that mistakes show before anything trains.

    `config.stages` names the stages that come before, each with its own group of settings
    `config.<stage>`; `data`, `training` and `seed` are the run's own where the group has none, and
    a group's `data` without a name are the run's but for the settings they have.
    `config.<stage>.from_workdir` names the directory of a finished run to use instead.

    Raises:
      flags.UsageError: a stage without settings, or for a method that uses none; no such method.
      data.DataError, training.UsageError: settings that do not exist or do not fit.
    """
    builder = find_builder(config.method)
    if config.get("stages") and not takes_stages(builder):
        raise flags.UsageError(f"config.stages: method {config.method} uses no stages")
    earlier = []
    for stage in config.get("stages", ()):
        if stage not in config:
            raise flags.UsageError(f"config.stages names {stage!r}, but there is no config.{stage}")
        group: Any = config[stage]
        if source := group.get("from_workdir"):
            folder = Path(source)
            earlier.append(plan(flags.workdir_config(folder), folder, trains=False, name=stage))
        else:
            shared = {k: config[k] for k in ("data", "training", "seed") if k not in group}
            group = ConfigDict({**group.to_dict(), **_plain(shared)})
            if "name" not in group.data:
                group.data = ConfigDict({**config.data.to_dict(), **group.data.to_dict()})
            earlier.append(plan(group, workdir / stage, trains=trains, name=stage))
    options = config.data.to_dict()
    dataset = data.load(options.pop("name"), **options)
    loop = loop_config(config)
    loop.validate(dataset)
    return Stage(name, config, workdir, trains, dataset, loop, builder, tuple(earlier))


def loop_config(config: flags.Config) -> training.LoopConfig:
    """`config.training` and `config.seed` as the loop's own settings."""
    known = {f.name for f in dataclasses.fields(training.LoopConfig)}
    for name in config.training:
        if name not in known:
            hint = flags.nearest(name, known)
            raise flags.UsageError(f"config.training.{name}: training has no such setting{hint}")
    return training.LoopConfig(**config.training.to_dict(), seed=config.get("seed", 0))


def finish(stage: Stage, given: Mapping[str, Outcome] | None = None) -> Outcome:
    """Trains a stage, or restores it, after those before it.

    Args:
      stage: what is finished.
      given: finished stages that it may use besides its own: those before it in the same list.
    """
    outcomes = dict(given or {})
    for before in stage.earlier:
        outcomes[before.name] = finish(before, outcomes)
    method = build(stage, {name: (o.method, o.state) for name, o in outcomes.items()})
    with usage(training.UsageError):
        if stage.trains:
            fitted = training.fit(
                method, stage.dataset, stage.loop, stage.workdir, config=resolved(stage)
            )
            state, step, seconds = fitted.state, fitted.step, fitted.seconds
            compile_seconds = fitted.compile_seconds
        else:
            state, step = training.restore(method, stage.dataset, stage.loop, stage.workdir)
            seconds = compile_seconds = None
    provenance = {
        "method": method.name,
        "data": stage.dataset.spec.name,
        "seed": stage.loop.seed,
        "steps": int(step),
        "train_seconds": seconds,
        "compile_seconds": compile_seconds,
        "stages": {s.name: outcomes[s.name].provenance for s in stage.earlier},
    }
    return Outcome(method, state, provenance)


def rehearse(
    stage: Stage,
    visit: Callable[[Stage, Method], None] = lambda stage, method: None,
    given: Mapping[str, tuple[Method, TrainState]] | None = None,
) -> Method:
    """Builds every stage on untrained states of those before it, and shows each to `visit`."""
    earlier = dict(given or {})
    for before in stage.earlier:
        method = rehearse(before, visit, earlier)
        earlier[before.name] = (method, untrained(before, method))
    method = build(stage, earlier)
    with usage(training.UsageError):
        stage.loop.validate(stage.dataset, method)
    visit(stage, method)
    return method


def untrained(stage: Stage, method: Method) -> TrainState:
    """A stage's state before training."""
    batch = feed.init_batch(stage.dataset, stage.loop)
    return jax.jit(method.init)(jax.random.key(stage.loop.seed), batch)


def print_cost(stage: Stage, method: Method) -> None:
    """Prints what a step of a stage costs."""
    cost.print_cost(stage.name or method.name, method, stage.dataset, stage.loop)


def resolved(stage: Stage) -> dict[str, Any]:
    """The stage's settings as JSON values."""
    return json.loads(stage.config.to_json_best_effort())


def build(stage: Stage, earlier: Mapping[str, tuple[Method, TrainState]]) -> Method:
    """The stage's Method; `earlier` goes to a `build` that has a parameter `stages`.

    `config.seeds` runs of it are trained at once, where it is there and not 1.
    """
    options = {"stages": dict(earlier)} if takes_stages(stage.builder) else {}
    seeds = stage.config.get("seeds", 1)
    with usage(ValueError):
        method = stage.builder(stage.config, stage.dataset.spec, **options)
        return method if seeds == 1 else over_seeds(method, seeds)


def takes_stages(builder: Callable[..., Method]) -> bool:
    """Whether a `build` has a parameter for the stages before it."""
    return "stages" in inspect.signature(builder).parameters


def find_builder(name: str) -> Callable[..., Method]:
    """`gebm` -> `gmkit.methods.gebm.build`; `package.module:function` -> that function.

    The second form is for methods that live outside gmkit; the module is looked for on
    Python's path and in the current directory.

    Raises:
      flags.UsageError: no such method.
    """
    module, _, function = name.partition(":")
    if function:
        sys.path.append(str(Path.cwd()))
    else:
        module, function = f"gmkit.methods.{name}", "build"
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise flags.UsageError(f"config.method={name}: no module {error.name}") from error
        raise
    if not hasattr(found, function):
        raise flags.UsageError(f"config.method={name}: {module} has no {function}")
    return getattr(found, function)


@contextlib.contextmanager
def usage(*errors: type[Exception]) -> Iterator[None]:
    """Errors of these types are the command line's fault: one line, exit code 2."""
    try:
        yield
    except errors as error:
        raise flags.UsageError(str(error)) from error


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.to_dict() if isinstance(v, ConfigDict) else v for k, v in settings.items()}


# ---------------------------------------------------------------- results


def purpose_key(stage: Stage, purpose: str) -> jax.Array:
    """A key per purpose, derived from the run's seed."""
    return jax.random.fold_in(jax.random.key(stage.loop.seed), zlib.crc32(purpose.encode()))


def save_samples(stage: Stage, outcome: Outcome, n: int) -> list[Path]:
    """Draws from the model and writes them to `samples/`; returns the paths."""
    samples = outcome.method.sample(outcome.state, purpose_key(stage, "sample"), n)
    if not parallel.is_main_process():
        return []
    return list(reporting.save_samples(stage.workdir / "samples", samples).values())


def write_report(stage: Stage, outcome: Outcome, n: int, started: float) -> list[Path]:
    """Evaluates, draws, and writes results, pictures and the report; prints the metrics."""
    method, state = outcome.method, outcome.state
    evaluation = method.evaluate(state, stage.dataset, purpose_key(stage, "evaluate"))
    figures = method.figures(state, stage.dataset, purpose_key(stage, "figures"))
    drawn = save_samples(stage, outcome, n)
    if not parallel.is_main_process():
        return []
    workdir = stage.workdir
    provenance = reporting.provenance(
        devices=jax.devices()[: stage.loop.n_devices()],
        seconds=time.monotonic() - started,
        evaluation=evaluation.provenance,
        **outcome.provenance,
    )
    pictures = [("drawn", path) for path in drawn if path.suffix == ".png"]
    for name, figure in figures.items():
        pictures.append((name, reporting.save_figure(figure, workdir / "figures" / f"{name}.png")))
    curves = []
    for name, figure in training_curves(workdir).items():
        path = workdir / "figures" / "training" / f"{name.replace('/', '-')}.png"
        curves.append((name, reporting.save_figure(figure, path)))
    for name, rows in evaluation.tables.items():
        reporting.write_table(workdir / "tables" / f"{name}.csv", rows)
        if rows:
            title = f"{name}: {method.name}, {stage.dataset.spec.name}"
            picture = reporting.value_table(rows, title=title)
            reporting.save_figure(picture, workdir / "tables" / f"{name}.png")
    results = reporting.write_results(workdir, evaluation.metrics, provenance)
    report = reporting.write_report(
        workdir,
        title=f"{method.name} on {stage.dataset.spec.name}",
        config=resolved(stage),
        metrics=evaluation.metrics,
        provenance=provenance,
        figures=pictures,
        tables=evaluation.tables,
        curves=curves,
    )
    console = Console()
    console.print(reporting.console_metrics(evaluation.metrics, title=method.name))
    for name, rows in evaluation.tables.items():
        console.print(reporting.console_table(rows, title=name))
    return [report, results, *drawn]


def training_curves(workdir: Path) -> dict[str, Any]:
    """Figures of what training logged; none where it logged nothing."""
    path = workdir / "metrics.jsonl"
    return reporting.training_curves(reporting.read_metrics(path)) if path.is_file() else {}


def use_compilation_cache(directory: str | None) -> None:
    """Keeps compiled code between runs in a directory that only the user can write to."""
    if directory is None:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
