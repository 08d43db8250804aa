r"""What the symbols of derivations.tex mean, and the points where they are evaluated.

To add a symbol, add a line to a table: its notation, the kinds of its subscripts
and of its example's index, and its value at a point s, a scalar or a matrix
(`r"\Lambda_l^i": lambda s, n, i: ...`); a string stacks a symbol over its index.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch.autograd import grad


class Point:
    """Random numbers, with a leaf at every node that a derivative may be taken at."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.parameters = []  # (leaf, the direction in which \mathrm{d} changes it)
        self.cache, self.shifts = {}, {}

    def random(self, *shape):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def parameter(self, value):
        self.parameters.append((value.requires_grad_(), self.random(*value.shape)))
        return value

    def shift(self, name, at, shape=()):
        """The zero that is added to the symbol `name` with the indices `at`."""
        if (name, at) not in self.shifts:
            zero = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
            self.shifts[name, at] = zero
        return self.shifts[name, at]


class Network(Point):
    """Problem 1 at random weights, or where its bounds are reached (W = c I, g' = 1).

    All sizes differ; `norm` is the spectral norm of the hidden weights.
    """

    def __init__(self, seed, k, N, m, q, norm, tight=False):
        super().__init__(seed)
        self.k, self.N, self.m = k, N, m
        self.p, self.t = self.random(3).softmax(0), self.random(3)
        self.tight = tight
        self.W, self.b, self.a, self.h, self.y, self.out = {}, {}, {}, {}, {}, {}
        for n in range(1, k):
            weights = self.random(m, m)
            weights *= norm / torch.linalg.norm(weights, 2)
            weights = norm * (1 - n / 20) * torch.eye(m).double() if tight else weights
            self.W[n], self.b[n] = map(self.parameter, (weights, self.random(m, 1)))
        self.W[k], self.b[k] = map(
            self.parameter, (self.random(m, q), self.random(q, 1)))
        self.L = 0.0
        for i in range(1, N + 1):
            self.h[0, i] = self.random(m, 1).requires_grad_()
            self.y[i] = self.random(q, 1)
            for n in range(1, k):
                self.a[n, i] = self.W[n].T @ self.h[n - 1, i] + self.b[n]
                self.h[n, i] = self.g(self.a[n, i]) + self.h[n - 1, i]
            self.out[i] = self.W[k].T @ self.h[k - 1, i] + self.b[k]
            self.L = self.L + ((self.y[i] - self.out[i]) ** 2).sum() / N

    def g(self, a):
        """A random smooth 1-Lipschitz activation."""
        if self.tight:
            return a * 1.0
        p, t = self.p, self.t
        return p[0] * (a + t[0]).tanh() + p[1] * (a + t[1]).sin() + p[2] * (
            (a + t[2]).exp() + 1).log()

    def slope(self, a):
        a = a if a.requires_grad else a.clone().requires_grad_()
        return grad(self.g(a).sum(), a, create_graph=True)[0]


class Regression(Point):
    """Problem 3 at random weights, or where its bounds are reached: w = 0, X v = 0."""

    def __init__(self, seed, N, d, tight=None):
        super().__init__(seed)
        self.N, self.d = N, d
        self.X, self.v = self.random(N, d), self.random(d, 1)
        start = self.random(d) * (tight != "w")
        if tight == "v":
            self.X[:, 0] = self.X[:, 1]
            self.v = torch.eye(d).double()[:, :1] - torch.eye(d).double()[:, 1:2]
        self.w_j = {j + 1: self.parameter(start[j].clone()) for j in range(d)}
        self.w = torch.stack(list(self.w_j.values()))[:, None]
        self.x = {n: self.X[n - 1:n].T for n in range(1, N + 1)}
        self.x_nj = {(n, j + 1): x[j, 0] for n, x in self.x.items() for j in range(d)}
        self.y = {n: torch.tensor(n % 2).double() for n in self.x}
        self.L = 0.0
        for n, y in self.y.items():
            z = (self.x[n].T @ self.w).sum() + self.shift("z", (n,))
            p = torch.sigmoid(z) + self.shift("p", (n,))
            self.L = self.L - y * p.log() - (1 - y) * (1 - p).log()


