"""Problem 3: data, loss, methods, tables, plots, and what the text says of them."""

import re
from functools import cache, partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import CODE, TEXT, Run, find
from matplotlib.colors import to_rgba
from scipy.special import expit
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

FOUR = ("gradient descent", "exact Newton", "diagonal Newton",
        "gradient descent on the mean")
SUM, EXACT, DIAGONAL, MEAN = FOUR
SEEDS = range(1, 21)


@cache
def data(seed=0):
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed)
    parts = (np.c_[np.ones(len(Z)), (Z - X.mean(0)) / X.std(0)] for Z in (X, X_test))
    return *parts, y, y_test


def descend(method, X, y, lr=0.1, steps=300, w=0.0):
    """Every w of a method, written anew."""
    path = [w + np.zeros(X.shape[1])]
    for _ in range(steps):
        p = expit(X @ path[-1])
        step, s = X.T @ (p - y), p * (1 - p)
        if method == EXACT:
            step = np.linalg.solve((X.T * s) @ X, step)
        elif method != SUM:
            step = step / (len(y) if method == MEAN else s @ X**2)
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


def sizes(method, seed=0, *options):
    """The gradient's length at every step."""
    X, _, y, _ = data(seed)
    p = expit(road(method, seed, *options)[2] @ X.T)
    return np.linalg.norm((p - y) @ X, axis=1)


def first(found):
    return np.argmax(found) if np.any(found) else np.inf


def shown(value):
    """A number as the tables show it: a whole one whole, another to three figures."""
    if isinstance(value, np.integer):
        return str(value)
    text = f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.replace("inf", "none")


def rows(text):
    """A table's rows by name, without its head."""
    lines = [[v.strip() for v in line.split("|")] for line in text.splitlines()]
    return {name: values for name, *values in lines[2:]}


def test_problem3_data_30_percent_stratified_standardised_on_the_training_part(hw2):
    for ours, theirs in zip(data(), (hw2.X_train, hw2.X_test, hw2.y_train, hw2.y_test)):
        np.testing.assert_allclose(theirs, ours, atol=1e-12)
        assert theirs.dtype == np.float64 and len(theirs) in (398, 171)
    assert np.linalg.matrix_rank(hw2.X_train) == 31  # so H is positive definite
    assert "rank of the training part 31" in hw2.output("def split")


def test_problem3_loss_is_bceloss_and_the_assignments_sum(hw2):
    assert type(hw2.bce) is torch.nn.BCELoss and hw2.bce.reduction == "sum"
    w = np.random.default_rng(1).normal(0, 0.1, 31)
    total = losses(w, hw2.X_test, hw2.y_test)
    assert hw2.loss(w, hw2.X_test, hw2.y_test).item() == pytest.approx(total)
    for z in (-200.0, 37.0):  # a mistake beyond its bound costs 100
        assert hw2.loss(np.array([z]), np.ones((1, 1)), np.array([float(z < 0)])) == 100


def test_problem3_derivatives_are_compared_at_a_random_w(hw2):
    found = [float(v) for v in re.findall(r"\d+e-\d+", hw2.output("H_auto = "))]
    assert len(found) == 3 and found[0] < 1e-14 and max(found) < 1e-10
    assert len({*hw2.at}) == 31
    for name in ("gradient", "hessian", "diagonal"):  # the cell sees a fault in each
        wrong = partial(lambda f, *given: 1.0001 * f(*given), vars(hw2)[name])
        assert Run([find("H_auto = ")], vars(hw2) | {name: wrong}).cell_errors


