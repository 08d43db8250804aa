"""Problem 3: data, loss, methods, tables, plots, and what the text says of them."""

import re
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import CODE, TEXT, Run, find
from scipy.special import expit
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

pytestmark = pytest.mark.xdist_group("notebook")
FOUR = ("gradient descent", "exact Newton", "diagonal Newton",
        "gradient descent on the mean")
SUM, EXACT, DIAGONAL, MEAN = FOUR
SEEDS = range(1, 21)


@cache
def data(seed=0):
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed)
    X, X_test = (np.c_[np.ones(len(Z)), (Z - X.mean(0)) / X.std(0)] for Z in (X, X_test))
    return X, X_test, y, y_test


def descend(method, X, y, lr=0.1, steps=300, w=0.0):
    """Every w of a method, written anew."""
    path = [w + np.zeros(X.shape[1])]
    for _ in range(steps):
        p = expit(X @ path[-1])
        g, s = X.T @ (p - y), p * (1 - p)
        step = {SUM: lambda g, s: g, MEAN: lambda g, s: g / len(y),
                DIAGONAL: lambda g, s: g / (s @ X**2),
                EXACT: lambda g, s: np.linalg.solve((X.T * s) @ X, g)}[method](g, s)
        path.append(path[-1] - lr * step)
    return np.array(path)


def losses(path, X, y):
    return np.logaddexp(0, (1 - 2 * y) * (path @ X.T)).sum(-1)


@cache
def road(method, seed=0, lr=0.1, steps=300, mix=None):
    """Training losses, test losses, path; mix makes of X what mixes its features."""
    X, X_test, y, y_test = data(seed)
    M = np.eye(X.shape[1]) if mix is None else mix(X)
    path = descend(method, X @ M, y, lr, steps)
    return losses(path, X @ M, y), losses(path, X_test @ M, y_test), path


def white(X):
    return np.linalg.cholesky(np.linalg.inv(X.T @ X / len(X)))


def at(road, level):
    """The test loss where the training loss first is at most a level."""
    return road[1][np.argmax(road[0] <= level)]


def three(value):
    """A number as the tables show it: a whole one whole, another to three figures."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.replace("inf", "never")


def rows(text):
    """A table's rows by name, without its head."""
    lines = [[v.strip() for v in line.split("|")] for line in text.splitlines()]
    return {name: values for name, *values in lines[2:]}


def first(found):
    return np.argmax(found) if np.any(found) else np.inf


def test_problem3_data_30_percent_stratified_standardised_on_the_training_part(hw2):
    for ours, theirs in zip(data(), (hw2.X_train, hw2.X_test, hw2.y_train, hw2.y_test)):
        np.testing.assert_allclose(theirs, ours, atol=1e-12)
        assert theirs.dtype == np.float64
    assert [len(part) for part in data()] == [398, 171, 398, 171]
    assert np.linalg.matrix_rank(hw2.X_train) == 31  # so H is positive definite
    assert "rank of the training part 31" in hw2.output("def split")


def test_problem3_loss_is_bceloss_and_the_assignments_sum(hw2):
    assert type(hw2.bce) is torch.nn.BCELoss and hw2.bce.reduction == "sum"
    w = np.random.default_rng(1).normal(0, 0.1, 31)
    total = losses(w, hw2.X_test, hw2.y_test)
    assert hw2.loss(w, hw2.X_test, hw2.y_test).item() == pytest.approx(total)
    for z in (-200.0, 200.0):  # its bound
        assert hw2.loss(np.array([z]), np.ones((1, 1)), np.array([float(z < 0)])) == 100


def test_problem3_derivatives_agree_with_autograd(hw2):
    w = np.random.default_rng(2).normal(0, 0.2, 31)
    X, y = torch.tensor(hw2.X_test), torch.tensor(hw2.y_test)

    def loss(w):
        return torch.nn.functional.softplus((1 - 2 * y) * (X @ w)).sum()

    H = torch.autograd.functional.hessian(loss, torch.tensor(w)).numpy()
    g = torch.autograd.functional.jacobian(loss, torch.tensor(w)).numpy()
    np.testing.assert_allclose(hw2.gradient(w, hw2.X_test, hw2.y_test), g, atol=1e-10)
    np.testing.assert_allclose(hw2.hessian(w, hw2.X_test), H, atol=1e-10)
    np.testing.assert_allclose(hw2.diagonal(w, hw2.X_test), H.diagonal(), atol=1e-10)
    shown = re.findall(r"\d+e-\d+", hw2.output("H_auto = "))
    assert len(shown) == 3 and float(shown[0]) < 1e-14 and max(map(float, shown)) < 1e-10


