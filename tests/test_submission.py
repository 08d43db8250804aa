"""The submission as a whole: its files, its notebook, and make under faults."""

import ast
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import nbformat
import pypdfium2
import pytest
from conftest import ROOT
from nbclient import NotebookClient

VISIBLE = {
    "hw2.ipynb",
    "hw2.pdf",
    "derivations.tex",
    "README.md",
    "requirements.txt",
    "Makefile",
    "tests",
}
TEXTS = ["hw2.ipynb", "derivations.tex", "README.md"]


def code(cells, hidden=True):
    return [
        c
        for c in cells
        if c["cell_type"] == "code"
        and (hidden or "text" not in c["metadata"].get("tags", []))
    ]


def test_top_level_shows_the_files_asked_for_and_no_other():
    assert {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} == VISIBLE


@pytest.mark.parametrize("name", TEXTS)
def test_use_of_language_models_is_disclosed(name):
    text = (ROOT / name).read_text("utf8")
    assert "large language model wrote" in text and "amend" in text


def test_name_and_netid_are_filled_in_at_one_place(cells):
    assert "**Name:**" in cells[0]["source"] and "**NetID:**" in cells[0]["source"]
    assert sum(c["source"].count("NetID:") for c in cells) == 1


def lines_of_code(source):
    """Lines that are neither blank nor part of a docstring."""
    source = source.replace("%config", "#")
    prose = {
        n
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
        for n in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and n not in prose for n, line in lines)


def test_notebook_keeps_its_budget(cells):
    assert len(code(cells)) <= 45
    lines = [lines_of_code(c["source"]) for c in code(cells)]
    assert statistics.median(lines) <= 12


def test_notebook_code_fits_the_page_and_every_font(cells):
    for cell in code(cells, hidden=False):
        assert cell["source"].isascii()
        assert max(map(len, cell["source"].splitlines())) <= 79, cell["source"]
    for cell in code(cells):  # JupyterLab shows the first line of a hidden cell
        assert len(cell["source"].splitlines()[0]) <= 79


def test_notebook_holds_the_outputs_of_one_clean_run(cells):
    assert [c["execution_count"] for c in code(cells)] == [
        *range(1, len(code(cells)) + 1)
    ]
    for cell in code(cells):
        for output in cell["outputs"]:
            assert output["output_type"] in ("display_data", "stream"), cell["source"]
            assert output.get("name") != "stderr" and "text/html" not in output.get(
                "data", {}
            )


def test_no_cell_shows_raw_latex_or_template_text(cells):
    for cell in cells:
        assert cell["cell_type"] in ("markdown", "code")
        assert not re.search(
            r"\\(begin|section|label)\{(?!aligned)|\(\(\*", cell["source"]
        )


def test_three_sections_in_the_assignments_order(cells):
    headings = [
        line
        for c in cells
        if c["cell_type"] == "markdown"
        for line in c["source"].splitlines()
        if line.startswith("## Problem")
    ]
    assert [h[:12] for h in headings] == [
        "## Problem 1",
        "## Problem 2",
        "## Problem 3",
    ]


def test_readme_maps_each_sentence_to_a_place_and_a_test(cells, request):
    """Each row of the map names a heading that exists and tests that exist."""
    headings = "\n".join(c["source"] for c in cells if c["cell_type"] == "markdown")
    headings += (ROOT / "derivations.tex").read_text("utf8")
    names = "\n".join(p.read_text("utf8") for p in (ROOT / "tests").glob("test_*.py"))
    readme = (ROOT / "README.md").read_text("utf8").split("## Where each part")[1]
    rows = [
        line.strip("| ").split(" | ")
        for line in readme.split("\n##")[0].splitlines()
        if line.startswith("|")
    ][2:]
    assert len(rows) >= 15
    for _, place, tests in rows:
        assert all(p in headings for p in place.split("; ")), place
        for name in re.findall(r"`(test_\w+)`", tests):
            assert f"def {name}(" in names, name
        assert "`test_" in tests


SOURCE = r"(digits of this run come from |real digits \().*?(\. The code|\) \|)"


