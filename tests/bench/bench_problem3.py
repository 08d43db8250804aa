"""Problem 3: full-step Newton beside scikit-learn, memory, overhead, cost.

Every ratio comes from one run in which the contenders take turns.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg.lapack import dposv
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

SIZES = [(398, 31), (20_000, 30), (200_000, 30), (500_000, 100)]
SOLVERS = "newton-cholesky", "lbfgs", "newton-cg"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine():
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    model = next((s.split(":")[1].strip() for s in names if "model name" in s), "")
    return f"{model or platform.processor()}, {CORES} cores"


def gaussian(N, d, strength, seed=0):
    """Gaussian examples, labels drawn from a model with |w| = strength."""
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((N, d)), rng.standard_normal(d)
    p = expit(X @ (strength * w / np.linalg.norm(w)))
    return X, (rng.random(N) < p).astype(float)


def in_turn(contenders, rounds):
    """Median ms of each contender; a first round warms up."""
    found = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            found[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(ms[1:])) for name, ms in found.items()}


def line(*cells):
    print("| " + " | ".join(map(str, cells)) + " |")


def header(title, *cells):
    print(f"\n{title} ({machine()})\n")
    line(*cells)
    line(":--", *["--:"] * (len(cells) - 1))


@pytest.mark.parametrize("strength", [1, 3])
def test_3_newton_beside_scikit_learn(hw2, strength):
    header(
        f"Unpenalised fit, ms to the same gradient, |w*| = {strength}",
        *("N x d", *SOLVERS, "Newton from 0", "steps", "ratio"),
        *("Newton from a 16th", "steps", "ratio", "max gradient / N"),
    )
    for N, d in SIZES:
        X, y = gaussian(N, d, strength)
        fits = {}

        def sklearn(solver, X=X, y=y, fits=fits):
            with threadpool_limits(CORES, "blas"):
                model = LogisticRegression(
                    C=np.inf, solver=solver, tol=1e-6, fit_intercept=False, max_iter=999
                )
                fits[solver] = model.fit(X, y).coef_[0]

        def newton(steps, first=None, X=X, y=y):
            few, w = len(y) // 16, None
            if first:
                w = hw2.fit(hw2.newton_exact, X[:few], y[:few], 1, first)[0][-1]
            return hw2.fit(hw2.newton_exact, X, y, 1, steps, w)[0][-1]

        def slope(w, X=X, y=y):
            return np.abs(X.T @ (expit(X @ w) - y)).max() / len(y)

        contenders = {s: (lambda s=s, f=sklearn: f(s)) for s in SOLVERS}
        once = in_turn(contenders, 2)
        goal = slope(fits[min(once, key=once.get)])

        def enough(run, goal=goal, slope=slope):
            return next(k for k in range(1, 20) if slope(run(k)) <= goal)

        cold = enough(newton)
        contenders["cold"] = lambda f=newton, k=cold: f(k)
        if N > 10_000:
            start = 5 if strength > 1 else 4
            warm = enough(lambda k, f=newton, s=start: f(k, s))
            contenders["warm"] = lambda f=newton, k=warm, s=start: f(k, s)
        ms = in_turn(contenders, 60 if N < 1e4 else 15 if N < 1e5 else 5)
        best = min(ms[s] for s in SOLVERS)
        cells = [f"{ms[s]:.2f}" for s in (*SOLVERS, "cold")]
        cells += [cold, f"**{best / ms['cold']:.2f}**"]
        cells += (
            [f"{ms['warm']:.2f}", f"{start} + {warm}", f"**{best / ms['warm']:.2f}**"]
            if "warm" in ms
            else ["", "", ""]
        )
        line(f"{N:,} x {d}", *cells, f"{goal:.0e}")


MEMORY = """
import json, re, sys
import numpy as np
names = {}
for cell in json.load(open(sys.argv[1], encoding="utf8"))["cells"]:
    source = "".join(cell["source"]).replace("%config ", "# ")
    if cell["cell_type"] == "code" and re.search(
            r"^import math|^def (split|checked|gradient|gd_sum)", source, re.M):
        exec(source, names)

