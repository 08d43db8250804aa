"""What is handed in: the files, the notebook's outputs, and the PDF."""

import re

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


def test_requirements_are_pinned_and_explained():
    lines = (ROOT / "requirements.txt").read_text("utf8").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            pin = re.match(r"[\w-]+==[\d.]+(  # .+)?$", line)
            assert pin and (pin[1] or line.partition("==")[0] in {*SIX, "pytest"}), line
