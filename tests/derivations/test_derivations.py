"""The derivations: each displayed equation, read from the text, against autograd."""

import re
from pathlib import Path

import pytest
import reader
from lark import Tree

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
TEX = (ROOT / "derivations.tex").read_text("utf8")
ROWS = reader.read(ROOT / "derivations.tex")
BY = r"\frac{\partial L}{\partial %s} ="
BY_TWO = r"\frac{\partial^2 L}{\partial %s} ="
GIVEN = {  # names for a result
    r"\hat y", r"\hat{y}", r"\sigma", r"\operatorname{diag}", "g'", *"NWXSahnpwxyz"}


def examples(name):
    """(title, row) of wrong.tex or rewritten.tex; the title is in the line above."""
    rows = reader.read(HERE / name)
    text = ["", *(HERE / name).read_text("utf8").splitlines()]
    assert {x.line for x in rows} == {n for n, x in enumerate(text) if x[:1] not in "%"}
    return [(text[row.line - 1][2:], row) for row in rows]


WRONG, RIGHT = examples("wrong.tex"), examples("rewritten.tex")


def names(tag, asked):
    """The names on the right of the framed result whose left side is as asked for."""
    (row,) = (row for row in ROWS if rf"\tag{{{tag}}}" in row.source)
    plain, asked = (re.sub(r"[\s&]", "", text) for text in (row.source, asked))
    frames = re.findall(r"(?s)\\begin\{framed\}.*?\\end\{framed\}", TEX)
    assert plain.startswith(asked) and any(row.source in frame for frame in frames)
    right = Tree("right", row.chain.children[1:])
    used = right.scan_values(lambda token: token.type in ("NAME", "FUNCTION"))
    return {*used, *(x.data for x in right.find_pred(lambda x: "deriv" in x.data))}


@pytest.mark.parametrize(("tag", "by"), [("R1", "W_3"), ("R2", "b_3")])
def test_problem1_a_result(tag, by):
    assert names(tag, BY % by) <= GIVEN


def test_problem1_b_result_is_the_residual_recursion():
    assert names("R3", r"e_{\ell-1}^{(i)} = e_\ell^{(i)} + W_\ell \delta_\ell^{(i)}")


@pytest.mark.parametrize(
    ("tag", "by"), [("R4", "W_2"), ("R5", "b_2"), ("R6", "W_1"), ("R7", "b_1")])
def test_problem1_c_result_contains_neither_e_nor_delta_nor_another_name(tag, by):
    assert names(tag, BY % by) <= GIVEN


@pytest.mark.parametrize(("tag", "asked"), [
    ("R8", BY % "w"), ("R9", BY_TWO % r"w_i \partial w_j"),
    ("R10", BY_TWO % r"w \partial w^\top"), ("R11", BY_TWO % "w_i^2")])
def test_problem3_result(tag, asked):
    assert names(tag, asked) <= GIVEN


@pytest.mark.parametrize("name", ["derivations.tex", "hw2.ipynb"])
def test_derivations_every_displayed_equation_agrees_with_autograd(name):
    found = reader.read(ROOT / name)
    faults = "\n".join(row.fault for row in found if row.fault)
    assert not faults, faults
    assert [n for n in range(1, 12) if f"tag{{R{n}}}" not in str(found)] == []


def test_derivations_every_displayed_equation_is_read_and_has_a_tag_or_none():
    assert [row.line for row in ROWS if "tag" not in row.source] == []
    assert len(re.findall(r"\\(?:no)?tag\b", TEX)) == len(ROWS)


@pytest.mark.parametrize(("title", "row"), WRONG)
def test_reader_control_a_wrong_equation_is_not_confirmed(title, row):
    advice = title.partition("notation: ")[2]
    assert row.fault and advice in row.fault and bool(advice) == bool(
        re.search("is not understood|is no symbol|is in no problem", row.fault))
    assert not advice or title in dict(RIGHT), "it needs a right twin"


@pytest.mark.parametrize(("title", "row"), RIGHT)
def test_reader_control_a_right_equation_written_otherwise_is_confirmed(title, row):
    assert not row.fault
