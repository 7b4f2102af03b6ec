"""Families of curves, lines through outliers, matched clouds."""

import numpy as np
import pytest

from gmkit.reporting import save_figure
from gmkit.reporting.robust import LINKS, cloud_panels, curve_panels, fitted_lines

X = np.linspace(0.0, 1.0, 5)


def test_curves_of_a_name_share_a_colour(tmp_path):
    panels = {"left": {"a": (X, X), "b": (X, 1 + X)}, "right": {"b": (X, 2 - X)}}
    fig = curve_panels(
        panels, xlabel="x", ylabels=("u", "v"), logy=("right",), limits={"left": (0.0, 3.0)}
    )
    left, right = fig.axes
    of_b = {line.get_color() for ax in fig.axes for line in ax.lines if line.get_label() == "b"}
    assert len(of_b) == 1 and left.lines[0].get_color() not in of_b
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    assert left.get_ylim() == (0.0, 3.0) and right.get_ylabel() == "v"
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["a", "b"]
    assert save_figure(fig, tmp_path / "curves.png").stat().st_size > 5000


def test_lines_span_the_points():
    points = np.stack([X, X**2], axis=1)
    ax = fitted_lines(points, {"model": (2.0, 1.0), "flat": (0.0, 0.5)}).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(drawn["model"], [1.0, 3.0])
    np.testing.assert_allclose(drawn["flat"], [0.5, 0.5])


def test_clouds_show_matches_in_view():
    q = np.random.default_rng(0).random((200, 3))
    p = q.copy()
    p[:50] += 10.0
    fig = cloud_panels({"before": (p, q), "after": (q, q)}, focus=q)
    before, after = fig.axes
    assert "150 of 200" in before.get_title() and "200 of 200" in after.get_title()
    assert len(before.lines) == LINKS and before.get_xlim()[1] < 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curve_panels({}), "panels is empty"),
        (lambda: curve_panels({"a": {"a": (X, X)}}, ylabels=("u", "v")), "ylabels"),
        (lambda: fitted_lines(np.zeros((3, 3)), {}), r"pass \(n, 2\)"),
        (lambda: cloud_panels({}, np.zeros((2, 3))), "panels is empty"),
        (lambda: cloud_panels({"a": (X, X)}, np.eye(3)), r"pass \(n, 3\)"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
