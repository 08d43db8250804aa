"""The derivations: each displayed equation, read from the text, against autograd."""

import re
from pathlib import Path

import pytest
from reader import faults, main, read, read_file

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
TEX = (ROOT / "derivations.tex").read_text("utf8")
ROWS = read_file(ROOT / "derivations.tex")
BY = r"\frac{\partial L}{\partial %s} ="
BY_TWO = r"\frac{\partial^2 L}{\partial %s} ="
RESULTS = {  # what the assignment asks for: the left side, literally
    "R1": BY % "W_3", "R2": BY % "b_3",
    "R3": r"e_{\ell-1}^{(i)} = e_\ell^{(i)} + W_\ell \delta_\ell^{(i)}",
    "R4": BY % "W_2", "R5": BY % "b_2", "R6": BY % "W_1", "R7": BY % "b_1",
    "R8": BY % "w", "R9": BY_TWO % r"w_i \partial w_j",
    "R10": BY_TWO % r"w \partial w^\top", "R11": BY_TWO % "w_i^2",
}
GIVEN = {r"\hat", r"\sigma", "g'", *"NTWXSahijnpwxyz"}  # names for a result
LAYOUT = (r"(?<=_)(\w|\\ell|\{.*?\})|\\(tag\{.*?\}|operatorname\{diag\}|[a-z]*frac|sum"
          r"|odot|top|[bB]igg?[lr]|left|right)(?![a-zA-Z])")
NOTATION = "not understood|no symbol|not read|too early|no function"


def names(tag):
    """The names on the right side of the framed result, whose left is as asked for."""
    (row,) = (row for row in ROWS if row.tag == tag)
    plain, asked = (re.sub(r"[\s&]", "", s) for s in (row.source, RESULTS[tag]))
    frames = re.findall(r"(?s)\\begin\{framed\}.*?\\end\{framed\}", TEX)
    assert plain.startswith(asked) and any(row.source in frame for frame in frames)
    right = re.sub(LAYOUT, " ", row.source.partition("=")[2])
    return set(re.findall(r"\\?[a-zA-Z]+'?", right))


@pytest.mark.parametrize("tag", ["R1", "R2"])
def test_problem1_a_result(tag):
    assert names(tag) <= GIVEN


def test_problem1_b_result_is_the_residual_recursion():
    assert names("R3")


@pytest.mark.parametrize("tag", ["R4", "R5", "R6", "R7"])
def test_problem1_c_result_contains_neither_e_nor_delta_nor_another_name(tag):
    assert names(tag) <= GIVEN


@pytest.mark.parametrize("tag", ["R8", "R9", "R10", "R11"])
def test_problem3_result(tag):
    assert names(tag) <= GIVEN


def test_derivations_every_displayed_equation_is_read_and_has_a_tag_or_none():
    environment = r"\\begin\{(align|gather|equation)(\*?)\}(.*?)(?:\\\\\s*)?\\end\{\1"
    shown = [(star, row) for _, star, body in re.findall(environment, TEX, re.S)
             for row in body.split(r"\\")]
    assert len(ROWS) == len(shown) + len(re.findall(r"(?<!\\)\\\[", TEX))
    assert [row for star, row in shown if not star and "tag" not in row] == []


def test_derivations_every_displayed_equation_agrees_with_autograd():
    assert not faults(ROWS), "\n".join(faults(ROWS))


def test_derivations_every_formula_of_the_notebook_is_confirmed():
    found = read_file(ROOT / "hw2.ipynb")
    assert not faults(found), "\n".join(faults(found))
    assert {row.tag for row in found} >= set(RESULTS)


def examples(name):
    """[(title, text)] of wrong.tex or rewritten.tex, by the comments above them."""
    text = (HERE / name).read_text("utf8")
    found = [(title, f"%% begin {part}\n{body}")
             for part, inner in re.findall(r"(?ms)^%% begin (\S+)\n(.*?)^%% end", text)
             for title, body in re.findall(r"(?m)^% (.+)\n([^%].*\n)", inner)]
    assert len(found) == len(re.findall(r"(?m)^(\$\$|\\)", text)) >= 40
    return found


@pytest.mark.parametrize(("title", "text"), examples("wrong.tex"))
def test_reader_control_a_wrong_equation_is_not_confirmed(title, text):
    (fault,) = faults(read([("here", text)]))
    assert bool(re.search(NOTATION, fault)) == title.startswith("notation: "), fault


@pytest.mark.parametrize(("title", "text"), examples("rewritten.tex"))
def test_reader_control_a_right_equation_written_otherwise_is_confirmed(title, text):
    found = read([("here", text)])
    assert found and faults(found) == []


def test_reader_control_what_is_refused_for_its_notation_can_be_written():
    wrong, right = ({title for title, _ in examples(name) if "notation: " in title}
                    for name in ("wrong.tex", "rewritten.tex"))
    assert wrong == right


@pytest.mark.parametrize(("text", "cause"), [
    (r"$$ W_1 = h_1 $$", "h so indexed is no symbol; symbols.py has .*h_l.i"),
    (r"$$ L = 1/N $$", r"`/N` is not understood.*; write \\frac\{1\}\{N\}"),
    (r"\begin{align} L &= L && = 2 L \end{align}", "`&& = 2 L` is not understood"),
    (r"\begin{multline}", "not read"), ("$$ L", "not read"), (r"\def", "not read"),
])
def test_reader_control_other_notation_is_refused_with_its_line(text, cause):
    (fault,) = faults(read([("here", f"%% begin problem-1\n\n{text}")]))
    assert re.match(f"here:3: .*{cause}", fault)


@pytest.mark.parametrize(("headings", "count"), [
    ("## Problem 1\n### (a)", 0), ("## Problem 3\n## Problem 2", 1), ("# Title", 1),
    ("## Appendix\n### A. One", 1), ("### B. Two", 0), ("### B. Two\n### C. Three", 1),
])
def test_reader_control_a_formula_is_read_under_its_heading_only(headings, count):
    assert len(faults(read([("1", headings), ("2", "$$ L = L $$")]))) == count


def test_reader_control_the_command_names_every_faulty_line(tmp_path):
    text = "%% begin problem-1\n$$ L = L L $$\n$$ L / 2 $$\n$$ L = L $$\n\\def\\a{}\n"
    (tmp_path / "b.tex").write_text(text)
    with pytest.raises(SystemExit, match=r"(?s)^b.tex:2.*b.tex:3.*b.tex:5.*b.tex:1"):
        main([tmp_path / "b.tex"])