@pytest.mark.parametrize("name", FOUR)
def test_problem3_method_steps_by_a_tenth_of_its_direction(hw2, name):
    assert list(hw2.runs) == list(hw2.METHODS) == [*FOUR]
    run, last = hw2.runs[name], 20 if name == SUM else 200  # then rounding grows
    path = run["path"]
    np.testing.assert_allclose(path[:last], road(name)[2][:last], rtol=1e-5, atol=1e-7)
    for key, X, y in (("train", hw2.X_train, hw2.y_train),
                      ("test", hw2.X_test, hw2.y_test)):
        each = np.logaddexp(0, (1 - 2 * y) * (path @ X.T))
        near = each > 25  # 1 - p is rounded, beyond 36 to 0, whose log is -100
        low = np.where(near, np.minimum(each, 100) - 1, each).sum(1)
        high = np.where(each > 36, 100, each + near).sum(1)
        assert len(path) == len(run[key]) == 301
        assert (run[key] > low * 0.99999 - 1e-9).all()
        assert (run[key] < high * 1.00001 + 1e-9).all()
    right = (path @ hw2.X_test.T > 0) == hw2.y_test
    np.testing.assert_allclose(run["accuracy"], right.mean(1))


def test_problem3_runtime_is_of_the_steps_alone_by_their_medians(hw2, monkeypatch):
    clock, fits, fit = [0.0], [], hw2.fit

    def direction(w, X, y):  # takes 1 s in the first run, 4 s in the second, then 9 s
        clock[0] += (len(fits) + 1) ** 2
        return w

    def late(*_):
        clock[0] += 1000
        return np.zeros(301)

    monkeypatch.setattr(hw2.time, "perf_counter", lambda: clock[0])
    for name in ("losses", "accuracy"):
        monkeypatch.setattr(hw2, name, late)
    monkeypatch.setattr(hw2, "fit", lambda *a: fits.append(fit(*a)) or fits[-1])
    run = hw2.measure(direction)
    assert [s.tolist() for _, s in fits] == [[0] + 300 * [i * i] for i in range(1, 12)]
    np.testing.assert_allclose(run["ms"], 36_000 * np.arange(301))


def test_problem3_tables_are_what_their_heads_say(hw2):
    X, X_test, y, y_test = data()
    c = 0.1 * np.linalg.eigvalsh(X.T @ X / 4)[[0, -1]]
    paces = dict(zip(FOUR, (c, (0.1, 0.1), 4 * c / len(y), c / len(y))))
    tables = {"largest $c$": paces, "def first": {}, "all steps (ms)": {},
              "def pace": {}, "def on_curve": {}}
    for name, r in hw2.runs.items():
        to = first(r["test"] <= 20)
        tables["def first"][name] = [first(r["test"] <= 30), to, min(r["test"]),
                                     r["test"].argmin(), r["test"][-1],
                                     r["train"][-1], r["accuracy"][-1]]
        tables["all steps (ms)"][name] = [
            r["ms"][-1], r["ms"][-1] / 300, np.inf if to == np.inf else r["ms"][to]]
    for key, (steps, *_) in rows(hw2.output("def pace")).items():
        name, _, rate = key.partition(", rate ")
        run = name, 0, float(rate), int(steps)
        g, right = sizes(*run), ((road(*run)[2] @ X.T > 0) == y).all(1)
        own = losses(road(*run)[2][-1], X_test, y_test)
        bounded = name == EXACT or run[:3] == (SUM, 0, 0.1) or own > 1000
        tables["def pace"][key] = [
            np.int64(steps), g[1] / g[0], g[-1] / g[-2], first(road(*run)[1] <= 20),
            first(right)] + ([] if bounded else [own])  # by BCELoss
    assert len(tables["def pace"]) >= 8
    for name, run in ((EXACT, (EXACT,)), (MEAN, (MEAN, 0, 0.1, 3000)),
                      (EXACT + ", mixed", (EXACT, 0, 0.1, 300, white)),
                      (MEAN + ", mixed", (MEAN, 0, 0.1, 3000, white)),
                      (DIAGONAL, (DIAGONAL,))):
        tables["def on_curve"][name] = [at(road(*run), v) for v in (50, 30, 20)]
    for part, table in tables.items():
        found = rows(hw2.output(part))
        assert {*found} == {*table}, part
        for name, values in table.items():
            got = found[name][1:] if part == "largest $c$" else found[name]
            assert got[: len(values)] == [*map(shown, values)], (part, name)


