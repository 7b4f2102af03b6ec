"""Pictures of games on the plane hold what they were given."""

import numpy as np
import pytest

from gmkit import reporting

EXTENT = (-1.0, 1.0, -1.0, 1.0)
POINTS = np.array([[0.0, 0.5], [0.3, -0.5]])


def test_critic_map_draws_every_arrow_with_its_direction():
    gradients = np.array([[2.0, 0.0], [0.0, -1.0]])
    fig = reporting.critic_map(np.eye(4), EXTENT, POINTS, -POINTS, -POINTS, gradients)
    (arrows,) = [c for c in fig.axes[0].collections if hasattr(c, "U")]
    np.testing.assert_allclose(arrows.U, [0.2, 0.0])
    np.testing.assert_allclose(arrows.V, [0.0, -0.1])


def test_a_flat_critic_has_no_arrows():
    fig = reporting.critic_map(np.ones((3, 3)), EXTENT, POINTS, POINTS, POINTS, 0 * POINTS)
    assert not [c for c in fig.axes[0].collections if hasattr(c, "U")]


@pytest.mark.parametrize(
    ("values", "at", "gradients", "words"),
    [
        (np.ones(3), POINTS, POINTS, "grid"),
        (np.eye(2), POINTS, POINTS[:1], "one for each"),
        (np.eye(2), np.ones((2, 3)), POINTS, "pass"),
    ],
)
def test_critic_map_refuses(values, at, gradients, words):
    with pytest.raises(ValueError, match=words):
        reporting.critic_map(values, EXTENT, POINTS, POINTS, at, gradients)


def test_labelled_planes_have_a_colour_per_class():
    labels = np.array([3, 7])
    fig = reporting.labelled_planes({"latents": (POINTS, labels), "data": (POINTS, labels[::-1])})
    first, second = (ax.collections[0].get_facecolor() for ax in fig.axes[:2])
    assert {tuple(c) for c in first} == {tuple(c) for c in second} and len(first) == 2
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["3", "7"]
    with pytest.raises(ValueError, match="labels"):
        reporting.labelled_planes({"latents": (POINTS, labels[:1])})
    with pytest.raises(ValueError, match="empty"):
        reporting.labelled_planes({})
