"""The derivations: each displayed equation, read from the text, against autograd."""

import re
from pathlib import Path

import pytest
from reader import Refused, faults, main, read, read_file

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
TEX = (ROOT / "derivations.tex").read_text("utf8")
BY = r"\frac{\partial L}{\partial %s} ="
RESULTS = {  # what the assignment asks for: the left side, literally
    "R1": BY % "W_3", "R2": BY % "b_3",
    "R3": r"e_{\ell-1}^{(i)} = e_\ell^{(i)} + W_\ell \delta_\ell^{(i)}",
    "R4": BY % "W_2", "R5": BY % "b_2", "R6": BY % "W_1", "R7": BY % "b_1",
    "R8": BY % "w",
    "R9": r"\frac{\partial^2 L}{\partial w_i \partial w_j} =",
    "R10": r"\frac{\partial^2 L}{\partial w \partial w^\top} =",
    "R11": r"\frac{\partial^2 L}{\partial w_i^2} =",
}


@pytest.fixture(scope="module")
def rows():
    return read_file(ROOT / "derivations.tex")


def examples(name):
    """The equations of wrong.tex or rewritten.tex, by the comments above them."""
    text = (HERE / name).read_text("utf8")
    for part, inner in re.findall(r"(?ms)^%% begin (\S+)\n(.*?)^%% end", text):
        for title, body in re.findall(r"(?ms)^% ([^\n]+)\n(\\beg.*?\\end.*?)$", inner):
            yield pytest.param(f"%% begin {part}\n{body}", id=f"{part}: {title}")


def said(text):
    try:
        return faults(read([("here", text)]))
    except Refused as error:
        return [str(error)]


def test_derivations_every_displayed_equation_is_read(rows):
    shown = re.findall(r"\\begin\{(align|gather|equation)\}(.*?)\\end\{\1\}", TEX, re.S)
    assert len(rows) == sum(len(body.split(r"\\")) for _, body in shown)
    assert [row.place for row in rows if not re.search(r"\\(no)?tag", row.source)] == []


def test_derivations_every_displayed_equation_agrees_with_autograd(rows):
    assert not faults(rows), "\n".join(faults(rows))


def is_boxed_and_as_asked(rows, tag):
    (row,) = (row for row in rows if row.tag == tag)
    answer, asked = row.source.partition("=")[2], r"\boxed{" + RESULTS[tag]
    assert re.sub(r"\s", "", row.source).startswith(re.sub(r"\s", "", asked))
    assert r"\partial" not in answer
    return answer


@pytest.mark.parametrize("tag", ["R1", "R2"])
def test_problem1_a_result(rows, tag):
    is_boxed_and_as_asked(rows, tag)


def test_problem1_b_result_is_the_residual_recursion(rows):
    is_boxed_and_as_asked(rows, "R3")


@pytest.mark.parametrize("tag", ["R4", "R5", "R6", "R7"])
def test_problem1_c_result_contains_neither_e_nor_delta(rows, tag):
    assert not re.search(r"\\delta|\be_", is_boxed_and_as_asked(rows, tag))


@pytest.mark.parametrize("tag", ["R8", "R9", "R10", "R11"])
def test_problem3_result(rows, tag):
    is_boxed_and_as_asked(rows, tag)


@pytest.mark.parametrize("text", [*examples("wrong.tex")])
def test_derivations_control_a_wrong_equation_is_not_confirmed(text):
    assert said(text)


@pytest.mark.parametrize("text", [*examples("rewritten.tex")])
def test_derivations_control_a_right_equation_written_otherwise_is_confirmed(text):
    assert said(text) == []


@pytest.mark.parametrize("name", ["wrong.tex", "rewritten.tex"])
def test_derivations_control_no_example_is_overlooked(name):
    assert len([*examples(name)]) == (HERE / name).read_text().count(r"\begin{") >= 25


@pytest.mark.parametrize(("text", "cause"), [
    (r"$$ W_1, W_2 = W_1, W_2 $$", "not understood"),
    (r"$$ L = L^{(2)} $$", "no symbol"),
    (r"$$ W_{3,j} = W_{3,j} $$", "no entry"),
    (r"$$ y^{(i)} = \sum_{i=1}^N y^{(i)} $$", "bound twice"),
    (r"$$ \sum_{i=1}^m y^{(i)} = b_3 $$", "ends elsewhere"),
    (r"$$ L \le \frac{1}{N - N} $$", "no finite number"),
    (r"\begin{align} L &= L && = 2 L \end{align}", "not understood"),
    (r"\begin{align*} L &= 2 L \end{align*}", "not read here"),
    (r"\[ L = 2 L \]", "not read here"),
    (r"\newcommand{\loss}{L}", "not read here"),
])
def test_derivations_control_other_notation_is_refused_with_its_line(text, cause):
    (fault,) = said(f"%% begin problem-1\n\n{text}\n%% end problem-1")
    assert re.match(f"here:3: .*{cause}", fault)


def test_derivations_every_formula_of_the_notebook_is_confirmed():
    found = read_file(ROOT / "hw2.ipynb")
    assert faults(found) == []
    assert {row.tag for row in found} >= set(RESULTS)


@pytest.mark.parametrize("heading", ["# Title", "## Problem 2", "### B. More"])
def test_derivations_control_a_formula_elsewhere_in_the_notebook_is_refused(heading):
    with pytest.raises(Refused, match="cell 2:1: "):
        read([("cell 1", f"## Problem 1\n{heading}"), ("cell 2", "$$ L = L $$")])


def test_derivations_control_the_command_names_the_line_of_a_mistake(tmp_path):
    parts = [f"%% begin {part}\n$$ L = {side} $$\n%% end {part}\n" for part, side in (
        ("problem-1", "L"), ("problem-3", r"2 \cdot L"), ("appendix-a", "L"))]
    (tmp_path / "b.tex").write_text("".join(parts))
    with pytest.raises(SystemExit, match="^b.tex:5: not confirmed$"):
        main([tmp_path / "b.tex"])
