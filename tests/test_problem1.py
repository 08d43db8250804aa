"""Problem 1: the network, the loss, and what is compared with autograd."""

import ast

import pytest
import torch
from conftest import CODE, Run, find

PART = CODE[: CODE.index(find("without the skip")) + 1]
CHECK = PART[PART.index(find("results = [")):]


@pytest.fixture(scope="module")
def hw2():
    """Problem 1 alone, since later problems use some of its names again."""
    return Run(PART)


def test_problem1_network_is_equations_1_to_3(hw2):
    outputs = []
    for x in hw2.x:
        h = x
        for W, b in ((hw2.W1, hw2.b1), (hw2.W2, hw2.b2)):
            h = hw2.g(W.T @ h + b) + h
        outputs.append(hw2.W3.T @ h + hw2.b3)
    torch.testing.assert_close(hw2.y_hat, torch.stack(outputs))


def test_problem1_loss_is_the_squared_error_over_N_alone(hw2):
    total = sum((u - v) ** 2 for u, v in zip(hw2.y.flatten(), hw2.y_hat.flatten()))
    torch.testing.assert_close(hw2.L, total / hw2.N)
    assert hw2.q > 1  # so that a division by N * q would show
    with pytest.raises(AssertionError):
        hw2.mse(torch.zeros(5, 1), torch.zeros(5))


def test_problem1_g_is_1_lipschitz_and_dg_its_derivative(hw2):
    a = torch.linspace(-8, 8, 999, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(hw2.g(a).sum(), a)
    torch.testing.assert_close(hw2.dg(a), slope)
    assert slope.abs().max() <= 1


def test_problem1_error_sees_a_difference_in_one_entry_of_either_sign(hw2):
    theirs = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    for change in (0.5, -0.5):
        ours = theirs.clone()
        ours[1, 1] += change
        assert hw2.error(ours, theirs) == 0.125
    assert hw2.error(theirs, theirs) == 0


def test_problem1_numbers_can_show_a_mistake(hw2):
    assert len({hw2.N, hw2.m, hw2.q}) == 3
    assert all(b.abs().min() > 0 for b in (hw2.b1, hw2.b2, hw2.b3))
    assert hw2.x.dtype == torch.float64


def test_problem1_all_eleven_derivatives_are_compared_to_rounding(hw2):
    variables = {"dW3": hw2.W3, "db3": hw2.b3, "e2": hw2.h2, "delta2": hw2.a2,
                 "e1": hw2.h1, "delta1": hw2.a1, "e0": hw2.x, "dW2": hw2.W2,
                 "db2": hw2.b2, "dW1": hw2.W1, "db1": hw2.b1}
    *lines, _ = hw2.output("in results:").splitlines()
    for (name, variable), line in zip(variables.items(), lines, strict=True):
        assert line.split()[0] == name and float(line.split()[-1]) < 1e-14
        (theirs,) = torch.autograd.grad(hw2.L, variable, retain_graph=True)
        torch.testing.assert_close(getattr(hw2, name), theirs, rtol=1e-13, atol=1e-14)
        wrong = vars(hw2) | {name: theirs * 1.0001}  # the notebook's own check sees it
        assert Run(CHECK, wrong).cell_errors


def test_problem1_b_control_the_recursion_needs_its_skip(hw2):
    gap = (hw2.e2.abs().max() / hw2.e1.abs().max()).item()  # what is left out
    assert hw2.wrong == pytest.approx(gap)
    assert f"{gap:.1f}" in hw2.output("without the skip") and gap > 0.1


def test_problem1_c_uses_neither_e_nor_delta():
    used = {target.id: {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
            for node in ast.walk(ast.parse(find("# (R7)").source))
            if isinstance(node, ast.Assign) for target in node.targets}
    for name in ("dW2", "db2", "dW1", "db1"):
        assert not used[name] & {"e0", "e1", "e2", "delta1", "delta2", "L", *used}


@pytest.mark.parametrize("g, dg", [("torch.sin", "torch.cos(a)"), (
    "torch.nn.functional.softplus", "torch.sigmoid(a)")])
def test_problem1_another_activation_is_one_edit(g, dg):
    cells = [cell.copy() for cell in PART]
    for cell in cells:
        cell.source = cell.source.replace("g = torch.tanh", f"g = {g}").replace(
            "1 - torch.tanh(a) ** 2", dg)
    assert sum(a.source != b.source for a, b in zip(cells, PART)) == 1
    assert not Run(cells).cell_errors