def test_problem3_table_of_other_splits(hw2):
    found = rows(hw2.output("def on_split"))
    to = np.array([[first(road(n, s)[1] <= 20) for n in FOUR] for s in SEEDS])
    for i, name in enumerate(FOUR):
        wins = sum(to[:, i] < np.delete(to, i, 1).min(1))
        assert found[name][:2] == [str(wins), shown(np.median(to[:, i]))]
        if name in (DIAGONAL, MEAN):  # the others reach BCELoss's bound
            ends = [road(name, s)[1][-1] for s in SEEDS]
            assert found[name][2] == shown(np.median(ends))
        if name != SUM:
            right = [np.mean((data(s)[1] @ road(name, s)[2][-1] > 0) == data(s)[3])
                     for s in SEEDS]
            assert found[name][3] == shown(np.median(right))


def check_curves(hw2, runs):
    """Each name's curves are its own data, whole, inside the visible axes."""
    plt.close("all")
    hw2.plot_results(runs)
    figure = plt.gcf()
    texts, keys = figure.legends[0].get_texts(), figure.legends[0].get_lines()
    looks = [(v.get_color(), v.get_linestyle(), v.get_linewidth()) for v in keys]
    assert [t.get_text() for t in texts] == list(runs)
    assert len({c for c, *_ in looks}) == len({(*s,) for _, *s in looks}) == len(runs)
    assert [ax.get_title() for ax in figure.axes] == ["(a)", "(b)", "(c)", "(d)", "(e)"]
    for (name, run), look in zip(runs.items(), looks):
        test, train, ms = (run[key][1:] for key in ("test", "train", "ms"))
        steps, down = np.arange(1, len(test) + 1), train >= 1
        for ax, x, y in zip(figure.axes, (steps, steps, steps, ms, train[down]),
                            (test, run["accuracy"][1:], ms, test, test[down])):
            (line,) = (v for v in ax.lines if look == (
                v.get_color(), v.get_linestyle(), v.get_linewidth()))
            assert np.array_equal(line.get_data(), (x, y)), (ax, name)
            for values, ends in ((x, sorted(ax.get_xlim())), (y, ax.get_ylim())):
                assert ends[0] <= min(values) <= max(values) <= ends[1], (ax, name)
            assert len(ax.lines) == len(runs)
    return figure


def test_problem3_plots_show_each_methods_data_under_its_name(hw2):
    figure = check_curves(hw2, hw2.runs)
    figure.draw_without_rendering()
    assert [(ax.get_ylabel(), ax.get_xlabel(), ax.get_xscale(), ax.get_yscale())
            for ax in figure.axes] == [
        ("test loss", "step", "log", "log"), ("test accuracy", "step", "log", "linear"),
        ("runtime (ms)", "step", "linear", "linear"),
        ("test loss", "runtime (ms)", "log", "log"),
        ("test loss", "training loss (reversed)", "log", "log")]
    assert [ax.xaxis_inverted() for ax in figure.axes] == [False] * 4 + [True]
    e = figure.axes[4]
    for dot, line, run in zip(e.collections, e.lines, hw2.runs.values(), strict=True):
        i = run["test"].argmin()
        assert dot.get_offsets().tolist() == [[run["train"][i], run["test"][i]]]
        assert np.allclose(dot.get_facecolor(), to_rgba(line.get_color()))
    for ax in figure.axes:  # the curves fill their panel
        y = np.concatenate([line.get_ydata() for line in ax.lines])
        ends = ax.transData.transform([(1, y.min()), (1, y.max())])[:, 1]
        assert np.ptp(ends) > 0.7 * ax.bbox.height, ax


@pytest.mark.parametrize("number", [4, 5])
def test_problem3_plots_nothing_overlaps_or_leaves_the_figure(hw2, number):
    figure = check_curves(hw2, dict([*hw2.runs.items(), ("a fifth", hw2.runs[MEAN])][
        :number]))
    figure.draw_without_rendering()
    axes = [ax.get_window_extent() for ax in figure.axes]
    texts = [figure.legends[0].get_window_extent()] + [
        t.get_window_extent() for ax in figure.axes
        for t in (ax.title, ax.xaxis.label, ax.yaxis.label)]
    for i, box in enumerate(texts):
        assert not box.count_overlaps(axes + texts[:i])
    for box in (*texts, *(ax.get_tightbbox() for ax in figure.axes)):
        assert figure.bbox.count_contains(box.corners()) == 4


