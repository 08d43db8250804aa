r"""What the symbols of derivations.tex mean: their values at random points.

A point is (sizes that sums end with, symbols, functions).
To add a symbol, add a line to a point's symbols: its name, then `_l` if it carries a
layer, `_n` an example below or `^i` one above, and its values by these indices, e.g.
`r"\beta_l^i": {(l, i): value, ...}`: scalars or matrices; a vector is a column.
"""

import torch
from torch.autograd import grad


class Refused(Exception):
    """The text is not in the notation, or says what is impossible."""


def refuse(cause):
    raise Refused(cause)


def normal(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def diag(u):
    """The matrix with the diagonal u."""
    return torch.diag(u[:, 0]) if u.numel() == len(u) else refuse("the shape in diag")


def network(seed, N, m, q):
    """Problem 1, k = 3."""
    random = normal(seed)
    r, s, t = random(3)

    def g(u):  # smooth and 1-Lipschitz, neither odd nor monotonic
        return r.sigmoid() * torch.tanh(u + s) + (-r).sigmoid() * torch.sin(u + t)

    widths = {1: m, 2: m, 3: q}
    W = {k: random(m, width).requires_grad_() for k, width in widths.items()}
    b = {k: random(width, 1).requires_grad_() for k, width in widths.items()}
    a, h, y, y_hat, L = {}, {}, {}, {}, 0
    for i in range(1, N + 1):
        h[0, i], y[i] = random(m, 1).requires_grad_(), random(q, 1)
        for k in 1, 2:
            a[k, i] = W[k].T @ h[k - 1, i] + b[k]
            h[k, i] = g(a[k, i]) + h[k - 1, i]
        y_hat[i] = W[3].T @ h[2, i] + b[3]
        L = L + ((y[i] - y_hat[i]) ** 2).sum() / N
    symbols = {
        "W_l": W, "b_l": b, "x^i": {i: h[0, i] for i in y}, "h_l^i": h, "a_l^i": a,
        r"\hat y^i": y_hat, "y^i": y, "L": L, "N": torch.tensor(N).double(),
        "e_l^i": {at: grad(L, h[at], retain_graph=True)[0] for at in h},
        r"\delta_l^i": {at: grad(L, a[at], retain_graph=True)[0] for at in a},
        "I": torch.eye(m).double()}
    functions = {
        "g": g, "g'": lambda u: grad(g(u := u.detach().requires_grad_()).sum(), u)[0],
        r"\operatorname{diag}": diag}
    return {"N": N, "m": m, "q": q}, symbols, functions


def regression(seed, N, d, x=1, rows=1, columns=1, w=1, z=0, v=1, axis=False, y=None):
    """Problem 3; z_n, p_n and y_n are entries of the columns z, p and y. For extremes:
    scales of X, of its rows and columns but the first, of w and of v; every |z_n|; v
    along the first axis, at right angles to x_1; y as a function of z."""
    random = normal(seed)
    X, v, w = x * random(N, d), v * random(d, 1), w * random(d, 1)
    X[1:] *= rows
    X[:, 1:] *= columns
    if axis:
        v[1:], X[0, 0] = 0, 0
    if z:
        X[:, :1] = (z * random(N, 1).sign() - X[:, 1:] @ w[1:]) / w[0]
    labels, z = random(N, 1) > 0, X @ w.requires_grad_()
    y = (y(z) if y else labels).double()
    p = torch.sigmoid(z)
    losses = -y * torch.log(p) - (1 - y) * torch.log(1 - p)
    L = losses.sum()
    slopes = grad(L, w, create_graph=True)[0][:, 0]
    symbols = {
        "X": X, "y": y, "z": z, "p": p, "w": w, "v": v, "L": L, r"\bar L": L / N,
        "x_n": {n: X[n - 1 : n].T for n in range(1, N + 1)},
        "L_n": dict(enumerate(losses[:, 0], 1)),
        "S": torch.diag((p * (1 - p)).detach()[:, 0]), "N": torch.tensor(N).double(),
        "H": torch.cat([grad(s, w, retain_graph=True)[0] for s in slopes], 1)}
    functions = {r"\sigma": lambda u: 1 / (1 + torch.exp(-u)), r"\log": torch.log,
                 r"\exp": torch.exp, r"\operatorname{diag}": diag}
    return {"N": N, "d": d}, symbols, functions


# N, m and q differ at each point, and none is 2, the number of hidden layers.
NETWORKS = [network(1, 6, 3, 4), network(2, 5, 4, 3), network(3, 4, 3, 5)]
REGRESSIONS = [regression(21, 7, 3), regression(2, 5, 4), regression(3, 6, 2),
               regression(4, 8, 3, w=0)]
# Where quantities are as large, small or alike as can be: for inequalities.
EXTREMES = [
    regression(5, 7, 3, z=14), regression(6, 3, 2, x=1e3, w=1e-3),
    regression(7, 7, 3, z=14, y=lambda z: z > 0),
    regression(8, 7, 3, z=14, y=lambda z: z < 0, rows=1e-3),
    regression(9, 9, 3, w=0, v=1e3, columns=1e-3, axis=True, y=torch.ones_like),
    regression(10, 6, 3, v=-1e3, columns=1e3, w=1e-3, axis=True, y=torch.zeros_like),
    regression(11, 6, 3, x=1e-3, rows=1e-3, v=1e-3), regression(12, 5, 2, 1e-4, w=1e4)]
PARTS = {  # what stands behind `%% begin`, or first in a heading: (points, extremes)
    "problem-1": (NETWORKS, []), "Problem 1": (NETWORKS, []),
    "problem-3": (REGRESSIONS, EXTREMES), "Problem 3": (REGRESSIONS, EXTREMES),
    "B": (REGRESSIONS, EXTREMES), "Appendix B": (REGRESSIONS, EXTREMES),
}