def kib(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

N, d = 500_000, 100
X = np.random.default_rng(0).standard_normal((N, d))
y = (X[:, 0] > 0).astype(float)
y[::3] = 1 - y[::3]
names["fit"](names["newton_exact"], X[:99], y[:99], steps=1)
open("/proc/self/clear_refs", "w").write("5")
before = kib("VmRSS")
names["fit"](names["newton_exact"], X, y, lr=1, steps=3)
print((kib("VmHWM") - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_3_memory_beyond_the_data(pytestconfig):
    path = pytestconfig.getoption("notebook").resolve()
    command = [sys.executable, "-c", MEMORY, str(path)]
    mib = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"\nPeak resident memory beyond the data, 500,000 x 100: {mib:.0f} MiB")
    assert mib <= 64


def test_3_overhead_of_a_step(hw2):
    X, y = hw2.X, hw2.y
    w = hw2.path["Newton, exact"][20]
    p = expit(X @ w)
    r, s = p - y, p * (1 - p)
    root, square = np.sqrt(s)[:, None] * X, X**2
    g, H = X.T @ r, root.T @ root

    def bare_gd():
        X @ w
        X.T @ r

    def bare_exact():
        X @ w
        X.T @ r
        root.T @ root
        dposv(H, g)

    def bare_diagonal():
        X @ w
        X.T @ r
        s @ square

    def elementwise_gd():
        p = expit(X @ w)
        return w - 0.1 * (X.T @ (p - y))

    def elementwise_exact():
        p = expit(X @ w)
        root = np.sqrt(p * (1 - p))[:, None] * X
        return w - 0.1 * dposv(root.T @ root, X.T @ (p - y))[1]

    def elementwise_diagonal():
        p = expit(X @ w)
        return w - 0.1 * (X.T @ (p - y)) / ((p * (1 - p)) @ X**2)

    header(
        "One step at 398 x 31, microseconds",
        *("method", "notebook", "BLAS and LAPACK alone", "ratio"),
        *("with the formula's elementwise work", "ratio"),
    )
    for name, bare, elementwise in (
        ("GD, sum", bare_gd, elementwise_gd),
        ("Newton, exact", bare_exact, elementwise_exact),
        ("Newton, diagonal", bare_diagonal, elementwise_diagonal),
    ):
        steps = 300
        us = in_turn(
            {
                "ours": lambda n=name: hw2.fit(hw2.METHODS[n], X, y, steps=steps),
                "bare": lambda f=bare: [f() for _ in range(steps)],
                "full": lambda f=elementwise: [f() for _ in range(steps)],
            },
            30,
        )
        ours, bare, full = (1e3 * us[k] / steps for k in ("ours", "bare", "full"))
        line(
            name,
            *(f"{ours:.1f}", f"{bare:.1f}", f"{ours / bare:.2f}"),
            *(f"{full:.1f}", f"{ours / full:.2f}"),
        )


WIDTHS, LENGTHS = [2**k for k in range(4, 12)], [10**k for k in range(3, 7)]


@pytest.mark.parametrize(
    "axis, sizes",
    [("d, N = 4096", [(4096, d) for d in WIDTHS]), ("N, d = 30", [(N, 30) for N in LENGTHS])],
)
def test_3_cost_of_a_step(hw2, axis, sizes):
    found = {name: [] for name in hw2.METHODS}
    for N, d in sizes:
        X, y = gaussian(N, d, 1)
        for name, direction in hw2.METHODS.items():
            clock = hw2.fit(direction, X, y, lr=1e-6, steps=4)[1]
            found[name].append(1e3 * np.median(np.diff(clock)))
    moving = [max(size) if axis[0] == "N" else size[1] for size in sizes]
    header(f"ms a step against {axis}", "method", *moving, "last slope")
    for name, ms in found.items():
        slope = np.log(ms[-1] / ms[-2]) / np.log(moving[-1] / moving[-2])
        line(name, *(f"{t:.3g}" for t in ms), f"{slope:.2f}")
