"""hw2.pdf as its reader gets it."""

import re
import sys

import numpy as np
import pypdf
import pypdfium2
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / ".make"))
import build  # noqa: E402


@pytest.fixture(scope="module")
def pdf():
    return pypdf.PdfReader(build.PDF)


@pytest.fixture(scope="module")
def pages():
    """The text of each page."""
    with pypdfium2.PdfDocument(build.PDF) as document:
        return [page.get_textpage().get_text_range() for page in document]


def test_pdf_is_short_and_small(pdf):
    assert len(pdf.pages) <= 22
    assert build.PDF.stat().st_size < 2_000_000


def test_pdf_was_built_from_the_notebook_and_derivations_beside_it(pdf):
    sources = "sha256:" + build.digest(build.NOTEBOOK, build.DERIVATIONS)
    assert pdf.metadata["/Keywords"] == sources


def test_pdf_names_title_author_and_subject(pdf):
    assert pdf.metadata.title == "ECE 685D, Homework 2"
    assert pdf.metadata.author and pdf.metadata.subject == build.SUBJECT


def test_pdf_outline_has_each_problem_and_part(pdf, cells):
    def titles(entries):
        for entry in entries:
            yield from titles(entry) if isinstance(entry, list) else [entry.title]

    outline = list(titles(pdf.outline))
    headings = [
        re.sub(r"[*`$\\]", "", text)
        for cell in cells
        if cell["cell_type"] == "markdown"
        and "summary" not in cell["metadata"].get("tags", [])
        for _, text in build.HEADING.findall(cell["source"])
    ][1:]
    assert [t for t in outline if t in headings] == headings
    for part in (
        "(a) The output layer",
        "(b) The residual recursion",
        "(c) The hidden layers",
        "Hessian",
    ):
        assert part in outline


def test_pdf_follows_the_assignment(pages):
    text = "\n".join(pages)
    places = [text.index(f"Problem {n}:") for n in (1, 2, 3)]
    assert places == sorted(places)
    assert text.index("(R1)") < text.index("(R7)") < places[1] < places[2]
    assert text.index("(R8)", places[2]) < text.index("(R9)", places[2])


def test_pdf_first_page_tells_the_story(pages, pdf):
    first = pages[0]
    for words in (
        "Name:",
        "NetID:",
        "large language model",
        "review it and amend",
        "Newton, exact",
        "Newton, diagonal",
        "GD, sum",
        "GD, mean",
    ):
        assert words in first
    shown = [int(n) for n in re.findall(r"p\. (\d+)", first)]
    assert len(shown) >= 5 and max(shown) <= len(pdf.pages)


def test_pdf_marks_each_equation_with_its_error(pages):
    marks = build.check_derivations(build.NOTEBOOK)
    own = [m for m in marks if m["file"] == "derivations.tex"]
    checked, definitions, _ = build.counts(own)
    first = re.sub(r"\s+", " ", pages[0])
    assert f"{checked} equations hold" in first
    assert f"({definitions} more are definitions)" in first
    text = "\n".join(pages)
    assert text.count("def.") >= sum(m["error"] is None for m in own)
    tex = build.with_marks(build.DERIVATIONS.read_text("utf8"), own)
    assert tex.count(r"\markof{") == len(own)


def test_pdf_fonts_are_embedded(pdf):
    def fonts(resources):
        yield from (f.get_object() for f in resources.get("/Font", {}).values())
        for form in resources.get("/XObject", {}).values():
            inner = form.get_object().get("/Resources")
            yield from fonts(inner.get_object()) if inner else ()

    seen = 0
    for page in pdf.pages:
        for font in fonts(page["/Resources"]):
            for part in font.get("/DescendantFonts", [font]):
                part, seen = part.get_object(), seen + 1
                descriptor = part.get("/FontDescriptor", {})
                assert part["/Subtype"] == "/Type3" or any(
                    key in descriptor.get_object()
                    for key in ("/FontFile", "/FontFile2", "/FontFile3")
                ), part
    assert seen > 20


def test_pdf_text_is_whole(pages, cells):
    """Each line of visible code can be found again; nothing is lost."""
    text = re.sub(r"\s+", "", "".join(pages))
    assert "??" not in text and "\ufffd" not in text
    for cell in cells:
        if cell["cell_type"] == "code" and "text" not in cell["metadata"].get(
            "tags", []
        ):
            for line in cell["source"].splitlines():
                assert re.sub(r"\s+", "", line) in text, line


def test_pdf_no_page_is_mostly_empty_and_nothing_leaves_the_page():
    with pypdfium2.PdfDocument(build.PDF) as document:
        for number, page in enumerate(document, 1):
            ink = np.asarray(page.render(scale=0.5).to_pil().convert("L")) < 200
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            height, width = ink.shape
            body = rows[rows < 0.91 * height]
            assert body.max() > (0.6 if number < len(document) else 0.2) * height, (
                number
            )
            assert columns.min() > 0.08 * width and columns.max() < 0.999 * width


def test_pdf_no_heading_at_the_foot_of_a_page(pages, cells):
    headings = {
        text
        for cell in cells
        if cell["cell_type"] == "markdown"
        for _, text in build.HEADING.findall(cell["source"])
    }
    for page in pages:
        lines = [line.strip() for line in page.splitlines() if line.strip()]
        assert not headings & set(lines[-3:])


def test_pdf_two_builds_from_one_run_are_equal_byte_for_byte(tmp_path):
    marks = build.check_derivations(build.NOTEBOOK)
    first, second = (
        build.typeset(build.NOTEBOOK, marks, tmp_path / name).read_bytes()
        for name in ("a", "b")
    )
    assert first == second


@pytest.mark.parametrize(
    "text, message",
    [
        (r"\undefinedcommand", "undefinedcommand"),
        ("\u2713", "Missing character"),
        (r"\ref{nowhere}", "Reference"),
        (r"\hbox to 20cm{}", "Overfull"),
    ],
)
def test_pdf_control_a_flaw_stops_the_build(tmp_path, monkeypatch, text, message):
    broken = tmp_path / "derivations.tex"
    source = build.DERIVATIONS.read_text("utf8")
    broken.write_text(
        source.replace("%% end problem-1", text + "\n\n%% end problem-1"), "utf8"
    )
    monkeypatch.setattr(build, "DERIVATIONS", broken)
    marks = [{"file": "derivations.tex", "rows": [[0, 0]], "error": 0.0}]
    with pytest.raises(build.Failed, match=message):
        build.typeset(build.NOTEBOOK, marks, tmp_path / "tex")