def masked(cell):
    """A cell's outputs without times, rounding noise and what a source changes.

    Runs beyond their limits are chaotic: their last digits, tagged "rounding",
    depend on the kernels that BLAS chooses for the processor.
    """
    free = {"timed", "digits", "rounding"} & set(cell["metadata"].get("tags", []))
    shown = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"text": output.get("text")})
        for kind in ("text", "text/markdown", "image/png"):
            value = data.get(kind)
            if value is not None:
                value = "".join(value)
                if free:
                    value = re.sub(SOURCE, r"\1the source\2", value, flags=re.S)
                    value = (
                        kind
                        if kind == "image/png"
                        else re.sub(r"\d[\d,.e+-]*", "#", value)
                    )
                shown.append(re.sub(r"\b\de-1[2-9]\b", "noise", value))
    return shown


def test_committed_outputs_equal_a_fresh_run_alone_in_an_empty_folder(
    pytestconfig, tmp_path, monkeypatch
):
    """And those of a second Run All in the same kernel."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    nb = nbformat.read(pytestconfig.getoption("notebook"), 4)
    committed = [masked(c) for c in nb.cells]
    where = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(
        nb, timeout=600, kernel_name="python3", resources=where, coalesce_streams=True
    )
    with client.setup_kernel():
        for _ in range(2):
            for number, cell in enumerate(nb.cells):
                client.execute_cell(cell, number)
                assert masked(cell) == committed[number], cell["source"]


def test_versions_are_exact_and_the_matched_pair_is_installed():
    from importlib.metadata import version

    wanted = re.findall(
        r"^([\w-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text("utf8"), re.M
    )
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text("utf8").splitlines()
        if line and not line.startswith("#")
    ]
    assert len(wanted) == len(lines)
    assert all(version(name) == number for name, number in wanted)


@pytest.fixture
def project(tmp_path):
    """A copy of the project in a folder with spaces, brackets and an umlaut."""
    copy = tmp_path / "a gr\u00e4der's folder [2]"
    shutil.copytree(
        ROOT,
        copy,
        ignore=shutil.ignore_patterns(".git", ".venv", ".cache", ".data", "bench"),
    )
    return copy


def build(project, **environment):
    done = subprocess.run(
        [sys.executable, project / ".make/build.py"],
        text=True,
        capture_output=True,
        env=dict(os.environ, **environment),
    )
    return done.returncode, done.stdout + done.stderr


def kept(project):
    return all(
        (project / n).read_bytes() == (ROOT / n).read_bytes() for n in ("hw2.pdf",)
    )


def with_cells(project, *sources):
    path = project / "hw2.ipynb"
    nb = json.loads(path.read_text("utf8"))
    nb["cells"] = [dict(nb["cells"][2], source=[s], outputs=[]) for s in sources]
    for cell in nb["cells"]:
        cell["cell_type"] = "code"
    path.write_text(json.dumps(nb), "utf8")
    return path.read_bytes()


def test_make_pdf_with_a_failing_cell_names_it_and_keeps_both_files(project):
    before = with_cells(project, "answer = 42", "1 / 0")
    status, said = build(project)
    assert status != 0 and "1 / 0" in said and "ZeroDivisionError" in said
    assert (project / "hw2.ipynb").read_bytes() == before and kept(project)


def test_make_pdf_refuses_a_cell_that_writes_to_stderr(project):
    both = "display(1); import sys; print('oh', file=sys.stderr)"
    before = with_cells(project, both, "")
    status, said = build(project)
    assert status != 0 and "wrote to stderr: oh" in said
    assert (project / "hw2.ipynb").read_bytes() == before and kept(project)


def test_make_pdf_with_a_wrong_equation_names_its_line(project):
    path = project / "derivations.tex"
    tex = path.read_text("utf8")
    line = tex[: tex.index(r"\tag{R1}")].count("\n") + 1
    path.write_text(
        tex.replace(
            r"\frac{2}{N} \sum_{i=1}^N h_2^{(i)}", r"\frac{1}{N} \sum_{i=1}^N h_2^{(i)}"
        ),
        "utf8",
    )
    status, said = build(project)
    assert status != 0 and f"{line}" in said and kept(project)


def small(project):
    """Leave two short cells, with which make pdf takes seconds."""
    path = project / "hw2.ipynb"
    nb = json.loads(path.read_text("utf8"))
    code = next(c for c in nb["cells"] if c["cell_type"] == "code")
    table = "from IPython.display import Markdown, display\ndisplay(Markdown('| a |'))"
    style = "import sys, matplotlib\nprint(sys.warnoptions, sys.flags.optimize, "
    style += "matplotlib.rcParams['font.size'])"
    tags = {"tags": ["summary"]}
    nb["cells"][1:] = [
        dict(code, source=[style], outputs=[]),
        dict(code, source=[table], outputs=[], id="table", metadata=tags),
    ]
    path.write_text(json.dumps(nb), "utf8")


def make(project, **environment):
    """make pdf from the Makefile, but with the packages of the running Python."""
    done = subprocess.run(
        ["make", "-C", project, "-o", "env", "pdf", f"RUN={sys.executable}"],
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=dict(os.environ, **environment),
    )
    return done.returncode, done.stdout + done.stderr


def hostile(home):
    """A user's settings that would each break or change the build."""
    stop, rc = "raise SystemExit('of the user')", "font.size: 40\n"
    kernel = '{"argv": ["false"], "display_name": "", "language": "python"}'
    for name, text in {
        "jupyter_nbconvert_config.py": stop,
        "jupyter_config.py": stop,
        "kernels/python3/kernel.json": kernel,
        "nbconvert/templates/hw2/index.tex.j2": "of the user",
        "nbconvert/templates/latex/index.tex.j2": "of the user",
        "nbconvert/templates/latex/base.tex.j2": "of the user",
        "profile_default/startup/00.py": "import sys; sys.stderr.write('user')",
        "profile_default/ipython_config.py": stop,
        "sitecustomize.py": stop,
        "numpy.py": stop,
        "article.cls": stop,
        "matplotlibrc": rc,
        ".config/matplotlib/matplotlibrc": rc,
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, "utf8")
    for name in (".jupyter", ".ipython", ".local/share/jupyter"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(home)
    here = "HOME JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_PATH JUPYTER_CONFIG_PATH "
    here += "IPYTHONDIR PYTHONPATH MATPLOTLIBRC TEXINPUTS"
    return dict.fromkeys(here.split(), str(home)) | {
        "MPLBACKEND": "of the user",
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONSAFEPATH": "1",
        "PYTHONDEVMODE": "1",
    }


def test_make_pdf_takes_no_settings_of_the_users_and_leaves_nothing_behind(
    project, tmp_path
):
    small(project)
    (tmp_path / "tmp").mkdir()
    settings = hostile(tmp_path / "home")
    status, said = make(project, **settings, TMPDIR=str(tmp_path / "tmp"))
    assert status == 0, said
    assert not [*(tmp_path / "tmp").iterdir()]
    with pypdfium2.PdfDocument(project / "hw2.pdf") as document:
        text = "".join(page.get_textpage().get_text_range() for page in document)
    assert "rcParams" in text and "[] 0 10.0" in text and "of the user" not in text


def test_make_pdf_refuses_a_style_file_beside_the_notebook(project):
    (project / "matplotlibrc").write_text("font.size: 40", "utf8")
    status, said = build(project)
    assert status != 0 and "matplotlibrc out of this folder" in said and kept(project)


def test_make_pdf_builds_again_only_where_something_changed(project):
    """An edit while it builds is kept, new digits are seen, an empty cell is fine."""
    small(project)
    path = project / "hw2.ipynb"
    nb = json.loads(path.read_text("utf8"))
    nb["cells"].append(dict(nb["cells"][-2], source=[], outputs=[], id="empty"))
    path.write_text(json.dumps(nb), "utf8")
    with started(project) as first:
        assert until(first, "fresh kernel")
        nb["cells"][0]["source"] = ["# A name filled in\n"]
        path.write_text(json.dumps(nb), "utf8")
    assert first.returncode != 0 and "A name filled in" in path.read_text("utf8")
    for again in "typesetting", "up to date", "typesetting":
        status, said = build(project)
        assert status == 0 and again in said
        if again == "up to date":
            (project / ".data").mkdir()
            (project / ".data/mnist_train.csv").touch()


def test_make_pdf_says_that_a_notebook_cannot_be_read(project):
    (project / "hw2.ipynb").write_text("<<<<<<< HEAD", "utf8")
    status, said = build(project)
    assert status != 0 and "hw2.ipynb or derivations.tex cannot be read" in said


def started(project):
    return subprocess.Popen(
        [sys.executable, project / ".make/build.py"],
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def until(process, words):
    """Read a line that has the words; False if none comes."""
    return any(words in line for line in process.stdout)


def ended(group, seconds):
    """Whether all processes of the group end in this time."""
    for _ in range(10 * seconds):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("moment", ["equations", "fresh kernel"])
def test_make_pdf_interrupted_leaves_both_files_as_they_were(project, moment):
    """And the notebook does not run on."""
    before = with_cells(project, "import time; time.sleep(60)")
    with started(project) as process:
        assert until(process, moment)
        time.sleep(0.3)
        process.terminate()
        process.wait()
    assert process.returncode != 0
    assert moment == "equations" or ended(process.pid, 20)
    assert (project / "hw2.ipynb").read_bytes() == before and kept(project)


def test_second_make_pdf_waits_for_the_first(project):
    with_cells(project, "import time; time.sleep(60)")
    with started(project) as first:
        assert until(first, "equations")
        with started(project) as second:
            assert until(second, "waiting")
            os.killpg(first.pid, 9)
            assert until(second, "equations")
            os.killpg(second.pid, 9)


@pytest.mark.parametrize("written", ["new notebook, old PDF", "half a state"])
def test_make_pdf_killed_while_it_replaces_builds_again(project, written):
    """Between the two files, or in the file that says what was built."""
    script = "import build; build.CACHE.mkdir(); "
    script += "build.STATE.write_text(build.json.dumps(build.state()))"
    subprocess.run([sys.executable, "-c", script], cwd=project / ".make", check=True)
    assert "up to date" in build(project)[1]
    if written == "half a state":
        (project / ".cache/built.json").write_text("{", "utf8")
    else:
        with_cells(project, "new = True")
    with started(project) as process:
        assert until(process, "equations")
        os.killpg(process.pid, 9)


def set_up(project, edit=("", ""), **environment):
    script = project / ".make/env.py"
    script.write_text(script.read_text("utf8").replace(*edit), "utf8")
    done = subprocess.run(
        [sys.executable, script],
        text=True,
        capture_output=True,
        env=dict(os.environ, **environment),
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_set_up_with_another_python_says_so_before_installing(project):
    status, said = set_up(project, ("((3, 11), (3, 12), (3, 13))", "((2, 7),)"))
    assert status != 0 and said.count("\n") == 0 and "make PYTHON=" in said
    assert not (project / ".venv").exists()


def test_set_up_without_tex_names_the_command_that_brings_it(project, tmp_path):
    status, said = set_up(project, PATH=str(tmp_path))
    assert status != 0 and "sudo apt-get" in said and "dnf" in said and "brew" in said
    assert not (project / ".venv").exists()


def test_set_up_names_a_missing_style_file(project):
    empty = project / "only"
    empty.mkdir()
    for name in ("xelatex", "kpsewhich"):
        (empty / name).symlink_to(shutil.which(name))
    status, said = set_up(
        project, ("booktabs.sty", "no-such-style.sty"), PATH=str(empty)
    )
    assert status != 0 and "TeX lacks no-such-style.sty" in said


def only_from(index):
    """Settings for pip; it would take an empty variable for none."""
    none = dict.fromkeys(["PIP_NO_INDEX", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"], "")
    none |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    return none | {"PIP_INDEX_URL": index, "PIP_DEFAULT_TIMEOUT": "1"}


class Index(BaseHTTPRequestHandler):
    """Silent twice, then without the second half of each wheel until it is well."""

    silent, well = 2, False

    def do_GET(self):
        if Index.silent:
            Index.silent -= 1
            return time.sleep(2)
        name = "torch-2.15.0-py3-none-any.whl"
        body = f'<a href="/{name}">{name}</a>'.encode()
        if self.path == f"/{name}":
            body = wheel()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", len(body))
        self.end_headers()
        if self.path == f"/{name}" and not self.well:
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def wheel():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {
            "METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.15.0\n",
            "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }.items():
            archive.writestr(f"torch-2.15.0.dist-info/{name}", text)
    return file.getvalue()


def test_set_up_with_a_dying_package_index_leaves_nothing_taken_for_done(project):
    (project / "requirements.txt").write_text("torch==2.15.0", "utf8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    Thread(target=server.serve_forever, daemon=True).start()
    pip = only_from(f"http://127.0.0.1:{server.server_port}/")
    done = project / ".venv/installed"
    status, said = set_up(project, ("WORD = 30", "WORD = 0.2"), **pip)
    assert status != 0 and "run make again" in said and not done.exists()
    assert "still at it: WARNING: Retrying" in said and "timed out" in said
    Index.well = True
    status, said = set_up(project, ("WORD = 0.2", "WORD = 30"), **pip)
    assert (status, said.count("\n")) == (0, 0) and done.exists()
    server.shutdown()
    server.server_close()
