"""Problem 3: data, loss, derivatives, solvers, results and comment."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import run
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import accuracy_score
from torch import nn

THREE = ("gradient descent", "Newton, exact", "Newton, diagonal")
FOUR = (*THREE, "gradient descent, mean")


def test_problem3_data_30_percent_are_held_out_stratified(hw2):
    y = load_breast_cancer().target
    assert len(hw2.y_test) == math.ceil(0.3 * len(y))
    assert len(hw2.y_train) + len(hw2.y_test) == len(y)
    for part in (hw2.y_train, hw2.y_test):
        assert abs(part.mean() - y.mean()) < 1 / len(part)


def test_problem3_data_is_standardised_on_the_training_part(hw2):
    X, X_test = hw2.X_train, hw2.X_test
    assert X.dtype == X_test.dtype == np.float64
    assert (X[:, 0] == 1).all() and (X_test[:, 0] == 1).all()
    np.testing.assert_allclose(X[:, 1:].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(X[:, 1:].std(0), 1)
    assert abs(X_test[:, 1:].mean(0)).max() > 0.01  # the test part's own was not used


def test_problem3_loss_is_bceloss_and_the_assignments_sum(hw2):
    assert type(hw2.bce) is nn.BCELoss and hw2.bce.reduction == "sum"
    w = np.random.default_rng(1).normal(0, 0.1, hw2.X_test.shape[1])
    total = 0.0
    for x, y in zip(hw2.X_test, hw2.y_test):
        p = 1 / (1 + math.exp(-w @ x))
        total += -y * math.log(p) - (1 - y) * math.log(1 - p)
    assert math.isclose(hw2.loss(w, hw2.X_test, hw2.y_test).item(), total)


@pytest.mark.parametrize("name", THREE)
def test_problem3_solver_steps_by_a_tenth_of_its_direction(hw2, name):
    """The direction by autograd through BCELoss, early, where that is exact."""
    path = hw2.runs[name]["path"]
    assert path.shape == (len(hw2.runs[name]["ms"]), 31) and not path[0].any()
    for w, after in zip(path[:4] if name != THREE[0] else path[:1], path[1:]):
        at = torch.tensor(w)
        g = torch.autograd.functional.jacobian(hw2.train_loss, at)
        H = torch.autograd.functional.hessian(hw2.train_loss, at)
        step = {
            "gradient descent": g,
            "Newton, exact": torch.linalg.solve(H, g),
            "Newton, diagonal": g / H.diagonal(),
        }[name]
        np.testing.assert_allclose(after, w - 0.1 * step.numpy(), rtol=1e-5)


def test_problem3_variant_is_gradient_descent_on_the_mean(hw2):
    path = hw2.runs["gradient descent, mean"]["path"]
    mean = nn.BCELoss()
    at = torch.tensor(path[7], requires_grad=True)
    p = torch.sigmoid(torch.tensor(hw2.X_train) @ at)
    (g,) = torch.autograd.grad(mean(p, torch.tensor(hw2.y_train)), at)
    np.testing.assert_allclose(path[8], path[7] - 0.1 * g.numpy(), rtol=1e-9)


def test_problem3_accuracy_is_scikit_learns(hw2):
    for name in THREE:
        record = hw2.runs[name]
        p = torch.sigmoid(torch.tensor(hw2.X_test @ record["path"][100]))
        expected = accuracy_score(hw2.y_test, (p > 0.5).numpy())
        assert record["accuracy"][100] == pytest.approx(expected)


def test_problem3_runtime_holds_no_evaluation(hw2, monkeypatch):
    for name in ("loss", "accuracy", "train_loss"):
        monkeypatch.delattr(hw2, name)
    path, seconds = hw2.fit(hw2.newton_exact, hw2.X_train, hw2.y_train, steps=3)
    assert len(path) == len(seconds) == 4 and (seconds[1:] > 0).all()


def panels(names):
    """The four panels that the notebook's plot_results draws."""
    plt.close("all")
    names["plot_results"](names["runs"])
    return plt.gcf().axes, [text.get_text() for text in plt.gcf().legends[0].texts]


def test_problem3_plots_of_loss_accuracy_and_runtime_hold_each_method(hw2):
    (loss, accuracy, runtime, _), labels = panels(vars(hw2))
    assert labels == list(hw2.runs)
    for ax, key in ((loss, "loss"), (accuracy, "accuracy"), (runtime, "ms")):
        for record, line in zip(hw2.runs.values(), ax.lines):
            assert np.array_equal(line.get_ydata(), record[key])


def test_problem3_method_added_is_one_entry(hw2, cells):
    """It then stands in every table and figure, timed, and every cell runs."""
    names, shown = dict(vars(hw2)), {}
    names["METHODS"] = hw2.METHODS | {
        "a fifth": lambda w, X, y: hw2.gradient(w, X, y) / 100}
    start = next(i for i, c in enumerate(cells) if "runs = {}" in c["source"])
    for cell in cells[start:]:
        if cell["cell_type"] == "code":
            shown[cell["id"]] = run(cell, names)
    tables = [text for text in shown.values() if "Newton, diagonal" in text]
    assert len(tables) == 3 and all("a fifth" in text for text in tables)
    axes, labels = panels(names)
    assert "a fifth" in labels
    for lines in (ax.lines for ax in axes):
        assert len({v.get_color() for v in lines}) == len(lines) == len(labels)