@pytest.mark.parametrize("name", FOUR)
def test_problem3_method_steps_by_a_tenth_of_its_direction(hw2, name):
    path = hw2.runs[name]["path"]
    assert list(hw2.runs) == list(hw2.METHODS) == [*FOUR] and path.shape == (301, 31)
    last = 20 if name == SUM else 200  # then rounding grows
    ours = descend(name, *data()[::2], steps=last)
    np.testing.assert_allclose(path[: last + 1], ours, rtol=1e-5, atol=1e-7)


def test_problem3_losses_and_accuracies_are_those_of_the_paths(hw2):
    for run in hw2.runs.values():
        for key, X, y in (("train", hw2.X_train, hw2.y_train),
                          ("test", hw2.X_test, hw2.y_test)):
            each = np.logaddexp(0, (1 - 2 * y) * (run["path"] @ X.T))
            near = each > 25  # 1 - p is rounded, beyond 36 to 0, whose log is -100
            low = np.where(near, np.minimum(each, 100) - 1, each).sum(1)
            high = np.where(each > 36, 100, each + near).sum(1)
            assert (run[key] > low * 0.99999 - 1e-9).all()
            assert (run[key] < high * 1.00001 + 1e-9).all()
        right = (run["path"] @ hw2.X_test.T > 0) == hw2.y_test
        np.testing.assert_allclose(run["accuracy"], right.mean(1))


