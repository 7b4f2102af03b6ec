"""Every config runs from the command line, in its smallest preset."""

import json
from pathlib import Path

import pytest

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.py"))


#: Those that run in seconds; the others are slow tests.
QUICK = ("classifier", "flow", "gebm", "lgan", "robust_regression")
SMOKE = [
    pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
    for path in CONFIGS
]


@pytest.mark.parametrize("path", SMOKE)
def test_the_smoke_preset_leaves_a_report(main, path, tmp_path):
    call = main(f"--config={path}:smoke", f"--workdir={tmp_path / 'run'}", "--n_samples=9")
    assert call.code == 0, call.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"] and not results["non_finite"]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_preset_that_does_not_exist_is_one_line(main, path):
    call = main(f"--config={path}:nonsense")
    assert (call.code, call.err.count("\n")) == (2, 1)
    assert "smoke" in call.err