def test_problem3_comment_gives_the_numbers_of_the_run(hw2, cells):
    (at,) = (i for i, c in enumerate(cells) if "### Comment" in c["source"])
    assert "plot_results(runs)" in cells[at - 1]["source"]
    gd, exact, diagonal, mean = four = [hw2.runs[name] for name in FOUR]
    low, end, acc = zip(*((f"{run['loss'].min():.0f}", f"{run['loss'][-1]:,.0f}",
                            f"{run['accuracy'][-1]:.3f}") for run in four))
    flat, *_, steep = np.linalg.eigvalsh(hw2.hessian(np.zeros(31), hw2.X_train))
    fast, _ = hw2.fit(hw2.newton_exact, hw2.X_train, hw2.y_train, lr=1, steps=4)
    wins = sum(hw2.winner == list(hw2.METHODS).index("Newton, diagonal"))
    texts = (
        f"lowest test loss within {len(gd['ms']) - 1} steps: {low[2]}, "
        f"at step {diagonal['loss'].argmin()}.",
        f"Exact Newton reaches {low[1]}, at step {exact['loss'].argmin()}, gradient "
        f"descent {low[0]}.",
        f"At step {len(gd['ms']) - 1} the variant (on the mean) has {end[3]}, "
        f"diagonal Newton {end[2]}, gradient descent {end[0]}, exact Newton {end[1]}.",
        f"rises to {max(diagonal['accuracy'][:10]):.3f} within 10 steps and ends at "
        f"{acc[2]}, like gradient descent; exact Newton falls from "
        f"{max(exact['accuracy']):.3f} to {acc[1]}, the variant ends at {acc[3]}.",
        f"the eigenvalues of $H$ run from {flat:.2f} to {steep:,.0f}:",
        f"falls from {hw2.train_loss(fast[0]):.0f} to {hw2.train_loss(fast[4]):.0f} in",
        f"the sum of {len(hw2.y_train)} losses the rate 0.1 is too large:",
        f"large $w$, which takes the test loss to {gd['loss'][1]:.0f},",
        f"for $d = {hw2.X_train.shape[1]}$ weights",
        f"On {wins} of 20 other splits, too, diagonal Newton",
    )
    wrong = [t for t in texts if t not in cells[at]["source"].replace("\n", " ")]
    assert not wrong, f"the comment should say: {wrong}"
    assert low[2] == min(low, key=float), "'Diagonal Newton reaches the lowest'"
    assert acc[0] == acc[2], "'like gradient descent', in accuracy"
    assert round(gd["loss"][-1] / diagonal["loss"][-1]) == 3, "'three times'"


def test_problem3_comment_on_why_holds(hw2):
    gd, exact, diagonal, _ = paths = [hw2.runs[name]["path"] for name in FOUR]
    flattest = np.linalg.eigh(hw2.hessian(exact[0], hw2.X_train))[1][:, 0]
    assert abs(flattest @ exact[1]) > 100 * abs(flattest @ diagonal[1])
    assert (np.diff(np.linalg.norm(exact, axis=1)) > 0).all()
    assert np.linalg.norm(gd[-1]) > 2 * np.linalg.norm(diagonal[-1])
    ends = [hw2.train_loss(path[-1]).item() for path in paths]
    assert ends[1] < 1e-6 * min(ends[0], *ends[2:])  # the training loss lowest by far
    assert (np.diff([hw2.train_loss(w) for w in gd]) > 0).sum() > 50  # oscillates
    assert (np.diff(hw2.runs[FOUR[3]]["loss"]) < 0).all()  # steady
    assert np.triu(np.corrcoef(hw2.X_train[:, 1:].T), 1).max() > 0.99
    path, _ = hw2.fit(hw2.newton_diagonal, hw2.X_train, hw2.y_train, lr=1, steps=4)
    assert hw2.train_loss(path[4]) > 10 * hw2.train_loss(path[0])  # diverges
    medians = dict(zip(hw2.METHODS, np.median(hw2.other, axis=1)))
    more = medians[FOUR[3]] > medians["Newton, diagonal"]
    assert more.tolist() == [True, False, True]  # lowest loss, last loss, accuracy


def test_problem3_vertical_steps_of_the_loss_come_from_bceloss(hw2):
    for name, last, number in (("Newton, exact", 300, 7), ("gradient descent", 100, 2)):
        z = hw2.runs[name]["path"][1 : last + 1] @ hw2.X_test.T
        drawn = abs(np.diff(hw2.runs[name]["loss"][1 : last + 1]))
        exactly = abs(np.diff(np.logaddexp(0, (1 - 2 * hw2.y_test) * z).sum(1)))
        found = np.flatnonzero((drawn > 15) & (exactly < drawn / 2)) + 2
        assert len(found) == number
    assert found.tolist() == [12, 56]  # as the text above the plots says
