"""Counts by hand, and what a submission must be."""

import numpy as np
import pytest

from gmkit import evaluation

LABELS = np.array([0, 0, 1, 2])


def logits(predicted):
    return np.eye(3)[predicted]


def judge(after, images=None, adversarial=None, **options):
    images = np.full((4, 2, 2, 1), 0.5) if images is None else images
    adversarial = images if adversarial is None else adversarial
    # The second image is wrong from the start.
    before = logits([0, 1, 1, 2])
    return evaluation.judge_attack(before, logits(after), images, adversarial, LABELS, **options)


def test_success_counts_images_that_were_right_and_accuracy_all():
    found = judge([1, 0, 1, 0])
    assert found["clean_accuracy"] == 0.75
    assert found["success_rate"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 0.5


def test_targeted_success_counts_images_of_other_classes():
    found = judge([1, 1, 1, 0], targets=np.full(4, 1))
    assert found["success_rate"] == pytest.approx(2 / 3)
    assert np.isnan(judge([0, 0, 1, 2], targets=LABELS)["success_rate"])


def test_norms_and_what_leaves_the_ball_or_the_box():
    images = np.full((4, 2, 2, 1), 0.5)
    delta = np.array([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1, 1)
    found = judge([0, 0, 1, 2], images, images + delta, epsilon=0.3)
    assert found["linf"] == pytest.approx(0.25)
    assert found["linf_max"] == pytest.approx(0.4)
    assert found["l2"] == pytest.approx(0.5)
    assert found["bound_excess"] == pytest.approx(0.1)
    assert judge([0, 0, 1, 2], images, images + 0.6)["bound_excess"] == pytest.approx(0.1)
    assert judge([0, 0, 1, 2], epsilon=0.3)["bound_excess"] == 0.0


def test_arrays_that_do_not_fit():
    with pytest.raises(ValueError, match="as many of each"):
        judge([0, 1])


def test_a_submission_is_checked_and_written(tmp_path):
    images = np.random.default_rng(0).uniform(size=(10, 28, 28, 1)).astype(np.float32)
    adversarial = np.clip(images + 0.3, 0.0, 1.0)
    path = evaluation.save_submission(tmp_path / "attack.npy", adversarial, images)
    written = np.load(path)
    assert written.shape == (10, 784) and written.dtype == np.float32
    for broken, text in (
        (images + 0.4, "values from"),
        (np.where(images < 0.5, np.nan, images), "values from"),
        (1.0 - images, "a pixel changes"),
        (images[:3], "attack every test image"),
    ):
        with pytest.raises(ValueError, match=text):
            evaluation.save_submission(tmp_path / "no.npy", broken, images)
