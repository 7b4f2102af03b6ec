"""The algebra of attributes, and its values in both dialects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.energies import And, Atom, Not, Or, atoms, compose, parse

A, B, C, D = (Atom(name, 1) for name in "abcd")
ATOMS = (A, B, C, D)
#: Log-probabilities of three latents under the four atoms.
VALUES = {
    A: jnp.array([-0.5, -3.0, -40.0]),
    B: jnp.array([-2.0, -0.05, -1.0]),
    C: jnp.array([-0.3, -7.0, -0.02]),
    D: jnp.array([-5.0, -1.0, -120.0]),
}
#: What the official function returns for them.
OFFICIAL = {
    "0+1": (-2.5, -3.05, -41.0),
    "0*1": (2.506827, 0.666275, -1.0),
    "1*0": (1.197925, 2.948346, 1.995732),
    "0+(-1)": (-0.4, -2.95, -39.9),
    "0-1": (-0.4, -2.95, -39.9),
    "0+-1": (-0.4, -2.95, -39.9),
    "-1": (0.1, 0.05, 0.1),
    "0*1*2": (5.505574, 3.66203, 2.120798),
    "(0*1)*2": (5.505574, 3.66203, 2.120798),
    "0*(1*2)": (2.745868, 2.996794, 2.120798),
    "(0+1)*(2+(-3))": (0.900337, -0.053204, 0.08),
    "(0+1)*(2-3)": (0.900337, -0.053204, 0.08),
    "0+1*2": (0.868158, -0.053305, -0.02),
    "0*1+2": (2.206827, -6.333725, -1.02),
    "0+(1*2)": (0.737656, -0.05422, -37.879204),
}
KAPPA = (np.log(20.0), 0.0)


def value_and_grad(expression, values):
    """L and its derivative by every atom's log-probability."""
    atoms, numbers = tuple(values), jnp.array(list(values.values()))
    total = lambda x: compose(expression, dict(zip(atoms, x, strict=True)))
    return jax.jit(jax.value_and_grad(total))(numbers)


def composed(trees):
    """Values of many expressions, in one program."""
    read = lambda x: [compose(tree, dict(zip(VALUES, x, strict=True))) for tree in trees]
    return jax.jit(read)(list(VALUES.values()))


def test_official_strings_have_the_official_values():
    values = composed([parse(text, "official", ATOMS) for text in OFFICIAL])
    np.testing.assert_allclose(values, list(OFFICIAL.values()), rtol=1e-5, atol=1e-5)


#: What both dialects can say.
BOTH = {
    "0+1": "a=1 & b=1",
    "0-1": "a=1 & ~b=1",
    "0+(-1)": "a=1&~(b=1)",
    "-1": "~b=1",
    "-(0+1)-2": "~(a=1 & b=1) & ~c=1",
    "0+1+2-3": "a=1 & b=1 & c=1 & ~ d=1",
}


def test_both_dialects_agree_where_both_can_say_it():
    official = composed([parse(text, "official", ATOMS) for text in BOTH])
    ours = composed([parse(text) for text in BOTH.values()])
    np.testing.assert_allclose(ours, official, rtol=1e-6)


#: Trees with the official weights.
TREES = {
    "0*1": Or((A, B), KAPPA),
    "0*1*2": Or((Or((A, B), KAPPA), C), KAPPA),
    "0*(1*2)": Or((A, Or((B, C), KAPPA)), KAPPA),
    "(0+1)*(2-3)": Or((And((A, B)), And((C, Not(D)))), KAPPA),
    "0+1*2": Or((And((A, B)), C), KAPPA),
    "0*1+2": And((Or((A, B), KAPPA), C)),
    "0+(1*2)": And((A, Or((B, C), KAPPA))),
}


def test_trees_with_official_weights_are_those_of_the_strings():
    for text, tree in TREES.items():
        assert parse(text, "official", ATOMS) == tree
    expected = [OFFICIAL[text] for text in TREES]
    np.testing.assert_allclose(composed(TREES.values()), expected, rtol=1e-5, atol=1e-5)


