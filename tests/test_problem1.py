"""Problem 1: the network, the loss, and what is compared with autograd."""

import re

import pytest
import torch
from conftest import CODE, Run, find

PART = CODE[: CODE.index(find("without the skip")) + 1]


@pytest.fixture(scope="module")
def hw2():
    return Run(PART)  # alone, since later problems use some of its names again


def test_problem1_network_and_loss_on_numbers_that_show_a_mistake(hw2):
    for x, y_hat in zip(hw2.x, hw2.y_hat):
        h1 = hw2.g(hw2.W1.T @ x + hw2.b1) + x
        h2 = hw2.g(hw2.W2.T @ h1 + hw2.b2) + h1
        torch.testing.assert_close(y_hat, hw2.W3.T @ h2 + hw2.b3)
    total = torch.nn.functional.mse_loss(hw2.y_hat, hw2.y, reduction="sum")
    torch.testing.assert_close(hw2.L, total / hw2.N)
    assert len({hw2.N, hw2.m, hw2.q, 1}) == 4  # a division by N * q would show
    assert all(map(torch.all, (hw2.b1, hw2.b2, hw2.b3))) and (hw2.dg(hw2.a1) != 1).any()
    with pytest.raises(AssertionError):
        hw2.mse(torch.zeros(5, 1), torch.zeros(5))


def test_problem1_all_eleven_derivatives_are_compared_to_rounding_with_a_control(hw2):
    variables = {name: variable for name, _, variable in hw2.results}
    assert " ".join(variables) == "dW3 db3 e2 delta2 e1 delta1 e0 dW2 db2 dW1 db1"
    for name, variable in variables.items():
        (right,) = torch.autograd.grad(hw2.L, variable, retain_graph=True)
        torch.testing.assert_close(vars(hw2)[name], right, rtol=0, atol=1e-13, msg=name)
        wrong = vars(hw2) | {name: right * (1 + 1e-12)}  # for the last two cells
        assert Run(PART[-2:], wrong).cell_errors, f"the notebook passes a wrong {name}"
    left_out = hw2.e2.abs().max() / hw2.e1.abs().max()  # by the recursion's control
    assert hw2.wrong == pytest.approx(left_out.item()) and left_out > 0.1


def test_problem1_c_uses_neither_e_nor_delta():
    part = find("# (R7)").source.partition("# (c), without e and delta")[2]
    found = re.findall(r"\b(?:e\d|delta\d|d[Wb]\d|L)\b", part)
    assert found == ["dW2", "db2", "dW1", "db1"]  # once each: where they are defined
