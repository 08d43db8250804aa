r"""Reads the displayed equations of derivations.tex and of the notebook and compares
their sides at random points in float64, derivatives with those of autograd.

notation.lark has the notation, in words and as a grammar, symbols.py the symbols. What
is not in them is refused with its line, never skipped; so is what has no finite value.
NOT read: inline formulas, words (conditions, inequalities), tags, code; nor the logic.
"""

import json
import re
from collections import namedtuple
from functools import reduce
from itertools import pairwise, product

import torch
from lark import Lark, Tree, UnexpectedInput
from lark.visitors import Interpreter
from symbols import PROBLEMS

TOLERANCE = 1e-12  # relative to the larger side's largest entry
ROUNDING = 1e-13  # relative to its terms, a sum as small as this is 0
UNSEEN = 1e-10  # a term as small as this, relative to the other, is not compared
PARSER = Lark.open("notation.lark", rel_to=__file__, start="row", parser="lalr")
HINTS = [  # the first that fits the place; @ is where the reader stops
    (r"@[/.]|\.@", r"write \frac{1}{N} for 1/N and \frac{1}{2} for 0.5"),
    (r"e@\^", r"write \exp(-z_n)"),
    (r"@\\(math|bold|bm)", "write a plain letter"),
    (r"\\sum[^}]{0,9}@", r"sums are \sum_{n=1}^N and \sum_n"),
    (r"@&?\s*([<>]|\\([lg]eq?|[lg]t|ne)\b)", "only = is read; say the rest in words"),
    (r"@(,|\\text|\\in|\\forall)|quad\s*@", r"one equation, then \quad \text{...}"),
    (r"\\(nabla|partial)", r"write \frac{\partial A}{\partial B} with symbols A, B"),
    (r"@(\\[lr]?[vV]ert|\\?\|)", r"a norm is \lVert x \rVert; |x| is not read"),
    (r"@\\\\|\\\\@", r"\\ breaks lines in align, gather and aligned only, not at -"),
    (r"\{[^{}]*@[-+]", "braces are not seen: write ( )"),
    (r"@&|&@|^@[-+]|@\\begin|@\\q|@$", "a row is A = B, & at the =, or goes on with ="),
    (r"@\d|@\^", r"a number stands first; exponents are 2, \top and {(i)}"),
    (r"@", "see notation.lark, and symbols.py for the symbols")]
TORCH = {  # what its messages mean here
    "stack": "the shapes of sides, terms or factors by entry differ; none broadcasts",
    "mat1": r"the shapes in a product do not fit: is a \top missing, or one too many?",
    "ensor": "the one does not depend on the other, or is no variable"}


def refuse(cause):
    raise RuntimeError(cause)  # as torch does where shapes do not fit


def add(a, b):
    terms = torch.stack([a, b])  # which refuses different shapes: nothing broadcasts
    small, large = sorted(abs(terms).reshape(2, -1).amax(1))
    if 0 < small < UNSEEN * large:
        refuse("a term that is too small beside the other to be compared")
    return terms.sum(0) * (abs(terms.sum(0)).max() > ROUNDING * large)


def multiply(a, b):
    if not (a.ndim and b.ndim):
        return a * b
    c = a @ b * (abs(a @ b).max() > ROUNDING * (abs(a) @ abs(b)).max())
    return c.reshape(()) if c.numel() == 1 else c


OPERATIONS = {
    "number": lambda n: torch.tensor(float(n)).double(), "negative": torch.neg,
    "plus": add, "minus": lambda a, b: add(a, -b),
    "hadamard": lambda a, b: torch.stack([a, b]).prod(0),
    "product": lambda *factors: reduce(multiply, factors),
    "frac": lambda a, b: a / b if not b.ndim else refuse("a divisor that is no scalar"),
    "square": lambda a: a * a if not a.ndim else refuse("the square of a matrix"),
    "transpose": lambda a: a.T if a.ndim else refuse("the transpose of a scalar"),
    "norm": lambda a: torch.linalg.vector_norm(a) if a.shape[1:] == (1,) else refuse(
        "the norm of what is no column")}


def entry(value, at):
    """The entry at these numbers; without numbers, the whole value."""
    if at and (len(at) != value.squeeze().ndim or min(at) < 1):
        refuse(f"there is no entry {at} of the shape {list(value.shape)}")
    return value.squeeze()[tuple(n - 1 for n in at)] if at else value


