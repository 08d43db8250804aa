"""The grammar of the house notation, and an expression's value at a point."""

import re
from dataclasses import dataclass
from functools import reduce

import lark
import torch
from torch.autograd import grad

GRAMMAR = r"""
row: [expr] (rel expr)+ clause*
!rel: ":=" | "=" | LE | GE
?clause: QUAD "(" NAME "=" idx ("," (idx | DOTS))* ")" -> range
       | QUAD "(" expr (LE | GE) expr ")" -> hypothesis
?expr: MINUS? term (SIGN term)*
?term: item+ | item* bigop
?item: factor | ODOT
bigop: BIG "_" "{" NAME "=" idx "}" "^" (unit | "{" idx "}") term
?factor: symbol | NUMBER -> number | bracket | norm | frac | derivative
       | FUNCTION "(" expr ")" [transpose] -> call | FUNCTION symbol -> bare
       | D (symbol | bracket | derivative) -> differential
bracket: ("(" expr ")" | "[" expr "]") [power]
norm: "\\lVert" expr "\\rVert" [power]
frac: FRAC "{" expr "}" "{" expr "}"
derivative: FRAC "{" PARTIAL _operand "}" "{" PARTIAL symbol "}"
          | FRAC "{" PARTIAL _square _operand "}" "{" PARTIAL symbol PARTIAL symbol "}"
_operand: symbol | bracket
_square: "^" SQUARE | "^" "{" SQUARE "}"
symbol: NAME [sub] [example | power]
sub: "_" unit | "_" "{" idx+ "}"
example: "^" "{" "(" idx ")" [TOP] "}"
?power: transpose | "^" DIGIT -> power | "^" "{" (NUMBER | MINUS NUMBER) "}" -> power
transpose: "^" TOP | "^" "{" TOP "}"
unit: (NAME | DIGIT) -> idx
idx: (NAME | NUMBER) [SIGN NUMBER]
LE: /\\leq?(?![a-zA-Z])/
GE: /\\geq?(?![a-zA-Z])/
QUAD: /\\quad(?![a-zA-Z])/
DOTS: /\\l?dots(?![a-zA-Z])/
BIG: /\\(sum|prod)(?![a-zA-Z])/
ODOT: /\\odot(?![a-zA-Z])/
FRAC: /\\t?frac(?![a-zA-Z])/
PARTIAL: /\\partial(?![a-zA-Z])/
TOP: /\\top(?![a-zA-Z])/
D: /\\mathrm\{d\}/
MINUS: "-"
SIGN: /[+-]/
SQUARE: "2"
DIGIT: /\d/
NUMBER: /\d+/
FUNCTION: /@/
NAME.-1: /\\(hat|bar|mathbf)\s*(\{\s*\w\s*\}|(?<=\s)\w)|\\[a-zA-Z]+|[a-zA-Z]/
%ignore /\s+/
"""


class Refused(Exception):
    """The text is not in the notation, or says something impossible."""


def refuse(sentence):
    raise Refused(sentence)


def shape(value):
    return "x".join(map(str, value.shape)) or "scalar"


def same(a, b, what):
    if a.shape != b.shape:
        refuse(f"{what} of {shape(a)} and {shape(b)}")


def multiply(a, b):
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if a.shape[1] != b.shape[0]:
        refuse(f"a product of {shape(a)} and {shape(b)}")
    c = a @ b
    return c.reshape(()) if c.numel() == 1 else c


def gradient(a, b, live=True):
    """The derivative of the scalar a by b, in the shape of b."""
    options = {"create_graph": live, "retain_graph": True, "allow_unused": True}
    found = grad(a, b, **options)[0] if a.requires_grad else None
    return torch.zeros_like(b) if found is None else found


def jacobian(a, b):
    if a.ndim == 0:
        return gradient(a, b)
    if a.shape[1] > 1 or (b.ndim and b.shape[1] > 1):
        refuse(f"the derivative of {shape(a)} by {shape(b)}")
    return torch.stack([gradient(entry, b).reshape(-1) for entry in a[:, 0]])


def along(a, parameters):
    """The derivative of a along the parameters' directions: forward mode, by two
    reverse passes, d/du <da/dparameters, u> . direction."""
    leaves, ways = zip(*parameters, strict=True)
    if not a.requires_grad:
        return torch.zeros_like(a)
    u = torch.zeros_like(a).requires_grad_()
    slopes = grad(a, leaves, u, create_graph=True, allow_unused=True)
    total = sum((s * w).sum() for s, w in zip(slopes, ways, strict=True)
                if s is not None)
    return gradient(total + 0 * u.sum(), u, live=False)


