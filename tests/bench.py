"""Measures the speeds in README.md: medians of seven rounds, contenders in turn."""

import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
from conftest import CODE, ROOT, Run, find, python
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader


def medians(contenders, rounds=7):
    times = {name: [] for name in contenders}
    for _ in range(rounds + 1):  # the first one warms up
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def views(hw2, n=2048):
    arrays = [(np.array(image), y) for image, y in (hw2.mnist[i] for i in range(n))]

    class Usual(hw2.MNISTTwoView):  # makes the PIL image of an array for each item
        def __getitem__(self, i):
            image = Image.fromarray(self.source[i][0])
            return self.transform(image), self.transform(image), self.source[i][1]

    one = [(Image.fromarray(array), y) for array, y in arrays]
    data = {"item by item": hw2.MNISTTwoView(one, hw2.pipeline),
            "usual wrapper (v1 transforms, PIL image of an array)": Usual(
                arrays, hw2.pipeline),
            "batched": hw2.BatchTwoView(hw2.whole, lambda x: hw2.erase(hw2.warp(x)))}
    times = medians({name: lambda d=d: list(DataLoader(d, batch_size=256))
                     for name, d in data.items()})
    for name, seconds in times.items():
        print(f"{n / seconds:10,.0f} pairs of views a second, {name}")


def newton(hw2, n, d):
    """Full-step exact Newton until max |gradient| / n <= 1e-6, on noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ rng.normal(size=d) / d))).astype(float)
    step = hw2.METHODS["exact Newton"]
    gaps = [abs(hw2.gradient(w, X, y)).max() / n for w in hw2.fit(step, X, y, 1, 30)[0]]
    steps = int(np.argmax(np.array(gaps) <= 1e-6))
    calls = {"ours": lambda: hw2.fit(step, X, y, 1, steps)}
    for solver in ("newton-cholesky", "lbfgs", "newton-cg"):
        model = LogisticRegression(C=np.inf, solver=solver, tol=1e-6, max_iter=1000,
                                   fit_intercept=False)
        calls[solver] = lambda model=model: model.fit(X, y)
    times = medians(calls)
    ours, best = times.pop("ours"), min(times, key=times.get)
    print(f"{times[best] / ours:10.1f} times as fast as scikit-learn's fastest, "
          f"{best}: {steps} full Newton steps, {n:,} x {d}")


def run_all():
    """Run All in a kernel's process, over the imports alone."""
    def process(cells):
        code = "import matplotlib\nmatplotlib.use('Agg')\n" + "\n".join(
            python(cell) for cell in cells)
        return lambda: subprocess.run([sys.executable, "-c", code], cwd=ROOT,
                                      check=True, stdout=subprocess.DEVNULL)

    calls = {"imports": process([find("import torch")]), "all": process(CODE)}
    times = medians(calls, rounds=3)
    print(f"{times['all'] / times['imports']:10.2f} times the imports alone "
          f"({times['imports']:.1f} s): Run All")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    notebook = Run(CODE)
    views(notebook)
    newton(notebook, 398, 31)
    newton(notebook, 20_000, 30)
    run_all()
