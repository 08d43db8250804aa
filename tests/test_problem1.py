"""Problem 1: the notebook's closed forms and recursion against autograd."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

PARTS = {
    "1a": ("W3", "b3"),
    "1b": ("e2", "e1", "e0", "delta2", "delta1"),
    "1c": ("W2", "b2", "W1", "b1"),
}
sizes = st.integers(1, 7)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("activation", ["tanh", "softplus", "sine", "ReLU"])
def test_1_each_gradient_equals_autograd(hw2, part, activation):
    error = hw2.errors(hw2.random_network(3, 6, 5, 2), *hw2.ACTIVATIONS[activation])
    assert all(error[name] < 1e-13 for name in PARTS[part])


@settings(derandomize=True, max_examples=30, deadline=None)
@given(N=sizes, m=sizes, q=sizes, k=st.integers(2, 6))
def test_1_recursion_equals_autograd_at_any_depth_and_width(hw2, N, m, q, k):
    error = hw2.errors(hw2.random_network(k, N, m, q), *hw2.ACTIVATIONS["tanh"])
    assert max(error.values()) < 1e-12


def test_1_loss_is_the_assignments_mean_over_examples_alone(hw2):
    y, y_hat = torch.zeros(4, 3), torch.ones(4, 3)
    assert hw2.mse(y, y_hat) == 3.0  # nn.MSELoss, over N q numbers, gives 1


def test_1_forward_is_equations_1_to_3(hw2):
    x, _, W, b = hw2.random_network(3, 1, 4, 2)
    h = x[0]
    for n in (1, 2):
        h = torch.tanh(W[n].T @ h + b[n]) + h
    y_hat = hw2.forward(x, W, b, torch.tanh)[2]
    torch.testing.assert_close(y_hat[0], W[3].T @ h + b[3], rtol=1e-14, atol=1e-14)


def test_1_biases_are_not_zero(hw2):
    assert all(v.abs().min() > 0 for v in hw2.random_network(3, 6, 5, 2)[3].values())


MISTAKES = {
    "W3": ("h[2].T @ r", "h[1].T @ r"),
    "b3": ("2 / len(x)", "1 / len(x)"),
    "W2": ("h[1].T @ u2", "h[1].T @ u"),
    "b2": ("u2.sum(0)", "u.sum(0)"),
    "W1": ("(u + u2 @ W[2].T)", "(u2 @ W[2].T)"),
    "b1": ("u2 @ W[2].T", "u2 @ W[2]"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_1_control_a_wrong_closed_form_is_seen(hw2, name, mistaken):
    gradients = mistaken("def gradients", *MISTAKES[name])["gradients"]
    net = hw2.random_network(3, 6, 5, 2)
    g, dg = hw2.ACTIVATIONS["tanh"]
    reference = hw2.by_autograd(*net, g)[name]
    with torch.no_grad():
        ours = gradients(*net, g, dg)[name]
    assert (ours - reference).abs().max() > 1e-3 * reference.abs().max()


def test_1b_control_the_recursion_without_its_identity_path_fails(hw2):
    net = hw2.random_network(3, 6, 5, 2)
    error = hw2.errors(net, *hw2.ACTIVATIONS["tanh"], skip=0)
    assert error["e2"] < 1e-13 and error["e1"] > 0.1 and error["e0"] > 0.1


def net(hw2, **change):
    x, y, W, b = hw2.random_network(3, 6, 5, 2)
    return dict({"x": x, "W": W, "b": b}, **change)


BAD_NETWORKS = {
    "no layer": (dict(W={}, b={}), "keys 1..k"),
    "keys from 0": (dict(W={0: torch.ones(5, 5)}), "keys 1..k"),
    "x is a vector": (dict(x=torch.ones(5)), r"x must be \(N, m\)"),
    "x is empty": (dict(x=torch.ones(0, 5)), r"x must be \(N, m\)"),
    "x too wide": (dict(x=torch.ones(6, 4).double()), r"W\[1\] must be"),
    "x not a number": (dict(x=torch.full((6, 5), torch.nan).double()), "finite"),
    "x infinite": (dict(x=torch.full((6, 5), torch.inf).double()), "finite"),
    "x of integers": (dict(x=torch.ones(6, 5, dtype=torch.long)), "type"),
}


@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_1_bad_network_gets_one_clear_error(hw2, case):
    change, message = BAD_NETWORKS[case]
    with pytest.raises(ValueError, match=message) as caught:
        hw2.forward(**net(hw2, **change), g=torch.tanh)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("which", ["W", "b"])
def test_1_bad_weight_is_named(hw2, layer, which):
    x, _, W, b = hw2.random_network(3, 6, 5, 2)
    (W if which == "W" else b)[layer] = torch.ones(4, 3).double()
    with pytest.raises(ValueError, match=r"must be \(5,"):
        hw2.forward(x, W, b, torch.tanh)


def test_1_targets_of_another_shape_are_refused_not_broadcast(hw2):
    with pytest.raises(ValueError, match="one row per example"):
        hw2.mse(torch.zeros(4), torch.zeros(4, 1))
    x, y, W, b = hw2.random_network(3, 6, 5, 1)
    for derivatives in (hw2.gradients, hw2.backward):
        with pytest.raises(ValueError, match="one row per example"):
            derivatives(x, y[:, 0], W, b, *hw2.ACTIVATIONS["tanh"])


def test_1_gradients_are_for_three_layers(hw2):
    with pytest.raises(ValueError, match="k = 3"):
        hw2.gradients(*hw2.random_network(2, 6, 5, 2), *hw2.ACTIVATIONS["tanh"])
