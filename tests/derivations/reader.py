r"""Reads the displayed equations of derivations.tex and of the notebook, evaluates both
sides at random points in float64 and compares them; derivatives come from autograd.

The notation (anything else is refused with its line, never skipped):
- equation, align, gather, $$...$$, in the text's parts or under the notebook's headings
  Problem 1, Problem 3, A. `A = B \le C` is a chain, `&= B` continues the row before,
  `:=` is read as `=`. Layout: \boxed \tag \notag \Bigl \, and `&& \text{reason}`.
- The symbols and functions of symbols.py, where one line adds a symbol: `p (1 - p)` is
  a product, `g(a)` is g at a. A symbol carries all its indices: h_{\ell-1}^{(i)}, W_3.
- More subscripts give an entry: W_{\ell,rj}, h_{2,r}^{(i)}, x_{ni}. A letter runs over
  all that its place allows (\ell over 1, 2); a sum, \sum_{i=1}^N, has to do so too.
- Scalars, columns and matrices; nothing broadcasts. A B \odot C = (A B) \odot C; a sum
  reaches to the next + or - of its level. A number stands first in its product. \frac,
  not /. Powers: x^2 and x^{-1} of a scalar, A^{-1}, A^\top, a^{(i)\top}.
- \frac{\partial A}{\partial B} has the shape of B for a scalar A and one row for each
  entry of a column A; \partial^2 A by w_i and w_j, by w_i^2, or by w and w^\top.

python tests/derivations/reader.py derivations.tex hw2.ipynb
"""

import json
import re
import sys
from collections import namedtuple
from functools import reduce
from itertools import product
from pathlib import Path

import torch
from lark import Lark, Tree, UnexpectedInput
from lark.visitors import Interpreter
from symbols import PARTS, Refused, refuse

TOLERANCE = 1e-12  # relative to the larger side's largest entry
PARSER = Lark(r"""
?row: chain _END? | "\\boxed" "{" chain _END? "}" _END?
chain: [expr] (REL expr)+
?expr: term | "-" term -> negative | expr "+" term -> plus | expr "-" term -> minus
?term: product | sum | bare
     | product "\\odot" term -> hadamard
     | product (sum | bare) -> product
product: number | number? factor+
number: NUMBER
sum: "\\sum" "_" "{" LETTER "=" "1" "}" "^" (NAME | "{" NAME "}") term
bare: BARE_LOG atom -> call
?factor: base
       | base TOP -> transpose
       | base "^" (/\d/ | "{" /-?\d+/ "}") -> power
       | "\\frac" "{" expr "}" "{" expr "}" -> frac
       | "\\frac" "{" _D atom "}" "{" _D atom "}" -> derivative
       | "\\frac" "{" _D "^" "2" atom "}" "{" _D atom _D atom TOP? "}" -> second
       | "\\frac" "{" _D "^" "2" atom "}" "{" _D atom "^" "2" "}" -> twice
?base: atom | "(" expr ")" | "[" expr "]"
     | "\\lVert" expr "\\rVert" -> norm
     | FUNCTION "(" expr ")" -> call
atom: NAME [below] [above]
below: "_" (unit | "{" index (","? index)* "}")
above: _ABOVE index ")" "}"
index: (LETTER | NUMBER) /[+-]\s*\d+/?
?unit: (LETTER | /\d/) -> index

REL: /&?\s*(:=|=|\\[lg]eq?(?![a-zA-Z]))/
_END: /[.,]/
_D: "\\partial"
LETTER: /\\ell(?![a-zA-Z])|[a-z]/
NUMBER: /\d+/
TOP: /\^\s*(\\top(?![a-zA-Z])|\{\s*\\top\s*\})/
_ABOVE: /\^\s*\{\s*\(/
BARE_LOG.1: /\\log(?=\s+[a-zA-Z])/
FUNCTION: /(\\(exp|log|sigma|operatorname\{diag\})|g'?)(?![a-zA-Z'])/
NAME.-1: /\\(hat|bar)(\s*\{\s*\w\s*\}|\s+\w)|\\[a-zA-Z]+|[a-zA-Z]/
%ignore /\s+|~|\\[,;:!]|\\([bB]igg?[lr]?|left|right|cdot|notag|nonumber)(?![a-zA-Z])/
%ignore /\\tag\{[^{}]*\}|&&\s*\\text\{([^{}]|\{([^{}]|\{[^{}]*\})*\})*\}/
""", start="row", parser="lalr")


def alike(a, b):
    """Both, if they have the same shape: nothing broadcasts."""
    if a.shape != b.shape:
        refuse(f"the shapes {list(a.shape)} and {list(b.shape)} differ")
    return a, b


def multiply(a, b):
    c = a @ b if a.ndim and b.ndim else a * b
    return c.reshape(()) if c.numel() == 1 else c


def power(a, n):
    if a.ndim and n != "-1":
        refuse(f"the power {n} of a matrix")
    return torch.linalg.inv(a) if a.ndim else a ** int(n)