def test_problem3_plots_nothing_is_cut_off_on_other_splits(hw2):
    for seed in SEEDS:
        check_curves(hw2, {
            name: dict(zip(("train", "test"), road(name, seed)),
                       accuracy=np.linspace(0.4 + i / 100, 0.98, 301),
                       ms=np.arange(301) * (i + seed)) for i, name in enumerate(FOUR)})


def stale(hw2):
    """The sentences of the text that this run makes wrong, as they should read."""
    X, y, n_test = hw2.X_train, hw2.y_train, len(hw2.y_test)
    runs, n, names = [*hw2.runs.values()], len(y), [*hw2.runs]
    sure = 2 / np.linalg.eigvalsh(X.T @ X / 4)[-1]
    to = [first(run["test"] <= 20) for run in runs]
    none_in = f"not in {len(runs[0]['test']) - 1}"
    to = [none_in if k == np.inf else f"in {k}" for k in to]
    begin, end = ([run["accuracy"][i] for run in runs] for i in (1, -1))
    highest, lowest = names[np.argmax(begin)], names[np.argmin(end)]
    others = max(end) - sorted(end)[1] <= 1.001 / n_test
    ends = [run["test"][-1] for run in runs]
    none = sum(not any((road(name, s)[1] <= 20).any() for name in FOUR) for s in SEEDS)
    said = TEXT.replace("\n", " ")
    return [text for text in (
        f"the rate 0.1 on the sum of {n} losses is {0.1 * n:.1f} on their mean",
        f"below {sure:.2g} (on the mean: {n * sure:.2f})",
        "median times of the steps in 11 runs",
        rf"${n_test} \log 2 = {runs[0]['test'][0]:.0f}$",
        f"a test loss of 20 {to[2]} steps, exact Newton {to[1]}, gradient descent on "
        f"the mean {to[3]}, gradient descent {to[0]}",
        f"{highest[0].upper() + highest[1:]} starts highest and ends lowest "
        f"({min(end):.3f})" if highest == lowest else f"{lowest} ends lowest",
        "others end within one test example" if others else "others differ",
        "and ends lowest" if names[np.argmin(ends)] == MEAN else "another ends lowest",
        f"On {rows(hw2.output('def on_split'))[DIAGONAL][0]} of {len(hw2.other)} other "
        "splits diagonal Newton is first",
        f"At rate 1 exact Newton reaches 20 in {first(road(EXACT, 0, 1, 20)[1] <= 20)}",
        f"test loss of 20 (on {'one' if none == 1 else none}, none gets there)",
    ) if text not in said]


def test_problem3_text_gives_the_numbers_of_the_run(hw2):
    assert not stale(hw2), "\n".join(["The text should say:", *stale(hw2)])


def test_problem3_why_no_minimum_and_every_method_overfits():
    for seed in (0, *SEEDS):  # the training part is separable
        X, _, y, _ = data(seed)
        assert ((road(EXACT, seed)[2] @ X.T > 0) == y).all(1).any()
    for run in ((EXACT,), (DIAGONAL, 0, 0.1, 3000), (MEAN, 0, 5, 6000),
                (SUM, 0, 0.1, 10_000)):
        train, test, path = road(*run)
        half = len(train) // 2
        assert test[-1] > 1.4 * test.min() and test.argmin() < half, run
        assert train[-1] < train[half] < train[0] / 4
        assert np.linalg.norm(path[-1]) > 1.1 * np.linalg.norm(path[half])


