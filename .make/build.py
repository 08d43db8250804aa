"""Run hw2.ipynb, set it with derivations.tex into hw2.pdf, replace both.

Called by `make pdf`. Everything is made in .cache; the two files are replaced
only when all of it has succeeded.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from env import alone

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
NOTEBOOK, DERIVATIONS = ROOT / "hw2.ipynb", ROOT / "derivations.tex"
PDF, STATE = ROOT / "hw2.pdf", CACHE / "built.json"
READER = ("reader", "notation", "symbols")
HEADING = re.compile(r"^(#+) +(.+?)$", re.M)

LEGEND = r"""\emph{Grey, beside each equation: its largest relative error at random
points (normal draws, several shapes, double precision; for $\le$ and $\ge$ the largest
violation), all of it rounding; def.\ marks a definition.}
"""


class Failed(Exception):
    """One sentence for whoever called make."""


def step(text):
    print(f"make pdf: {text}", flush=True)


def digest(*paths):
    """SHA-256 of the files' names and bytes; of a notebook, its cells alone.

    An editor changes a notebook's metadata on opening it.
    """
    total = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        if path.suffix == ".ipynb":
            data = json.dumps(json.loads(data)["cells"], sort_keys=True).encode()
        total.update(f"{path.name} {len(data)}\n".encode() + data)
    return total.hexdigest()


def state():
    """What the outputs depend on, and the outputs as they are."""
    tools = [
        p
        for p in (ROOT / ".make").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    ]
    sources = [
        NOTEBOOK,
        DERIVATIONS,
        ROOT / "requirements.txt",
        *sorted(tools + [ROOT / f"tests/{n}.py" for n in READER]),
    ]
    pdf = digest(PDF) if PDF.exists() else None
    data = [*ROOT.glob(".data/*.csv"), *ROOT.glob(".data/MNIST/raw/*ubyte")]
    data = {p.name: [p.stat().st_size, p.stat().st_mtime] for p in sorted(data)}
    return {"sources": digest(*sources), "pdf": pdf, "data": data}


def run(command, log, **options):
    """Run a command with its output in a log; say whether it succeeded."""
    with open(log, "w", encoding="utf8") as out:
        done = subprocess.run(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            **options,
        )
    return done.returncode == 0


def check_derivations(notebook):
    """Evaluate every displayed equation; return the marks for the margin."""
    marks, log = CACHE / "marks.json", CACHE / "reader.log"
    if not run(
        [
            sys.executable,
            str(ROOT / "tests/reader.py"),
            str(DERIVATIONS),
            str(notebook),
            "--marks",
            str(marks),
        ],
        log,
    ):
        raise Failed(
            "derivations.tex: an equation was not confirmed:\n"
            + log.read_text("utf8")[-2000:]
        )
    return json.loads(marks.read_text("utf8"))


def execute():
    """Run all cells in a fresh kernel; return the path of the result."""
    out, log = CACHE / "hw2.ipynb", CACHE / "execute.log"
    out.unlink(missing_ok=True)
    ok = run(
        [
            sys.executable,
            "-m",
            "nbconvert",
            "--to",
            "notebook",
            "--execute",
            "--ExecutePreprocessor.timeout=1800",
            "--ExecutePreprocessor.kernel_name=python3",
            "--ExecutePreprocessor.record_timing=False",
            "--ExecutePreprocessor.coalesce_streams=True",
            "--output-dir",
            str(CACHE),
            NOTEBOOK.name,  # nbconvert takes a path for a pattern
        ],
        log,
        cwd=ROOT,
    )
    if not ok or not out.exists():
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text("utf8"))
        start = text.find("An error occurred while executing")
        raise Failed("hw2.ipynb: a cell failed:\n" + text[max(start, 0) :][-4000:])
    nb = json.loads(out.read_text("utf8"))
    for number, cell in enumerate(nb["cells"]):
        check_outputs(number, cell)
    nb["metadata"]["language_info"].pop("version", None)
    out.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", "utf8")
    return out


def check_outputs(number, cell):
    """A cell may not print to stderr, nor leave out its figure or sentence."""
    outputs, source = cell.get("outputs", []), "".join(cell["source"])
    name = f"hw2.ipynb, cell {number} ({source[:60].strip()!r})"
    for output in outputs:
        if output.get("name") == "stderr":
            raise Failed(f"{name} wrote to stderr: {''.join(output['text'])}")
    wants = "plt.show()" in source or "text" in cell["metadata"].get("tags", [])
    if cell["cell_type"] == "code" and wants and not outputs:
        raise Failed(f"{name} has no output, but should show something")


def with_marks(tex, marks):
    """The derivations with each equation's error set into the margin.

    A chain within one row shows its largest error, an equation over several
    rows is marked at its last.
    """
    rows = {}
    for mark in marks:
        rows.setdefault(tuple(mark["rows"][-1]), []).append(mark["error"])
    for (start, end), errors in sorted(rows.items(), reverse=True):
        text = "def." if None in errors else f"{max(errors):.0e}".replace("0e+00", "0")
        row = tex[start:end]
        place = r"\tag{" if r"\tag{" in row else r"\notag"
        mark = rf"\markof{{{text}}}" + (place if "{" in place else r"\marktag")
        tex = tex[:start] + row.replace(place, mark) + tex[end:]
    return tex


def part(tex, name):
    return tex.split(f"%% begin {name}\n")[1].split(f"%% end {name}")[0]


def counts(marks):
    """How many equations were checked, how many define, the largest error."""
    errors = [m["error"] for m in marks if m["error"] is not None]
    return len(errors), len(marks) - len(errors), max(errors)


def arrange(nb, marks):
    """The notebook as the PDF shows it.

    Title, name, disclosure and the table of results come first, headings move
    up one level, and the derivations stand where the notebook names them.
    """
    import nbformat

    own = [m for m in marks if m["file"] == "derivations.tex"]
    tex = with_marks(DERIVATIONS.read_text("utf8"), own)
    checked, definitions, worst = counts(own)
    raw, cells, places = nbformat.v4.new_raw_cell, [], {}
    as_latex = {"raw_mimetype": "text/latex"}
    summary = next(
        c
        for c in nb.cells
        if c.cell_type == "code" and "summary" in c.metadata.get("tags", [])
    )
    table = summary.outputs[0].data["text/markdown"]
    table += (
        f"\n| Derivations | {checked} equations hold at random points to {worst:.0e} "
        f"({definitions} more are definitions) | Problem 1 |"
    )

    def heading(match):
        hashes, text = match.groups()
        places[text] = f"place-{len(places)}"
        room = "`\\roomfor{1.4in}`{=latex}"
        return f"{room}\n\n{hashes[1:]} {text} {{#{places[text]}}}"

    for cell in nb.cells[1:]:
        tags = cell.metadata.get("tags", [])
        name = next((t for t in tags if t.startswith("derivation-")), None)
        if name:
            body = part(tex, name.replace("derivation", "problem"))
            body = LEGEND + body if name == "derivation-1" else body
            cells.append(raw(body, metadata=as_latex))
        elif not any(t.startswith("summary") for t in tags):
            if cell.cell_type == "markdown":
                if cell.source.startswith("## Problem 1"):
                    cells.append(raw(r"\clearpage", metadata=as_latex))
                cell.source = HEADING.sub(heading, cell.source)
            cells.append(cell)
    first = nb.cells[0]
    title, rest = first.source.split("\n", 1)
    front = rf"{{\LARGE\bfseries {title.lstrip('# ')}\par}}"
    rows = []
    for row in table.split("\n"):
        head, _, last = row.rstrip(" |").rpartition(" | ")
        full = next((t for t in places if t.startswith(last)), None)
        rows.append(
            f"{head} | p. `\\pageref{{{places[full]}}}`{{=latex}} |"
            if full
            else row
        )
    first.source = rest.strip() + "\n\n" + "\n".join(rows)
    nb.cells = [raw(front, metadata=as_latex), first, *cells]
    return nb


def blocks(source):
    """A cell's functions, methods and paragraphs: no page breaks within."""
    return re.split(r"\n\n+(?=\S|    def )", source)


