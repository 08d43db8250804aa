"""Problem 2: pairs a second through a DataLoader, batch 256, one thread."""

import time

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import transforms as v1
from torchvision.transforms.functional import to_pil_image

BATCH, PAIRS = 256, 1024


class TwoCrops:
    """The usual peer: one torchvision pipeline, called twice on a PIL image."""

    def __init__(self, images, labels):
        self.images, self.labels = [to_pil_image(x) for x in images], labels
        self.transform = v1.Compose([
            v1.RandomResizedCrop(28, scale=(0.7, 1), ratio=(0.8, 1.25)),
            v1.RandomAffine(15, (0.1, 0.1), (0.9, 1.1),
                            interpolation=v1.InterpolationMode.BILINEAR),
            v1.ToTensor(),
            v1.RandomErasing(p=0.5, scale=(0.02, 0.1)),
        ])  # fmt: skip

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = self.images[i]
        return self.transform(x), self.transform(x), int(self.labels[i])


@pytest.fixture(scope="module")
def speeds():
    """Pairs a second of each path; printed as ratios when all are measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    yield found
    torch.set_num_threads(threads)
    item = found["item by item"]
    for name, speed in found.items():
        print(f"{name:32} {speed:10,.0f} pairs/s  {speed / item:6.1f} x item by item")


def paths(hw2):
    digits = hw2.images[:PAIRS], hw2.labels[:PAIRS]
    batched = hw2.MNISTTwoView(*digits, hw2.PerImage(hw2.pipeline))
    x = torch.rand(BATCH, 1, 28, 28)
    grid = torch.rand(BATCH, 28, 28, 2) * 2 - 1

    def bare():
        for _ in range(2 * PAIRS // BATCH):
            torch.nn.functional.grid_sample(x, grid, align_corners=False)

    def loader(data):
        return lambda: [None for _ in DataLoader(data, BATCH, shuffle=True)]

    return {
        "item by item": loader(hw2.MNISTTwoView(*digits, hw2.pipeline)),
        "peer (PIL, v1)": loader(TwoCrops(*digits)),
        "in batches": loader(batched),
        "limit: two grid_sample a batch": bare,
    }


@pytest.mark.parametrize(
    "path",
    ["item by item", "peer (PIL, v1)", "in batches", "limit: two grid_sample a batch"],
)
def test_2_pairs_a_second(hw2, benchmark, speeds, path):
    run = paths(hw2)[path]
    times = []

    def timed():
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)

    slow = path in ("item by item", "peer (PIL, v1)")
    benchmark.pedantic(timed, rounds=5 if slow else 40, warmup_rounds=1)
    speeds[path] = PAIRS / sorted(times)[len(times) // 2]
