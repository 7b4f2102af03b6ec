"""Sets of samples are judged by all that is known of their data."""

import numpy as np
import pytest

from gmkit import data, evaluation


@pytest.fixture(scope="module")
def grid():
    return data.load("25grid", n_train=2000, n_test=500)


def test_a_mixture_has_its_modes_counted(grid, tmp_path):
    protocol = evaluation.sample_protocol(grid.spec, 500, "auto", tmp_path)
    true = grid.examples("test")["x"]
    one_mode = np.full((500, 2), data.modes_of("25grid")[0][3], np.float32)
    found = evaluation.judge_samples(protocol, grid, "x", {"samples": true, "stuck": one_mode})
    rows = {row["samples"]: row for row in found.tables["samples"]}
    assert list(rows) == ["test_data", "samples", "stuck"]
    assert found.metrics["modes"] == rows["samples"]["modes"] == 25
    assert found.metrics["registered"] > 0.97
    assert (rows["stuck"]["modes"], rows["stuck"]["registered"]) == (1, 1.0)
    assert rows["stuck"]["reverse_kl"] == pytest.approx(np.log(25))
    assert rows["test_data"]["fd"] == found.metrics["fd"] < 0.01 * rows["stuck"]["fd"]
    assert f"fd_stuck[{protocol.features(grid).label};500x500]" in found.metrics


def test_samples_that_are_not_finite_are_counted_and_left_out(grid, tmp_path):
    protocol = evaluation.sample_protocol(grid.spec, 100, "pixels", tmp_path)
    x = np.array(grid.examples("test", 100)["x"])
    x[:25] = np.nan
    found = evaluation.judge_samples(protocol, grid, "x", {"samples": x})
    assert found.metrics["invalid"] == 0.25
    assert found.tables["samples"][1]["counts"] == "100x75"
    nothing = evaluation.judge_samples(protocol, grid, "x", {"samples": np.full((20, 2), np.inf)})
    assert nothing.metrics == {"invalid": 1.0} | {
        k: v for k, v in nothing.metrics.items() if "test_data" in k
    }


@pytest.mark.slow
def test_labelled_images_have_their_classes_balanced(tmp_path):
    digits = data.load("digits")
    protocol = evaluation.sample_protocol(digits.spec, 360, "classifier", tmp_path)
    rows = digits.examples("test")
    nines = rows["image"][rows["label"] == 9]
    found = evaluation.judge_samples(protocol, digits, "image", {"samples": nines})
    true = found.tables["samples"][0]
    assert true["class_entropy"] > 0.99 and true["rare_classes"] == 0
    assert found.metrics["class_entropy"] < 0.3 and found.metrics["rare_classes"] > 5


@pytest.mark.slow
def test_stacked_digits_have_their_triples_counted(tmp_path):
    stacked = data.load("stacked/digits")
    protocol = evaluation.sample_protocol(stacked.spec, 2000, "auto", tmp_path)
    assert protocol.stacked
    x = stacked.examples("train", 2000)["image"]
    found = evaluation.judge_samples(
        protocol, stacked, "image", {"samples": x, "grey": np.repeat(x[..., :1], 3, axis=-1)}
    )
    rows = {row["samples"]: row for row in found.tables["samples"]}
    assert found.metrics["modes"] > 700 and found.metrics["kl"] < 0.5
    assert rows["grey"]["modes"] <= 30, "three equal digits"


def test_too_few_samples_are_refused(grid, tmp_path):
    with pytest.raises(ValueError, match="n_samples=3"):
        evaluation.sample_protocol(grid.spec, 3, "auto", tmp_path)
