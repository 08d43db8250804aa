r"""What the symbols of derivations.tex mean: their values at random points.

A point is (sizes that sums end with, where a symbol's own subscript ends, symbols,
functions). A symbol has a value for each layer and example that it carries: `W_3`,
`h_2^1` in layer 2 for example 1, `x_1`, a scalar or a matrix; a vector is a column.
"""

from functools import partial

import torch
from torch.autograd import grad

random = partial(  # with this seed, each two of y_1, ..., y_5 have all four values
    torch.randn, generator=torch.Generator().manual_seed(627), dtype=torch.float64)
FUNCTIONS = {
    "diag": lambda u: torch.diag(u.squeeze()), "log": torch.log, "exp": torch.exp,
    "sigma": torch.sigmoid, "sigma'": lambda u: torch.sigmoid(u) * torch.sigmoid(-u)}


def network(N, m, q):
    """Problem 1, k = 3."""
    r, s, t = random(3)

    def g(u):  # smooth, neither odd nor monotonic
        return r * torch.tanh(u + s) + torch.sin(u + t)

    at = {"N": torch.tensor(N).double(), "I": torch.eye(m).double(), "L": 0}
    for k, width in (1, m), (2, m), (3, q):
        at[f"W_{k}"] = random(m, width).requires_grad_()
        at[f"b_{k}"] = random(width, 1).requires_grad_()
    for i in range(1, N + 1):
        at[f"x^{i}"] = at[f"h_0^{i}"] = h = random(m, 1).requires_grad_()
        for k in 1, 2:
            at[f"a_{k}^{i}"] = at[f"W_{k}"].T @ h + at[f"b_{k}"]
            at[f"h_{k}^{i}"] = h = g(at[f"a_{k}^{i}"]) + h
        at[rf"\hat y^{i}"] = at["W_3"].T @ h + at["b_3"]
        at[f"y^{i}"] = random(q, 1)
        at["L"] = at["L"] + ((at[f"y^{i}"] - at[rf"\hat y^{i}"]) ** 2).sum() / N
    for name, variable in ("e", "h"), (r"\delta", "a"):
        for key in [key for key in at if key[0] == variable]:
            at[name + key[1:]] = grad(at["L"], at[key], retain_graph=True)[0]
    return {"N": N, "m": m, "q": q}, 2, at, {
        **FUNCTIONS, "g": g, "g'": torch.func.grad(lambda u: g(u).sum())}


def regression(N, d, scale=1):
    """Problem 3; z_n, p_n and y_n are entries of the columns z, p and y."""
    X, v, w = random(N, d), random(d, 1), (scale * random(d, 1)).requires_grad_()
    y, z = (random(N, 1) > 0).double(), X @ w
    p = torch.sigmoid(z)
    losses = -y * torch.log(p) - (1 - y) * torch.log(1 - p)
    L = losses.sum()
    slopes = grad(L, w, create_graph=True)[0][:, 0]
    at = {"X": X, "y": y, "z": z, "p": p, "w": w, "v": v, "L": L, r"\bar L": L / N,
          **{f"x_{n}": x[:, None] for n, x in enumerate(X, 1)},
          **{f"L_{n}": loss for n, loss in enumerate(losses[:, 0], 1)},
          "S": torch.diag((p * (1 - p))[:, 0]), "N": torch.tensor(N).double(),
          "H": torch.cat([grad(s, w, retain_graph=True)[0] for s in slopes], 1)}
    return {"N": N, "d": d}, N, at, FUNCTIONS


PROBLEMS = {  # N, m, q and d differ; none of N, m, q is 2, where layers end
    "1": [network(6, 3, 4), network(5, 4, 3), network(4, 3, 5)],
    "3": [regression(*sizes) for sizes in [(7, 3), (5, 4), (6, 2)] * 2 + [(8, 3, 0)]],
}
