"""The equations of derivations.tex, as they stand in its text, against autograd."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mutants import mutants
from notation import Refused, along
from reader import (
    PARTS,
    TOLERANCE,
    Part,
    check,
    check_notebook,
    locator,
    main,
    part_of,
    results,
    stream,
)
from symbols import TABLES
from torch.autograd import forward_ad

HERE = Path(__file__).parent
FILE = HERE.parent / "derivations.tex"
TEX = FILE.read_text("utf8")

COUNTS = {  # part: equalities, inequalities, definitions
    "problem-1": {"equality": 42, "inequality": 5, "definition": 2},
    "problem-3": {"equality": 21, "inequality": 2, "definition": 5},
}
RESULTS = {  # what the assignment asks for: the left side, literally
    "R1": r"\frac{\partial L}{\partial W_3} =",
    "R2": r"\frac{\partial L}{\partial b_3} =",
    "R3": r"e_{\ell-1}^{(i)} = e_\ell^{(i)} + W_\ell \delta_\ell^{(i)} "
          r"\quad (\ell = 1, 2)",
    "R4": r"\frac{\partial L}{\partial W_2} =",
    "R5": r"\frac{\partial L}{\partial b_2} =",
    "R6": r"\frac{\partial L}{\partial W_1} =",
    "R7": r"\frac{\partial L}{\partial b_1} =",
    "R8": r"\frac{\partial L}{\partial w} =",
    "R9": r"\frac{\partial^2 L}{\partial w \partial w^\top} =",
    "R10": r"\frac{\partial^2 L}{\partial w_i \partial w_j} =",
    "R11": r"\operatorname{diag}(X^\top S X) =",
}

SYMMETRIC = "a diagonal matrix and I are their own transposes"
NORM = "a vector, a matrix and their transposes have the same norm"
STILL_TRUE = {
    r"1.5: operands swapped: ( \frac{\partial L}{\partial W_\ell} )^\top "
    r"\mathrm{d}W_\ell -> \mathrm{d}W_\ell ( \frac{\partial L}{\partial W_\ell} )^\top":
        "tr(A B) = tr(B A)",
    r"1.19: transpose dropped: ^\top -> _": SYMMETRIC,
    r"B2: transpose added: I -> ^\top": SYMMETRIC,
    **{rf"{row}: transpose added: \operatorname{{diag}}(g'(a_\ell^{{(i)}})) -> ^\top":
        SYMMETRIC for row in ("1.18", "B2")},
    **{rf"{row}: transpose added: {x} -> {new}": NORM for row, x, new in [
        ("1.45", r"e_{\ell-1}^{(i)}", r"\top}"), ("1.45", r"e_\ell^{(i)}", r"\top}"),
        ("1.46", r"W_\ell", r"^\top"), ("1.46", r"e_\ell^{(i)}", r"\top}"),
        ("1.47", r"e_{\ell-1}^{(i)}", r"\top}"), ("1.47", r"W_\ell", r"^\top"),
        ("1.47", r"e_\ell^{(i)}", r"\top}"),
        *[(row, x, new) for row in ("K2", "K3") for x, new in [
            (r"e_\ell^{(i)}", r"\top}"), (r"e_{k-1}^{(i)}", r"\top}"),
            ("W_j", r"^\top")]],
    ]},
    r"3.7: example's index dropped: _n -> _":
        r"\partial L / \partial z_n: the other terms of L do not depend on z_n",
    r"3.12: transpose added: \operatorname{diag}(p \odot (\mathbf{1} - p)) -> ^\top":
        SYMMETRIC,
    **{rf"{row}: transpose added: S -> ^\top": SYMMETRIC
       for row in ("3.13", "3.15", "R9", "3.18", "L4", "R11", "3.24", "L5")},
    "L3: sign: _ -> -": "-0 = 0",
    **{rf"{row}: brackets dropped: ( W_3 (\hat y^{{(i)}} - y^{{(i)}}) ) -> "
       r"W_3 (\hat y^{(i)} - y^{(i)})": "the element-wise product comes last anyway"
       for row in ("1.34", "1.35", "R4", "R5", "R6", "R7")},
}


def read(text, part, reader=None):
    """The results of a snippet that stands behind the text of its part."""
    defs = {}
    check(TEX, part, defs=defs)
    return list(stream(text, reader or PARTS[part], defs, locator("here", text)))


def confirmed(text, part):
    try:
        return all(result.ok for result in read(text, part))
    except Refused:
        return False


def equation(body):
    return rf"\begin{{equation}} {body} \end{{equation}}"


def snippets(name):
    """(part, the comment above, display) of each equation of a file of examples."""
    text = (HERE / name).read_text("utf8")
    for part in PARTS:
        start, end = part_of(text, part, name)
        for m in re.finditer(r"^% (.+)\n(\\begin\{(\w+)\}[\s\S]*?\\end\{\3\})\n",
                             text[start:end], re.MULTILINE):
            yield pytest.param(part, m[2], id=m[1].replace("\\", ""))


@pytest.fixture(scope="module")
def checked():
    return {part: check(TEX, part) for part in PARTS}


@pytest.fixture(scope="module")
def tried():
    """[(mutant, how it was caught: value, shape or None)]"""
    def verdict(m):
        try:
            return None if all(r.ok for r in results(m.text, m.part)) else "value"
        except Refused:
            return "shape"

    return [(m, verdict(m)) for part in PARTS for m in mutants(TEX, part)]


def test_every_displayed_equation_is_accounted_for(checked):
    for part, found in checked.items():
        start, end = part_of(TEX, part, FILE.name)
        shown = re.findall(r"\\begin\{(equation|align|gather)\}(.*?)\\end\{\1\}",
                           TEX[start:end], re.DOTALL)
        rows = [row for _, body in shown for row in body.split("\\\\")]
        assert len(rows) == sum(len(r.rows) for r in found)
        kinds = Counter(r.kind for r in found)
        assert kinds == COUNTS[part]
        worst = max(r.error for r in found if r.error is not None)
        print(f"{part}: {kinds['equality']} equalities and {kinds['inequality']} "
              f"inequalities checked, {kinds['definition']} definitions, "
              f"largest relative error {worst:.0e}")


def test_every_equation_agrees_with_automatic_differentiation(checked):
    for found in checked.values():
        for r in found:
            assert r.ok and (r.error is None or r.error <= TOLERANCE), r


def test_every_bound_is_reached_somewhere(checked):
    bounds = [r for found in checked.values() for r in found if r.kind == "inequality"]
    assert len(bounds) == 7
    assert all(abs(r.tightness) < 1e-12 for r in bounds)


@pytest.mark.parametrize("tag", RESULTS)
def test_result_is_boxed_and_is_what_the_assignment_asks(checked, tag):
    (result,) = (r for found in checked.values() for r in found if r.tag == tag)
    assert result.boxed and result.source.startswith(RESULTS[tag])
    answer = result.source.partition("=")[2]
    assert r"\partial" not in answer and result.error is not None
    if tag in ("R4", "R5", "R6", "R7"):
        assert not re.search(r"e_|\\delta", answer)


def test_nothing_else_is_boxed_and_no_tag_stands_twice(checked):
    found = [r for part in checked.values() for r in part]
    assert {r.tag for r in found if r.boxed} == set(RESULTS)
    assert set(Counter(r.tag for r in found if r.tag).values()) == {1}


def test_at_least_300_mutants_and_some_of_every_equation(tried, checked):
    assert len(tried) >= 300
    labels = {m.name.partition(":")[0] for m, _ in tried}
    assert len(labels) == sum(len(found) for found in checked.values())
    assert len({m.name for m, _ in tried}) == len(tried)
    assert {m.what for m, _ in tried} >= {
        "sign", "transpose dropped", "transpose added", "layer index", "g' to g",
        "2 to 1", "N to 1", "term dropped", r"product to \odot", r"\odot to product",
        "operands swapped", "example's index dropped", "brackets dropped"}


def test_98_percent_of_the_mutants_of_equalities_are_caught(tried):
    score = Counter((m.kind, how) for m, how in tried)
    for kind in ("equality", "inequality", "definition"):
        value, refused, lived = (score[kind, how] for how in ("value", "shape", None))
        total = value + refused + lived
        print(f"mutants, {kind}: {total}; caught {(value + refused) / total:.1%}: by "
              f"value {value}, by shape or notation {refused}; survived {lived}")
        assert kind != "equality" or value + refused >= 0.98 * total


def test_every_mutant_that_survives_is_still_true(tried):
    assert {m.name for m, how in tried if how is None} == set(STILL_TRUE)


@pytest.mark.parametrize(("part", "text"), list(snippets("wrong.tex")))
def test_wrong_equation_is_refused(part, text):
    assert not confirmed(text, part)


@pytest.mark.parametrize(("part", "text"), list(snippets("rewritten.tex")))
def test_rewritten_equation_is_confirmed(part, text):
    assert confirmed(text, part)


@pytest.mark.parametrize("name", ["wrong.tex", "rewritten.tex"])
def test_at_least_30_examples_and_none_is_overlooked(name):
    text = (HERE / name).read_text("utf8")
    assert len(list(snippets(name))) == text.count(r"\begin{") >= 30


E = r"e_{\ell-1}^{(i)} = e_\ell^{(i)} + W_\ell \delta_\ell^{(i)}"


@pytest.mark.parametrize(("text", "cause"), [
    (equation(E + r" \quad (\ell = 1, \dots, 0)"), "empty range"),
    (equation(E + r" \quad (\lVert W_\ell \rVert \le 0)"), "empty range"),
    (equation(E + r" \quad (j = 1, 2)"), "stands nowhere"),
    (equation(E + r" \quad (\lVert W_r \rVert \le 1)"), "bound by nothing"),
    (equation(r"(b_1 b_1^\top - b_1 b_1^\top)^{-1} = W_1"), "singular"),
    (equation(r"W_1, W_2 = W_1, W_2"), "not understood"),
    (equation(r"L = L^{\alpha}"), "not understood"),
    (equation(r"L = L^{(2)}"), "no symbol"),
    (equation(r"N^{-1} = 1/N"), "not understood"),
    (equation(r"\gamma = \gamma"), "no symbol"),
    (equation(r"W_\ell^{(i)} = W_\ell^{(i)}"), "no symbol"),
    (equation(r"W_i = W_i"), "wrong kind"),
    (equation(r"h_1^{(r)} = h_1^{(r)}"), "bound by nothing"),
    (equation(r"h_1^{(i)} = \sum_{i=1}^N h_1^{(i)}"), "bound twice"),
    (equation(r"a_3^{(i)} = a_3^{(i)}"), "there is no"),
    (equation(r"L + b_1 = b_1 + L"), "a sum of"),
    (equation(r"b_1 \odot L = L b_1"), r"\odot of"),
    (equation(r"W_12 = 2 W_1"), "a number behind"),
    (equation(r"\operatorname{tr}(b_1) = L"), "not square"),
    (equation(r"\mathrm{d}L^2 = L"), "of a power"),
    (equation(r"N^\top = N"), "transpose of a scalar"),
    (equation(r"N \le N \prod_{j=2}^{1} \lVert W_j \rVert"), "always empty"),
    (equation("L"), "not understood"),
    (equation(r"\frac{1}{N - N} = \frac{1}{N - N}"), "no finite number"),
    (equation(r"L = L \\ L = L"), "more columns or rows"),
    (equation(r"u := W_1"), "used by nothing"),
    (equation(r"L := \lVert W_1 \rVert"), "defined twice"),
    (equation(r"e_\ell^{(i)} := h_\ell^{(i)}"), "defined twice"),
    (equation(r"u := v"), "before it is defined"),
    (equation(r"u_\ell := h_\ell^{(i)}"), "its symbol lacks"),
    (r"\begin{align} L &= L & N &= N \end{align}", "more columns or rows"),
    (r"\begin{align} L &= L \\ \end{align}", "empty row"),
    (r"\begin{align} &= L \end{align}", "continues nothing"),
    (r"\begin{align*} L &= 2 L \end{align*}", "not read here"),
    (r"\begin{multline} L = 2 L \end{multline}", "not read here"),
    (r"\[ L = 2 L \]", "not read here"),
    ("$$ L = 2 L $$", "not read here"),
    (r"$\displaystyle L = 2 L$", "not read here"),
])
def test_what_is_no_notation_or_true_of_nothing_is_refused_with_its_line(text, cause):
    line = TEX[:TEX.index("%% end problem-1")].count("\n") + 1
    with pytest.raises(Refused) as error:
        check(TEX.replace("%% end problem-1", text + "\n%% end problem-1"), "problem-1")
    assert str(error.value).startswith(f"derivations.tex:{line}: ")
    assert cause in str(error.value)


def test_use_before_definition_is_refused():
    start = TEX.index(r"\begin{align}")
    text = TEX[:start] + equation("e_2^{(i)} = e_2^{(i)}") + TEX[start:]
    with pytest.raises(Refused, match="`e` with such indices"):
        check(text, "problem-1")


def test_a_display_outside_the_parts_is_refused():
    text = TEX.replace(r"\maketitle", equation("L = L"))
    with pytest.raises(Refused, match="outside the parts"):
        check(text, "problem-3")


def test_a_symbol_is_added_in_one_line():
    table = replace(TABLES["problem-1"], symbols={
        **TABLES["problem-1"].symbols,
        r"\beta_l": lambda s, n: 2 * s.b[n],
    })
    text = equation(r"\mathrm{d}\beta_\ell = 2 \mathrm{d}b_\ell")
    (result,) = read(text, "problem-1", Part(table))
    assert result.ok


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
def test_the_differential_is_the_forward_mode_derivative():
    w, way = torch.linspace(-1, 1, 6).double(), torch.arange(6.0).double()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(w, way)
        expected = forward_ad.unpack_dual(dual.sin()).tangent
    w.requires_grad_()
    assert torch.allclose(along(w.sin(), [(w, way)]), expected, rtol=1e-15, atol=0)


def test_points_have_different_sizes_and_1_lipschitz_activations():
    grid = torch.linspace(-9, 9, 500).double()[:, None]
    for k in TABLES["problem-1"].depths:
        for s in TABLES["problem-1"].points(k, True):
            assert len({s.N, *s.W[k].shape}) == 3 and min(s.b[1].abs()) > 0
            slope = s.slope(grid)
            assert slope.abs().max() <= 1 and (s.tight or slope.std() > 0.1)
    assert all(s.N > s.d > 1 for s in TABLES["problem-3"].points(None, True))


def test_command_prints_every_equation_and_writes_marks(tmp_path, checked, capsys):
    (tmp_path / FILE.name).write_text(TEX)
    main([str(tmp_path / FILE.name), "--marks", str(tmp_path / "marks.json")])
    shown = capsys.readouterr().out
    assert shown.count("ok ") == sum(map(len, checked.values()))
    assert "63 equalities, 7 inequalities, 7 definitions" in shown
    marks = json.loads((tmp_path / "marks.json").read_text())
    (box,) = (m for m in marks if m["tag"] == "R1")
    row = TEX[slice(*box["rows"][-1])]
    assert row.strip().startswith(r"\boxed{ " + RESULTS["R1"]) and r"\tag{R1}" in row
    assert TEX.splitlines()[box["line"] - 1] in row + r"\\"
    assert len(marks) == sum(map(len, checked.values()))


@pytest.mark.parametrize(("old", "new"), [
    (r"h_2^{(i)} (\hat y^{(i)} - y^{(i)})^\top } \tag{R1}",
     r"h_1^{(i)} (\hat y^{(i)} - y^{(i)})^\top } \tag{R1}"),
    (r"= X^\top (p - y) } \tag{R8}", r"= X^\top p - y } \tag{R8}"),
])
def test_command_on_a_broken_file_names_the_line(tmp_path, old, new):
    assert TEX.count(old) == 1
    (tmp_path / "derivations.tex").write_text(TEX.replace(old, new))
    done = subprocess.run(
        [sys.executable, HERE / "reader.py", tmp_path / "derivations.tex"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"derivations.tex:{TEX[:TEX.index(old)].count(chr(10)) + 1}" in done.stderr


def notebook(*sources):
    return {"cells": [{"cell_type": "markdown", "source": s} for s in sources]}


R8 = r"$$ \frac{\partial L}{\partial w} = X^\top (p - y). $$"


def test_formulas_of_the_notebook_are_read_in_their_problem():
    rows = r"""$$\begin{aligned}
    h_\ell^{(i)} &= g(a_\ell^{(i)}) + h_{\ell-1}^{(i)}, \\
    e_2^{(i)} &= \frac{2}{N} W_3 (\hat y^{(i)} - y^{(i)}).
    \end{aligned}$$"""
    text = notebook("## Problem 1: a", rows, "## Problem 3: b", R8)
    found = check_notebook(text, TEX)
    assert [r.ok for r in found] == [True] * 3
    wrong = notebook("## Problem 3: b", R8.replace("p - y", "y - p"))
    assert [r.ok for r in check_notebook(wrong, TEX)] == [False]


@pytest.mark.parametrize("heading", ["## Problem 2: c", "# Title", "## Summary"])
def test_a_formula_elsewhere_in_the_notebook_is_refused(heading):
    with pytest.raises(Refused, match="hw2.ipynb cell 3:1: a display outside"):
        check_notebook(notebook("## Problem 3: b", heading, R8), TEX)


def test_a_formula_in_a_code_cell_is_refused():
    cell = {"cell_type": "code", "source": f"say(r'{R8}')"}
    with pytest.raises(Refused, match="code cell"):
        check_notebook({"cells": [cell]}, TEX)


def test_every_formula_of_the_notebook_is_confirmed(cells):
    assert all(r.ok for r in check_notebook({"cells": cells}, TEX))
