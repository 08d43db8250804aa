"""The derivations: each displayed equation, read from the text, against autograd."""

import re
from pathlib import Path

import pytest
from reader import faults, main, read, read_file

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
GIVEN = r"N|m|q|i|W|b|x|h|a|y|g'|\hat".split("|")  # the names that a result may contain
GIVEN_3 = r"N|d|i|j|n|X|S|x|y|p|z|w|\sigma|\exp".split("|")
LAYOUT = (r"\\(tag\{.*?\}|operatorname\{diag\}|[tdc]?frac|sum|odot|top|[bB]igg?[lr]"
          r"|left|right)(?![a-zA-Z])")
NOTATION = "not understood|no symbol|not read|too early|no function"
HEADINGS = "## Problem 1\n%s## Appendix: more\n### A. One\n%s### B. Two\n%s"


@pytest.fixture(scope="module")
def rows():
    return read_file(ROOT / "derivations.tex")


def answer(rows, tag):
    """The right side of a boxed result, without layout."""
    (row,) = (row for row in rows if row.tag == tag)
    asked = r"\boxed{" + RESULTS[tag]
    assert re.sub(r"\s", "", row.source).startswith(re.sub(r"\s", "", asked))
    return re.sub(LAYOUT, " ", row.source.partition("=")[2])


def names(text):
    return set(re.findall(r"\\?[a-zA-Z]+'?", re.sub(r"(?<=_)\{?\w+|\\ell", " ", text)))


@pytest.mark.parametrize("tag", ["R1", "R2"])
def test_problem1_a_result(rows, tag):
    assert names(answer(rows, tag)) <= {*GIVEN}


def test_problem1_b_result_is_the_residual_recursion(rows):
    answer(rows, "R3")


@pytest.mark.parametrize("tag", ["R4", "R5", "R6", "R7"])
def test_problem1_c_result_contains_neither_e_nor_delta_nor_another_name(rows, tag):
    assert names(answer(rows, tag)) <= {*GIVEN}


@pytest.mark.parametrize("tag", ["R8", "R9", "R10", "R11"])
def test_problem3_result(rows, tag):
    assert names(answer(rows, tag)) <= {*GIVEN_3}


def test_derivations_every_displayed_equation_is_read(rows):
    shown = re.findall(r"\\begin\{((?:align|gather|equation)\*?)\}(.*?)\\end\{\1\}"
                       r"|(?<!\\)\\\[()(.*?)\\\]", TEX, re.S)
    found = [re.split(r"\\\\", re.sub(r"\\\\\s*$", "", a or b)) for _, a, _, b in shown]
    assert len(rows) == sum(map(len, found))


def test_derivations_every_equation_has_its_tag_or_none(rows):
    numbered = re.findall(r"\\begin\{(align|gather|equation)\}(.*?)\\end\{\1\}", TEX, re.S)
    bare = [row for _, body in numbered for row in re.split(r"\\\\(?!\s*$)", body)
            if not re.search(r"\\(no)?(tag|number)", row)]
    assert bare == []


def test_derivations_every_displayed_equation_agrees_with_autograd(rows):
    assert not faults(rows), "\n".join(faults(rows))


def test_derivations_every_formula_of_the_notebook_is_confirmed():
    found = read_file(ROOT / "hw2.ipynb")
    assert faults(found) == []
    assert {row.tag for row in found} >= set(RESULTS)


def examples(name):
    """[(title, text)] of wrong.tex or rewritten.tex, by the comments above them."""
    text = (HERE / name).read_text("utf8")
    found = [(title, f"%% begin {part}\n{body}")
             for part, inner in re.findall(r"(?ms)^%% begin (\S+)\n(.*?)^%% end", text)
             for title, body in re.findall(r"(?m)^% (.+)\n((?:[^%].*\n)+)", inner)]
    assert len(found) == len(re.findall(r"(?m)^(\$\$|\\\[|\\begin)", text)) >= 40
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
    wrong, right = ({title for title, _ in examples(name) if title.startswith("notation")}
                    for name in ("wrong.tex", "rewritten.tex"))
    assert wrong == right


@pytest.mark.parametrize(("text", "cause"), [
    (r"$$ y^{(i)} = \sum_{i=1}^N y^{(i)} $$", "bound twice"),
    (r"$$ \sum_{i=1}^m y^{(i)} = b_3 $$", "ends elsewhere"),
    (r"$$ W_{3,j} = W_{3,j} $$", "no entry"),
    (r"$$ W_1 = h_1 $$", r"h .*no symbol.*; write h_\\ell\^\{\(i\)\}"),
    (r"$$ L = 1/N $$", r"`/N` is not understood.*; write \\frac\{1\}\{N\}"),
    (r"\begin{align} L &= L && = 2 L \end{align}", "`&& = 2 L` is not understood"),
    (r"\begin{multline} L &= 2 L \end{multline}", "not read here"),
    (r"$$ L = 2 L \tag{1}", "not read here"),
    (r"\newcommand{\loss}{L}", "not read here"),
])
def test_reader_control_other_notation_is_refused_with_its_line(text, cause):
    (fault,) = faults(read([("here", f"%% begin problem-1\n\n{text}\n%% end problem-1")]))
    assert re.match(f"here:3: .*{cause}", fault)


@pytest.mark.parametrize(("places", "faulty"), [
    (("$$ L = L $$\n", "", "$$ H = H $$"), []), (("", "", "### C. Three\n$$ L = L $$"), [6]),
    (("# T\n$$ L = L $$\n", "", ""), [3]), (("", "$$ L = L $$\n", "$$ H = 2 H $$"), [4, 6]),
])
def test_reader_control_a_formula_is_read_under_its_heading_only(places, faulty):
    found = faults(read([("cell", HEADINGS % places)]))
    assert [int(fault.split(":")[1]) for fault in found] == faulty


def test_reader_control_the_command_names_every_faulty_line(tmp_path):
    text = "%% begin problem-1\n$$ L = L L $$\n$$ L / 2 $$\n$$ L = L $$\n\\def\\a{}\n"
    (tmp_path / "b.tex").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main([tmp_path / "b.tex"])
    assert re.findall(r"(?m)^b.tex:(\d)", str(stop.value)) == ["2", "3", "5", "1"]
