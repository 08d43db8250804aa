"""What is handed in: the notebook, the PDF, and the files."""

import json
import re
import shutil
import subprocess
import sys

import pypdfium2
import pytest
from conftest import CELLS, CODE, ROOT, TEXT, python, read_cells, saved

TEX = (ROOT / "derivations.tex").read_text("utf8")
HEADINGS = re.findall(r"(?:^##+ |subsection\{)([^$}\n]+)", TEXT + TEX, re.MULTILINE)


@pytest.mark.parametrize("cell", CODE, ids=lambda cell: cell.place)
def test_notebook_cell_runs_and_shows_what_it_showed(hw2, cell):
    """But for times, for what depends on the digits, and for rounding."""
    assert hw2.cell_errors.get(cell.place) is None
    varies = r"\|.*" if "timed" in cell.tags else r"\d+e-\d+|\b0e\+00"
    before, shown = (re.sub(varies, "...", text.strip())
                     for text in (saved(cell), hw2.cell_outputs[cell.place]))
    assert cell.tags & {"machine", "rounding"} or before == shown, "run make pdf"


def test_notebook_has_all_parts_in_order_and_a_brief_comment():
    headings = iter(HEADINGS)
    for part in ("Set-up", "Problem 1", "Check", "Problem 2", "(a)", "(b)", "Problem 3",
                 "Data", "Code", "Three methods", "What to expect", "The runs",
                 "Test loss", "Test loss", "Comment", "Appendix", "A.", "B.",
                 "(a)", "(b)", "(c)", "Gradient", "Hessian"):  # of derivations.tex
        assert any(heading.startswith(part) for heading in headings), part
    comment = TEXT.partition("### Comment\n")[2].partition("\n#")[0]
    assert len(comment.split()) <= 150 and len(re.findall(r"\d[\d.,]*", comment)) <= 12


def test_notebook_cells_are_short_shown_and_of_one_clean_run():
    assert [c.execution_count for c in CODE] == [*range(1, len(CODE) + 1)]
    for cell in CODE:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 18 and max(map(len, lines)) <= 79, cell.place
        assert not cell.metadata.get("jupyter"), cell.place  # such as source_hidden
        assert {o.get("name", "stdout") for o in cell.outputs} <= {"stdout"}, cell.place
        kinds = {kind for o in cell.outputs for kind in o.get("data", {})}
        draws = bool(re.search(r"^(plot_results.runs.$|fig\b)", cell.source, re.M))
        assert (kinds >= {"image/png", "application/pdf"}) == draws, cell.place


def test_notebook_imports_only_the_six_packages_and_what_comes_with_them():
    six = {"torch", "torchvision", "sklearn", "matplotlib", "numpy", "nbconvert"}
    source = "\n".join(map(python, CODE)).replace("    from mlxtend", "")  # a fallback
    found = {*re.findall(r"^ *(?:import|from) (\w+)", source, re.MULTILINE)}
    assert found <= six | {"scipy", "IPython", "PIL"} | sys.stdlib_module_names


@pytest.mark.parametrize("minor", [0, 5], ids=["Colab", "VS Code"])
def test_notebook_is_read_as_other_programs_save_it(tmp_path, minor):
    """Without ids and empty lists of outputs, with CRLF, with outputs in pieces."""
    book = json.loads((ROOT / "hw2.ipynb").read_text("utf8"))
    for cell in book["cells"]:
        del cell["id"]
        cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")
        for out in cell.pop("outputs", []):
            cell["outputs"] = [out | {"text": t} for t in out.get("text", [])] or [out]
    (tmp_path / "hw2").write_text(json.dumps(book | {"nbformat_minor": minor}), "utf8")
    for cell, same in zip(read_cells(tmp_path / "hw2"), CELLS, strict=True):
        assert (cell.place, cell.source) == (same.place, same.source)
        assert (cell.tags, saved(cell)) == (same.tags, saved(same))


@pytest.fixture(scope="module")
def pages():
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:
        return [page.get_textpage().get_text_range() for page in document]


def squeeze(text):
    return re.sub(r"[\s`\ufffe]", "", text.replace("\u2212", "-"))


def test_submission_git_tracks_the_files_asked_for_and_no_other():
    if (ROOT / ".git").exists() and shutil.which("git"):  # else it is a copy
        command = ["git", "ls-files", ":!tests", ":!.*"]
        files = "Makefile README.md derivations.tex hw2.ipynb hw2.pdf requirements.txt"
        listed = subprocess.check_output(command, cwd=ROOT, text=True)
        assert listed.split() == files.split()


def test_submission_disclosure_of_language_models(pages):
    for text in (CELLS[0].source, pages[0], TEX):
        assert re.search(r"Use of language models[.*{}\s]+\w.{30}", text, re.DOTALL)
    assert "**Name:**" in CELLS[0].source and "**NetID:**" in CELLS[0].source


def test_pdf_belongs_to_the_notebook_beside_it(pages):
    """Every phrase of text, every line of code and of output, times too."""
    hidden = r"\$[^$]*\$|!\[[^]]*|\]\([^)]*\)"  # maths, images, links' addresses
    said = "|".join(c.source for c in CELLS if c.cell_type == "markdown" and not c.tags)
    words = re.split(r"[^\w ,;()]|_", re.sub(hidden, "|", said))
    code = [cell.source for cell in CODE]
    shown = re.split(r"\n| \| |:?--:?|\$[^$\n]*\$", "\n".join(map(saved, CODE)))
    text = squeeze("".join(page.rstrip("0123456789") for page in pages))
    missing = [part for part in words + code + shown if squeeze(part) not in text]
    assert not missing, f"not in hw2.pdf, run make pdf: {missing}"


def test_pdf_contents_are_on_page_1_and_the_core_on_10_of_at_most_12(pages):
    assert not [h for h in HEADINGS if squeeze(h) not in squeeze(pages[0])]
    (start,) = (n for n, text in enumerate(pages) if n and "Appendix: going" in text)
    assert start <= 10 and len(pages) <= 12, (start, len(pages))


def test_pdf_no_page_overflows_is_a_fifth_empty_ends_in_a_heading_or_parts_2b(pages):
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:  # 612 x 792 points
        images = [page.render().to_pil().convert("L") for page in document]
    for image, text, after in zip(images, pages, [*pages[1:], "Appendix"]):
        ink = image.point(lambda grey: grey < 200).crop((0, 0, 612, 728))  # no number
        left, _, right, foot = ink.getbbox()
        assert left > 49 and right < 557
        assert foot > 594 or after.startswith(("Problem ", "Appendix"))  # a part's last
        assert squeeze(text.splitlines()[-2]) not in map(squeeze, HEADINGS)
        grid = len(re.findall(r"label \d", text)) == 8
        assert grid == ('row[0].set_xlabel(f"label' in text), "2 (b): code, then figure"
