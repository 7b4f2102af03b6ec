"""The command line: argv -> a locked config and the few settings around it."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import difflib
import importlib.util
import json
import re
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from gmkit import cache_dir

ROOT = Path(__file__).resolve().parent.parent

USAGE = """\
usage: python launch/main.py --config=configs/gebm.py[:preset] [--config.field=value ...]

Trains a method, evaluates it, draws from it, and writes a report. The same command with the
same --workdir resumes where it stopped. To evaluate or draw, --workdir alone is enough: the
config is then that of the run.
"""


#: An `ml_collections.ConfigDict`, whose fields a type checker cannot know.
Config = Any


class UsageError(ValueError):
    """The command line asks for something that does not exist; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Command:
    """What one call of `launch/main.py` was asked to do.

    Attributes:
      action: "help", "list" or "run".
      config: the resolved, locked config (None unless action is "run").
      workdir: the run directory.
      mode: "train", "evaluate" or "sample".
      n_samples: draws written to `samples/`.
      dry_run: print sizes and costs instead of training.
      distributed: see `gmkit.core.parallel.initialize`.
      compilation_cache: directory of the persistent compile cache, or None.
      text: what to print for "help".
    """

    action: str
    config: Config = None
    workdir: Path = Path()
    mode: str = "train"
    n_samples: int = 64
    dry_run: bool = False
    distributed: str = "off"
    compilation_cache: str | None = None
    text: str = ""


def parse(argv: Sequence[str]) -> Command:
    """Reads the command line (without the program's name).

    Raises:
      UsageError: unknown flag, config, preset or field, or a value of the wrong type.
    """
    reference, args = _take_config(argv)
    overrides = [a for a in args if _override(a)]
    plain = _parsed(_define(), [a for a in args if not _override(a)])
    if plain.help:
        return Command("help", text=_help(plain))
    if plain.list:
        return Command("list")
    if plain.distributed != "off" and not plain.workdir:
        raise UsageError("--distributed needs --workdir: every process names the same directory")
    if plain.mode != "train" and not plain.workdir:
        raise UsageError(f"--mode={plain.mode} needs --workdir, the directory of a trained run")
    if reference is not None:
        config, stem = load_config(reference)
    elif plain.mode != "train":
        config, stem = workdir_config(Path(plain.workdir)), ""
    else:
        raise UsageError("--config is missing, e.g. --config=configs/gebm.py (--list shows all)")
    cache = plain.compilation_cache
    return Command(
        action="run",
        config=_overridden(config, overrides),
        workdir=Path(plain.workdir or default_workdir(stem)),
        mode=plain.mode,
        n_samples=plain.n_samples,
        dry_run=plain.dry_run,
        distributed=plain.distributed,
        compilation_cache=None if cache == "off" else str(Path(cache).expanduser()),
    )


def default_workdir(stem: str) -> str:
    """`runs/<config>-<preset>-<time>`."""
    return f"runs/{stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


# ---------------------------------------------------------------- config files


def load_config(reference: str) -> tuple[Config, str]:
    """`path[:preset]` -> (config, "<config>-<preset>"); paths relative to here, then to gmkit.

    Raises:
      UsageError: no such file or preset.
    """
    name, _, preset = reference.partition(":")
    found = [p for p in (Path(name), ROOT / name) if p.is_file()]
    if not found:
        known = [f"configs/{p.name}" for p in config_files()]
        raise UsageError(f"--config={name}: no such file{nearest(name, known)} (--list shows all)")
    module = load_module(found[0])
    if not hasattr(module, "get_config"):
        raise UsageError(f"--config={name}: the file defines no get_config(preset)")
    presets = tuple(getattr(module, "PRESETS", ()))
    if preset and presets and preset not in presets:
        hint = nearest(preset, presets) or f"; presets: {', '.join(presets)}"
        raise UsageError(f"--config={reference}: no preset {preset!r}{hint}")
    config = module.get_config(preset) if preset else module.get_config()
    return config, f"{found[0].stem}-{preset or 'default'}"


