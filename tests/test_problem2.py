"""Problem 2: the dataset, its views, the grid, and the batched views."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import Run, find
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import functional

pytestmark = pytest.mark.filterwarnings(  # workers on one core; from Python 3.12 on
    "ignore:This DataLoader will create:UserWarning",
    "ignore:This process .* is multi-threaded:DeprecationWarning")
WORKERS = {"num_workers": 2, "multiprocessing_context": "fork"}


def cosine(first, second):
    """How alike views of one image are, their mean taken off: 0 if independent."""
    first, second = (v.flatten(1) - (first + second).flatten(1).mean(0) / 2
                     for v in (first, second))
    return torch.cosine_similarity(first, second).mean().item()


def test_problem2_dataset_is_a_torch_dataset_over_mnist(hw2, digits):
    assert issubclass(hw2.MNISTTwoView, Dataset) and hw2.source == "torchvision"
    assert len(hw2.dataset) == len(hw2.mnist) == len(digits[1])
    assert hw2.output("datasets.MNIST(") == "5,000 digits from torchvision\n"


def test_problem2_item_is_exactly_x1_x2_y(hw2):
    x1, x2, y = item = hw2.dataset[3]
    assert type(item) is tuple and y == hw2.mnist[3][1]
    assert x1.shape == x2.shape == (1, 28, 28) and x1.dtype == x2.dtype == torch.float32


def test_problem2_item_calls_one_pipeline_twice_on_the_same_image(hw2):
    seen = []
    source = [("image 0", 7), ("image 1", 8)]
    data = hw2.MNISTTwoView(source, lambda x: seen.append(x) or len(seen))
    assert data[1] == (1, 2, 8) and seen == ["image 1", "image 1"]
    assert hw2.dataset.transform is hw2.pipeline and hw2.dataset.source is hw2.mnist


def test_problem2_views_are_independent_draws_and_no_mirror_images(hw2):
    torch.manual_seed(0)
    i = next(i for i, (_, y) in enumerate(hw2.mnist) if y == 3)  # no symmetric digit
    x1, x2 = (torch.stack(v) for v in zip(*(hw2.dataset[i][:2] for _ in range(300))))
    assert len({view.numpy().tobytes() for view in (*x1, *x2)}) == 600
    assert abs(cosine(x1, x2)) < 0.05
    assert cosine(x1, 0.3 * x1 + 0.7 * x2) > 0.2 and cosine(x1, x1) > 0.99  # it sees
    image = functional.to_tensor(hw2.mnist[i][0])
    like, mirrored = ((x1 * v).sum((1, 2, 3)) for v in (image, image.flip(2)))
    assert (like > mirrored).double().mean() > 0.7  # about half if views are mirrored


def test_problem2_views_are_in_0_to_1_and_keep_the_digit_inside(hw2):
    torch.manual_seed(0)
    views = torch.cat([hw2.dataset[i][0] for i in range(1000)])
    assert views.min() >= 0 and views.max() <= 1
    edges = (views[:, 0], views[:, -1], views[:, :, 0], views[:, :, -1])
    ink = [(e > 0.3) & (e != 0.5) for e in edges]  # an erased box is exactly 0.5
    assert torch.cat(ink, 1).any(1).float().mean() < 0.1


@pytest.mark.parametrize("options", [
    {"batch_size": 16, "shuffle": True}, {"batch_size": 16, "drop_last": True},
    {"batch_size": None}, {"batch_size": 16, **WORKERS}], ids=" ".join)
def test_problem2_a_dataloader(hw2, options):
    batches = list(DataLoader(Subset(hw2.dataset, range(40)), **options))
    labels = torch.cat([torch.as_tensor(y).reshape(-1) for *_, y in batches]).tolist()
    assert len(labels) == 40 - 8 * ("drop_last" in options)
    expected = [hw2.mnist[i][1] for i in range(len(labels))]
    assert labels == expected or options.get("shuffle")
    for x1, x2, y in batches:
        assert x1.shape == x2.shape == (*np.shape(y), 1, 28, 28)
        assert np.shape(y) == () or (y.dtype == torch.int64 and not torch.equal(x1, x2))


def test_problem2_a_workers_draw_independent_views(hw2):
    torch.manual_seed(0)
    data = hw2.MNISTTwoView([hw2.mnist[3]] * 400, hw2.pipeline)
    (first, *_), (second, *_) = DataLoader(data, batch_size=200, **WORKERS)
    assert abs(cosine(first, second)) < 0.05


def test_problem2_a_shown_pass_is_whole_with_a_partial_batch(hw2):
    *batches, last = hw2.output("DataLoader(Subset(").splitlines()
    assert batches == [f"({n}, 1, 28, 28) ({n}, 1, 28, 28) ({n},) {n} pairs differ"
                       for n in (32, 32, 32, 4)]
    assert last.count("float32, 0 to ") == 2 and "int64" in last
    one = torch.ones(1, 1, 1)
    equal = vars(hw2) | {"dataset": [(one, one, 0)] * 100}
    cell = find("DataLoader(Subset(")
    assert "0 pairs differ" in Run([cell], equal).output(cell)


@pytest.fixture
def grid(hw2):
    """The axes of the grid as its cell draws it, in rows of one example each."""
    drawn = Run([find('"original"')], vars(hw2), close=False)
    assert not drawn.cell_errors
    plt.gcf().draw_without_rendering()
    yield np.reshape(plt.gcf().axes, (-1, 3)), drawn
    plt.close("all")


def test_problem2_b_grid_has_8_rows_of_original_x1_x2_in_two_blocks(grid):
    boxes = np.array([[ax.get_window_extent().bounds for ax in row] for row in grid[0]])
    left, low = boxes[:, :, 0], boxes[:, :, 1]
    assert len(boxes) == len(grid[1].x1) == 8 and left[4:].min() > left[:4].max()
    assert (np.diff(left) > 0).all() and np.ptp(low, axis=1).max() < 0.5
    for block in (slice(0, 4), slice(4, 8)):
        assert np.ptp(left[block], axis=0).max() < 0.5  # three columns
        assert (np.diff(low[block, 0]) < 0).all()  # from the top down
    for i, row in enumerate(grid[0]):
        heads = ["original", "$x^{(1)}$", "$x^{(2)}$"] if i in (0, 4) else [""] * 3
        assert [ax.get_title() for ax in row] == heads


def test_problem2_b_pictures_are_the_originals_and_their_views(hw2, grid):
    rows, drawn = grid
    for i, row in enumerate(rows):
        shown = [ax.images[0] for ax in row]
        image = np.asarray(hw2.mnist[i][0]) / 255
        for picture, expected in zip(shown, (image, drawn.x1[i, 0], drawn.x2[i, 0])):
            assert np.array_equal(picture.get_array().data, np.asarray(expected))
            assert picture.get_cmap().name == "gray" and picture.origin == "upper"
            assert picture.get_clim() == (0, 1)
        assert np.corrcoef([np.ravel(p.get_array()) for p in shown])[0].min() > 0.1


def test_problem2_b_label_stands_under_each_original_and_nowhere_else(hw2, grid):
    for (_, y), row in zip(hw2.mnist, grid[0]):
        assert [ax.get_xlabel() for ax in row] == [f"label {y}", "", ""]
        assert row[0].xaxis.get_label_position() == "bottom"


def moments(views):
    """Of each view: ink, centre, the two spreads, and the angle of its bar."""
    t, ink = torch.arange(28) - 13.5, views.sum((1, 2))
    row, column = views.sum(2) @ t / ink, views.sum(1) @ t / ink
    rr, cc = views.sum(2) @ t**2 / ink - row**2, views.sum(1) @ t**2 / ink - column**2
    rc = torch.einsum("nij,i,j->n", views, t, t) / ink - row * column
    angle = torch.atan2(2 * rc, rr - cc).rad2deg() / 2
    return torch.stack([ink, row, column, rr.sqrt(), cc.sqrt(), angle])


def boxes(views):
    """Of each view with a box: height, width, area, and where in its room it is."""
    rows, columns = (views > 0).any(2), (views > 0).any(1)
    size = torch.stack([rows.sum(1), columns.sum(1), (views > 0).sum((1, 2))])
    hit = size[2] > 0
    assert torch.equal(size[0] * size[1], size[2])  # one whole box
    assert abs(hit.double().mean() - 0.5) < 0.04 and views[views > 0].unique() == 0.5
    start = torch.stack([rows.int().argmax(1), columns.int().argmax(1)])
    return torch.cat([size, start / (28 - size[:2])])[:, hit].double()


def test_problem2_appendix_a_batched_views_are_distributed_as_the_pipelines(hw2):
    """The maps by 2,000 views of a bar that no crop cuts, the boxes by blank views."""
    bar, blank = torch.zeros(1, 28, 28), torch.zeros(2000, 1, 28, 28)
    bar[:, 5:23, 11:17] = 1
    image, (*maps, erasing) = functional.to_pil_image(bar), hw2.pipeline.transforms
    torch.manual_seed(0)
    mapped = torch.cat([type(hw2.pipeline)(maps)(image) for _ in blank])
    erased = torch.cat([erasing(x) for x in blank])
    for one, batch in ((moments(mapped), moments(hw2.warp(bar + blank)[:, 0])),
                       (boxes(erased), boxes(hw2.erase(blank)[:, 0]))):
        ratio = batch.std(1) / one.std(1)  # torchvision crops and shifts whole pixels
        assert (ratio > 0.8).all() and (ratio < 1.12).all()
        blur = 0.06  # pixels: the pipeline resamples twice
        gap = (one.mean(1) - batch.mean(1)).abs()
        assert (gap < 0.1 * one.std(1) + blur * (len(one) == 6)).all()
        assert (torch.corrcoef(one) - torch.corrcoef(batch)).abs().max() < 0.12


def test_problem2_appendix_a_items_are_independent_views_of_their_images(hw2):
    chosen = [hw2.whole[1].tolist().index(digit) for digit in range(10)]
    x, y = (part[chosen] for part in hw2.whole)
    data = hw2.BatchTwoView((x, y), lambda batch: hw2.erase(hw2.warp(batch)))
    torch.manual_seed(0)
    passes = [next(iter(DataLoader(data, batch_size=10))) for _ in range(50)]
    x1 = torch.stack([x1 for x1, _, _ in passes])
    assert x1.shape == (50, 10, 1, 28, 28) and torch.equal(passes[0][2], y)
    alike = torch.corrcoef(torch.cat([x.flatten(1), x1.mean(0).flatten(1)]))
    assert alike[:10, 10:].argmax(0).tolist() == [*range(10)]
    copies = (x[3:4].expand(400, 1, 28, 28), y.repeat(40))
    (x1, x2, _), = DataLoader(hw2.BatchTwoView(copies, data.transform), batch_size=400)
    assert abs(cosine(x1, x2)) < 0.05 > abs(cosine(x1[1:], x1[:-1]))


def test_problem2_appendix_a_table_counts_pairs_mean_pixel_and_boxes(hw2, monkeypatch):
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(hw2.time, "perf_counter", lambda: next(clock))
    box, ink = torch.zeros(1, 28, 28), torch.full((1, 28, 28), 0.9)
    box[:, 3:6, 3:9] = 0.5
    found = hw2.views([(box, ink, 0)] * 100 + [(ink, box, 0)] * 300)
    assert found == pytest.approx([100, 0.675 + 9 / 784 / 4, 0.25])


def test_problem2_appendix_a_indices_may_be_tensors(hw2):
    x, y = hw2.whole
    data = hw2.BatchTwoView((x, y), lambda batch: batch)
    assert len(data) == len(x) == 2048
    for i in (5, torch.tensor(5)):
        x1, x2, label = data[i]
        assert torch.equal(x1, x[5]) and torch.equal(x2, x[5]) and label == y[5]
    for indices in ([4, 2], torch.tensor([4, 2]), [torch.tensor(4), torch.tensor(2)]):
        assert [int(item[2]) for item in data.__getitems__(indices)] == [*y[[4, 2]]]
    for i in range(5):  # the batched source is the digits themselves
        image, label = hw2.mnist[i]
        assert torch.equal(x[i], functional.to_tensor(image)) and y[i] == label