def test_problem3_why_exact_newton_takes_a_tenth_off_the_gradient_at_every_step():
    X, _, y, _ = data()
    g = (expit(road(EXACT)[2] @ X.T) - y) @ X
    ratio = sizes(EXACT)[1:] / sizes(EXACT)[:-1]
    least_squares = np.linalg.lstsq(X, 0.2 * (2 * y - 1))[0]
    np.testing.assert_allclose(road(EXACT)[2][1], least_squares)  # its first step
    kept = (g[1:] * g[:-1]).sum(1) / sizes(EXACT)[1:] / sizes(EXACT)[:-1]
    assert ratio.min() > 0.88 and ratio.max() < 0.92 and kept.min() > 0.99
    for method in (SUM, DIAGONAL, MEAN):  # no other method does
        assert max(abs(sizes(method)[1:] / sizes(method)[:-1] - 0.9)) > 0.09
    p = expit(X @ road(EXACT, 0, 0.1, 400)[2][-1])  # its H is singular to rounding
    assert np.linalg.cond((X.T * (p * (1 - p))) @ X) > 1e15


def test_problem3_why_curves_stay_the_same_for_features_scaled_or_mixed():
    random = np.random.default_rng(0).normal(size=(31, 31))
    for method, mix in ((EXACT, white), (EXACT, lambda X: random),
                        (EXACT, lambda X: np.diag(30 * [1.0] + [1000])),
                        (DIAGONAL, lambda X: np.diag(30 * [1.0] + [1000]))):
        for i in (0, 1):
            np.testing.assert_allclose(
                road(method, mix=mix)[i][:201], road(method)[i][:201], rtol=1e-4)
    for method in (DIAGONAL, MEAN):  # mixed, these do change
        assert abs(road(method, mix=white)[1][300] / road(method)[1][300] - 1) > 0.1


def test_problem3_why_three_methods_move_along_nearly_one_curve_and_the_sum_does_not():
    mean, fast = road(MEAN, 0, 0.1, 3000), road(SUM, 0, 0.1, 10_000)
    for level in (50, 30, 20):
        for same in (road(DIAGONAL), road(SUM, 0, 0.001, 3000)):
            assert 0.9 < at(same, level) / at(mean, level) < 1.1
        mixed = road(MEAN, 0, 0.1, 3000, white)
        assert 0.9 < at(mixed, level) / at(road(EXACT), level) < 1.1
        assert 0.9 < at(road(EXACT), level) / at(mean, level) < 1.4
        assert at(fast, level) > 2 * at(mean, level)
        if level > 20:
            ratio = [[at(road(m, s), level) / at(road(MEAN, s, 2, 1500), level)
                      for m in (DIAGONAL, EXACT)] for s in SEEDS]
            one, other = np.median(ratio, axis=0)
            assert 0.9 < one < 1.1 and 0.95 < other < 1.5
    assert fast[1][1] > 5 * fast[1][0]  # with its first step


def test_problem3_why_the_lowest_place_is_near_20_and_where_each_method_ends():
    lowest = {}
    for method, lr, steps in ((EXACT, 0.1, 300), (DIAGONAL, 0.1, 300), (MEAN, 2, 1500)):
        roads = [road(method, seed, lr, steps) for seed in (0, *SEEDS)]
        places = [train[test.argmin()] for train, test, _ in roads]
        lowest[method] = places[0]
        assert 10 < places[0] < 40 and 10 < np.median(places) < 40
    ends = {method: road(method)[0][-1] for method in FOUR}
    assert lowest[EXACT] > max(lowest[DIAGONAL], lowest[MEAN])  # turns up earlier
    assert ends[EXACT] < 1e-6 * lowest[EXACT]  # far beyond
    assert road(EXACT)[1][-1] == max(road(m)[1][-1] for m in FOUR)  # overfits most
    assert (np.diff(road(MEAN)[1]) < 0).all()  # still falling
    assert lowest[DIAGONAL] / 2 < ends[DIAGONAL] < lowest[DIAGONAL]  # past its lowest
    assert ends[MEAN] > 1.2 * lowest[MEAN]