def test_problem3_runtime_is_the_median_of_the_steps_alone(hw2, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(hw2.time, "perf_counter", lambda: clock[0])

    def direction(w, X, y):
        clock[0] += len(seen) + 1.0
        return w

    def late(*_):
        clock[0] += 1000
        return np.zeros(301)

    for name in ("losses", "accuracy"):
        monkeypatch.setattr(hw2, name, late)
    seen, fit = [], hw2.fit
    monkeypatch.setattr(hw2, "fit", lambda *a: seen.append(fit(*a)) or seen[-1])
    run = hw2.measure(direction)
    assert len(seen) == 11
    for i, (_, seconds) in enumerate(seen, 1):
        np.testing.assert_allclose(seconds, i * np.arange(301))
    np.testing.assert_allclose(run["ms"], 6000 * np.arange(301))
    np.testing.assert_allclose(run["totals"], 300_000 * np.arange(1, 12))


def test_problem3_tables_are_what_their_heads_say(hw2):
    runs = hw2.runs
    want = {n: [first(r["test"] <= 20), min(r["test"]), r["test"].argmin(), r["test"][-1],
                r["train"][-1], r["accuracy"][-1]] for n, r in runs.items()}
    times = {n: [*np.median(r["totals"], keepdims=True), min(r["totals"]),
                 max(r["totals"]), ([*r["ms"], np.inf])[
                     len(r["ms"]) if min(r["test"]) > 20 else want[n][0]]]
             for n, r in runs.items()}
    X, X_test, y, y_test = data()
    c = 0.1 * np.linalg.eigvalsh(X.T @ X / 4)[[0, -1]]
    paces = dict(zip(FOUR, (c, (0.1, 0.1), 4 * c / len(y), c / len(y))))
    pace = {}
    fast = "the same at rate 5"
    for name in (*FOUR, fast):
        path = descend(MEAN if name == fast else name, X, y, 5 if name == fast else 0.1,
                       300 if name == EXACT else 3000)
        g = np.linalg.norm((expit(path @ X.T) - y) @ X, axis=1)
        right = first((((path @ X.T) > 0) == y).all(1))
        pace[name] = [*(g[[1, 10, 100, 300]] / g[[0, 9, 99, 299]]), right]
        if name in (DIAGONAL, MEAN, fast):  # the others reach BCELoss's bound
            pace[name].append(losses(path[-1], X_test, y_test))
    mixed = {EXACT: road(EXACT), EXACT + ", mixed": road(EXACT, mix=white),
             MEAN + ", mixed": road(MEAN, steps=3000, mix=white),
             MEAN: road(MEAN, steps=3000), DIAGONAL: road(DIAGONAL)}
    for part, table in (("def first", want), ("all steps (ms)", times),
                        ("def pace", pace), ("largest $c$", paces),
                        ("def on_curve", {n: [at(r, v) for v in (50, 30, 20)]
                                      for n, r in mixed.items()})):
        shown = rows(hw2.output(part))
        assert [*shown] == [*table], part
        for name, values in table.items():
            got = [*shown[name]][-2:] if part == "largest $c$" else shown[name]
            assert got[: len(values)] == [*map(three, values)], (part, name)


def test_problem3_table_of_other_splits(hw2):
    shown = rows(hw2.output("def on_split"))
    to = np.array([[first(road(n, s)[1] <= 20) for n in FOUR] for s in SEEDS])
    for i, name in enumerate(FOUR):
        wins = sum(to[:, i] < np.delete(to, i, 1).min(1))
        assert shown[name][:2] == [str(wins), three(np.median(to[:, i]))]
        if name in (DIAGONAL, MEAN):  # the others reach BCELoss's bound
            ends = np.median([road(name, s)[1][-1] for s in SEEDS])
            assert shown[name][2] == three(ends)
        if name != SUM:
            right = np.median([np.mean((data(s)[1] @ road(name, s)[2][-1] > 0)
                                       == data(s)[3]) for s in SEEDS])
            assert shown[name][3] == three(right)


def draw(names, runs):
    """The figure, with its layout done."""
    plt.close("all")
    names.plot_results(runs)
    plt.gcf().draw_without_rendering()
    return plt.gcf()


def check_curves(figure, runs):
    """Each name's curves are its own data, whole, inside the visible axes."""
    (legend,) = figure.legends
    keys = dict(zip([t.get_text() for t in legend.get_texts()], legend.get_lines()))
    assert list(keys) == list(runs)
    looks = [(key.get_color(), key.get_linestyle(), key.get_linewidth())
             for key in keys.values()]
    assert len({c for c, *_ in looks}) == len({(*s,) for _, *s in looks}) == len(runs)
    panels = {ax.get_title()[:3]: ax for ax in figure.axes}
    assert list(panels) == ["(a)", "(b)", "(c)", "(d)", "(e)"]
    for (name, run), look in zip(runs.items(), looks):
        test, train, ms = run["test"], run["train"], run["ms"]
        shown, steps = train >= 1, np.arange(len(test))
        shown[0] = False
        for part, x, y in (("(a)", steps, test), ("(b)", steps, run["accuracy"]),
                           ("(c)", steps, ms), ("(d)", ms, test),
                           ("(e)", train[shown], test[shown])):
            if part != "(e)":
                x, y = x[1:], y[1:]
            ax = panels[part]
            (line,) = (v for v in ax.lines if look == (
                v.get_color(), v.get_linestyle(), v.get_linewidth()))
            assert np.array_equal(line.get_xdata(), x), (part, name)
            assert np.array_equal(line.get_ydata(), y), (part, name)
            for values, (low, high) in ((x, sorted(ax.get_xlim())), (y, ax.get_ylim())):
                assert low <= values.min() <= values.max() <= high, (part, name)
            assert len(ax.lines) == len(runs)


def test_problem3_plots_show_each_methods_data_under_its_name(hw2):
    figure = draw(hw2, hw2.runs)
    check_curves(figure, hw2.runs)
    a, b, c, d, e = figure.axes
    assert [(ax.get_ylabel(), ax.get_xlabel()) for ax in figure.axes] == [
        ("test loss", "step"), ("test accuracy", "step"), ("runtime (ms)", "step"),
        ("test loss", "runtime (ms)"), ("test loss", "training loss, falling")]
    assert [ax.get_xscale() for ax in figure.axes] == ["log", "log", "linear"] + ["log"] * 2
    assert [ax.get_yscale() for ax in figure.axes] == ["log", *["linear"] * 2, "log", "log"]
    assert e.xaxis_inverted() and not any(ax.yaxis_inverted() for ax in figure.axes)
    for dot, run in zip(e.collections, hw2.runs.values(), strict=True):
        lowest = run["test"][1:].argmin() + 1
        assert dot.get_offsets().tolist() == [[run["train"][lowest], run["test"][lowest]]]
    for dot, line in zip(e.collections, e.lines):
        assert np.allclose(dot.get_facecolor(), plt.matplotlib.colors.to_rgba(
            line.get_color()))
    for ax in figure.axes:  # the curves fill their panel
        y = [v.get_ydata() for v in ax.lines]
        ends = ax.transData.transform([(1, f(map(f, y))) for f in (min, max)])[:, 1]
        assert np.ptp(ends) > 0.7 * ax.bbox.height, ax.get_title()


def test_problem3_plots_nothing_overlaps_or_leaves_the_figure(hw2):
    for runs in (hw2.runs, hw2.runs | {"a fifth": hw2.runs[MEAN]}):
        figure = draw(hw2, runs)
        axes = [ax.get_window_extent() for ax in figure.axes]
        texts = [figure.legends[0].get_window_extent()]
        texts += [t.get_window_extent() for ax in figure.axes
                  for t in (ax.title, ax.xaxis.label, ax.yaxis.label)]
        for i, box in enumerate(texts):
            assert not box.count_overlaps(axes + texts[:i])
        for box in (ax.get_tightbbox() for ax in figure.axes):
            assert figure.bbox.count_contains(box.corners()) == 4
        assert texts[0].x0 >= 0 and texts[0].x1 <= figure.bbox.x1 and len(runs) < 6


def test_problem3_plots_nothing_is_cut_off_on_other_splits(hw2):
    for seed in SEEDS:
        X, X_test, y, y_test = data(seed)
        runs = {}
        for i, name in enumerate(FOUR):
            train, test, _ = road(name, seed)
            right = np.linspace(0.4 + 0.01 * i, 0.98, len(test))
            runs[name] = {"train": train, "test": test, "accuracy": right,
                          "ms": np.arange(len(test)) * (i + seed)}
        plt.close("all")
        hw2.plot_results(runs)
        check_curves(plt.gcf(), runs)


def stale(hw2):
    """The sentences of the text that this run makes wrong, as they should read."""
    X, y = hw2.X_train, hw2.y_train
    runs, n = [hw2.runs[name] for name in FOUR], len(y)
    steepest = np.linalg.eigvalsh(X.T @ X / 4)[-1]
    to = [first(run["test"] <= 20) for run in runs]
    to = ["never" if k == np.inf else f"in {k}" for k in to]
    worst = min(runs, key=lambda run: run["accuracy"][-1])
    wins = rows(hw2.output("def on_split"))[DIAGONAL][0]
    singular = len(until_singular(X, y))
    none = sum(not any((road(name, s)[1] <= 20).any() for name in FOUR) for s in SEEDS)
    said = TEXT.replace("\n", " ")
    return [text for text in (
        f"the rate 0.1 on the sum of {n} losses is {0.1 * n:.1f} on their mean",
        f"at rates below {2 / steepest:.2g} (on the mean: {2 * n / steepest:.2f})",
        f"Each method runs {len(runs[0]['totals'])} times",
        f"training loss (of {n} examples, not {len(hw2.y_test)})",
        f"${len(hw2.y_test)} \\log 2 = {hw2.runs[SUM]['test'][0]:.0f}$",
        f"a test loss of 20 {to[2]} steps, exact Newton {to[1]}, gradient descent on "
        f"the mean {to[3]}, gradient descent {to[0]}",
        f"Exact Newton{'' if worst is runs[1] else ' no longer'}, the best minimiser",
        f"the lowest accuracy ({worst['accuracy'][-1]:.3f})",
        f"On {wins} of {len(hw2.other)} other splits, too, diagonal Newton is first",
        f"One test example is {1 / len(hw2.y_test):.3f} of accuracy",
        f"singular in float64 by step {-10 * (-singular // 10)}",
        f"test loss of 20 (on {'one' if none == 1 else none}, none gets there)",
    ) if text not in said]


def until_singular(X, y):
    """Exact Newton's path up to the step at which its H is singular."""
    path = [np.zeros(X.shape[1])]
    with pytest.raises(np.linalg.LinAlgError):
        while len(path) < 1000:
            path.append(descend(EXACT, X, y, steps=1, w=path[-1])[1])
    return path


def test_problem3_text_gives_the_numbers_of_the_run(hw2):
    assert not stale(hw2)


def test_problem3_why_no_minimum_and_every_method_overfits():
    X, X_test, y, y_test = data()
    for seed in (0, *SEEDS):  # the training part is separable
        X, _, y, _ = data(seed)
        assert (((road(EXACT, seed)[2] @ X.T > 0) == y).all(1)).any()
    for method, lr, steps in ((EXACT, 0.1, 300), (DIAGONAL, 0.1, 3000),
                              (MEAN, 5, 6000), (SUM, 0.1, 10_000)):
        train, test, path = road(method, 0, lr, steps)
        assert test[-1] > 1.4 * test.min() and test.argmin() < steps / 2, method
        half = steps // 2
        assert train[-1] < train[half] < train[0] / 4
        assert np.linalg.norm(path[-1]) > 1.1 * np.linalg.norm(path[half])


def test_problem3_why_exact_newton_takes_a_tenth_off_the_gradient_at_every_step():
    X, _, y, _ = data()
    g = (expit(road(EXACT)[2] @ X.T) - y) @ X
    size = np.linalg.norm(g, axis=1)
    ratio = size[1:] / size[:-1]
    cosine = (g[1:] * g[:-1]).sum(1) / size[1:] / size[:-1]
    assert ratio.min() > 0.88 and ratio.max() < 0.92 and cosine.min() > 0.99
    for method in (SUM, DIAGONAL, MEAN):  # no other method does
        g = (expit(road(method)[2] @ X.T) - y) @ X
        size = np.linalg.norm(g, axis=1)
        assert max(abs(size[1:] / size[:-1] - 0.9)) > 0.09


def test_problem3_why_exact_newtons_curve_is_the_same_for_features_scaled_or_mixed():
    random = np.random.default_rng(0).normal(size=(31, 31))
    for mix in (white, lambda X: np.diag([1.0] + 29 * [1.0] + [1000.0]),
                lambda X: random):
        for ours, same in zip(road(EXACT, mix=mix)[:2], road(EXACT)[:2]):
            np.testing.assert_allclose(ours[:201], same[:201], rtol=1e-4)
    scales = np.random.default_rng(1).lognormal(size=31)
    np.testing.assert_allclose(
        road(DIAGONAL, mix=lambda X: np.diag(scales))[1], road(DIAGONAL)[1], rtol=1e-6)
    for method in (DIAGONAL, MEAN):  # mixed, the others' curves do change
        assert abs(road(method, mix=white)[1][300] / road(method)[1][300] - 1) > 0.1


def test_problem3_why_three_methods_follow_nearly_one_road_and_the_sum_does_not():
    diagonal, mean, exact = road(DIAGONAL), road(MEAN, steps=3000), road(EXACT)
    slow, fast = road(SUM, 0, 0.001, 3000), road(SUM, 0, 0.1, 10_000)
    for level in (50, 30, 20):
        assert at(diagonal, level) / at(mean, level) == pytest.approx(1, abs=0.1)
        assert at(slow, level) / at(mean, level) == pytest.approx(1, abs=0.1)
        assert 0.9 < at(exact, level) / at(mean, level) < 1.4
        assert at(fast, level) > 2 * at(mean, level)
        assert at(road(MEAN, 0, 0.1, 3000, white), level) / at(exact, level) == (
            pytest.approx(1, abs=0.1))
    assert fast[1][1] > 5 * fast[1][0]  # with its first step
    for level in (50, 30):
        ratio = [(at(road(DIAGONAL, s), level), at(road(EXACT, s), level))
                 / at(road(MEAN, s, 2, 1500), level) for s in SEEDS]
        one, other = np.median(ratio, axis=0)
        assert 0.9 < one < 1.1 and 0.95 < other < 1.5


def test_problem3_why_the_lowest_place_is_near_a_training_loss_of_20():
    lowest = {}
    for method, lr, steps in ((EXACT, 0.1, 300), (DIAGONAL, 0.1, 300), (MEAN, 2, 1500)):
        roads = [road(method, seed, lr, steps) for seed in (0, *SEEDS)]
        lowest[method] = [train[test.argmin()] for train, test, _ in roads]
        assert 10 < lowest[method][0] < 40 and 10 < np.median(lowest[method]) < 40
    ends = {method: road(method)[0][-1] for method in FOUR}
    assert ends[EXACT] < 1e-6 * lowest[EXACT][0]  # far past that place
    assert lowest[DIAGONAL][0] / 2 < ends[DIAGONAL] < lowest[DIAGONAL][0]  # near it
    assert ends[MEAN] > 1.2 * lowest[MEAN][0]  # not there yet
    X, X_test, y, y_test = data()
    z = X_test @ road(EXACT)[2][-1]
    wrong = (z > 0) != y_test  # confident mistakes
    assert abs(z[wrong]).mean() > 50 and losses(z[wrong, None], np.eye(1), 0).sum() > 0


def test_problem3_why_below_2_over_lambda_every_step_descends_and_that_is_no_limit():
    X, _, y, _ = data()
    bound = 2 / np.linalg.eigvalsh(X.T @ X / 4)[-1]
    random = np.random.default_rng(0)
    for size in (0, 0.1, 1, 10):
        path = descend(SUM, X, y, 0.99 * bound, 300, random.normal(0, size, 31))
        assert (np.diff(losses(path, X, y)) < 0).all()
    assert bound < 0.02 / 10 and (np.diff(road(SUM, 0, 0.02)[0]) < 0).all()
    assert (np.diff(road(SUM)[0]) > 0).sum() > 50  # at 0.1 it overshoots
    p = expit(X @ road(SUM)[2][1])
    assert 0.1 * np.linalg.eigvalsh((X.T * (p * (1 - p))) @ X)[-1] < 2  # far out
    p = expit(X @ random.normal(size=31))  # H is largest at w = 0
    assert np.linalg.eigvalsh(X.T @ X / 4 - (X.T * (p * (1 - p))) @ X)[0] > 0


def test_problem3_why_diagonal_newton_starts_fast_gains_and_creeps():
    X, _, y, _ = data()
    train, _, path = road(DIAGONAL)
    four_times = road(MEAN, 0, 0.4)
    np.testing.assert_allclose(path[1], four_times[2][1])
    assert (train[2:] < four_times[0][2:]).all() and train[-1] < four_times[0][-1] / 1.5
    p = expit(path[[0, 10, 100, 300]] @ X.T)
    assert (np.diff((p * (1 - p)) @ X**2, axis=0) < 0).mean() > 0.95  # H_ii fall
    speed = -np.diff(np.log(train))
    assert speed[0] > 5 * 0.1 and speed[-1] < 0.1 / 20  # exact Newton's is about 0.1


def test_problem3_why_exact_newton_ends_near_step_420():
    for seed in (0, 1, 2):
        X, _, y, _ = data(seed)
        assert 400 < len(until_singular(X, y)) < 450


def test_problem3_appendix_b_bceloss_bounds_what_the_runs_show(hw2):
    shown = re.findall(r"(\d+), without the bound (\d+)", hw2.output("logaddexp"))
    step = int(re.search(r"exact Newton, step (\d+)", hw2.output("logaddexp"))[1])
    free = road(SUM)[1][1], road(EXACT)[1][step]
    held = hw2.runs[SUM]["test"][1], hw2.runs[EXACT]["test"][step]
    assert shown == [(f"{a:.0f}", f"{b:.0f}") for a, b in zip(held, free)]
    z = torch.tensor([36.0, 37.5], dtype=torch.float64)  # "from z = 37 on"
    assert [hw2.bce(torch.sigmoid(v), 0 * v).item() for v in z][1] == 100 > 36.1


@pytest.mark.parametrize("part, old, new", [
    ("METHODS = {", "METHODS = {", "METHODS = {\n    'a fifth': lambda w, X, y: "
     "gradient(w, X, y) / 100,"), ("def fit", "steps=300", "steps=150"),
    ("def split", "test_size=0.3", "test_size=0.2"),
    ("def split", "split(seed=0)", "split(seed=3)")], ids=["fifth", "steps", "size", "seed"])
def test_problem3_one_place_holds(part, old, new):
    """Every cell runs, the new method is everywhere, stale sentences are named."""
    needed = CODE[:3] + [find("def error")] + CODE[CODE.index(find("def split")):]
    cells = [c.copy() for c in needed if not re.search("mnist|class Batch", c.source)]
    changed = cells[[part in c.source for c in cells].index(True)]
    assert changed.source.count(old) == 1
    changed.source = changed.source.replace(old, new)
    hw2 = Run(cells)
    assert not hw2.cell_errors
    if "fifth" in new:
        shown = [rows(text) for text in hw2.cell_outputs.values() if DIAGONAL + " |" in text]
        assert sum("a fifth" in table for table in shown) == 3
        check_curves(draw(hw2, hw2.runs), hw2.runs)
    else:
        assert stale(hw2)
