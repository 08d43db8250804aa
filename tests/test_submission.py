"""What is handed in: the files, the notebook's outputs, the PDF, and make."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pypdfium2
import pytest
from conftest import ROOT, SIX, printed


def squeeze(text):
    return re.sub(r"\s+", "", text)


@pytest.fixture(scope="module")
def pages():
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:
        yield [page.get_textpage().get_text_range() for page in document]


def test_submission_top_level_shows_the_files_asked_for_and_no_other():
    shown = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert shown == {"hw2.ipynb", "hw2.pdf", "derivations.tex", "Makefile", "README.md",
                     "requirements.txt", "tests"}


def test_submission_disclosure_of_language_models(cells, pages):
    tex = (ROOT / "derivations.tex").read_text("utf8")
    for text in (cells[0]["source"], pages[0], tex):
        said = squeeze(text).partition("Useoflanguagemodels")[2]
        assert len(said.lstrip(".*{}")) > 30
    assert "**Name:**" in cells[0]["source"] and "**NetID:**" in cells[0]["source"]


def test_pdf_belongs_to_the_notebook_beside_it(pages, cells):
    """Name and disclosure, every line of code and of output, times too."""
    first = re.sub(r"\$[^$]*\$|\]\([^)]*\)", "", cells[0]["source"])  # maths, links
    page = re.sub(r"\W|_", "", pages[0])
    missing = [word for word in re.findall(r"[^\W_]+", first) if word not in page]
    assert not missing, f"not on page 1, run make pdf: {missing}"
    text = squeeze("".join(pages))
    for cell in cells:
        if cell["cell_type"] == "code":
            for line in (cell["source"] + "\n" + printed(cell)).splitlines():
                assert squeeze(line) in text, f"not in hw2.pdf, run make pdf: {line}"


def test_pdf_contents_name_what_is_asked_for_on_the_first_page(pages):
    first = squeeze(pages[0])
    for text in ("Problem 1", "(a) Derivatives", "(b) The residual recursion",
                 "(c) Derivatives", "Problem 2", "(a) MNISTTwoView, a dataset for "
                 "DataLoader", "(b) One minibatch of size 8", "Problem 3", "Gradient",
                 "Hessian", "Gradient descent, Newton exact, Newton diagonal",
                 "Test loss, accuracy and runtime", "Comment", "Appendix"):
        assert squeeze(text) in first, text


def test_pdf_core_is_at_most_11_pages_and_all_at_most_15(pages):
    (start,) = (n for n, text in enumerate(pages, 1)
                if n > 1 and "Appendix: going further" in text)
    assert start <= 12 and len(pages) <= 15


def test_pdf_pages_are_full_and_nothing_leaves_them():
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:
        for number, page in enumerate(document, 1):
            ink = np.asarray(page.render(scale=0.5).to_pil().convert("L")) < 200
            height, width = ink.shape
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            last = rows[rows < 0.92 * height].max()  # the page's number stands below
            assert last > 0.5 * height or number == len(document), number
            assert columns.min() > 0.08 * width and columns.max() < 0.95 * width, number


def test_pdf_no_heading_at_the_foot_of_a_page(pages, cells):
    text = "\n".join(c["source"] for c in cells if c["cell_type"] == "markdown")
    headings = {squeeze(h) for h in re.findall(r"^##+ (.*)", text, re.MULTILINE)}
    for page in pages:
        lines = [squeeze(line) for line in page.splitlines() if line.strip()]
        assert not headings & set(lines[-2:])


@pytest.fixture
def copy(tmp_path):
    """A folder with a space in its name: make's files, and a small notebook."""
    folder = tmp_path / "my homework"
    folder.mkdir()
    for name in ("Makefile", "derivations.tex", "requirements.txt"):
        shutil.copy2(ROOT / name, folder)
    shutil.copytree(ROOT / ".make", folder / ".make")
    settings = folder / ".make/nbconvert.py"  # one pass of TeX is enough here
    settings.write_text(settings.read_text().replace("count = 3", "count = 1"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("# Title"), v4.new_markdown_cell(
        "## Problem 1\n\n$e$", metadata={"tags": ["derivation-problem-1"]}),
        v4.new_code_cell("print(6 * 7)")]
    nbformat.write(v4.new_notebook(cells=cells), folder / "hw2.ipynb")
    return folder


def make(folder, *arguments, **variables):
    done = subprocess.run(
        ["make", *arguments], cwd=folder, stdin=subprocess.DEVNULL, text=True,
        env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def test_make_pdf_builds_once_then_does_nothing_and_again_the_same_bytes(copy):
    notebook, plot = copy / "hw2.ipynb", "import matplotlib.pyplot as p; p.plot(1, 2); "
    notebook.write_text(notebook.read_text().replace("print(", plot + "print("))
    code, said = make(copy, "pdf")
    assert code == 0, said
    (cell,) = nbformat.read(copy / "hw2.ipynb", 4).cells[2:]
    assert printed(cell) == "42\n"
    first = (copy / "hw2.pdf").read_bytes()
    code, said = make(copy, "pdf")
    assert code == 0 and "nbconvert" not in said
    command = [sys.executable, "-m", "nbconvert", "--config=.make/nbconvert.py"]
    dates = {"SOURCE_DATE_EPOCH": "946684800", "FORCE_SOURCE_DATE": "1"}
    subprocess.run([*command, "--to=pdf", "hw2.ipynb"], cwd=copy, check=True,
                   env=os.environ | dates, capture_output=True)
    assert (copy / "hw2.pdf").read_bytes() == first


@pytest.mark.parametrize("fault, said", [
    ("cell", "ZeroDivisionError"), ("tex", "undefinedcommand"), ("glyph", "U+2713")])
def test_make_pdf_a_fault_stops_it_and_changes_nothing(copy, fault, said):
    (copy / "hw2.pdf").write_text("old")
    os.utime(copy / "hw2.pdf", (0, 0))
    tex, notebook = copy / "derivations.tex", copy / "hw2.ipynb"
    if fault == "cell":
        notebook.write_text(notebook.read_text().replace("6 * 7", "6 / 0"))
    else:
        text = {"tex": r"\undefinedcommand", "glyph": "\u2713"}[fault]
        tex.write_text(tex.read_text("utf8").replace(
            r"\subsection{(a)", text + "\n\n" + r"\subsection{(a)"), "utf8")
    before = notebook.read_bytes()
    code, output = make(copy, "pdf")
    assert code and said in output
    assert notebook.read_bytes() == before and (copy / "hw2.pdf").read_text() == "old"


def test_make_names_a_python_that_is_too_old(copy, tmp_path):
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\n" + f'"{sys.executable}" -c "import sys; '
                   'sys.version_info = (3, 8, 1); exec(sys.argv[1])" "$2"\n')
    old.chmod(0o755)
    (copy / ".venv").unlink()
    code, said = make(copy, "lint", f"PYTHON={old}")
    assert code and "is 3.8" in said and not (copy / ".venv").exists()


def test_make_pdf_without_tex_says_how_to_install_it(copy, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "id", "wc", "grep", "true", "sed"):
        (tools / name).symlink_to(shutil.which(name))
    code, said = make(copy, "pdf", PATH=str(tools))
    assert code and all(w in said for w in ("apt-get", "Fedora", "macOS"))


def test_requirements_are_pinned_and_explained():
    lines = (ROOT / "requirements.txt").read_text("utf8").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            pin = re.match(r"[\w-]+==[\d.]+(  # .+)?$", line)
            assert pin and (pin[1] or line.partition("==")[0] in {*SIX, "pytest"}), line
