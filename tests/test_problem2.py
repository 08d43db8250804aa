"""Problem 2: the dataset, its views, and the grid."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

WORKERS = {"num_workers": 2, "multiprocessing_context": "fork"}
forks = pytest.mark.filterwarnings(  # on one core; from Python 3.12 on
    "ignore:This DataLoader will create:UserWarning",
    "ignore:This process .* is multi-threaded:DeprecationWarning",
)


def test_problem2_dataset_is_a_torch_dataset(hw2):
    assert issubclass(hw2.MNISTTwoView, Dataset)
    assert len(hw2.dataset) == len(hw2.images) == len(hw2.labels)


def test_problem2_item_is_exactly_x1_x2_y(hw2):
    item = hw2.dataset[3]
    assert type(item) is tuple and len(item) == 3
    x1, x2, y = item
    assert x1.shape == x2.shape == (1, 28, 28) and y == hw2.labels[3]
    assert x1.dtype == x2.dtype == torch.float32


def test_problem2_item_calls_one_pipeline_twice_on_the_same_image(hw2):
    seen = []
    data = hw2.MNISTTwoView(hw2.images, hw2.labels, lambda x: seen.append(x) or x)
    data[5]
    assert len(seen) == 2 and all(torch.equal(x[0], hw2.images[5]) for x in seen)


def test_problem2_views_are_new_draws_and_leave_the_image_as_it_is(hw2):
    before = hw2.images[3].clone()
    views = [view for _ in range(20) for view in hw2.dataset[3][:2]]
    assert len({view.numpy().tobytes() for view in views}) == 40
    assert torch.equal(hw2.images[3], before)


def test_problem2_views_are_in_0_to_1_and_keep_the_digit_inside(hw2):
    torch.manual_seed(0)
    views = torch.cat([hw2.dataset[i][0] for i in range(1000)])
    assert views.min() >= 0 and views.max() <= 1
    edges = (views[:, 0], views[:, -1], views[:, :, 0], views[:, :, -1])
    # An erased box at the border is exactly 0.5, ink is not.
    ink = [(e > 0.3) & (e != 0.5) for e in edges]
    assert torch.cat(ink, 1).any(1).float().mean() < 0.1


@forks
@pytest.mark.parametrize("options", [
    {"batch_size": 16, "shuffle": True}, {"batch_size": 16, "drop_last": True},
    {"batch_size": None}, {"batch_size": 16, **WORKERS}], ids=" ".join)
def test_problem2_a_dataloader(hw2, options):
    batches = list(DataLoader(Subset(hw2.dataset, range(40)), **options))
    assert sum(y.numel() for *_, y in batches) == 40 - 8 * ("drop_last" in options)
    for x1, x2, y in batches:
        assert x1.shape == x2.shape == (*y.shape, 1, 28, 28)
        assert y.dtype == torch.int64


@pytest.fixture
def grid(hw2):
    """The axes of the grid, as the notebook draws it."""
    plt.close("all")
    hw2.show_grid(hw2.images[hw2.chosen], hw2.x1, hw2.x2, hw2.y8)
    return np.reshape(plt.gcf().axes, (-1, 3))


def test_problem2_b_grid_has_8_rows_and_original_x1_x2(hw2, grid):
    assert [ax.get_title() for ax in grid[0]] == ["original", "$x^{(1)}$", "$x^{(2)}$"]
    assert len(grid) == len(hw2.chosen) == 8
    for row, i, view1, view2 in zip(grid, hw2.chosen, hw2.x1, hw2.x2):
        shown = [torch.as_tensor(ax.images[0].get_array().data) for ax in row]
        for image, expected in zip(shown, (hw2.images[i] / 255, view1[0], view2[0])):
            assert torch.equal(image, expected)


def test_problem2_b_label_stands_under_each_original_and_nowhere_else(hw2, grid):
    for row, i in zip(grid, hw2.chosen):
        assert [ax.get_xlabel() for ax in row] == [f"label {hw2.labels[i]}", "", ""]
        assert row[0].xaxis.get_label_position() == "bottom"


def test_problem2_appendix_b_batched_items_are_views_of_their_images(hw2):
    data = hw2.BatchTwoView(hw2.images[::500], hw2.labels[::500], hw2.random_views)
    torch.manual_seed(0)
    batches = [next(iter(DataLoader(data, batch_size=10))) for _ in range(50)]
    x1 = torch.stack([x1 for x1, _, _ in batches])
    assert x1.shape == (50, 10, 1, 28, 28) and len(data[0]) == 3
    assert torch.equal(batches[0][2], data.labels)
    both = torch.cat([data.images.flatten(1) / 255, x1.mean(0).flatten(1)])
    alike = torch.corrcoef(both)[:10, 10:]  # each image with each mean view
    assert alike.argmax(0).tolist() == [*range(10)]


@forks
def test_problem2_appendix_b_two_workers_draw_independent_views(hw2):
    torch.manual_seed(0)
    (first, *_), (second, *_) = DataLoader(hw2.batched, batch_size=512, **WORKERS)
    assert abs(hw2.average_cosine(first, second)) < 0.05


def test_problem2_appendix_b_statistic_sees_what_views_share(hw2):
    """A view drawn twice, or an affine map used twice, is no independence."""
    torch.manual_seed(0)
    a, b, c = (hw2.random_views(hw2.copies) for _ in range(3))
    assert abs(hw2.average_cosine(a, b)) < 0.05
    assert hw2.average_cosine(a, 0.3 * a + 0.7 * c) > 0.05
    assert hw2.average_cosine(a, a) > 0.99
