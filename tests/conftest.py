"""One fixture for all tests: the notebook's own objects, after a full run."""

import json
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--notebook", type=Path, default=ROOT / "hw2.ipynb")


@pytest.fixture(scope="session")
def cells(pytestconfig):
    """The notebook's cells; each one's source as one string."""
    cells = json.loads(pytestconfig.getoption("notebook").read_text("utf8"))["cells"]
    return [dict(cell, source="".join(cell["source"])) for cell in cells]


@pytest.fixture(scope="session")
def cell_source(cells):
    """cell_source(text): the source of the one code cell that holds text."""

    def find(text):
        (source,) = (
            c["source"]
            for c in cells
            if c["cell_type"] == "code" and text in c["source"]
        )
        return source

    return find


@pytest.fixture(scope="session")
def hw2(cells, tmp_path_factory):
    """The notebook's namespace: its code cells, run once, in an empty folder."""
    import matplotlib

    matplotlib.use("Agg")
    module = ModuleType("hw2")
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("notebook"))
    try:
        for cell in cells:
            if cell["cell_type"] == "code":
                source = cell["source"].replace("%config ", "# ")
                exec(compile(source, cell["id"], "exec"), module.__dict__)
    finally:
        os.chdir(here)
    return module


@pytest.fixture(scope="session")
def mistaken(hw2, cell_source):
    """mistaken(cell, right, wrong): the notebook's names with a mistake in a cell."""

    def put(cell, right, wrong):
        source = cell_source(cell)
        assert right in source
        names = dict(vars(hw2))
        exec(source.replace(right, wrong), names)
        return names

    return put
