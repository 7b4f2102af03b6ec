"""What real runs produce at the edges: odd names, odd types, nothing at all."""

import csv
import json

import numpy as np
import pytest

from gmkit import reporting

NAN, INF = float("nan"), float("inf")


def _legend(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", ["_hidden", "$x$", ""])
def test_any_name_can_be_drawn(name):
    drawn = [
        reporting.histograms({name: [1.0, 2.0]}),
        reporting.lines({name: ([0, 1], [1.0, 2.0])}),
        reporting.scatter_panels({name: np.eye(2)}),
        *reporting.training_curves([{"step": 1, f"a/{name}": 1.0}]).values(),
    ]
    for fig in drawn:
        fig.canvas.draw()


def test_a_name_with_an_underscore_stays_in_the_legend():
    fig = reporting.lines({"_a": ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])})
    assert [label.strip() for label in _legend(fig)] == ["_a", "b"]


@pytest.mark.parametrize(
    "points", [[[NAN, 1.0]], [[INF, -INF], [0.0, 0.0]], np.zeros((0, 2)), np.ones((50, 2))]
)
def test_scatter_draws_anything(points):
    reporting.scatter_panels({"data": points}).canvas.draw()


def test_scatter_rejects_nothing():
    with pytest.raises(ValueError, match="panels is empty"):
        reporting.scatter_panels({})


def test_landscape_draws_a_flat_function_with_one_odd_value():
    extent = (0, 1, 0, 1)
    for odd in (1e-3, 1e30, -INF, NAN):
        values = np.zeros((12, 12))
        values[3, 3] = odd
        reporting.landscape(values, extent).canvas.draw()
    reporting.landscape([[1.0]], extent, np.zeros((0, 2))).canvas.draw()


def test_landscape_leaves_what_is_not_finite_blank():
    values = np.arange(4.0).reshape(2, 2)
    values[0, 1] = INF
    shown = reporting.landscape(values, (0, 1, 0, 1)).axes[0].images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), [[False, True], [False, False]])


def test_gaps_and_empty_cells_of_a_colour_sheet_are_white():
    sheet = reporting.tile(np.full((3, 1, 1, 3), -1.0), 2, pad=2)
    expected = np.full((4, 4), 255)
    expected[0, 0] = expected[0, 3] = expected[3, 0] = 0
    np.testing.assert_array_equal(sheet, np.repeat(expected[..., None], 3, axis=2))


def test_panels_stand_side_by_side_in_their_order():
    images = {str(v): np.full((1, 2, 2, 1), v, np.uint8) for v in (10, 20, 30)}
    fig = reporting.side_by_side(images, per_row=2)
    assert [int(np.asarray(ax.images[0].get_array()).max()) for ax in fig.axes] == [10, 20, 30]
    first, second, third = (ax.get_position() for ax in fig.axes)
    assert first.x1 < second.x0
    assert third.y1 < first.y0
    assert third.x0 == pytest.approx(first.x0)


@pytest.mark.parametrize(
    ("images", "message"),
    [(np.zeros((0, 8, 8, 1)), "no image"), (np.zeros((8, 8)), "images.shape")],
)
def test_a_panel_that_cannot_be_drawn_is_an_error(images, message):
    with pytest.raises(ValueError, match=message):
        reporting.side_by_side({"data": np.zeros((1, 8, 8, 1)), "model": images})


def test_panels_per_row_are_checked():
    with pytest.raises(ValueError, match="per_row=0"):
        reporting.side_by_side({"a": np.zeros((1, 8, 8, 1))}, per_row=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 8, 1), "trajectory.shape"),
        ((0, 2, 8, 8, 1), "no image"),
        ((2, 0, 8, 8, 1), "no image"),
        ((2, 2, 8, 8, 4), "images.shape"),
    ],
)
def test_strips_reject_other_shapes(shape, message):
    with pytest.raises(ValueError, match=message):
        reporting.image_strips(np.zeros(shape), range(shape[0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_strips_of_one_step_and_one_chain(channels):
    fig = reporting.image_strips(np.zeros((1, 1, 8, 8, channels)), [0])
    assert [text.get_text() for text in fig.axes[0].texts] == ["0"]
    fig.canvas.draw()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 4, 4, 1), np.uint16),
        np.zeros((2, 4, 4, 1), np.int32),
        np.array(["a", "b"]),
        np.zeros((3, 2), complex),
        np.float32(3.0),
    ],
)
def test_samples_that_cannot_be_drawn_are_stored(tmp_path, samples):
    paths = reporting.save_samples(tmp_path, samples)
    assert list(paths) == ["npz"]
    with np.load(paths["npz"]) as stored:
        np.testing.assert_array_equal(stored["samples"], samples)


def test_samples_that_diverged_are_drawn(tmp_path):
    for i, samples in enumerate(
        (np.full((3, 2), NAN), np.full(3, INF), np.full((1, 4, 4, 3), NAN))
    ):
        assert sorted(reporting.save_samples(tmp_path, samples, str(i))) == ["npz", "png"]


def test_table_reads_back(tmp_path):
    rows = [
        {"name": 'a, "b"\nc', "x": np.float64(1) / 3, "none": None},
        {"name": "é", "x": -INF, "late": np.int64(2)},
    ]
    path = reporting.write_table(tmp_path / "tables" / "t.csv", rows)
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == ['a, "b"\nc', "é"]
    assert [float(row["x"]) for row in read] == [1 / 3, -INF]
    assert [row["none"] for row in read] == ["", ""]
    assert [row["late"] for row in read] == ["", "2"]
    assert [entry.name for entry in path.parent.iterdir()] == ["t.csv"]


def test_no_metrics_are_still_a_file(tmp_path):
    path = reporting.write_results(tmp_path, {}, {})
    assert json.loads(path.read_text()) == {"metrics": {}, "non_finite": [], "provenance": {}}


def test_provenance_holds_no_path(tmp_path):
    def leaves(value):
        if isinstance(value, dict):
            for item in value.values():
                yield from leaves(item)
        else:
            yield str(value)

    found = list(leaves(reporting.provenance(0)))
    assert not any(text.startswith(("/", "~", "\\")) or ":\\" in text for text in found)
    assert not any(str(tmp_path.anchor) + "home" in text for text in found)


def test_console_shows_the_first_metrics_and_columns():
    table = reporting.console_metrics({f"m{i}": float(i) for i in range(20)})
    assert table.row_count == 8
    table = reporting.console_table([{f"c{i}": i for i in range(9)}, {}], columns=4)
    assert (len(table.columns), table.row_count) == (4, 2)


def test_metrics_keys_that_are_not_numbers_are_no_curves():
    records = [{"step": 1, "time": 5.0, "ok/a": 1.0, "flag": True}, {"step": 2, "ok/a": "x"}]
    assert reporting.training_curves(records) == {}


def test_a_report_replaces_the_one_before(tmp_path):
    parts = {"config": {}, "metrics": {"a": 1.0}, "provenance": {}}
    reporting.write_report(tmp_path, title="first", **parts)
    text = reporting.write_report(tmp_path, title="{second} & 'last'", **parts).read_text()
    assert "first" not in text
    assert "{second} &amp; &#x27;last&#x27;" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