@lark.v_args(meta=True)
class Symbols(lark.Transformer):
    """Symbol: its key (name, number of subscripts, example's index?) and its indices;
    a power or transpose is taken off it, and off a bracket, norm or function."""

    def symbol(self, meta, c):
        name, sub, script = c
        indices = list(sub.children) if sub else []
        count, example = len(indices), bool(script) and script.data == "example"
        if example:
            indices.append(script.children[0])
            script = script.children[1] and lark.Tree("transpose", [], script.meta)
        key = re.sub(r"[{}\s]+", " ", name).strip(), count, example
        tree = lark.Tree("symbol", [key, *indices], meta)
        return lark.Tree("raised", [tree, script], meta) if script else tree

    def raised(self, meta, c):
        *rest, power = c
        return lark.Tree("raised", [*rest, power], meta) if power else rest[0]

    def bracket(self, meta, c):
        return self.raised(meta, [lark.Tree("bracket", c[:1], meta), c[1]])

    def norm(self, meta, c):
        return self.raised(meta, [lark.Tree("norm", c[:1], meta), c[1]])

    def call(self, meta, c):
        return self.raised(meta, [lark.Tree("call", c[:2], meta), c[2]])


class Expr:
    """A parsed expression; the same text gives the same object, so it can be a key."""

    def __init__(self, tree):
        self.tree = tree
        self.names = {t.children[0][0] for t in tree.find_data("symbol")}
        self.letters = self.loose(tree, frozenset())
        layers = [i for t in tree.find_data("symbol") for i in t.children[1:]]
        layers += [t.children[3] for t in tree.find_data("bigop")]
        self.numbered = any(i.children[0].type != "NAME" for i in layers)

    def loose(self, tree, bound):
        """The letters in index position that no sum binds."""
        if not isinstance(tree, lark.Tree):
            return set()
        if tree.data == "idx":
            base = tree.children[0]
            return {str(base)} - bound if base.type == "NAME" else set()
        inner = bound | {str(tree.children[1])} if tree.data == "bigop" else bound
        *first, last = tree.children or [None]
        return self.loose(last, inner).union(*(self.loose(c, bound) for c in first))


@dataclass(eq=False)
class Definition:
    letters: tuple
    body: Expr
    needs: tuple  # the keys of the definitions that stand in the body
    place: str
    used: bool = False

    @property
    def key(self):
        return self.letters, self.body, self.needs