class Reading(Interpreter):
    """The value of a tree at a point; an index letter that has no number is 1."""

    def __init__(self, point):
        self.sizes, self.first_end, self.symbols, self.functions = point
        self.letters, self.ends = {}, {}  # the letters' numbers; where their places end

    def _visit_tree(self, tree):
        """Its value, if that is finite (NaN is not below 1e50) and no underflow."""
        value = super()._visit_tree(tree)
        if not (value == 0).all() and not 1e-50 < abs(value).max() < 1e50:
            refuse("a value that is no finite number")
        return value

    def __default__(self, tree):
        return OPERATIONS[tree.data](*self.visit_children(tree))

    def sum(self, tree):
        letter, *end, body = tree.children
        if letter in self.ends:
            refuse(f"the index {letter} is bound twice, or used outside its sum")
        self.letters[letter] = 1
        self.visit(body)
        found = self.ends.get(letter)
        if found not in ([self.sizes.get(end[0], 0)] if end else self.sizes.values()):
            refuse(f"the sum over {letter} ends elsewhere than the symbols in it")
        terms = [self.visit(body) for self.letters[letter] in range(1, found + 1)]
        del self.letters[letter], self.ends[letter]
        return reduce(add, terms)

    def call(self, tree):
        name, value = tree.children[0], self.visit(tree.children[1])
        name = re.findall(r"[a-z]+'?", name)[-1]  # of \operatorname{diag}, too
        function = self.functions.get(name) or refuse(f"{name} is no function here")
        far = name not in ("log", "diag") and abs(value).max() > 12
        if far or value.shape[1:] not in ((), (1,)):
            refuse(f"{name} of a matrix, or beyond 12, where rounding hides terms")
        return function(value)

    def atom(self, tree):
        return entry(*self.symbol(tree)).detach()

    def derivative(self, tree):
        (value, at), *variables = map(self.symbol, tree.children)
        value, *_ = [entry(*x) for x in ((value, at), *variables)]
        variables *= 1 + tree.data.endswith("twice")  # as in \partial w_i^2
        for variable, _ in variables:
            if value.ndim and not value.shape[1:] == variable.shape[1:] == (1,):
                refuse("the shape of what is differentiated, or by what")
            rows = [torch.autograd.grad(x, variable, create_graph=True)[0]
                    for x in value.reshape(-1)]
            value = torch.cat([row.T for row in rows]) if value.ndim else rows[0]
        return entry(value, [n for _, at in variables for n in at]).detach()

    derivative_twice = derivative

    def symbol(self, tree):
        """The value of a symbol, and the numbers of the entry that is meant."""
        name = re.sub(r"[{}\s]+", " ", tree.children[0]).strip()
        indices = {kind.data: kind.children for kind in tree.children[1:]}
        below, above = indices.get("below", []), indices.get("above", [])
        numbers = [*map(self.number_of, below)]
        end = "".join(f"^{self.number_of(index)}" for index in above)
        keys = [name + end, name + "".join(f"_{n}" for n in numbers[:1]) + end]
        own = keys[1] in self.symbols  # whether the first subscript is the symbol's own
        if keys[own] not in self.symbols:
            refuse(f"{keys[1]} is no symbol of symbols.py; one carries all its indices")
        value = self.symbols[keys[own]]
        ends = [*zip(below, [self.first_end] * own + [*value.shape])]
        for index, end in ends + [*zip(above, [self.sizes["N"]])]:
            letter = index.children[0]
            if not letter.isdigit() and self.ends.setdefault(letter, end) != end:
                refuse(f"the index {letter} runs over different things")
        return value, numbers[own:]

    def number_of(self, index):
        base, *offset = index.children
        number = int(base) if base.isdigit() else self.letters.get(base, 1)
        return number + sum(int(n.replace(" ", "")) for n in offset)


def holds(left, right, problem):
    """Whether they are equal (NaN never is) at all points, for all free letters."""
    sides = Tree("sides", [left, right])
    for reading in map(Reading, PROBLEMS.get(problem) or refuse("it is in no problem")):
        reading.visit_children(sides)  # notes where the letters end
        for numbers in product(*(range(1, end + 1) for end in reading.ends.values())):
            reading.letters = dict(zip(reading.ends, numbers))
            a, b = torch.stack(reading.visit_children(sides))
            if not abs(a - b).max() <= TOLERANCE * max(abs(a).max(), abs(b).max()):
                return False
    return True


