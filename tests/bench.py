"""Measures the speeds in README.md: medians of seven rounds, contenders in turn."""

from functools import partial
from timeit import timeit

import numpy as np
from conftest import CODE, Run
from PIL import Image
from torch.utils.data import DataLoader

hw2 = Run(CODE)


class Usual(hw2.MNISTTwoView):  # makes the PIL image of an array for each item
    def __getitem__(self, i):
        image = Image.fromarray(self.source[i][0])
        return self.transform(image), self.transform(image), self.source[i][1]


arrays = [(np.array(image), y) for image, y in hw2.pairs]
data = {"item by item": hw2.MNISTTwoView(hw2.pairs, hw2.pipeline),
        "by the usual wrapper": Usual(arrays, hw2.pipeline)}
calls = [partial(list, DataLoader(views, batch_size=256)) for views in data.values()]
times = [[timeit(call, number=1) for call in calls] for _ in range(8)]
for name, seconds in zip(data, np.median(times[1:], axis=0)):  # the first warms up
    print(f"{len(arrays) / seconds:10,.0f} pairs of views a second, {name}")