OPERATIONS = {
    "number": lambda digits: torch.tensor(float(digits)).double(),
    "negative": torch.neg,
    "plus": lambda a, b: torch.add(*alike(a, b)),
    "minus": lambda a, b: torch.sub(*alike(a, b)),
    "hadamard": lambda a, b: torch.mul(*alike(a, b)),
    "product": lambda *factors: reduce(multiply, factors),
    "frac": lambda a, b: refuse("a division by a matrix") if b.ndim else a / b,
    "norm": lambda a: torch.linalg.matrix_norm(a, 2),
    "transpose": lambda a, _: a.T if a.ndim else refuse("the transpose of a scalar"),
    "power": power,
}


def slope(a, b):
    """The derivative of a by b, with one row for each entry of a column a."""
    if not (a.requires_grad and b.requires_grad and b.ndim):
        refuse("a derivative of or by what is no variable of the computation")
    if a.ndim and a.shape[1] + b.shape[1] > 2:
        refuse("the derivative of a matrix, or of a column by a matrix")
    rows = [torch.autograd.grad(x, b, create_graph=True, materialize_grads=True)[0]
            for x in a.reshape(-1)]
    return torch.cat([row.T for row in rows]) if a.ndim else rows[0]


def entry(value, at):
    """The entry at these numbers; without numbers, the whole value."""
    sizes = [size for size in value.shape if size > 1]
    if at and (len(at) != len(sizes) or any(
            not 0 < n <= size for n, size in zip(at, sizes, strict=True))):
        refuse(f"there is no entry {at} of the shape {list(value.shape)}")
    return value.squeeze()[tuple(n - 1 for n in at)] if at else value


class Reading(Interpreter):
    """The value of a tree at a point; `letters` holds the numbers of index letters."""

    def __init__(self, point):
        (self.sizes, self.symbols, self.functions), self.letters = point, {}

    def __default__(self, tree):
        return OPERATIONS[tree.data](*self.visit_children(tree))

    def sum(self, tree):
        letter, end, body = tree.children
        if letter in self.letters:
            refuse(f"the index {letter} is bound twice, or used outside its sum")
        if self.ends(body).get(letter) != self.sizes.get(end, 0):
            refuse(f"the sum over {letter} ends elsewhere than the symbols in it")
        total = 0.0
        for number in range(1, self.sizes[end] + 1):
            self.letters[letter] = number
            total = total + self.visit(body)
        del self.letters[letter]
        return total

    def call(self, tree):
        name, value = tree.children[0], self.visit(tree.children[1])
        if name not in self.functions:
            refuse(f"{name} is no function here")
        return self.functions[name](value)

    def atom(self, tree):
        value, at, _ = self.symbol(tree)
        return entry(value, at).detach()

    def derivative(self, tree):
        (a, at, _), (b, row, _) = map(self.symbol, tree.children)
        return entry(slope(entry(a, at), b), row)

    def second(self, tree):
        (a, at, _), (b, row, _), (c, column, _) = map(self.symbol, tree.children[:3])
        if [len(row), len(column), len(tree.children)] not in ([1, 1, 3], [0, 0, 4]):
            refuse(r"a second derivative other than by two entries or by w and w^\top")
        return entry(slope(slope(entry(a, at), b), c), row + column)

    def twice(self, tree):
        return self.second(Tree("second", [*tree.children, tree.children[1]]))

    def symbol(self, atom):
        """(value, numbers of an entry, [(index letter, number it runs to)])"""
        name = re.sub(r"[{}\s]+", " ", atom.children[0]).strip()
        below, above = (tree.children if tree else [] for tree in atom.children[1:])
        for form in ("_l^i", "^i") if above else ("_l", "_n", ""):
            own, rest = below[: form.count("_")] + above, below[form.count("_") :]
            if name + form in self.symbols and len(own) == len(form) // 2:
                break
        else:
            refuse(f"{name} with such indices is no symbol of symbols.py")
        value, at = self.symbols[name + form], tuple(map(self.number_of, own))
        if own:
            at = at if len(at) > 1 else at[0]
            value = value[at] if at in value else refuse(f"there is no {name} at {at}")
        ends = [2 if kind == "l" else self.sizes["N"] for kind in form[1::2]]
        letters = [index.children[0] for index in own + rest]
        runs = list(zip(letters, [*ends, *value.shape], strict=False))
        return value, [*map(self.number_of, rest)], runs

    def number_of(self, index):
        base, *offset = index.children
        number = int(base) if base.isdigit() else self.letters.get(base, 1)
        return number + sum(int(n.replace(" ", "")) for n in offset)

    def ends(self, tree):
        """{index letter that no sum binds: the number that it runs to everywhere}"""
        if tree.data == "atom":
            pairs = self.symbol(tree)[2]
        else:
            pairs = [pair for child in tree.children if isinstance(child, Tree)
                     for pair in self.ends(child).items()]
        found = {}
        for letter, end in pairs:
            if not letter.isdigit() and found.setdefault(letter, end) != end:
                refuse(f"the index {letter} runs over different things")
        if tree.data == "sum":
            found.pop(tree.children[0], None)
        return found


