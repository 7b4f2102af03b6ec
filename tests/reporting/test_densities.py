import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle

from gmkit import reporting

NAN, INF = float("nan"), float("inf")
BOX = (-2.0, 2.0, -1.0, 1.0)


def _panels(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "density": np.arange(24.0).reshape(4, 6),
        "extent": BOX,
        "grid_lines": rng.uniform(-1, 1, size=(3, 5, 2)),
        "points": rng.uniform(-1, 1, size=(20, 2)),
        "latents": rng.uniform(-1, 1, size=(20, 2)),
    }
    return reporting.transport_panels(**(arrays | changes))


def _texts(fig):
    """Text -> its artist, of a figure without axes."""
    return {text.get_text(): text for text in fig.texts}


def _bold(fig):
    return [text.get_text() for text in fig.texts if text.get_weight() == "bold"]


def _inside(fig, texts):
    """Whether no text is cut off at the figure's border."""
    width, height = fig.canvas.get_width_height()
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)


def _bars(ax):
    collection = next(c for c in ax.collections if isinstance(c, LineCollection))
    return {int(a[1]): (a[0], b[0]) for a, b in collection.get_segments()}


def _dots(ax):
    return np.asarray(ax.collections[-1].get_offsets().filled(NAN))


def test_transport_shows_what_it_was_given():
    rng = np.random.default_rng(1)
    values, lines = rng.random((4, 6)), rng.uniform(-1, 1, size=(3, 5, 2))
    clouds = {name: rng.uniform(-1, 1, size=(9, 2)) for name in ("points", "samples", "latents")}
    fig = _panels(density=values, grid_lines=lines, title="moons", **clouds)
    fig.canvas.draw()
    data, samples, density, latents = fig.axes
    for ax, name in ((data, "points"), (samples, "samples"), (latents, "latents")):
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), clouds[name])
    heat = density.images[0]
    np.testing.assert_array_equal(heat.get_array(), values)
    assert heat.origin == "lower"
    assert tuple(heat.get_extent()) == BOX
    assert heat.norm.vmin == 0.0
    np.testing.assert_array_equal(density.collections[0].get_segments(), lines)
    assert density.child_axes[0].get_ylabel() == "density"
    circles = [patch for patch in latents.patches if isinstance(patch, Circle)]
    assert [circle.radius for circle in circles] == [1, 2, 3]
    assert all(ax.get_aspect() == 1 for ax in fig.axes)
    assert all((*ax.get_xlim(), *ax.get_ylim()) == BOX for ax in fig.axes[:3])


def test_transport_has_a_panel_for_samples_only_if_there_are_some():
    assert [ax.get_title("left") for ax in _panels().axes] == [
        "data",
        "density and grid",
        "latents of the data",
    ]
    assert len(_panels(samples=np.zeros((0, 2))).axes) == 4


def test_latents_far_away_are_in_the_picture():
    far = _panels(latents=np.full((9, 2), 8.0)).axes[-1]
    assert far.get_xlim()[1] > 8
    assert far.get_xlim() == far.get_ylim()
    near = _panels(latents=np.zeros((0, 2))).axes[-1]
    assert near.get_xlim()[1] > 3


def test_grid_vertices_that_cannot_be_drawn_are_gaps():
    lines = np.zeros((4, 6, 2))
    lines[:, :, 0] = np.linspace(-1, 1, 6)
    for line, bad in zip(lines, (NAN, INF, 1e30, -1e300), strict=True):
        line[2, 1] = bad
    fig = _panels(grid_lines=lines)
    fig.canvas.draw()
    segments = np.array([path.vertices for path in fig.axes[1].collections[0].get_paths()])
    assert np.isnan(segments[:, 2]).all()
    np.testing.assert_array_equal(np.delete(segments, 2, axis=1), np.delete(lines, 2, axis=1))


def test_grid_lines_leave_no_mark_outside_the_panel():
    across = np.array([[[-9.0, 0.0], [9.0, 0.0]]])
    empty = {"points": np.zeros((0, 2)), "latents": np.zeros((0, 2)), "density": np.zeros((2, 2))}
    drawn = [_panels(grid_lines=lines, **empty) for lines in (across, [])]
    pixels = []
    for fig in drawn:
        fig.canvas.draw()
        pixels.append(np.asarray(fig.canvas.buffer_rgba()).astype(int))
    rows, columns = np.nonzero(np.abs(pixels[0] - pixels[1]).sum(axis=2))
    box = drawn[0].axes[1].get_window_extent()
    assert columns.min() >= box.x0 - 1
    assert columns.max() <= box.x1 + 1
    assert columns.max() - columns.min() > 0.95 * box.width
    middle = pixels[0].shape[0] - (box.y0 + box.y1) / 2
    assert np.abs(rows - middle).max() < 3


def test_lines_of_different_lengths_and_no_lines():
    fig = _panels(grid_lines=[np.zeros((2, 2)), np.zeros((7, 2))])
    assert len(fig.axes[1].collections[0].get_paths()) == 2
    _panels(grid_lines=[]).canvas.draw()