def test_problem3_why_below_2_over_lambda_every_step_descends_and_that_is_no_limit():
    X, _, y, _ = data()
    bound, random = 2 / np.linalg.eigvalsh(X.T @ X / 4)[-1], np.random.default_rng(0)
    for size in (0, 0.1, 1, 10):
        path = descend(SUM, X, y, 0.99 * bound, 300, random.normal(0, size, 31))
        assert (np.diff(losses(path, X, y)) < 0).all()
    assert bound < 0.02 / 10 and (np.diff(road(SUM, 0, 0.02)[0]) < 0).all()
    p, rise = expit(X @ road(SUM)[2][1]), np.diff(road(SUM)[0]) > 0
    assert rise[0] and not rise[1:60].any() and rise.sum() > 50  # at 0.1 it overshoots
    assert (abs(p - 0.5) > 0.45).mean() > 0.9  # to where most p are near 0 or 1
    steps = np.diff(road(SUM)[2], axis=0)
    assert ((steps[1:] * steps[:-1]).sum(1) < 0).sum() > 50  # and zigzags
    p = expit(X @ random.normal(size=31))  # H is largest at w = 0
    assert np.linalg.eigvalsh(X.T @ X / 4 - (X.T * (p * (1 - p))) @ X)[0] > 0
    exact, diagonal = road(EXACT, 0, 1, 20)[1], road(DIAGONAL)[1]
    assert first(exact <= 20) < first(diagonal <= 20)  # other rates change the order
    assert road(DIAGONAL, 0, 1, 4)[0][-1] > 1000 > road(DIAGONAL)[0][0]  # diverges


def test_problem3_why_diagonal_newton_starts_fast_pulls_ahead_and_creeps():
    train, four_times, X = road(DIAGONAL)[0], road(MEAN, 0, 0.4), data()[0]
    np.testing.assert_allclose(road(DIAGONAL)[2][1], four_times[2][1])
    assert (train[2:] < four_times[0][2:]).all() and train[-1] < four_times[0][-1] / 1.5
    p = expit(road(DIAGONAL)[2][[0, 10, 100, 300]] @ X.T)
    assert (np.diff((p * (1 - p)) @ X**2, axis=0) < 0).mean() > 0.95  # its H_ii fall
    speed = -np.diff(np.log(train))  # exact Newton's is about 0.1
    assert speed[0] > 0.5 and speed[-1] < 0.005


def test_problem3_appendix_b_bceloss_bounds_what_the_runs_show(hw2):
    found = re.findall(r"(.+), \w+ step: (\d+), without the bound (\d+)",
                       hw2.output("logaddexp"))
    for (name, *values), k in zip(found, (1, 112, -1), strict=True):
        ends = hw2.runs[name]["test"][k], road(name)[1][k]
        assert values == [f"{v:.0f}" for v in ends]
    for k in (12, 56):  # gradient descent's two sudden drops
        shown, own = hw2.runs[SUM]["test"], road(SUM)[1]
        assert shown[k - 1] - shown[k] > 50 > 10 > own[k - 1] - own[k]
    shown, own = (abs(np.diff(v)) for v in (hw2.runs[EXACT]["test"], road(EXACT)[1]))
    assert (shown > 30).any() and own[shown > 30].max() < 15  # exact Newton's jumps


@pytest.mark.parametrize("part, old, new", [
    ("METHODS = {", "METHODS = {", "METHODS = {'a fifth': lambda w, X, y: "
     "gradient(w, X, y) / 100,"), ("def fit", "steps=300", "steps=150"),
    ("def split", "test_size=0.3", "test_size=0.2"),
    ("def split", "split(seed=0)", "split(seed=3)")],
    ids=["fifth", "steps", "size", "seed"])
def test_problem3_one_place_holds(part, old, new):
    """Every cell runs, a new method is everywhere, stale sentences are named."""
    cells = CODE[:3] + [find("def error")] + CODE[CODE.index(find("def split")):]
    cells = [c.copy() for c in cells if not re.search("mnist|def warp|def erase|class",
                                                      c.source)]
    (changed,) = (c for c in cells if part in c.source)
    assert changed.source.count(old) == 1
    changed.source = changed.source.replace(old, new)
    hw2 = Run(cells)
    assert not hw2.cell_errors
    if "fifth" in new:
        tables = [rows(text) for text in hw2.cell_outputs.values() if " | " in text]
        assert sum("a fifth" in table for table in tables) == 3
        check_curves(hw2, hw2.runs)
    else:
        assert stale(hw2)
