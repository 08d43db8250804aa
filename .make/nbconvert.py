"""nbconvert's settings for `make pdf`, both to execute and to export."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pypandoc
from nbconvert.exporters import PDFExporter
from nbconvert.preprocessors import (
    CoalesceStreamsPreprocessor,
    ExecutePreprocessor,
    Preprocessor,
)
from nbformat.v4 import new_raw_cell

c = get_config()  # noqa: F821  nbconvert provides it
ROOT = Path(__file__).resolve().parents[1]
PANDOC = [pypandoc.get_pandoc_path(), "--to=latex", "--no-highlight", "--verbose", "--from="
          "markdown-implicit_figures+autolink_bare_uris+lists_without_preceding_blankline"]
XELATEX = "xelatex -file-line-error -interaction=nonstopmode -halt-on-error".split()
os.environ["PATH"] = str(Path(PANDOC[0]).parent) + os.pathsep + os.environ["PATH"]
os.environ |= {"TEXINPUTS": f"{ROOT}:", "max_print_line": "9999"}  # images; whole lines


def run(command, text=None):
    return subprocess.run(command, input=text or "", capture_output=True,
                          encoding="utf8", errors="replace")


def markdown(source, place, level):
    done = run([*PANDOC, f"--shift-heading-level-by={level}"], source)
    html = re.search(r'Not rendering .*\) "(<\w.*)"', done.stderr)
    if html or done.returncode:
        sys.exit(f"{place}: " + (f"{html[1]} is HTML, which the PDF cannot show: write "
                                 "Markdown." if html else done.stderr))
    return done.stdout


class Sources(Preprocessor):
    """Text as LaTeX, derivations in place; a comment says where each piece is from."""

    def preprocess(self, nb, resources):
        tex, cells = (ROOT / "derivations.tex").read_text("utf8"), []
        parts = {"derivation-" + part[1]: (tex.count("\n", 0, part.start()) + 1, part[2])
                 for part in re.finditer(r"%% begin (\S+)\n(.*?)%% end \1", tex, re.S)}
        for number, cell in enumerate(nb.cells, 1):
            place, latex = f"hw2.ipynb, cell {number}", ""
            tag = re.findall(r"derivation-\S+", " ".join(cell.metadata.get("tags", [])))
            if tag and tag[0] not in parts:
                sys.exit(f"{place}: derivations.tex has no part for its tag {tag[0]}.")
            if tag:
                line, latex = parts.pop(tag[0])
                place = f"derivations.tex, line {line}"
            elif cell.cell_type == "markdown":  # the title is the template's
                latex = markdown(cell.source, place, -(number == 1 or cell.source[:2] != "# "))
            cells.append(new_raw_cell(f"%%from {place}\n{latex}", metadata=LATEX))
            cells += [cell] * (cell.cell_type == "code")
        if parts:
            sys.exit(f"hw2.ipynb: no cell has the tag {' or '.join(parts)}.")
        cells.insert(1, new_raw_cell(r"\contents", metadata=LATEX))
        nb.cells = cells
        return nb, resources


class Rehearsal(Preprocessor):
    """Sets the text before the cells run, as its faults are quick to find."""

    def preprocess(self, nb, resources):
        for cell in nb.cells:
            cell |= {"outputs": []} if cell.cell_type == "code" else {}
        PDFExporter(config=self.config, latex_count=1).from_notebook_node(nb)
        return nb, resources


def run_latex(self, filename):
    """Run xelatex, and name the place of a fault; nbconvert would print the log."""
    for _ in range(self.latex_count):
        done = run([*XELATEX, filename])
        if done.returncode:
            fault = re.search(r"^\S+:\d+: (.*\n[^$]*?^l\.(\d+).*)", done.stdout, re.M)
            lines = Path(filename).read_text("utf8").split("\n")
            text = "\n".join(lines[:int(fault[2])]) if fault else ""
            place, _, since = text.rpartition("%%from ")[2].partition("\n")
            place = re.sub(r"\d+$", lambda n: str(int(n[0]) + since.count("\n") + 1), place)
            sys.exit(f"{place}: {fault[1]}" if fault else done.stdout[-2000:])


LATEX = {"raw_mimetype": "text/latex"}
PDFExporter.run_latex = run_latex
PDFExporter.run_bib = lambda self, filename: False  # nothing is cited
c.ExecutePreprocessor.kernel_name = "python3"
c.ExecutePreprocessor.timeout = 1800
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.extra_arguments = ["--log-level=ERROR"]
# A busy machine sends a cell's output in pieces; Coalesce joins them.
c.NotebookExporter.default_preprocessors = [
    Rehearsal, ExecutePreprocessor, CoalesceStreamsPreprocessor]
c.PDFExporter.preprocessors = [Sources]
c.PDFExporter.raw_mimetypes = ["text/latex"]
c.PDFExporter.template_name = "hw2"
c.PDFExporter.extra_template_basedirs = [str(ROOT / ".make")]