@pytest.mark.parametrize("fill", [0.0, 1e-30, 1e30, NAN, INF])
def test_transport_draws_flat_and_undefined_densities(fill):
    _panels(density=np.full((5, 5), fill)).canvas.draw()


def test_a_spike_without_mass_does_not_take_the_colours():
    values = np.ones((100, 100))
    values[50, 50] = 100.0
    heat = _panels(density=values).axes[1].images[0]
    assert heat.norm.vmax == 1.0
    # A density that lives on little of the plane has all of the colours.
    values = np.zeros((100, 100))
    values[50, 50:55] = np.arange(1.0, 6.0)
    assert _panels(density=values).axes[1].images[0].norm.vmax == 5.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": np.zeros(4)}, r"density.shape=\(4,\)"),
        ({"density": np.full((2, 2), -1.5)}, "down to -1.5"),
        ({"extent": (1.0, 1.0, 0.0, 1.0)}, "extent="),
        ({"extent": (0.0, INF, 0.0, 1.0)}, "extent="),
        ({"grid_lines": np.zeros((3, 5, 3))}, r"'grid_lines\[0\]' of shape \(5, 3\)"),
        ({"points": np.zeros(3)}, "'points'"),
        ({"samples": np.zeros((3, 1))}, "'samples'"),
        ({"latents": np.zeros((3, 4))}, "'latents'"),
    ],
)
def test_transport_names_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        _panels(**changes)


ROWS = [
    {"model": "a", "nll": 2.5, "bits": 1.0, "n": 10},
    {"model": "b", "nll": NAN, "bits": None, "n": 20},
    {"model": "c", "nll": 1.25, "bits": -INF, "n": 30},
    {"model": "d", "nll": -INF, "bits": 3.0},
]


def test_table_bolds_the_best_finite_value():
    assert _bold(reporting.value_table(ROWS, highlight={"nll": "min"})) == ["1.250"]
    assert _bold(reporting.value_table(ROWS, highlight={"nll": "max", "n": "max"})) == [
        "2.500",
        "30",
    ]
    assert _bold(reporting.value_table(ROWS)) == []


def test_table_bolds_what_reads_the_same_as_the_best():
    rows = [{"nll": 1.00001}, {"nll": 1.00002}, {"nll": 1.01}]
    assert _bold(reporting.value_table(rows, highlight={"nll": "min"})) == ["1.000", "1.000"]
    assert _bold(reporting.value_table([{"nll": NAN}], highlight={"nll": "min"})) == []


def test_table_cells_are_written_by_format_value_and_missing_ones_are_dashes():
    texts = [text.get_text() for text in reporting.value_table(ROWS, ["nll", "n"]).texts]
    dash = reporting.format_value(None)
    assert texts == ["nll", "2.500", dash, "1.250", "-inf", "n", "10", "20", "30", dash]


def test_table_columns_have_an_order_headers_and_an_edge():
    fig = reporting.value_table(ROWS, {"n": "examples", "model": "model $m$"})
    texts = _texts(fig)
    assert list(texts)[:2] == ["examples", "10"]
    assert r"model \$m\$" in texts
    numbers = [texts[name].get_window_extent() for name in ("examples", "10", "20", "30")]
    names = [texts[name].get_window_extent() for name in "abcd"]
    assert np.ptp([box.x1 for box in numbers]) < 2
    assert np.ptp([box.x0 for box in names]) < 2
    assert all(np.diff([text.get_position()[1] for text in fig.texts[:5]]) < 0)
    assert max(box.x1 for box in numbers) < min(box.x0 for box in names)


@pytest.mark.parametrize("n", [1, 30])
@pytest.mark.parametrize("title", [None, "short", "a title of many words " * 12])
def test_table_is_as_large_as_its_content(n, title):
    rows = [{"model": "x" * (1 + 3 * i), "nll": 0.1 * i} for i in range(n)]
    fig = reporting.value_table(rows, title=title)
    assert _inside(fig, fig.texts)
    assert len(fig.artists) == 3
    boxes = sorted((text.get_window_extent() for text in fig.texts), key=lambda box: box.y0)
    for i, low in enumerate(boxes):
        for high in boxes[i + 1 :]:
            apart = high.y0 >= low.y1 or high.x0 >= low.x1 or low.x0 >= high.x1
            assert apart
    taller = reporting.value_table(rows + rows, title=title)
    assert taller.get_figheight() > fig.get_figheight()
    assert taller.get_figwidth() == fig.get_figwidth()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": []}, "rows is empty"),
        ({"rows": [{}]}, "no columns to show"),
        ({"rows": ROWS, "columns": []}, "no columns to show"),
        ({"rows": ROWS, "columns": ["nell"]}, r"columns \['nell'\].*model, nll"),
        ({"rows": ROWS, "highlight": {"nell": "min"}}, r"highlight \['nell'\]"),
        ({"rows": ROWS, "highlight": {"nll": "low"}}, r"highlight\['nll'\]='low'"),
    ],
)
def test_table_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        reporting.value_table(**arguments)