def judge(source, before, problem):
    """(the chain in a row, what is wrong with it); it may go on from a side before."""
    chain = None
    try:
        for chain in PARSER.parse(source).children:  # none, if there is only layout
            if chain.children[0].data == "before":
                chain.children[0] = before or refuse("a row that continues nothing")
            steps = [holds(*step, problem) for step in pairwise(chain.children)]
            return chain, "" if all(steps) else f"not confirmed: {steps}"
        return None, ""
    except UnexpectedInput as error:
        at = len(source) if "Token('$END'" in str(error) else error.pos_in_stream
        around = source[:at].rstrip()[-12:] + "@" + source[at:][:20]
        hint = next(hint for place, hint in HINTS if re.search(place, around))
        return None, f"`{around}` is not understood at @; {hint}"
    except (RuntimeError, IndexError) as error:
        return chain, next((TORCH[w] for w in TORCH if w in str(error)), str(error))


Row = namedtuple("Row", "line source chain fault")
TOKENS = re.compile(r"""
    ^(?P<heading>%%\ end|(%%\ begin|\#\#?)\ +([pP]roblem[ -](?P<problem>\d+)\b)?)
  | \\begin\{(?P<env>(equation|align|gather)\*?)\}(?P<rows>.*?)\\end\{(?P=env)\}
  | \$\$(?P<dollars>((?!\n\s*\n).)*?)\$\$ | (?<!\\)\\\[(?P<brackets>.*?)\\\] | \$\$
  | \\\[(?!\s*-?[\d.]+\s*[a-z]{2}\s*\]) | \^\^
  | \\begin\s*\{(?!(document|center|framed|tabular|itemize|enumerate)\})[^}\n]*\}?
  | \\([egx]?def|\w*let|displaystyle|if\w*|@?input|include|\w*align\w*|gather|equation
      |multline|eqnarray|displaymath|verb|\w*([cC]ommand|Operator|environment))(?!\w)
""", re.M | re.S | re.X)
BREAK = re.compile(r"\\\\\*?(?:\[\s*-?[\d.]+\s*[a-z]{2}\s*\])?"
                   r"(?!(?:[&~\s]|\\[,;:! ]|\\q?quad)*(?:-|\\cdot))")
INNER = re.compile(r"(?s)^(\s*(?:\\label{.*?})?\s*)\\begin\{(aligned|gathered|split)\}"
                   r"(?:\[[tbc]\])?(.*)\\end\{\2\}(?=[\s.,;]*(\\(tag|label|q)|$))")


def read(path):
    """The rows of all displays in a file; what may hide a display is a faulty row."""
    text, rows, problem = path.read_text("utf8"), [], None
    comment = r"(?m)^(%% (?:begin|end) [\w-]*).*|(?<!\\)((?:\\\\)*)%.*"
    texts = [(path.name, re.sub(comment, r"\1\2", text))]
    if path.suffix == ".ipynb":
        cells = enumerate(json.loads(text)["cells"], 1)
        texts = [(f"{path.name} cell {n}", "".join(cell["source"])) for n, cell in cells
                 if cell["cell_type"] != "code" or "$$" in "".join(cell["source"])]
    for name, text in texts:
        for m in TOKENS.finditer(text):
            line, before = text.count("\n", 0, m.start()) + 1, None
            shown = m["rows"] or m["dollars"] or m["brackets"] or f"?{m[0]}"
            if m["heading"]:
                shown, problem = "", m["problem"]
            shown, inner = INNER.subn(r"\1\3", shown)
            lines = inner or m["env"] and m["env"][0] in "ag"  # else \\ breaks none
            for row in BREAK.split(shown, 0 if lines else -1):
                source = row.strip()
                at = line + row[: row.find(source)].count("\n")
                line += row.count("\n")
                chain, fault = judge(source, before, problem)
                before = chain and chain.children[-1]
                if chain or fault:
                    rows += [Row(at, source, chain, fault and f"{name}:{at}: {fault}")]
    return rows
