"""The notebook: its order, its imports, its outputs, and how its file is read."""

import ast
import json
import re
import sys

import pytest
from conftest import CELLS, CODE, ROOT, TEXT, python, read_cells, saved

VARY = {"timed", "machine", "rounding"}  # tags of outputs that differ by machine
SIX = {"torch", "torchvision", "sklearn", "matplotlib", "numpy", "nbconvert"}
THEIRS = {"scipy", "IPython", "PIL"}  # come with them


@pytest.mark.parametrize("cell", CODE, ids=lambda cell: cell.place)
def test_notebook_cell_runs_and_shows_what_it_showed(hw2, cell):
    """But for times, for what depends on the digits, and for rounding."""
    def stable(text):
        return re.sub(r"\d+e-\d+|\b0e\+00", "tiny", text)

    shown, before = hw2.output(cell).strip(), saved(cell)
    if not cell.tags & VARY:
        assert stable(before) == stable(shown), "run make pdf"
    elif "timed" in cell.tags:  # a table's head and names
        assert [r.split("|")[0] for r in before.splitlines()] == [
            r.split("|")[0] for r in shown.splitlines()], "run make pdf"
        assert before.partition("\n")[0] == shown.partition("\n")[0], "run make pdf"


def test_notebook_three_problems_and_their_parts_in_order():
    headings = re.findall(r"^##+ (.*)", "\n".join(
        cell.source for cell in CELLS if cell.cell_type == "markdown"), re.MULTILINE)
    order = [
        "Set-up", "Problem 1", "Check of (a), (b) and (c)", "Problem 2", "(a)", "(b)",
        "Problem 3", "Data", "Code: `BCELoss` as a sum, gradient, Hessian", "Three methods",
        "What to expect", "The runs", "Test loss, accuracy and runtime: table",
        "Test loss, accuracy and runtime: plots", "Comment", "Appendix", "A.", "B."]
    places = [next(i for i, h in enumerate(headings) if h.startswith(o)) for o in order]
    assert places == sorted(places)


def test_notebook_holds_the_outputs_of_one_clean_run():
    assert [c.execution_count for c in CODE] == [*range(1, len(CODE) + 1)]
    for cell in CODE:
        streams = [o for o in cell.outputs if o.output_type == "stream"]
        assert len(streams) <= 1 and all(o.name == "stdout" for o in streams)
        kinds = {kind for o in cell.outputs for kind in o.get("data", {})}
        draws = re.search(r"^(plot_results\(|fig\b)", cell.source, re.M) is not None
        assert (kinds >= {"image/png", "application/pdf"}) == draws, cell.place


def test_notebook_imports_the_six_and_what_they_bring():
    for cell in CODE:
        tree = ast.parse(python(cell))
        spare = {node for part in ast.walk(tree) if isinstance(part, ast.ExceptHandler)
                 for node in ast.walk(part)}
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [
                node.module] if isinstance(node, ast.ImportFrom) else []
            allowed = SIX | THEIRS | sys.stdlib_module_names
            allowed |= {"mlxtend"} if node in spare else set()
            assert {name.partition(".")[0] for name in names} <= allowed, cell.place


def test_notebook_cells_are_short_and_shown():
    for cell in CODE:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 18 and max(map(len, lines)) <= 79, cell.place
        assert not cell.metadata.get("jupyter")


def test_notebook_comment_is_brief():
    (comment,) = (c.source for c in CELLS if c.source.startswith("### Comment"))
    said = re.sub(r"[*$]", "", comment.partition("\n")[2])
    assert len(re.findall(r"\d[\d.,]*", said)) <= 12 and len(said.split()) <= 150
    assert "TODO" not in TEXT


@pytest.mark.parametrize("program", ["Colab", "VS Code", "JupyterLab", "no outputs"])
def test_notebook_is_read_as_other_programs_save_it(tmp_path, program):
    raw = json.loads((ROOT / "hw2.ipynb").read_text("utf8"))
    for cell in raw["cells"]:
        name, source = cell.pop("id", "x"), "".join(cell["source"])
        if program == "Colab":  # format 4.0, ids in the metadata
            raw["nbformat_minor"], cell["metadata"]["id"] = 0, name
        elif program == "VS Code":  # format 4.5 without ids, CRLF in the source
            source = source.replace("\n", "\r\n")
        elif program == "JupyterLab":
            cell["id"], raw["nbformat_minor"] = name, 5
        cell["source"] = source if program != "JupyterLab" else source.splitlines(True)
        for o in cell.get("outputs", []):
            if program == "VS Code" and "text" in o:
                pieces = re.findall(r"(?s).{1,50}", "".join(o["text"]))
                cell["outputs"] = [o | {"text": piece} for piece in pieces]
        if program == "no outputs":
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
    path = tmp_path / "hw2.ipynb"
    path.write_text(json.dumps(raw), "utf8", newline="\r\n")
    for cell, same in zip(read_cells(path), CELLS, strict=True):
        assert cell.source == same.source and cell.place == same.place
        assert cell.tags == same.tags
        if cell.cell_type == "code" and program != "no outputs":
            assert saved(cell) == saved(same)
