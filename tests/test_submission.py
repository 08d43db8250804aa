"""What is handed in: the files, and the PDF."""

import re
import shutil
import subprocess

import numpy as np
import pypdfium2
import pytest
from conftest import CELLS, CODE, ROOT, saved


def squeeze(text):
    return re.sub(r"\s+", "", text)


@pytest.fixture(scope="module")
def pdf():
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:
        yield document


@pytest.fixture(scope="module")
def pages(pdf):
    return [page.get_textpage().get_text_range() for page in pdf]


@pytest.fixture(scope="module")
def ink(pdf):
    """Of each page at 72 dots an inch, where it is not white."""
    return [np.asarray(page.render().to_pil().convert("L")) < 200 for page in pdf]


def test_submission_git_tracks_the_files_asked_for_and_no_other():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return  # a copy without git
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True)
    shown = {name.partition("/")[0] for name in listed.splitlines()}
    assert {name for name in shown if name[0] != "."} == {
        "hw2.ipynb", "hw2.pdf", "derivations.tex", "Makefile", "README.md",
        "requirements.txt", "tests"}


def test_submission_disclosure_of_language_models(pages):
    tex = (ROOT / "derivations.tex").read_text("utf8")
    for text in (CELLS[0].source, pages[0], tex):
        said = squeeze(text).partition("Useoflanguagemodels")[2]
        assert len(said.lstrip(".*{}")) > 30
    assert "**Name:**" in CELLS[0].source and "**NetID:**" in CELLS[0].source


def test_submission_requirements_are_pinned_and_explained():
    known = {"torch", "torchvision", "scikit-learn", "matplotlib", "numpy", "nbconvert",
             "pytest"}
    for line in (ROOT / "requirements.txt").read_text("utf8").splitlines():
        if line and not line.startswith("#"):
            pin = re.fullmatch(r"([\w-]+)==[\d.]+(  # .+)?", line)
            assert pin and (pin[2] or pin[1] in known), line


def test_pdf_belongs_to_the_notebook_beside_it(pages):
    """Name and disclosure, every line of code and of output, times too."""
    hidden = r"\$[^$]*\$|!\[[^]]*\]\([^)]*\)|\]\([^)]*\)"  # maths, images, links
    first = re.sub(hidden, "", CELLS[0].source)
    page = re.sub(r"\W|_", "", pages[0])
    missing = [word for word in re.findall(r"[^\W_]+", first) if word not in page]
    text = squeeze("".join(pages)).replace("\ufffe", "").replace("\u2212", "-")
    for cell in CODE:
        for line in [*cell.source.splitlines(), *saved(cell).splitlines()]:
            cells = [line]
            if " | " in line:  # a table's row, without formulas and rule
                cells = re.sub(r"\$[^$]*\$|:?--:?", "|", line).split("|")
            missing += [part for part in cells if squeeze(part) not in text]
    assert not missing, f"not in hw2.pdf, run make pdf: {missing}"


def test_pdf_contents_name_what_is_asked_for_on_the_first_page(pages):
    first = squeeze(pages[0])
    for text in ("Problem 1", "(a) Derivatives", "(b) The residual recursion",
                 "(c) Derivatives", "Problem 2", "(a) MNISTTwoView, a dataset for "
                 "DataLoader", "(b) One minibatch of size 8", "Problem 3", "Gradient",
                 "Hessian", "Three methods, learning rate 0.1",
                 "Test loss, accuracy and runtime", "Comment", "Appendix"):
        assert squeeze(text) in first, text


def test_pdf_core_is_at_most_10_pages_and_all_at_most_12(pages):
    (start,) = (n for n, text in enumerate(pages, 1)
                if n > 1 and "Appendix: going further" in text)
    assert start <= 11 and len(pages) <= 12


def test_pdf_code_of_2b_and_its_figure_are_on_one_page(pages):
    (page,) = (p for p in pages if "(b) One minibatch of size 8" in p and p != pages[0])
    assert 'row[0].set_xlabel(f"label' in page
    assert page.count("original") >= 3 + 1 and len(re.findall(r"label \d", page)) == 8


def test_pdf_nothing_leaves_the_page(ink):
    for number, page in enumerate(ink, 1):
        columns = np.flatnonzero(page.any(0)) / page.shape[1]
        assert columns.min() > 0.08 and columns.max() < 0.91, number


def test_pdf_no_page_but_a_problems_last_is_a_fifth_empty(ink, pages):
    faults = []
    for number, page in enumerate(ink[:-1], 1):
        rows = np.flatnonzero(page.any(1)) / len(page)
        foot = rows[rows < 0.92].max()  # the page's number stands below
        new = re.match(r"(Problem \d|Appendix)", pages[number])
        if 0.92 - foot > 0.2 * 0.85 and not new:
            faults.append(f"page {number}: {(0.92 - foot) / 0.85:.0%}")
    assert not faults


def test_pdf_no_heading_at_the_foot_of_a_page(pages):
    text = "\n".join(c.source for c in CELLS if c.cell_type == "markdown")
    headings = {squeeze(h) for h in re.findall(r"^##+ (.*)", text, re.MULTILINE)}
    tex = (ROOT / "derivations.tex").read_text("utf8")
    headings |= {squeeze(h) for h in re.findall(r"section\{([^$}]*)\}", tex)}
    for page in pages:
        lines = [squeeze(line) for line in page.splitlines() if line.strip()]
        assert not headings & set(lines[-2:])
