"""Problem 1: the network, the loss, and what is compared with autograd."""

import ast

import pytest
import torch


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


def test_problem1_numbers_can_show_a_mistake(hw2):
    assert len({hw2.N, hw2.m, hw2.q}) == 3
    assert all(b.abs().min() > 0 for b in (hw2.b1, hw2.b2, hw2.b3))
    assert hw2.x.dtype == torch.float64


def test_problem1_all_eleven_derivatives_are_compared(hw2, cells):
    (cell,) = (c for c in cells if "results = [" in c["source"])
    shown = hw2.printed[cell["id"]].splitlines()
    assert [line.split()[0] for line in shown] == [name for name, *_ in hw2.results]
    assert len({name for name, *_ in hw2.results}) == 11


def test_problem1_c_uses_neither_e_nor_delta(cells):
    (cell,) = (c for c in cells if "# (R7)" in c["source"])
    used = {
        target.id: {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        for node in ast.walk(ast.parse(cell["source"]))
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    for name in ("dW2", "db2", "dW1", "db1"):
        assert not used[name] & {"e0", "e1", "e2", "delta1", "delta2"}


def test_problem1_appendix_a_e_vanishes_without_the_skip_only(hw2):
    with_skip, without = hw2.norms_of_e(1)[0], hw2.norms_of_e(0)[0]
    assert 0.1 < with_skip < 10 and without < 0.3**hw2.depth
