import json

import numpy as np
import pytest

from gmkit import reporting


def _write(path, *lines):
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def test_a_torn_line_is_skipped(tmp_path, caplog):
    path = _write(
        tmp_path / "m.jsonl", {"step": 1, "a": 1.0}, {"step": 2, "a": None}, '{"step": 3, "a"'
    )
    assert reporting.read_metrics(path) == [{"step": 1, "a": 1.0}, {"step": 2, "a": None}]
    assert "skipped 1" in caplog.text


def test_a_later_record_of_a_step_wins_and_steps_are_sorted(tmp_path):
    path = _write(
        tmp_path / "m.jsonl",
        {"step": 50, "a": 1},
        {"step": 100, "a": 2},
        {"step": 100, "eval/fid": 7},
        '{"step": 150, "a": {"step": 100, "a": 3}',
        {"step": 50, "a": 5},
        "",
        "[1, 2]",
        '{"step": "x"}',
        {"step": 100, "a": 4},
    )
    assert reporting.read_metrics(path) == [
        {"step": 50, "a": 5},
        {"step": 100, "a": 4, "eval/fid": 7},
    ]


def test_empty_and_missing_records(tmp_path):
    assert reporting.read_metrics(_write(tmp_path / "m.jsonl")) == []
    with pytest.raises(FileNotFoundError):
        reporting.read_metrics(tmp_path / "none.jsonl")
    assert reporting.training_curves([]) == {}


def _legend(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def test_scalars_are_grouped_by_prefix():
    records = [
        {
            "step": i,
            "seconds": 0.1,
            "loss/energy": i,
            "loss/base": 2 * i,
            "speed": 3.0,
            "note": "x",
            "l": [1],
        }
        for i in range(3)
    ]
    curves = reporting.training_curves(records)
    assert list(curves) == ["loss", "speed"]
    assert _legend(curves["loss"]) == ["energy", "base"]
    for fig in curves.values():
        fig.canvas.draw()


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -1.0, 1e30])
def test_curves_survive_odd_values_and_a_single_record(bad):
    for records in (
        [{"step": 0, "a/b": bad}],
        [{"step": i, "a/b": v} for i, v in enumerate([1, bad, 2])],
    ):
        fig = reporting.training_curves(records)["a"]
        fig.canvas.draw()


def test_curves_of_very_different_size_get_an_axis_each():
    x = np.linspace(0, 6, 30)
    records = [
        {"step": i, "k/small": float(np.sin(v)), "k/large": float(1e4 * np.cos(v)), "k/none": None}
        for i, v in enumerate(x)
    ]
    fig = reporting.training_curves(records)["k"]
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["small", "large", "none"]
    fig.canvas.draw()


def test_positive_values_over_decades_are_logarithmic():
    records = [{"step": i, "norm/a": 10.0**i, "norm/b": None} for i in range(5)]
    fig = reporting.training_curves(records)["norm"]
    assert fig.axes[0].get_yscale() == "log"
    fig.canvas.draw()


def test_a_spike_does_not_flatten_the_curve():
    rng = np.random.default_rng(0)
    records = [{"step": i, "a": 1e9 if i == 7 else rng.normal()} for i in range(400)]
    ax = reporting.training_curves(records)["a"].axes[0]
    assert np.ptp(ax.get_ylim()) < 10
    assert "of 400 values off the scale" in ax.texts[0].get_text()
