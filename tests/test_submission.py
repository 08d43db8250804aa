"""What is handed in: the files, and the PDF."""

import re
import shutil
import subprocess

import numpy as np
import pypdfium2
import pytest
from conftest import CELLS, CODE, ROOT, TEXT, saved

TEX = (ROOT / "derivations.tex").read_text("utf8")


def squeeze(text):
    return re.sub(r"\s+", "", text)


@pytest.fixture(scope="module")
def pages():
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:
        return [page.get_textpage().get_text_range() for page in document]


@pytest.fixture(scope="module")
def ink():
    """Of each page at 72 dots an inch, where it is not white."""
    with pypdfium2.PdfDocument(ROOT / "hw2.pdf") as document:
        return [np.asarray(p.render().to_pil().convert("L")) < 200 for p in document]


def test_submission_git_tracks_the_files_asked_for_and_no_other():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return  # a copy without git
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True)
    assert {name.partition("/")[0] for name in listed.split() if name[0] != "."} == {
        "hw2.ipynb", "hw2.pdf", "derivations.tex", "Makefile", "README.md",
        "requirements.txt", "tests"}


def test_submission_disclosure_of_language_models(pages):
    for text in (CELLS[0].source, pages[0], TEX):
        said = squeeze(text).partition("Useoflanguagemodels")[2]
        assert len(said.lstrip(".*{}")) > 30
    assert "**Name:**" in CELLS[0].source and "**NetID:**" in CELLS[0].source


def test_submission_requirements_are_pinned_and_explained():
    known = "torch|torchvision|scikit-learn|matplotlib|numpy|nbconvert|pytest"
    for line in (ROOT / "requirements.txt").read_text("utf8").splitlines():
        pinned = rf"({known})==[\d.]+|[\w-]+==[\d.]+  # .+"
        assert re.fullmatch(pinned, line) or line[:1] in {"", "#"}, line


def test_pdf_belongs_to_the_notebook_beside_it(pages):
    """Name and disclosure, every line of code and of output, times too."""
    hidden = r"\$[^$]*\$|!\[[^]]*\]\([^)]*\)|\]\([^)]*\)"  # maths, images, links
    first = re.sub(hidden, "", CELLS[0].source)
    page = re.sub(r"\W|_", "", pages[0])
    missing = [word for word in re.findall(r"[^\W_]+", first) if word not in page]
    text = squeeze("".join(pages)).replace("\ufffe", "").replace("\u2212", "-")
    for cell in CODE:
        for line in [*cell.source.splitlines(), *saved(cell).splitlines()]:
            parts = [line]
            if " | " in line:  # a table's row, without formulas and rule
                parts = re.sub(r"\$[^$]*\$|:?--:?", "|", line).split("|")
            missing += [part for part in parts if squeeze(part) not in text]
    assert not missing, f"not in hw2.pdf, run make pdf: {missing}"


def test_pdf_contents_are_on_page_1_and_the_core_on_10_of_at_most_12(pages):
    for text in ("Problem 1", "(a) Derivatives", "(b) The residual recursion",
                 "(c) Derivatives", "Problem 2", "(a) MNISTTwoView, a dataset for "
                 "DataLoader", "(b) One minibatch of size 8", "Problem 3", "Gradient",
                 "Hessian", "Three methods, learning rate 0.1",
                 "Test loss, accuracy and runtime", "Comment", "Appendix"):
        assert squeeze(text) in squeeze(pages[0]), text
    (start,) = (n for n, text in enumerate(pages[1:], 2)
                if "Appendix: going further" in text)
    assert start <= 11 and len(pages) <= 12


def test_pdf_code_of_2b_and_its_figure_are_on_one_page(pages):
    (page,) = (text for text in pages[1:] if "(b) One minibatch of size 8" in text)
    assert 'row[0].set_xlabel(f"label' in page
    assert page.count("original") >= 3 + 1 and len(re.findall(r"label \d", page)) == 8


def test_pdf_nothing_leaves_the_page_and_none_but_a_problems_last_is_a_fifth_empty(
        ink, pages):
    for page, after in zip(ink, [*pages[1:], "Appendix"], strict=True):
        columns = np.flatnonzero(page.any(0)) / page.shape[1]
        assert columns.min() > 0.08 and columns.max() < 0.91
        rows = np.flatnonzero(page.any(1)) / len(page)
        foot = rows[rows < 0.92].max()  # the page's number stands below
        assert (0.92 - foot) / 0.85 <= 0.2 or after.startswith(("Problem ", "Appendix"))


def test_pdf_no_heading_at_the_foot_of_a_page(pages):
    headings = {*re.findall(r"^##+ (.*)", TEXT, re.MULTILINE),
                *re.findall(r"section\{([^$}]*)\}", TEX)}
    for page in pages:
        lines = [squeeze(line) for line in page.splitlines() if line.strip()]
        assert not {squeeze(heading) for heading in headings} & {*lines[-2:]}
