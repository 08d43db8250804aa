"""Problem 2: the dataset, its views, the grid, and the batched views."""

import numpy as np
import pytest
import torch
from conftest import Run, find
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision.transforms import functional

pytestmark = pytest.mark.filterwarnings(  # workers on one core; from Python 3.12 on
    "ignore:This DataLoader will create:UserWarning",
    "ignore:This process .* is multi-threaded:DeprecationWarning")
WORKERS = {"num_workers": 2, "multiprocessing_context": "fork"}


def cosine(first, second):
    """How alike views of one image are, their mean taken off: 0 if independent."""
    mean = torch.cat([first, second]).mean(0)
    pairs = (first - mean).flatten(1), (second - mean).flatten(1)
    return torch.cosine_similarity(*pairs).mean().item()


def test_problem2_dataset_calls_one_pipeline_twice_on_the_same_image(hw2, digits):
    assert issubclass(hw2.MNISTTwoView, Dataset)
    assert hw2.dataset.transform is hw2.pipeline and hw2.dataset.source is hw2.mnist
    assert len(hw2.dataset) == len(digits[1])
    assert hw2.output("datasets.MNIST(") == "5,000 digits from torchvision\n"
    seen = []
    source = [("image 0", 7), ("image 1", 8)]
    data = hw2.MNISTTwoView(source, lambda x: seen.append(x) or len(seen))
    assert data[1] == (1, 2, 8) and seen == ["image 1", "image 1"]


def test_problem2_views_are_independent_draws_and_no_mirror_images(hw2):
    torch.manual_seed(0)
    i = next(i for i, (_, y) in enumerate(hw2.mnist) if y == 3)  # no symmetric digit
    x1, x2 = (torch.stack(v) for v in zip(*(hw2.dataset[i][:2] for _ in range(300))))
    assert len({view.numpy().tobytes() for view in (*x1, *x2)}) == 600
    assert x1.min() >= 0 and x1.max() <= 1
    assert abs(cosine(x1, x2)) < 0.05
    image = functional.to_tensor(hw2.mnist[i][0])
    like, mirrored = ((x1 * v).sum((1, 2, 3)) for v in (image, image.flip(2)))
    assert (like > mirrored).double().mean() > 0.7  # about half if views are mirrored


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
        assert x1.dtype == x2.dtype == torch.float32 and not torch.equal(x1, x2)


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


def test_problem2_b_grid_shows_each_original_its_two_views_and_its_label(hw2):
    def place(ax):  # by block, then from the top down, then from the left
        box = ax.get_window_extent()
        return box.x0 > ax.figure.figure.bbox.width / 2, -round(box.y0), box.x0

    drawn = Run([find('"original"')], vars(hw2))
    axes = drawn.fig.axes
    drawn.fig.draw_without_rendering()
    assert sorted(axes, key=place) == axes and len(drawn.x1) == 8
    three = ["original", "$x^{(1)}$", "$x^{(2)}$"]
    for i, row in enumerate(np.reshape(axes, (8, 3))):
        pixels, label = hw2.mnist[i]
        assert [ax.get_title() for ax in row] == (three if i % 4 == 0 else [""] * 3)
        assert [ax.get_xlabel() for ax in row] == [f"label {label}", "", ""]
        assert row[0].xaxis.get_label_position() == "bottom"
        expected = np.divide(pixels, 255), drawn.x1[i, 0], drawn.x2[i, 0]
        for ax, image in zip(row, expected):
            (picture,) = ax.images
            assert np.array_equal(picture.get_array(), image)
            assert picture.get_cmap().name == "gray" and picture.origin == "upper"
            assert picture.get_clim() == (0, 1)
        assert np.corrcoef([np.ravel(image) for image in expected])[0].min() > 0.1


def test_problem2_appendix_a_warped_views_are_distributed_as_the_pipelines(hw2):
    """Seen by the mean and the spread of each pixel."""
    bar = torch.zeros(1, 28, 28)
    bar[:, 5:23, 11:17] = 1
    bar[:, 5:9, 17:21] = 1  # so it is no mirror image of itself
    maps = type(hw2.pipeline)(hw2.pipeline.transforms[:-1])
    torch.manual_seed(0)
    one = torch.stack([maps(functional.to_pil_image(bar)) for _ in range(2000)])
    batch = hw2.warp(bar.expand(2000, 1, 28, 28))
    torch.testing.assert_close(batch.mean(0), one.mean(0), atol=0.09, rtol=0)
    torch.testing.assert_close(batch.std(0), one.std(0), atol=0.09, rtol=0)
    white = torch.ones(2000, 1, 28, 28)  # what lies outside the crop is black
    one = torch.stack([maps(functional.to_pil_image(x)) for x in white])
    assert hw2.warp(white).mean().item() == pytest.approx(one.mean().item(), abs=0.02)


def boxes(views):
    """Mean pixel, share with a box, and spread of its height, width and place."""
    rows, columns = (views[:, 0] > 0).any(2), (views[:, 0] > 0).any(1)
    hit = rows.any(1)
    box = torch.stack([rows.sum(1), columns.sum(1),
                       rows.int().argmax(1), columns.int().argmax(1)])
    spread = box[:, hit].double().std(1)
    return [views.mean().item(), hit.double().mean().item(), *spread.tolist()]


def test_problem2_appendix_a_boxes_are_distributed_as_the_pipelines(hw2):
    blank = torch.zeros(2000, 1, 28, 28)
    torch.manual_seed(0)
    one = torch.stack([hw2.pipeline.transforms[-1](x) for x in blank])
    assert boxes(hw2.erase(blank)) == pytest.approx(boxes(one), rel=0.1)


def test_problem2_appendix_a_items_are_independent_views_of_their_images(hw2):
    labels = hw2.whole.tensors[1].tolist()
    x, y = hw2.whole[[labels.index(digit) for digit in range(10)]]
    data = hw2.BatchTwoView(
        TensorDataset(x, y), lambda batch: hw2.erase(hw2.warp(batch)))
    torch.manual_seed(0)
    passes = [next(iter(DataLoader(data, batch_size=10))) for _ in range(50)]
    mean = torch.stack([x1 for x1, *_ in passes]).mean(0)
    alike = torch.corrcoef(torch.cat([x, mean]).flatten(1))[10:, :10]
    assert alike.argmax(1).tolist() == passes[0][2].tolist() == [*range(10)]
    copies = TensorDataset(x[3:4].expand(400, 1, 28, 28), y.repeat(40))
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
    x, y = hw2.whole.tensors
    data = hw2.BatchTwoView(hw2.whole, lambda batch: batch)
    assert len(data) == len(x) == 2048
    for four in (4, torch.tensor(4)):
        for indices in ([four, 2], torch.tensor([4, 2])):
            assert [int(item[2]) for item in data.__getitems__(indices)] == [*y[[4, 2]]]
        x1, x2, label = data[four]
        image, expected = hw2.mnist[4]  # the batched source is the digits themselves
        assert torch.equal(x1, functional.to_tensor(image)) and torch.equal(x1, x2)
        assert label == expected
