"""Pictures of attacks and of mistakes."""

import numpy as np
import pytest

from gmkit import reporting


def test_a_grid_names_what_images_are_and_pass_for():
    clean = np.zeros((3, 4, 4, 1))
    fig = reporting.adversarial_grid(clean, clean + 0.1, [1, 2, 3], [1, 5, 3], title="epsilon $0.3")
    assert len(fig.axes) == 9
    assert [ax.get_title(loc="center") for ax in fig.axes[:3]] == ["1", "2", "3"]
    assert [ax.get_xlabel() for ax in fig.axes[6:]] == ["1", "5", "3"]
    colours = [ax.xaxis.label.get_color() for ax in fig.axes[6:]]
    assert colours[0] == colours[2] != colours[1]
    # The perturbation fills its range: 0.1 is drawn white.
    assert np.asarray(fig.axes[3].images[0].get_array()).min() == 255


def test_an_image_that_is_not_changed_has_a_grey_perturbation():
    clean = np.zeros((1, 4, 4, 3))
    fig = reporting.adversarial_grid(clean, clean, ["a"], ["a"], clean_predicted=["b"])
    assert fig.axes[0].get_title(loc="center") == "a (b)"
    assert np.asarray(fig.axes[1].images[0].get_array()).max() == 128


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="as many of each"):
        reporting.adversarial_grid(np.zeros((2, 4, 4, 1)), np.zeros((3, 4, 4, 1)), [1, 2], [1, 2])
    with pytest.raises(ValueError, match="square matrix"):
        reporting.confusion_matrix(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="2 captions for 1 images"):
        reporting.captioned_images(np.zeros((1, 4, 4, 1)), ["a", "b"])


def test_a_confusion_matrix_writes_what_is_not_zero():
    fig = reporting.confusion_matrix([[5, 0], [2, 3]], title="x")
    assert sorted(text.get_text() for text in fig.axes[0].texts) == ["2", "3", "5"]


def test_captions_stand_below_their_images():
    fig = reporting.captioned_images(np.zeros((5, 4, 4, 1)), list("abcde"), columns=3)
    assert len(fig.axes) == 6
    assert [ax.get_xlabel() for ax in fig.axes[:5]] == list("abcde")
    assert not fig.axes[5].axison
