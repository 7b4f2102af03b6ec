"""Maps of coefficients: their colours, what they say, what they refuse."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from gmkit.reporting import coefficient_maps, save_figure

ALPHA = np.random.default_rng(0).uniform(0.2, 1.5, (8, 10, 3))


def maps(fig):
    return [ax for ax in fig.axes if ax.images and ax.get_title(loc="left")]


def test_channels_share_their_colours(tmp_path):
    fig = coefficient_maps(ALPHA, "alpha", names=("Y", "U", "V"), title="a run")
    assert [ax.images[0].get_clim() for ax in maps(fig)] == [(ALPHA.min(), ALPHA.max())] * 3
    first = ALPHA[..., 0]
    assert maps(fig)[0].get_title(loc="left") == f"Y: {first.min():.3g} to {first.max():.3g}"
    np.testing.assert_array_equal(maps(fig)[1].images[0].get_array(), ALPHA[..., 1])
    assert save_figure(fig, tmp_path / "a.png").stat().st_size > 5000


def test_limits_are_kept_and_what_lies_beyond_is_marked():
    fig = coefficient_maps(ALPHA, "alpha", limits=(0.0, 1.0))
    image = maps(fig)[2].images[0]
    assert image.get_clim() == (0.0, 1.0) and image.colorbar.extend == "max"
    assert maps(fig)[2].get_title(loc="left").startswith("channel 2")
    inside = coefficient_maps(ALPHA, "alpha", limits=(0.0, 2.0))
    assert maps(inside)[2].images[0].colorbar.extend == "neither"


@pytest.mark.parametrize(("low", "log"), [(1e-4, True), (0.5, False), (0.0, False), (-1.0, False)])
def test_positive_values_far_apart_are_on_a_logarithmic_scale(low, log):
    values = np.linspace(low, 1.0, 12).reshape(3, 4, 1)
    image = maps(coefficient_maps(values, "scale"))[0].images[0]
    assert isinstance(image.norm, LogNorm) == log


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"values\.shape=\(8, 10\)"):
        coefficient_maps(ALPHA[..., 0], "alpha")
    with pytest.raises(ValueError, match="one for each of 3"):
        coefficient_maps(ALPHA, "alpha", names=("grey",))
    with pytest.raises(ValueError, match="1 are not finite"):
        coefficient_maps(np.where(ALPHA == ALPHA.max(), np.nan, ALPHA), "alpha")