def holds(left, relation, right, points):
    """Whether it is true at all points, for all numbers of the free index letters."""
    for reading in map(Reading, points):
        ends = reading.ends(Tree("both", [left, right]))
        for numbers in product(*(range(1, end + 1) for end in ends.values())):
            reading.letters = dict(zip(ends, numbers, strict=True))
            a, b = reading.visit(left), reading.visit(right)
            gap, size = torch.sub(*alike(a, b)), max(abs(a).max(), abs(b).max())
            gap = abs(gap) if "=" in relation else -gap if "g" in relation else gap
            if a.ndim and "=" not in relation:
                refuse("an inequality of vectors or matrices")
            if not size.isfinite():
                refuse("a value that is no finite number")
            if gap.max() > TOLERANCE * size:
                return False
    return True


Row = namedtuple("Row", "place part tag source fault")
TOKENS = re.compile(r"""
    ^(%%\ begin|\#+)\ (?P<part>(problem-|Problem\ )[13]|appendix-a|Appendix|A[.])(?!\w)
  | ^(?P<stop>%%\ end|\#\#?\ |\#+\ [B-Z][.])
  | \\begin\{(?P<env>equation|align|gather)\}(?P<rows>.*?)\\end\{(?P=env)\}
  | \$\$(?P<dollars>.*?)\$\$
  | \$\$ | \\\[
  | \\begin\s*\{(?!(document|center|tabular|itemize|enumerate)\})[^}\n]*\}?
  | \\(displaystyle|[egx]?def|let|if\w*|\w*(command|Operator)|input|include)(?!\w)
""", re.M | re.S | re.X)


def read(texts):
    """The rows of all displays in [(name, text)]; what may hide one is refused."""
    rows, part = [], None
    for name, text in texts:
        for m in TOKENS.finditer(text):
            line, shown = text.count("\n", 0, m.start()) + 1, m["rows"] or m["dollars"]
            if m["part"] or m["stop"]:
                part = m["part"]
            elif shown is None or part is None:
                refuse(f"{name}:{line}: `{m[0].splitlines()[0]}` is not read here")
            else:
                rows += read_display(shown, part, name, line)
    return rows


def read_display(text, part, name, line):
    """The rows of a display that begins at the line."""
    before = None
    for row in re.sub(r"\\(begin|end)\{aligned\}", "", text).split(r"\\"):
        source = row.strip()
        place = f"{name}:{line + row[: row.find(source)].count(chr(10))}"
        line += row.count("\n")
        fault, last = "", None
        try:
            # The parser reads h^{(i)\top} as two exponents, the example and \top.
            tree = PARSER.parse(re.sub(r"\)\s*\\top\s*\}", r")}^\\top", source))
            sides, relations = tree.children[::2], tree.children[1::2]
            sides[0] = sides[0] or before or refuse("a row that continues nothing")
            last = sides[-1]
            if not all([holds(*step, PARTS[part])
                        for step in zip(sides, relations, sides[1:], strict=False)]):
                fault = "not confirmed"
        except UnexpectedInput as error:
            fault = f"`{source[error.pos_in_stream :][:20]}` is not understood here"
        except (Refused, RuntimeError) as error:  # torch: shapes that do not fit
            fault = str(error)
        before = last
        tags = re.findall(r"\\tag\{(.*?)\}", source)
        yield Row(place, part, " ".join(tags), source, fault)


def faults(rows):
    return [f"{row.place}: {row.fault}" for row in rows if row.fault]


def read_file(path):
    """The rows of derivations.tex or, if the path ends so, of a notebook (.ipynb)."""
    text = path.read_text("utf8")
    if path.suffix == ".ipynb":
        texts = []
        for number, cell in enumerate(json.loads(text)["cells"], 1):
            place, source = f"{path.name} cell {number}", "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                texts.append((place, source))
            elif "$$" in source:
                refuse(f"{place}: a display in a cell that is not Markdown")
        return read(texts)
    rows = read([(path.name, re.sub(r"(?<![\\%])%(?!% (begin|end) ).*", "", text))])
    if empty := {"problem-1", "problem-3", "appendix-a"} - {row.part for row in rows}:
        refuse(f"{path.name}:1: no equation in {', '.join(empty)}")
    return rows


def main(files):
    try:
        rows = [row for file in files for row in read_file(Path(file))]
    except Refused as error:
        sys.exit(str(error))
    for row in rows:
        print("FAIL" if row.fault else "ok  ", row.place, row.tag)
    print(len(rows), "equations")
    sys.exit("\n".join(faults(rows)) or 0)


if __name__ == "__main__":
    main(sys.argv[1:])
