"""Grids of the plane."""

import numpy as np

from gmkit import evaluation


def test_a_plane_has_its_corners_where_the_extent_says():
    points = np.array([[0.0, 1.0], [2.0, 4.0]], np.float32)
    extent, grid = evaluation.plane(points, 5, margin=0.5)
    assert extent == (-0.5, 2.5, 0.5, 4.5)
    assert grid.shape == (25, 2) and grid.dtype == np.float32
    image = grid.reshape(5, 5, 2)
    assert (np.diff(image[:, :, 0], axis=1) > 0).all() and (
        np.ptp(image[:, :, 0], axis=0) == 0
    ).all()
    assert (np.diff(image[:, :, 1], axis=0) > 0).all() and (
        np.ptp(image[:, :, 1], axis=1) == 0
    ).all()


def test_latent_lines_are_straight_and_regular():
    lines = evaluation.latent_grid(n_lines=7, reach=3.0, n_points=11)
    assert lines.shape == (14, 11, 2)
    upright, level = lines[:7], lines[7:]
    assert (np.ptp(upright[..., 0], axis=1) == 0).all()
    np.testing.assert_allclose(upright[:, 0, 0], [-3, -2, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(level, upright[..., ::-1])