def typeset(executed, marks, work):
    """Write work/hw2.pdf from the executed notebook and derivations.tex."""
    import nbformat
    import pypandoc
    from nbconvert import LatexExporter
    from nbconvert.writers import FilesWriter

    os.environ["PATH"] = os.pathsep.join(
        [str(Path(pypandoc.get_pandoc_path()).parent), os.environ["PATH"]]
    )
    work.mkdir(parents=True, exist_ok=True)
    for old in work.iterdir():
        old.unlink()
    nb = nbformat.read(executed, 4)
    resources = {
        "unique_key": "figure",
        "metadata": {"name": "hw2"},
        "pdf": {
            "title": "ECE 685D, Homework 2",
            "subject": SUBJECT,
            "author": "Name and NetID: see the first page",
            "digest": "sha256:" + digest(executed, DERIVATIONS),
        },
    }
    exporter = LatexExporter(
        template_name="hw2", extra_template_basedirs=[str(ROOT / ".make")]
    )
    exporter.register_filter("blocks", blocks)
    body, resources = exporter.from_notebook_node(arrange(nb, marks), resources)
    FilesWriter(build_directory=str(work)).write(body, resources, "hw2")
    environment = dict(
        os.environ,
        SOURCE_DATE_EPOCH="0",
        FORCE_SOURCE_DATE="1",
        TEXMFVAR=str(CACHE / "texmf-var"),
        openout_any="p",
        max_print_line="1000",
    )
    for _ in range(3):
        if not run(
            [
                "xelatex",
                "-no-shell-escape",
                "-halt-on-error",
                "-interaction=nonstopmode",
                "-file-line-error",
                "hw2.tex",
            ],
            work / "run.log",
            cwd=work,
            env=environment,
        ):
            lines = (work / "run.log").read_text("utf8", "replace").split("\n")
            at = next((n for n, s in enumerate(lines) if re.match(r"!|\S+:\d+:", s)), 0)
            raise Failed(
                "TeX stopped (derivations.tex or a Markdown cell):\n"
                + "\n".join(lines[at : at + 12])
            )
    problems = re.findall(
        r"^(?:Missing character|Overfull|LaTeX Warning: (?:Reference|"
        r"Label|There were undefined)).*",
        (work / "hw2.log").read_text("utf8", "replace"),
        re.M,
    )
    if problems:
        raise Failed("the PDF would be flawed:\n" + "\n".join(problems))
    return work / "hw2.pdf"