@dataclass
class Table:
    symbols: dict      # "h_l^i": value at a point, given the indices l and i
    functions: dict    # "g": value at a point, given the argument
    letters: dict      # free index letter: its kind
    kinds: dict        # kind of index: its numbers, where it is free
    ends: dict         # symbol that a sum may end with: the kind of that sum's index
    number: str        # the kind of an index that is given by a number
    points: Callable   # (depth, for an inequality?): the points
    depths: tuple = (None,)
    named_depth: int = None  # the depth of equations that name a layer by a number


def elementwise(f):
    def apply(s, u):
        if u.ndim and u.shape[1] > 1:
            raise TypeError("an element-wise function of a matrix")
        return f(s, u)

    return apply


def trace(s, u):
    if u.ndim and u.shape[0] != u.shape[1]:
        raise TypeError("the trace of a matrix that is not square")
    return u.trace() if u.ndim else u


def diagonal(s, u):
    if u.ndim == 0:
        raise TypeError("diag of a scalar")
    return torch.diag(u[:, 0]) if u.shape[1] == 1 else torch.diag(u)[:, None]


@cache
def networks(k, inequality):
    sizes = [(7, 3, 2), (8, 2, 4)] + [(7, 4, 3)] * (k == 3)
    points = [Network(10 * k + n, k, *size, norm=1.2 - 0.4 * n)
              for n, size in enumerate(sizes)]
    if inequality:
        points += [Network(10 * k + 5 + n, k, 7, 3, 2, norm=c)
                   for n, c in enumerate((0.1, 0.5, 2.0, 4.0))]
        points += [Network(10 * k + 9, k, 7, 3, 2, norm=c, tight=True)
                   for c in (0.8, -0.8, 0.3, -0.3)]
    return points


@cache
def regressions(_, inequality):
    points = [Regression(1, 7, 3), Regression(2, 9, 4), Regression(3, 6, 2)]
    if inequality:
        points += [Regression(4, 7, 3, "w"), Regression(5, 7, 3, "v")]
    return points


COMMON = {r"\operatorname{tr}": trace, r"\operatorname{diag}": diagonal}

TABLES = {
    "problem-1": Table(
        symbols={
            "x^i": lambda s, i: s.h[0, i],
            "h_l^i": lambda s, n, i: s.h[n, i],
            "a_l^i": lambda s, n, i: s.a[n, i],
            "W_l": lambda s, n: s.W[n],
            "b_l": lambda s, n: s.b[n],
            "y^i": lambda s, i: s.y[i],
            r"\hat y^i": lambda s, i: s.out[i],
            "L": lambda s: s.L,
            "N": lambda s: torch.tensor(s.N).double(),
            "k": lambda s: torch.tensor(s.k).double(),
            "I": lambda s: torch.eye(s.m).double(),
        },
        functions={"g": elementwise(Network.g), "g'": elementwise(Network.slope),
                   **COMMON},
        letters={r"\ell": "l", "j": "l", "i": "i"},
        kinds={"l": lambda s: range(1, s.k), "i": lambda s: range(1, s.N + 1)},
        ends={"N": "i", "k": "l"},
        number="l",
        points=networks, depths=(2, 3, 5), named_depth=3,
    ),
    "problem-3": Table(
        symbols={
            "X": lambda s: s.X,
            "x_n": lambda s, n: s.x[n],
            "x_nj": lambda s, n, j: s.x_nj[n, j],
            "y_n": lambda s, n: s.y[n],
            "y": "y_n",
            "z": "z_n",
            "p": "p_n",
            "w": lambda s: s.w,
            "w_j": lambda s, j: s.w_j[j],
            "v": lambda s: s.v,
            "L": lambda s: s.L,
            "N": lambda s: torch.tensor(s.N).double(),
            "I": lambda s: torch.eye(s.d).double(),
            r"\mathbf 1": lambda s: torch.ones(s.N, 1).double(),
        },
        functions={r"\sigma": elementwise(lambda s, u: u.sigmoid()),
                   r"\log": elementwise(lambda s, u: u.log()),
                   r"\exp": elementwise(lambda s, u: u.exp()), **COMMON},
        letters={"n": "n", "i": "j", "j": "j"},
        kinds={"n": lambda s: range(1, s.N + 1), "j": lambda s: range(1, s.d + 1)},
        ends={"N": "n", "d": "j"},
        number="j",
        points=regressions,
    ),
}