def load_module(path: Path) -> types.ModuleType:
    """Runs one config file as a module."""
    spec = importlib.util.spec_from_file_location(f"gmkit_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--config={path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_files() -> list[Path]:
    """The configs that come with gmkit."""
    return sorted(p for p in (ROOT / "configs").glob("*.py") if not p.name.startswith("_"))


def listing() -> list[tuple[str, str, tuple[str, ...]]]:
    """Rows (config, first line of its docstring, presets) of every config."""
    rows = []
    for path in config_files():
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        presets = tuple(getattr(load_module(path), "PRESETS", ()))
        rows.append((f"configs/{path.name}", doc.partition("\n")[0], presets))
    return rows


def workdir_config(workdir: Path) -> Config:
    """The config that a run directory was made with.

    Raises:
      UsageError: the directory holds no run.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise UsageError(f"{workdir}: no run there (config.json is missing)")
    return ml_collections.ConfigDict(_tuples(json.loads(path.read_text())))


def _tuples(value: Any) -> Any:
    """JSON has lists where configs have tuples."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


# ---------------------------------------------------------------- flags


def _define() -> flags.FlagValues:
    values = flags.FlagValues()
    options: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string("workdir", None, "run directory [runs/<config>-<preset>-<time>]", **options)
    flags.DEFINE_enum(
        "mode",
        "train",
        ["train", "evaluate", "sample"],
        "train, or restore --workdir and only evaluate or draw",
        **options,
    )
    flags.DEFINE_integer("n_samples", 64, "draws to write", lower_bound=1, **options)
    flags.DEFINE_boolean("dry_run", False, "print parameters, FLOPs and memory only", **options)
    flags.DEFINE_boolean("list", False, "show configs and their presets", **options)
    flags.DEFINE_string(
        "distributed", "off", "off, auto, or host:port,n_processes,index", **options
    )
    flags.DEFINE_string(
        "compilation_cache", str(cache_dir("jax")), "directory of compiled code, or off", **options
    )
    flags.DEFINE_boolean("help", False, "show this", short_name="h", **options)
    return values


def _help(values: flags.FlagValues) -> str:
    rows = [f"  --{name:<18} {values[name].help}" for name in values if len(name) > 1]
    return USAGE + "\n" + "\n".join(rows)


def _parsed(values: flags.FlagValues, args: Sequence[str]) -> flags.FlagValues:
    try:
        rest = values(["gmkit", *args])
    except (flags.Error, AttributeError, TypeError) as error:
        raise UsageError(" ".join(str(error).split())) from error
    if len(rest) > 1:
        raise UsageError(f"unexpected argument {rest[1]!r}")
    return values


def _take_config(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits `--config=X` (or `--config X`) off; the last one counts."""
    reference, rest, i = None, [], 0
    while i < len(argv):
        match = re.fullmatch(r"--?config(=(.*))?", argv[i])
        if match is None:
            # `--config.field value` becomes one word, so that it can be looked at alone.
            joined = _override(argv[i]) and "=" not in argv[i] and _has_value(argv, i + 1)
            rest.append(f"{argv[i]}={argv[i + 1]}" if joined else argv[i])
            i += 2 if joined else 1
        elif match.group(1):
            reference, i = match.group(2), i + 1
        elif _has_value(argv, i + 1):
            reference, i = argv[i + 1], i + 2
        else:
            raise UsageError("--config needs a value, e.g. --config=configs/gebm.py")
    return reference, rest


def _has_value(argv: Sequence[str], i: int) -> bool:
    return i < len(argv) and not re.match(r"--?[A-Za-z]", argv[i])


def _override(arg: str) -> re.Match[str] | None:
    return re.match(r"--?(?:no)?config\.(?P<field>[^=]*)(?:=(?P<value>.*))?$", arg, re.DOTALL)


def _whole_number(arg: str, config: Config) -> str:
    """`--config.steps=1e3` -> `--config.steps=1000` where the field is an integer."""
    match = _override(arg)
    if match is None or match["value"] is None:
        return arg
    if _fields(config).get(match["field"]) is not int:
        return arg
    try:
        number = float(match["value"])
    except ValueError:
        return arg
    return f"--config.{match['field']}={int(number)}" if number.is_integer() else arg


def _overridden(config: Config, overrides: Sequence[str]) -> Config:
    """The config, locked, with `--config.field=value` applied in order."""
    for arg in overrides:
        match = _override(arg)
        if match and match["field"] not in (known := _fields(config)):
            hint = nearest(match["field"], known)
            raise UsageError(f"--config.{match['field']}: the config has no such field{hint}")
    args = [_whole_number(a, config) for a in overrides]
    values = flags.FlagValues()
    # The config is given here, not read by the flag: `sys_argv` only names the overrides.
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=args)
    return _parsed(values, args).config


def _fields(config: Config, prefix: str = "") -> dict[str, type]:
    """Type of every field and group of fields, by its dotted name."""
    found: dict[str, type] = {}
    for name in config:
        found[prefix + name] = config.get_type(name)
        if isinstance(config[name], ml_collections.ConfigDict):
            found |= _fields(config[name], f"{prefix}{name}.")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is near."""
    known = list(known)
    by_leaf = {k.rpartition(".")[2]: k for k in known}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not near:
        leaf = difflib.get_close_matches(name.rpartition(".")[2], by_leaf, n=1, cutoff=0.7)
        near = [by_leaf[leaf[0]]] if leaf else []
    return f"; did you mean {near[0]}?" if near else ""