class Reading:
    """The value of a tree at one point, with the graph of its computation if live;
    `bound` maps an index letter to (kind, number)."""

    def __init__(self, table, point, defs, live=False):
        self.table, self.point, self.defs, self.live = table, point, defs, live
        self.graph = self if live else Reading(table, point, defs, True)
        self.never, self.sometimes = set(), set()  # products: empty, not empty

    def __call__(self, tree, bound):
        if not isinstance(tree, lark.Tree):
            refuse(f"`{tree}` lacks an operand")
        return getattr(self, tree.data)(bound, *tree.children)

    def remember(self, key, compute):
        """The value of compute(), kept under the key at this point."""
        if key not in self.point.cache:
            value = compute()
            self.point.cache[key] = value if self.live else value.detach()
        return self.point.cache[key]

    def number(self, bound, digits):
        return torch.tensor(float(digits), dtype=torch.float64)

    def expr(self, bound, *c):
        c = c if isinstance(c[0], lark.Token) else ("+", *c)
        values = [self(t, bound) if s == "+" else -self(t, bound)
                  for s, t in zip(c[::2], c[1::2], strict=True)]
        for value in values:
            same(values[0], value, "a sum")
        return reduce(torch.add, values)

    def term(self, bound, *items):
        groups = [[]]
        for item in items:
            if isinstance(item, lark.Token):
                groups.append([])
            else:
                groups[-1].append(item)
        if not all(groups):
            refuse(r"an operand of \odot is missing")
        if any(item.data == "bare" for g in groups for item in g[:-1]):
            refuse("a factor follows a function without brackets")
        if any(item.data == "number" for g in groups for item in g[1:]):
            refuse("a number behind another factor")
        values = [reduce(multiply, [self(i, bound) for i in g]) for g in groups]
        for value in values[1:]:
            same(values[0], value, r"\odot")
            if value.ndim == 0:
                refuse(r"\odot of scalars")
        return reduce(torch.mul, values)

    def bigop(self, bound, big, letter, low, high, body):
        if letter in bound or letter in {
                name for name, *_ in (*self.table.entries, *self.defs)}:
            refuse(f"the index {letter} is bound twice")
        kind, last = self.index(high, bound)
        first = self.index(low, bound)[1]
        values = [self(body, {**bound, letter: (kind, v)})
                  for v in range(first, last + 1)]
        (self.sometimes if values else self.never).add(id(body))
        if last < first - 1 or (big == r"\sum" and not values):
            refuse(f"{big} from {first} to {last} is empty")
        for value in values:
            same(values[0], value, "a sum")
            if big == r"\prod" and value.ndim:
                refuse(r"\prod of matrices")
        return reduce(torch.add, values) if big == r"\sum" else reduce(
            torch.mul, values, torch.ones((), dtype=torch.float64))

    def bracket(self, bound, tree):
        return self(tree, bound)

    def norm(self, bound, tree):
        value = self(tree, bound)
        if value.ndim == 0:
            refuse("the norm of a scalar")
        return value.norm() if value.shape[1] == 1 else torch.linalg.norm(value, 2)

    def raised(self, bound, tree, power):
        value = self(tree, bound)
        if power.data == "transpose":
            return value.T if value.ndim else refuse("the transpose of a scalar")
        n = int("".join(power.children))
        if value.ndim and (n != -1 or value.shape[0] != value.shape[1]):
            refuse(f"the power {n} of {shape(value)}")
        try:
            return torch.linalg.inv(value) if value.ndim else value**n
        except torch.linalg.LinAlgError:
            refuse("the inverse of a singular matrix")

    def frac(self, bound, _, above, below):
        above, below = self(above, bound), self(below, bound)
        return above / below if below.ndim == 0 else refuse("a division by a matrix")

    def call(self, bound, name, tree):
        def compute():
            try:
                return self.table.functions[name](self.point, self(tree, bound))
            except TypeError as error:
                refuse(str(error))

        if tree.data != "symbol":
            return compute()
        return self.remember((name, self.live, *self.locate(tree, bound)), compute)

    def bare(self, bound, name, tree):
        if name != r"\log" or tree.data != "symbol":
            refuse(f"{name} needs brackets")
        return self.call(bound, name, tree)

    def index(self, tree, bound):
        """(kind, number) of an index."""
        base, sign, offset = (*tree.children, None, None)[:3]
        if base.type != "NAME":
            kind, value = self.table.number, int(base)
        elif base in bound:
            kind, value = bound[base]
        elif base in self.table.ends:
            kind, value = self.table.ends[base], getattr(self.point, base)
        else:
            refuse(f"the index {base} is bound by nothing")
        return kind, value + int(sign + offset) if sign else value

    def locate(self, tree, bound):
        """A symbol's key, its indices' numbers, the keys of the definitions in it."""
        key, *indices = tree.children
        found = [self.index(i, bound) for i in indices]
        if key in self.defs:
            kinds = "".join(self.table.letters[x] for x in self.defs[key].letters)
        elif key in self.table.entries:
            kinds = self.table.entries[key][0]
        else:
            refuse(f"`{key[0]}` with such indices is no symbol here")
        if kinds != "".join(kind for kind, _ in found):
            refuse(f"an index of `{key[0]}` is of the wrong kind")
        return key, tuple(v for _, v in found), needs(self.defs, {key[0]})

    def symbol(self, bound, *c):
        key, at, below = self.locate(lark.Tree("symbol", c), bound)
        if not self.live:
            return self.remember((key, at, below, "value"), lambda: self.graph(
                lark.Tree("symbol", c), bound))
        return self.remember((key, at, below), lambda: self.look_up(key, at))

    def look_up(self, key, at):
        if key in self.defs:
            d = self.defs[key]
            kinds = [self.table.letters[x] for x in d.letters]
            value = self(d.body.tree, dict(zip(
                d.letters, zip(kinds, at, strict=True), strict=True)))
            return value + self.point.shift(key[0], at, value.shape)
        entry = self.table.entries[key][1]
        try:
            if not isinstance(entry, str):
                return entry(self.point, *at)
        except KeyError:
            refuse(f"there is no `{key[0]}` with the index {at}")
        name, kind = entry.split("_")
        tree = lark.Tree("symbol", [(name, 1, False), lark.Tree(
            "idx", [lark.Token("NAME", kind)])])
        return torch.stack([self(tree, {kind: (kind, v)})
                            for v in self.table.kinds[kind](self.point)])[:, None]

    def node(self, tree, bound):
        """What a derivative by this symbol is taken by: where it stands in the pass."""
        if tree.data != "symbol":
            refuse("a derivative by something other than a symbol")
        value = self.graph(tree, bound)
        key, at, _ = self.locate(tree, bound)
        if key in self.defs:
            return self.point.shift(key[0], at)
        if not value.requires_grad or isinstance(self.table.entries[key][1], str):
            refuse(f"a derivative by `{key[0]}`")
        return value

    def derivative(self, bound, *c):
        of, *by = (t for t in c if isinstance(t, lark.Tree))

        def compute():
            a, one = self.graph(of, bound), self.node(by[0], bound)
            if len(by) == 1:
                return jacobian(a, one)
            top = by[1].data == "raised" and by[1].children[1].data == "transpose"
            two = self.node(by[1].children[0] if top else by[1], bound)
            if a.ndim or one.shape != two.shape or top != bool(two.ndim):
                refuse(r"a second derivative other than by w w^\top or two scalars")
            return jacobian(gradient(a, one), two)

        if any(t.data != "symbol" for t in (of, *by)):
            return compute() if self.live else compute().detach()
        key = "derivative", self.live, *(self.locate(t, bound) for t in (of, *by))
        return self.remember(key, compute)

    def differential(self, bound, _, of):
        base, turn = (of.children if of.data == "raised" else (of, None))
        if turn is not None and turn.data != "transpose":
            refuse(r"\mathrm{d} of a power")
        if self.live:
            refuse("the differential of a differential")

        def compute():
            return along(self.graph(base, bound), self.point.parameters).detach()

        value = self.remember(("d", *self.locate(base, bound)), compute) \
            if base.data == "symbol" else compute()
        return value.T if turn is not None else value


def needs(defs, names):
    return tuple(d.key for (name, *_), d in defs.items() if name in names)
