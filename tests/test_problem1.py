"""Problem 1: the network, the loss, and what is compared with autograd."""

import re

import pytest
import torch
from conftest import CODE, Run, find

PART = CODE[: CODE.index(find("without the skip")) + 1]
CHECK = PART[PART.index(find("results = [")):]


@pytest.fixture(scope="module")
def hw2():
    """Problem 1 alone, since later problems use some of its names again."""
    return Run(PART)


def test_problem1_network_and_loss_on_numbers_that_show_a_mistake(hw2):
    outputs = []
    for x in hw2.x:
        h = x
        for W, b in ((hw2.W1, hw2.b1), (hw2.W2, hw2.b2)):
            h = hw2.g(W.T @ h + b) + h
        outputs.append(hw2.W3.T @ h + hw2.b3)
    torch.testing.assert_close(hw2.y_hat, torch.stack(outputs))
    assert len({hw2.N, hw2.m, hw2.q, 1}) == 4  # a division by N * q would show
    assert all(b.abs().min() > 0 for b in (hw2.b1, hw2.b2, hw2.b3))
    total = torch.nn.functional.mse_loss(hw2.y_hat, hw2.y, reduction="sum")
    torch.testing.assert_close(hw2.L, total / hw2.N)
    with pytest.raises(AssertionError):
        hw2.mse(torch.zeros(5, 1), torch.zeros(5))


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
    left_out = hw2.e2.abs().max() / hw2.e1.abs().max()
    assert hw2.wrong == pytest.approx(left_out.item()) and left_out > 0.1


def test_problem1_c_uses_neither_e_nor_delta():
    part = find("# (R7)").source.partition("# (c), without e and delta")[2]
    found = re.findall(r"\b(?:e\d|delta\d|d[Wb]\d|L)\b", part)
    assert found == ["dW2", "db2", "dW1", "db1"]  # once each: where they are defined


@pytest.mark.parametrize("g, dg", [
    ("torch.sin", "torch.cos(a)"),
    ("torch.nn.functional.softplus", "torch.sigmoid(a)")])
def test_problem1_another_activation_is_one_edit(g, dg):
    activation, *others = (cell.copy() for cell in PART[2:])
    activation.source = activation.source.replace("torch.tanh\n", g + "\n").replace(
        "1 - torch.tanh(a) ** 2", dg)
    assert "tanh" not in activation.source
    assert not Run([*PART[:2], activation, *others]).cell_errors
