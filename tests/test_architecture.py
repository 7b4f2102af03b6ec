"""The floors of the house, read off the source: who may import whom, what may be called what."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gmkit"
FLOORS = {
    "core": 1,
    "nets": 2,
    "objectives": 2,
    "distributions": 2,
    "samplers": 2,
    "energies": 2,
    "attacks": 2,
    "transforms": 2,
    "graphs": 2,
    "data": 2,
    "training": 3,
    "evaluation": 3,
    "reporting": 3,
    "methods": 4,
}
#: Slow to import, heavy or not always there: imported inside functions on floors 1 and 2.
LATE = {"tensorflow", "distrax", "tensorflow_datasets", "matplotlib", "sklearn", "tensorboardX"}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "misc"}


def sources(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path, module_level: bool = False) -> Iterator[str]:
    """Dotted names that a file imports, `from a import b` as `a.b`."""

    def names(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for child in ast.iter_child_nodes(node):
                yield from names(child)

    yield from names(tree(path))


def room(path: Path) -> str:
    """The room of a file: `core` for gmkit/core/state.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def inside(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(room, full dotted name) of every gmkit import of a file."""
    for name in imports(path):
        parts = name.split(".")
        # What gmkit/__init__.py itself holds belongs to no room.
        if parts[0] == "gmkit" and len(parts) > 1 and parts[1] not in ("__version__", "cache_dir"):
            yield parts[1], parts


def test_every_room_has_a_floor():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").is_file()}
    assert rooms <= set(FLOORS), "give the new room a floor in FLOORS and in pyproject.toml"


@pytest.mark.parametrize("path", sources("gmkit"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path):
    here = room(path)
    if here == "__init__":
        assert not list(inside(path)), "`import gmkit` imports no room"
        return
    for there, name in inside(path):
        if there == here:
            continue
        may = FLOORS[there] < FLOORS[here] or FLOORS[there] == FLOORS[here] == 3
        may = may or (here, there) == ("energies", "distributions")
        # A density that is defined by a loss.
        may = may or (path.stem, name[1:3]) == ("robust", ["objectives", "robust"])
        assert may, (
            f"{here} (floor {FLOORS[here]}) imports {'.'.join(name)} (floor {FLOORS[there]})"
        )
        assert (here, there) != ("methods", "training"), "a Method does not know the loop"


def test_evaluation_reporting_and_training_do_not_know_each_other_in_a_circle():
    edges = {
        (room(p), there)
        for p in sources("gmkit/training", "gmkit/evaluation", "gmkit/reporting")
        for there, _ in inside(p)
        if FLOORS.get(there) == 3 and there != room(p)
    }
    assert not {(a, b) for a, b in edges if (b, a) in edges}


def test_methods_do_not_import_each_other():
    for path in sources("gmkit/methods"):
        own = path.relative_to(PACKAGE / "methods").parts[0].removesuffix(".py")
        others = {name[2] for there, name in inside(path) if there == "methods" and len(name) > 2}
        assert own == "__init__" or others <= {own}, f"{path.name} imports methods {others - {own}}"


def test_no_config_objects_and_no_flags_below_the_methods():
    for path in sources("gmkit"):
        if FLOORS.get(room(path), 0) < 4:
            used = {name.partition(".")[0] for name in imports(path)}
            assert not used & {"ml_collections", "absl"}, path


def test_no_private_jax():
    for path in sources("gmkit", "launch", "configs", "tests"):
        for name in imports(path):
            assert not re.match(r"jax\.(_src|core|interpreters)\b|jaxlib\b", name), (
                f"{path}: {name}"
            )


def test_building_blocks_import_nothing_heavy():
    for path in sources("gmkit"):
        if FLOORS.get(room(path), 0) <= 2:
            used = {name.partition(".")[0] for name in imports(path, module_level=True)}
            assert not used & LATE, (
                f"{path}: import {used & LATE} inside the function that needs it"
            )


def test_names_say_what_is_inside():
    for path in sources("gmkit", "launch", "configs", "tests"):
        assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & NAMELESS


def test_no_paths_of_a_machine():
    # Spelled apart, so that this file does not find itself.
    machine = re.compile("|".join(("/" + "home/", "/" + "root/", "/" + "Users/", "/" + "work/")))
    kept = ("*.py", "*.toml", "*.md", ".ci/run")
    files = [p for f in ("gmkit", "launch", "configs", "tests") for p in (ROOT / f).rglob("*.py")]
    files += [p for pattern in kept for p in ROOT.glob(pattern)]
    for path in files:
        found = machine.search(path.read_text())
        assert found is None, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_third_party_imports_and_dependencies_are_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = {"scikit-learn": "sklearn", "pillow": "pil", "absl-py": "absl"}
    module["orbax-checkpoint"] = "orbax"
    module["tensorflow-datasets"] = "tensorflow_datasets"
    declared = {re.split(r"[<>=\[ ;]", line)[0].lower() for line in project["dependencies"]}
    declared = {module.get(name, name) for name in declared}
    used = {
        name.partition(".")[0].lower()
        for path in sources("gmkit", "launch", "configs")
        for name in imports(path)
    }
    used -= {name.lower() for name in sys.stdlib_module_names} | {"gmkit", "launch"}
    # Of the extra `bench`, imported where they are timed.
    used -= {"blackjax", "foolbox", "nflows", "normflows", "torch", "torchattacks", "torchdiffeq"}
    assert used <= declared, f"imported, not declared: {sorted(used - declared)}"
    # tensorflow-datasets needs importlib_resources and does not say so; jaxlib is half of jax;
    # chex, jraph and networkx are what methods and their tests are promised to find; of
    # scikit-image the files of a stereo pair are read.
    promised = {"importlib_resources", "jaxlib", "chex", "jraph", "networkx", "scikit-image"}
    unused = declared - used - promised
    assert not unused, f"declared, imported nowhere: {sorted(unused)}"


def test_import_gmkit_is_light():
    rooms = ", ".join(
        f"gmkit.{r}" for r in ("core", "nets", "objectives", "samplers") if (PACKAGE / r).is_dir()
    )
    code = (
        "import sys, time, json, jax, flax.linen, optax\n"
        f"start = time.process_time()\nimport gmkit, {rooms}\n"
        "print(json.dumps([time.process_time() - start, sorted(sys.modules)]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    seconds, modules = json.loads(out.stdout)
    assert seconds < 3.0
    assert not LATE & set(modules)


def test_import_linter_agrees():
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("import-linter is not installed")
    out = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert out.returncode == 0, out.stdout + out.stderr


def test_readme_is_finished_and_its_files_exist():
    text = (ROOT / "README.md").read_text()
    assert "@@" not in text
    linked = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`(configs/[\w/]+\.py)", text)
    assert linked
    for name in linked:
        assert (ROOT / name).is_file(), name
    for mark in ("<!-- run-command -->", "<!-- test-command -->"):
        assert text.count(mark) == 1