def test_or_far_below_the_range_of_exp():
    value, grad = value_and_grad(parse("0*1", "official", ATOMS), {A: -200.0, B: -300.0})
    np.testing.assert_allclose(value, -197.004268, rtol=1e-6)
    np.testing.assert_allclose(grad, [1.0, 0.0], atol=1e-6)


def test_or_is_symmetric_and_associative_without_weights():
    flat, other, nested = composed([A | B | C, Or((C, A, B)), A | (B | C)])
    np.testing.assert_allclose(flat, other, atol=1e-6)
    np.testing.assert_allclose(flat, nested, atol=1e-6)
    p = sum(np.exp(np.asarray(VALUES[atom], np.float64)) for atom in (A, B, C))
    np.testing.assert_allclose(flat, np.log(p), atol=1e-5)


def test_a_cold_or_is_the_maximum():
    (value,) = composed([Or((A, B), temperature=1e-3)])
    np.testing.assert_allclose(value, [-0.5, -0.05, -1.0], atol=1e-5)


def test_not_pushes_with_a_frozen_coefficient():
    level, alpha = jnp.array([-2.0, -0.05, -0.1, 0.0, 3.0]), [0.05, 1.0, 1.0, 1.0, 0.1 / 3]
    push = jax.jit(jax.vmap(jax.value_and_grad(lambda x: compose(Not(A), {A: x}))))
    value, grad = push(level)
    np.testing.assert_allclose(value, -np.array(alpha) * level, rtol=1e-6)
    # That of -alpha L for a constant alpha; of the value itself it would be 0 below -0.1.
    np.testing.assert_allclose(grad, -np.array(alpha), rtol=1e-6)


def test_not_can_be_a_plain_minus():
    value, grad = value_and_grad(Not(A, "fixed", 0.3), {A: -40.0})
    np.testing.assert_allclose(value, 12.0, rtol=1e-6)
    np.testing.assert_allclose(grad, [-0.3], rtol=1e-6)


def test_and_commutes_and_de_morgan_does_not_hold():
    one, other, outside, inside = composed([A & B, B & A, ~(A & B), ~A | ~B])
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(outside, inside, atol=0.1)


def test_values_and_gradients_are_finite_at_the_extremes():
    extremes = jnp.array([-jnp.inf, -1e30, -1e4, -0.0, 0.0, 1e4])
    trees = (A & B, A | B, ~A, ~(A & B), ~(A | B) & A, Not(A, "fixed"))

    @jax.jit
    def values_and_slopes(x):
        total = lambda x, tree: jnp.sum(compose(tree, {A: x, B: x}))
        return [(compose(t, {A: x, B: x}), jax.grad(total)(x, t)) for t in trees]

    assert np.isfinite(np.asarray(values_and_slopes(extremes))).all()


def test_a_classifier_that_is_not_a_number_stays_visible():
    value, _ = value_and_grad((A & B) | ~C, {A: np.nan, B: -1.0, C: -1.0})
    assert np.isnan(value)


def test_atoms_are_asked_once_and_may_be_a_function():
    asked = []

    def log_prob(atom):
        asked.append(atom)
        return VALUES[atom]

    tree = (B & A) | ~(A & C)
    np.testing.assert_array_equal(compose(tree, log_prob), compose(tree, VALUES))
    assert asked == [B, A, C] == list(atoms(tree))


def test_texts_of_trees_are_read_back():
    for text in ("a=1 & ~(b=1 | c~0.7)", "(a=1 | b=2) & ~~c=0", "a=1 | b=1 & ~(c=1 & d~-2.5)"):
        tree = parse(text)
        assert str(tree) == text
        assert parse(str(tree)) == tree


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no log-probability for b=1: there are a=1"):
        compose(A & B, {A: jnp.zeros(())})
    for make, word in (
        (lambda: And(()), "And has no children"),
        (lambda: Or((A, B), (1.0,)), "for 2 children"),
        (lambda: Or((A, B), temperature=0.0), "temperature=0.0"),
        (lambda: Not(A, "hard"), "mode='hard'"),
        (lambda: Not(A, alpha=-1.0), "alpha=-1.0"),
        (lambda: Atom("a", 1, "<"), "kind='<'"),
    ):
        with pytest.raises(ValueError, match=word):
            make()