SUBJECT = (
    "Backprop on a residual MLP, a two-view MNIST dataset, logistic "
    "regression by gradient descent and Newton's methods"
)


def main():
    if (ROOT / "matplotlibrc").exists():
        raise Failed("take matplotlibrc out of this folder: it changes the figures")
    lock = alone("pdf.lock")
    try:
        before = digest(NOTEBOOK, DERIVATIONS)
    except (OSError, ValueError, LookupError) as error:
        text = f"hw2.ipynb or derivations.tex cannot be read: {error!r}"
        raise Failed(text) from None
    if STATE.exists() and STATE.read_text("utf8") == json.dumps(state()):
        return step("hw2.pdf is up to date")
    step("checking the equations of derivations.tex")
    marks = check_derivations(NOTEBOOK)
    step("running every cell of hw2.ipynb in a fresh kernel")
    executed = execute()
    step("typesetting hw2.pdf with nbconvert and XeTeX")
    pdf = typeset(executed, marks, CACHE / "tex")
    if digest(NOTEBOOK, DERIVATIONS) != before:
        raise Failed("hw2.ipynb or derivations.tex was changed meanwhile: run it again")
    old = {
        s: signal.signal(s, signal.SIG_IGN)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    os.replace(executed, NOTEBOOK)
    os.replace(pdf, PDF)
    STATE.write_text(json.dumps(state()), "utf8")
    for number, handler in old.items():
        signal.signal(number, handler)
    lock.close()
    step("done: hw2.pdf, and hw2.ipynb with the outputs of the same run")


if __name__ == "__main__":
    UNTOUCHED = "make pdf: hw2.ipynb and hw2.pdf are as they were"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the cells too
    # Jupyter leaves temporary folders behind; in this one, they go.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tempfile.tempdir:
        os.environ["TMPDIR"] = tempfile.tempdir
        try:
            main()
        except Failed as reason:
            sys.exit(f"make pdf: {reason}\n{UNTOUCHED}")
        except KeyboardInterrupt:
            sys.exit(f"make pdf: interrupted\n{UNTOUCHED}")
