import matplotlib
import numpy as np
import pytest

from gmkit import reporting
from gmkit.reporting.plots import robust_range, running_median

NAN, INF = float("nan"), float("inf")


def _legend(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def test_roles_keep_their_colours():
    chosen = reporting.colours(["GEBM", "other", "base", "data (test)", "data (train)"])
    assert chosen["GEBM"] == "#0072b2"
    assert chosen["base"] == "#e69f00"
    assert chosen["data (test)"] == "#444444"
    assert len(set(chosen.values())) == 5
    assert reporting.colours(["a", "b"]) == reporting.colours(["a", "b"])


def test_more_names_than_colours_still_have_one():
    assert len(reporting.colours([f"name {i}" for i in range(40)])) == 40


def test_style_leaves_no_trace():
    before = dict(matplotlib.rcParams)
    fig = reporting.lines({"a": ([0, 1], [0, 1])})
    fig.canvas.draw()
    assert dict(matplotlib.rcParams) == before


def test_save_figure_is_atomic_and_png_only(tmp_path):
    fig, _ = reporting.figure(2, 1)
    path = reporting.save_figure(fig, tmp_path / "deep" / "f.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"f\.pdf"):
        reporting.save_figure(fig, tmp_path / "f.pdf")


def test_range_ignores_outliers_and_has_a_width():
    values = np.random.default_rng(0).normal(size=10_000)
    low, high = robust_range([np.append(values, 1e9)])
    assert -3.5 < low < -2.3
    assert 2.3 < high < 3.5
    assert robust_range([]) is None
    assert robust_range([np.array([])]) is None
    for constant in (0.0, 3.0, 1e30, -1e-30):
        low, high = robust_range([np.full(5, constant)])
        assert low < constant < high


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0],
        [0.0] * 5,
        [NAN],
        [INF, -INF, NAN],
        [1e30] * 3,
        [-1e300, 1e300],
        [0, 1e-300],
        [3, INF],
    ],
)
def test_histograms_draw_anything(values):
    for series in ({"data": values}, {"data": values, "base": np.arange(9.0)}):
        reporting.histograms(series, "energy").canvas.draw()


def test_histograms_say_what_they_leave_out():
    bulk = np.random.default_rng(0).normal(size=1000)
    fig = reporting.histograms({"data": bulk, "base": [NAN, 0.0, 1.0], "GEBM": [], "x": [INF]})
    labels = _legend(fig)
    assert "base (1 non-finite)" in labels
    assert "GEBM (empty)" in labels
    assert "x (1 non-finite)" in labels
    assert "outside" in labels[0]


def test_histogram_densities_integrate_to_one():
    fig = reporting.histograms({"a": np.arange(10.0), "b": np.arange(1000.0) / 100}, bins=7)
    steps = [patch.get_data() for patch in fig.axes[0].patches]
    assert len(steps) == 4
    for heights, edges, _ in steps:
        assert np.sum(heights * np.diff(edges)) == pytest.approx(1.0)


def test_histograms_reject_nothing_to_draw():
    with pytest.raises(ValueError, match="series is empty"):
        reporting.histograms({})
    with pytest.raises(ValueError, match="bins=0"):
        reporting.histograms({"a": [1.0]}, bins=0)


@pytest.mark.parametrize("logy", [False, True])
@pytest.mark.parametrize("y", [[1.0], [NAN, None], [-1.0, 0.0], [1.0, NAN, 2.0, NAN, INF], []])
def test_lines_draw_gaps_points_and_nothing(y, logy):
    reporting.lines({"a": (range(len(y)), y)}, "x", "y", logy).canvas.draw()


def test_a_value_between_gaps_is_a_dot():
    fig = reporting.lines({"a": (np.arange(6), [0.0, NAN, 2.0, None, 4.0, 5.0])})
    dots = next(line for line in fig.axes[0].lines if line.get_marker() == "o")
    np.testing.assert_array_equal(dots.get_xdata(), [0, 2])


def test_names_are_shown_as_they_are():
    fig = reporting.lines({"_hidden": ([0], [1]), "a$b$": ([0], [2])}, title="$x")
    assert [label.strip() for label in _legend(fig)] == ["_hidden", r"a\$b\$"]
    fig.canvas.draw()


def test_lines_name_the_series_that_does_not_fit():
    with pytest.raises(ValueError, match="series 'b': 2 x values and 1 y values"):
        reporting.lines({"a": ([0], [0]), "b": ([0, 1], [0])})


def test_running_median_ignores_a_spike_and_bridges_short_gaps():
    y = np.ones(50)
    y[10], y[20] = 1e9, NAN
    np.testing.assert_array_equal(running_median(y, 7), np.ones(50))
    y[25:] = NAN
    smooth = running_median(y, 7)
    assert np.isnan(smooth[30:]).all()
    assert smooth[0] == 1.0


def test_scatter_counts_what_it_does_not_show():
    points = np.random.default_rng(0).normal(size=(300, 2))
    points[0] = NAN
    points[1] = 1e6
    fig = reporting.scatter_panels({"data": points, "base": np.zeros((0, 2))}, (-50, 50))
    assert [text.get_text() for text in fig.axes[0].texts] == ["2 of 300 not shown"]
    assert fig.axes[0].get_xlim() == fig.axes[1].get_ylim() == (-50, 50)
    fig = reporting.scatter_panels({"data": points})
    assert np.ptp(fig.axes[0].get_xlim()) < 10
    with pytest.raises(ValueError, match=r"points 'a' of shape \(3, 3\)"):
        reporting.scatter_panels({"a": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="limits="):
        reporting.scatter_panels({"a": points}, (1, 2, 3))


def test_scatter_draws_one_point_and_five_panels():
    reporting.scatter_panels({"data": np.zeros((1, 2))}).canvas.draw()
    fig = reporting.scatter_panels({str(i): np.eye(2) for i in range(5)})
    assert sum(ax.get_visible() for ax in fig.axes) == 5


@pytest.mark.parametrize("fill", [0.0, NAN, INF])
def test_landscape_draws_flat_and_undefined_functions(fill):
    reporting.landscape(
        np.full((9, 9), fill), (-1, 1, -1, 1), np.zeros((3, 2)), "flat"
    ).canvas.draw()


def test_landscape_is_the_right_way_up():
    y, x = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-2, 2, 11), indexing="ij")
    fig = reporting.landscape(x**2 + (y - 1) ** 2, (-2, 2, -1, 1))
    heat = fig.axes[0].images[0]
    assert heat.origin == "lower"
    assert tuple(heat.get_extent()) == (-2, 2, -1, 1)
    fig.canvas.draw()
    with pytest.raises(ValueError, match=r"fn_values.shape=\(4,\)"):
        reporting.landscape(np.zeros(4), (0, 1, 0, 1))
