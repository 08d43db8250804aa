"""nbconvert's settings for `make pdf`, both to execute and to export."""

import os
import re
from pathlib import Path

import pypandoc
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, Preprocessor
from nbformat.v4 import new_raw_cell

c = get_config()  # noqa: F821  nbconvert provides it
ROOT = Path(__file__).resolve().parents[1]
PANDOC = str(Path(pypandoc.get_pandoc_path()).parent)
os.environ["PATH"] = PANDOC + os.pathsep + os.environ["PATH"]
LATEX = {"raw_mimetype": "text/latex"}


class Derivations(Preprocessor):
    """Puts each part of derivations.tex where a cell's tag names it."""

    def preprocess(self, nb, resources):
        tex = (ROOT / "derivations.tex").read_text("utf8")
        parts = dict(re.findall(r"%% begin (\S+)\n(.*?)%% end \1\n", tex, re.S))
        for i, cell in enumerate(nb.cells):
            for tag in cell.metadata.get("tags", []):
                if tag.startswith("derivation-"):
                    part = parts[tag.removeprefix("derivation-")]
                    nb.cells[i] = new_raw_cell(part, metadata=LATEX)
        nb.cells.insert(1, new_raw_cell(r"\contents", metadata=LATEX))
        return nb, resources


def tabular(tex):
    """pandoc's longtable without its breaks: a table stays whole, below its code."""
    tex = re.sub(r"\\(bottomrule|endhead|endlastfoot)(\\noalign\{\}|\(\))?\n", "", tex)
    tex = tex.replace(r"\begin{longtable}[]", r"\begin{results}")
    return tex.replace(r"\end{longtable}", r"\end{results}")


c.PDFExporter.filters = {"tabular": tabular}
c.ExecutePreprocessor.kernel_name = "python3"
c.ExecutePreprocessor.timeout = 1800
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.extra_arguments = ["--log-level=ERROR"]
# A busy machine sends a cell's output in pieces; this joins them.
c.NotebookExporter.preprocessors = [CoalesceStreamsPreprocessor]
c.PDFExporter.preprocessors = [Derivations]
c.PDFExporter.raw_mimetypes = ["text/latex"]
c.PDFExporter.template_name = "hw2"
c.PDFExporter.extra_template_basedirs = [str(ROOT / ".make")]
c.PDFExporter.latex_command = ["xelatex", "-halt-on-error", "{filename}"]
c.PDFExporter.latex_count = 3
c.PDFExporter.bib_command = ["true"]
