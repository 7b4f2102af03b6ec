"""Pictures of disparities and of learned shapes: what they show, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from gmkit.reporting import save_figure, stereo

RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(size=(12, 20, 3))
TRUTH = RNG.uniform(2.0, 6.0, (12, 20))
VALID = (RNG.uniform(size=(12, 20)) > 0.2).astype(np.int32)


def test_panels_span_the_known_truth(tmp_path):
    truth = np.where(VALID, TRUTH, 0.0)
    fig = stereo.disparity_panels(IMAGE, IMAGE, TRUTH + 1.0, truth, VALID, title="a run")
    by_title = {ax.get_title(loc="left"): ax for ax in fig.axes}
    known = TRUTH[VALID > 0]
    for name in ("disparity found", "true disparity"):
        low, high = by_title[name].images[0].get_clim()
        assert (low, high) == (known.min(), known.max())
    error = by_title["error"].images[0].get_array()
    np.testing.assert_allclose(error.compressed(), 1.0)
    np.testing.assert_array_equal(error.mask, VALID == 0)
    assert save_figure(fig, tmp_path / "a.png").stat().st_size > 10_000


def test_maps_of_shapes_share_their_colours():
    alpha = RNG.uniform(0.0, 1.5, (8, 10, 3))
    fig = stereo.shape_maps(alpha, names=("Y", "U", "V"))
    maps = [ax for ax in fig.axes if ax.images and ax.get_title(loc="left")]
    assert [ax.images[0].get_clim() for ax in maps] == [(0.0, 2.0)] * 3
    assert maps[0].get_title(loc="left") == f"Y, mean {alpha[..., 0].mean():.2f}"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"truth\.shape=\(3, 3\)"):
        stereo.disparity_panels(IMAGE, IMAGE, TRUTH, np.ones((3, 3)), VALID)
    with pytest.raises(ValueError, match="warped"):
        stereo.disparity_panels(IMAGE, IMAGE[:5], TRUTH, TRUTH, VALID)
    with pytest.raises(ValueError, match="no pixel is known"):
        stereo.disparity_panels(IMAGE, IMAGE, TRUTH, TRUTH, 0 * VALID)
    with pytest.raises(ValueError, match=r"alpha\.shape=\(12, 20\)"):
        stereo.shape_maps(TRUTH)
    with pytest.raises(ValueError, match="one for each of 3"):
        stereo.shape_maps(IMAGE, names=("Y",))
