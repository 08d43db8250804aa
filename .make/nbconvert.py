"""nbconvert's settings for `make pdf`, both to execute and to export."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbconvert.preprocessors as pre
import pypandoc
from nbconvert.exporters import PDFExporter
from nbformat.v4 import new_raw_cell

c = get_config()  # noqa: F821  nbconvert provides it
HERE = Path(__file__).resolve().parent
LATEX = {"raw_mimetype": "text/latex"}
MARKDOWN = ("markdown-implicit_figures-task_lists+autolink_bare_uris"
            "+lists_without_preceding_blankline-blank_before_header")
PANDOC = str(Path(pypandoc.get_pandoc_path()).parent)
os.environ["PATH"] = PANDOC + os.pathsep + os.environ["PATH"]


class Texts(pre.Preprocessor):
    """Each text becomes a TeX file, with its own name and lines for TeX's messages."""

    def preprocess(self, nb, resources):
        tex, files = (HERE.parent / "derivations.tex").read_text("utf8"), {}
        parts = {"derivation-" + part[1]: part for part in
                 re.finditer(r"%% begin (\S+)\n(.*?)%% end \1", tex, re.DOTALL)}
        for i, cell in enumerate(nb.cells):
            name, tags = f"cell-{i + 1}/hw2.ipynb", cell.metadata.get("tags", [])
            if tag := next((t for t in tags if t.startswith("derivation-")), ""):
                part = parts.pop(tag, None) or sys.exit(f"derivations.tex lacks {tag}")
                name = f"{part[1]}/derivations.tex"
                text = "%\n" * tex.count("\n", 0, part.start(2)) + part[2]
            elif cell.cell_type == "markdown":  # but for the title, the template's
                html = pypandoc.convert_text(cell.source, "native", MARKDOWN)
                if html := re.search(r'Format "html"\)\s+"(<\w[^"]*)', html):
                    sys.exit(f"{name}: the PDF cannot show HTML ({html[1]})")
                level = int(i > 0 and cell.source.startswith("# ")) - 1
                text = pypandoc.convert_text(cell.source, "latex", MARKDOWN, [
                    "--syntax-highlighting=none", f"--shift-heading-level-by={level}"])
            else:
                continue
            files[name] = text.encode()
            nb.cells[i] = new_raw_cell(rf"\input{{{name}}}", metadata=LATEX)
        if parts:
            sys.exit(f"hw2.ipynb: no cell has the tag {', '.join(parts)}")
        nb.cells.insert(1, new_raw_cell(r"\contents", metadata=LATEX))
        resources["outputs"] = files | (resources["outputs"] or {})
        return nb, resources


class Rehearsal(pre.Preprocessor):
    """Sets the text alone, before the cells run: its faults show within seconds."""

    def preprocess(self, nb, resources):
        for cell in nb.cells:
            if cell.cell_type == "code":  # as some programs leave out what is empty
                cell.update(outputs=[], execution_count=None)
        self.config.ExecutePreprocessor.enabled = False  # in the PDF's exporter
        PDFExporter(config=self.config, latex_count=1).from_notebook_node(nb)
        return nb, resources


def run_latex(self, filename):
    """nbconvert would print all that xelatex says; this, the fault and its line."""
    for _ in range(self.latex_count):
        done = subprocess.run([*self.latex_command, filename], capture_output=True)
        if done.returncode:
            said = done.stdout.decode("utf8", "replace")
            fault = re.search(r"^\S+:\d+: [^$]*?^l\.\d.*", said, re.MULTILINE)
            sys.exit(fault[0] if fault else said[-2000:])


PDFExporter.run_latex = run_latex
PDFExporter.run_bib = lambda self, filename: False  # nothing is cited
c.NotebookExporter.default_preprocessors = [  # a busy machine sends outputs in pieces
    Rehearsal, pre.ExecutePreprocessor, pre.CoalesceStreamsPreprocessor]
c.Rehearsal.enabled = c.CoalesceStreamsPreprocessor.enabled = True
c.ExecutePreprocessor.update(kernel_name="python3", timeout=1800, record_timing=False,
                             extra_arguments=["--log-level=ERROR"])
c.PDFExporter.update(
    template_name="hw2", extra_template_basedirs=[str(HERE)], preprocessors=[Texts],
    raw_mimetypes=["text/latex"], latex_command=[
        "xelatex", "-file-line-error", "-interaction=nonstopmode", "-halt-on-error"])
