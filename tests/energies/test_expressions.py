"""Texts of expressions: precedence, what is known of attributes, and where mistakes are."""

import re

import pytest

from gmkit.energies import And, Atom, ExpressionError, Not, Or, parse

KNOWN = {"glasses": 2, "smile": ("no", "yes"), "age": None, "hair_colour": ("black", "fair", "red")}
ATOMS = [Atom("glasses", 1), Atom("yaw", 0.5, "~")]
GLASSES, SMILE, AGE = Atom("glasses", 1), Atom("smile", 1), Atom("age", 0.7, "~")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("glasses=1 & ~(smile=1 | age~0.7)", And((GLASSES, Not(Or((SMILE, AGE)))))),
        ("glasses=1|smile=yes&age~.7", Or((GLASSES, And((SMILE, AGE))))),
        ("~glasses=1 & smile=1 | age~0.7", Or((And((Not(GLASSES), SMILE)), AGE))),
        ("~(~age~7e-1)", Not(Not(AGE))),
        ("  ( ( hair_colour = red ) ) ", Atom("hair_colour", 2)),
        ("age~-0.3", Atom("age", -0.3, "~")),
    ],
)
def test_not_binds_before_and_before_or(text, tree):
    assert parse(text, attributes=KNOWN) == tree


def test_without_attributes_any_name_and_class_number_will_do():
    assert parse("x1=12 & y~3") == And((Atom("x1", 12), Atom("y", 3.0, "~")))


def test_official_operators_go_from_left_to_right():
    a, b = ATOMS
    weights = pytest.approx((2.9957323, 0.0))
    tree = parse(" 0 + 1*0 - 1 ", "official", ATOMS)
    assert isinstance(tree, And) and tree.children[1] == Not(b)
    left = tree.children[0]
    assert isinstance(left, Or) and left.log_weights == weights
    assert left.children == (And((a, b)), a)


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("glasess=1", 0, "unknown attribute 'glasess'; did you mean 'glasses'?"),
        ("glasses=1 & xyz=1", 12, "unknown attribute 'xyz': choose glasses, smile, age"),
        ("hair_colour=rde", 12, "unknown class 'rde' of hair_colour; did you mean 'red'?"),
        ("glasses=yes", 8, "unknown class 'yes' of glasses, which has no named classes"),
        ("glasses=2", 8, "give a class in 0 .. 1"),
        ("smile=1.5", 6, "give a class in 0 .. 1"),
        ("smile=-1", 6, "give a class in 0 .. 1"),
        ("age=1", 0, "age is continuous: write age~number"),
        ("glasses~1", 0, "glasses is discrete: write glasses=class"),
        ("glasses", 7, "expected = or ~ after glasses, found the end"),
        ("age~old", 4, "expected a number after age~, found 'old'"),
        ("glasses=1 smile=1", 10, "expected &, | or the end, found 'smile'"),
        ("(glasses=1 | smile=1", 20, "expected &, | or ), found the end"),
        ("glasses=1)", 9, "expected &, | or the end, found ')'"),
        ("glasses=1 & ", 12, "expected an attribute, ~ or (, found the end"),
        ("", 0, "expected an attribute, ~ or (, found the end"),
        ("glasses=1 + smile=1", 10, "unknown character '+'"),
        ("glasses=1 &\n ?", 13, "unknown character '?'"),
    ],
)
def test_mistakes_are_placed(text, position, problem):
    where = re.escape(f"expression {text!r}, position {position}: ")
    with pytest.raises(ExpressionError, match=f"^{where}.*{re.escape(problem)}"):
        parse(text, attributes=KNOWN)


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("0+10", 2, "10 has several digits"),
        ("0+2", 2, "attribute 2 of only 2"),
        ("0*-1", 2, "expected a digit or (, found '-'"),
        ("0--1", 2, "expected a digit or (, found '-'"),
        ("*1", 0, "expected a digit or (, found '*'"),
        ("0+", 2, "expected a digit or (, found the end"),
        ("(0+1", 4, "expected +, -, * or ), found the end"),
        ("0)+1", 1, "expected +, -, * or the end, found ')'"),
        ("0(1)", 1, "expected +, -, * or the end, found '('"),
        ("()", 1, "expected a digit or (, found ')'"),
        ("0 & 1", 2, "unknown character '&'"),
    ],
)
def test_mistakes_in_official_strings_are_placed(text, position, problem):
    where = re.escape(f"expression {text!r}, position {position}: ")
    with pytest.raises(ExpressionError, match=f"^{where}{re.escape(problem)}"):
        parse(text, "official", ATOMS)


def test_dialects_and_their_attributes():
    with pytest.raises(ValueError, match="dialect='python'"):
        parse("a=1", "python")
    with pytest.raises(ValueError, match="official dialect needs attributes"):
        parse("0", "official")
    with pytest.raises(ValueError, match="mapping from names"):
        parse("glasses=1", attributes=ATOMS)
