"""Numbers of controlled generation."""

import numpy as np
import pytest

from gmkit import evaluation
from gmkit.energies import parse


def test_strength_is_the_gain_beyond_the_largest_side_effect():
    accuracy = [[0.1, 0.5, 0.2], [0.9, 0.4, 0.25], [0.9, 0.4, 0.25]]
    mean, terms = evaluation.disentangled_edit_strength(np.array(accuracy), [0, 2])
    assert terms[0] == pytest.approx({"gain": 0.8, "side_effect": 0.1, "strength": 0.7})
    assert terms[1] == pytest.approx({"gain": 0.0, "side_effect": 0.0, "strength": 0.0})
    assert mean == pytest.approx(0.35)


def test_strength_of_one_attribute_is_its_gain():
    mean, _ = evaluation.disentangled_edit_strength(np.array([[0.25], [1.0]]), [0])
    assert mean == 0.75


def test_strength_needs_a_row_more_than_edits():
    with pytest.raises(ValueError, match="one row before"):
        evaluation.disentangled_edit_strength(np.zeros((2, 3)), [0, 1])


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("digit=3", [True, False, False]),
        ("~digit=3", [False, True, True]),
        ("ink~0.5", [True, True, False]),
        ("digit=3 | ink~0.9", [True, False, True]),
        ("ink~0.5 & ~(digit=3 | digit=7)", [False, True, False]),
    ],
)
def test_expressions_are_read_as_logic(text, true):
    values = {"digit": np.array([3, 8, 7]), "ink": np.array([0.5, 0.6, 0.9])}
    assert evaluation.holds(parse(text), values, 0.1).tolist() == true


def test_distance_is_of_pairs_within_groups():
    rows = np.array([[0.0, 0.0], [2.0, 2.0], [10.0, 10.0]])
    assert evaluation.mean_distance(rows[:2]) == pytest.approx(2.0)
    assert evaluation.mean_distance(rows, np.array([0, 0, 1])) == pytest.approx(2.0)
    assert np.isnan(evaluation.mean_distance(rows, np.arange(3)))
