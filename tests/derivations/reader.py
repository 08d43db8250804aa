r"""Reads the displayed equations of derivations.tex and of the notebook, evaluates both
sides at random points in float64 and compares them; derivatives come from autograd.

The notation is in notation.lark, in words and as a grammar: chains A = B < C, numbers,
columns and matrices, sums, entries x_{ni}, derivatives \frac{\partial A}{\partial B}; a
symbol carries all its indices, and one line in symbols.py adds a symbol. Anything else
is refused with its line, never skipped, and so is what has no finite value.
NOT read: inline formulas, words (conditions, reasons behind \quad or &&), tags; nor
whether a step follows from the one before. An inequality is no more than tried, also at
extreme points.

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
ROUNDING = 1e-13  # relative to its terms, a sum as small as this is 0
UNSEEN = 1e-10  # a term as small as this, relative to the other, is not compared
PARSER = Lark.open("notation.lark", rel_to=__file__, start="row", parser="lalr")
BRACES = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
WORDS = r"\\text(?:rm|it)?" + BRACES
GAP = r"(?:&|\\q?quad(?![a-zA-Z]))"
SPELLINGS = [  # what people write, and how notation.lark spells it
    (r"\\(tag|label)\*?\{[^{}]*\}|\{\s*\}|\\(short)?intertext" + BRACES, " "),
    (r"\\(notag|nonumber|displaystyle|limits|cdot)(?![a-zA-Z])|~|\\[,;:! ]", " "),
    (rf"\s*{GAP}(\s|{GAP})*{WORDS}\s*[.,;]?\s*$|^\s*&(?!\s*&)|\\q?quad\s*$", " "),
    (r"\\left\s*\\(\||Vert)", r"\\lVert "), (r"\\right\s*\\(\||Vert)", r"\\rVert "),
    (r"\\\|(.*?)\\\|", r"\\lVert \1 \\rVert "), (r"(\\rVert)\s*_\s*(2|\{2\})", r"\1 "),
    (r"\\([bB]igg?[lrm]?|left|right)(?![a-zA-Z])", " "), (r"\^\s*\{(\d)\}", r"^\1 "),
    (r"\\[tdc]frac(?![a-zA-Z])", r"\\frac"), (r"\\frac\s*(\w)", r"\\frac{\1}"),
    (r"(\\frac\{[^{}]*\})\s*(\w)", r"\1{\2}"), (r"\\mathsf\{T\}", r"\\top "),
    (r"\\(operatorname|mathrm|text)\s*\{\s*diag\s*\}", r"\\operatorname{diag}"),
    (r"\bL\s*\(\s*(D\s*;\s*w|Y\s*,\s*\\hat(\s+Y|\s*\{Y\}))\s*\)", "L "),
    (r"(\^\s*\{\([^(){}]*\)[\s\\topT]*\})\s*(_\s*(\{[^{}]*\}|\\ell\b|\w))", r"\2\1"),
    (r"\)\s*(\\top|T)\s*\}", r")}^\\top ")]  # h^{(i)\top} gets two exponents
HINTS = [  # the first that fits the place; @ is where the reader stops
    (r"@[/.]", r"write \frac{1}{N} for 1/N and \frac{1}{2} for 0.5"),
    (r"e\^\{?-?@", r"write \exp(-z_n)"), (r"@\\(math|bold|bm)", "write a plain letter"),
    (r"@\\nabla|\\partial", r"write \frac{\partial A}{\partial B} with symbols A, B"),
    (r"\\sum.{0,12}@", r"sums are \sum_{n=1}^N and \sum_n"),
    (r"@(,|\\(q?quad|text|in|forall)\b)", r"one equation, then \quad \text{...}"),
    (r"@(\\[lr]?vert|\|)", r"a norm is \lVert x \rVert; single bars are not read"),
    (r"@&|^@[-+]|@\\(begin|end)", "a row is A = B, & at the =, or goes on with = or <"),
    (r"@\d|@\^|\^@", r"a number stands first; powers are 2, {-1}, \top, {(i)}"),
    (r"@\\", "see notation.lark, and symbols.py for the symbols")]


def alike(a, b):
    """Both, if they have the same shape: nothing broadcasts."""
    if a.shape != b.shape:
        refuse(f"the shapes {list(a.shape)} and {list(b.shape)} differ")
    return a, b


def add(a, b):
    small, large = sorted(float(abs(x.detach()).max()) for x in alike(a, b))
    if 0 < small < UNSEEN * large:
        refuse("a term that is too small beside the other to be compared")
    return (a + b) * (abs(a + b).max() > ROUNDING * large)


def divide(a, b):
    if b.ndim or not abs(b) > ROUNDING:
        refuse("the shape of a divisor, or a divisor that is 0")
    return a / b


def multiply(a, b):
    if a.ndim and b.ndim and a.shape[1] != b.shape[0]:
        refuse(f"the shapes {list(a.shape)} and {list(b.shape)} have no product")
    c = a @ b if a.ndim and b.ndim else a * b
    return c.reshape(()) if c.numel() == 1 else c


def power(a, n):
    if a.ndim == 0:
        return a ** int(n) if int(n) >= 0 else divide(1, a ** -int(n))
    if n != "-1" or a.shape[0] != a.shape[1] or not torch.linalg.cond(a) < 1e9:
        refuse(f"the shape {list(a.shape)} or its values allow no power {n}")
    return torch.linalg.inv(a)


OPERATIONS = {
    "number": lambda n: torch.tensor(float(n)).double(), "negative": torch.neg,
    "plus": add, "minus": lambda a, b: add(a, -b), "frac": divide, "power": power,
    "hadamard": lambda a, b: torch.mul(*alike(a, b)),
    "product": lambda *factors: reduce(multiply, factors),
    "norm": lambda a: torch.linalg.matrix_norm(a, 2) if a.ndim else abs(a),
    "transpose": lambda a, _: a.T if a.ndim else refuse("the transpose of a scalar")}


def slope(a, b):
    """The derivative of a by b, with one row for each entry of a column a."""
    if not (a.requires_grad and b.requires_grad and b.ndim):
        refuse("a derivative of or by what is no variable of the computation")
    if a.ndim and a.shape[1] + b.shape[1] > 2:
        refuse("the shape of what is differentiated, or by what")
    rows = [torch.autograd.grad(x, b, create_graph=True, materialize_grads=True)[0]
            for x in a.reshape(-1)]
    return torch.cat([row.T for row in rows]) if a.ndim else rows[0]


def entry(value, at):
    """The entry at these numbers; without numbers, the whole value."""
    sizes = [size for size in value.shape if size > 1]
    if at and (len(at) != len(sizes) or any(not 0 < n <= s for n, s in zip(at, sizes))):
        refuse(f"there is no entry {at} of the shape {list(value.shape)}")
    return value.squeeze()[tuple(n - 1 for n in at)] if at else value


class Reading(Interpreter):
    """The value of a tree at a point; `letters` holds the numbers of index letters."""

    def __init__(self, point):
        (self.sizes, self.symbols, self.functions), self.letters = point, {}

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
        if letter in self.letters:
            refuse(f"the index {letter} is bound twice, or used outside its sum")
        found = self.ends(body).get(letter)
        if found not in ([self.sizes.get(end[0], 0)] if end else self.sizes.values()):
            refuse(f"the sum over {letter} ends elsewhere than the symbols in it")
        terms = [self.visit(body) for self.letters[letter] in range(1, found + 1)]
        del self.letters[letter]
        return reduce(torch.add, terms)

    def call(self, tree):
        name, value = tree.children[0], self.visit(tree.children[1])
        function = self.functions.get(name) or refuse(f"{name} is no function here")
        if name in (r"\exp", r"\sigma") and abs(value).max() > 25:
            refuse(f"{name} so far out is a constant to rounding")
        return function(value)

    def atom(self, tree):
        value, at, _ = self.symbol(tree)
        return entry(value, at).detach()

    def derivative(self, tree):
        (a, at, _), (b, row, _) = map(self.symbol, tree.children)
        return entry(slope(entry(a, at), b), row)

    def second(self, tree):
        three, top = [*tree.children, tree.children[1]][:3], len(tree.children) == 4
        (a, at, _), (b, row, _), (c, column, _) = map(self.symbol, three)
        if (len(row), len(column)) != ((0, 0) if top else (1, 1)):
            refuse(r"a second derivative other than by two entries or by w and w^\top")
        return entry(slope(slope(entry(a, at), b), c), row + column)

    def symbol(self, atom):
        """(value, numbers of an entry, [(index letter, number it runs to)])"""
        name = re.sub(r"[{}\s]+", " ", atom.children[0]).strip()
        below, above = (tree.children if tree else [] for tree in atom.children[1:])
        for form in ("_l^i", "^i") if above else ("_l", "_n", ""):
            own, rest = below[: form.count("_")] + above, below[form.count("_") :]
            if name + form in self.symbols and len(own) == len(form) // 2:
                break
        else:
            forms = [s for s in self.symbols if re.split("[_^]", s)[0] == name]
            refuse(f"{name} so indexed is no symbol; symbols.py has {forms or 'none'}")
        value, at = self.symbols[name + form], tuple(map(self.number_of, own))
        if own:
            at = at if len(at) > 1 else at[0]
            value = value[at] if at in value else refuse(f"there is no {name} at {at}")
        ends = [2 if kind == "l" else self.sizes["N"] for kind in form[1::2]]
        letters = [index.children[0] for index in own + rest]
        return value, [*map(self.number_of, rest)], zip(letters, [*ends, *value.shape])

    def number_of(self, index):
        base, *offset = index.children
        number = int(base) if base.isdigit() else self.letters.get(base, 1)
        return number + sum(int(n.replace(" ", "")) for n in offset)

    def ends(self, tree):
        """{index letter that no sum binds: the number that it runs to everywhere}"""
        pairs = self.symbol(tree)[2] if tree.data == "atom" else [
            pair for child in tree.children if isinstance(child, Tree)
            for pair in self.ends(child).items()]
        found = {}
        for letter, end in pairs:
            if not letter.isdigit() and found.setdefault(letter, end) != end:
                refuse(f"the index {letter} runs over different things")
        if tree.data == "sum":
            found.pop(tree.children[0], None)
        return found


def holds(left, relation, right, part):
    """Whether it is true at all points, for all numbers of the free index letters."""
    points, extremes = PARTS[part]
    if "=" not in relation:
        points = points + (extremes or refuse("inequalities are not read in this part"))
    for reading in map(Reading, points):
        ends = reading.ends(Tree("both", [left, right]))
        for numbers in product(*(range(1, end + 1) for end in ends.values())):
            reading.letters = dict(zip(ends, numbers, strict=True))
            a, b = alike(reading.visit(left), reading.visit(right))
            gap, least = a - b, TOLERANCE * max(abs(a).max(), abs(b).max())
            if "=" not in relation and a.ndim:
                refuse("the shapes: an inequality of vectors or matrices")
            gap = -gap if re.search(r">|\\g", relation) else gap
            if not (abs(gap).max() <= least if "=" in relation else  # not so for NaN
                    gap <= least if "e" in relation else gap < -least):
                return False
    return True


Row = namedtuple("Row", "place part tag source fault")
TOKENS = re.compile(r"""
    ^(?P<level>%%\ begin|\#+)\ +(?P<title>\S[^\n]*) | ^(?P<stop>%%\ end)
  | \\begin\{(?P<env>(equation|align|gather)\*?)\}(?P<rows>.*?)\\end\{(?P=env)\}
  | \$\$(?P<dollars>.*?)\$\$ | (?<!\\)\\\[(?P<brackets>.*?)\\\] | \$\$ | (?<!\\)\\\[
  | \\begin\s*\{(?!(document|center|framed|tabular|itemize|enumerate)\})[^}\n]*\}?
  | \\([egx]?def|let|displaystyle|if\w*|input|include|align|gather|equation|multline
      |eqnarray|displaymath|\w*([cC]ommand|Operator|environment))(?!\w)
""", re.M | re.S | re.X)


def read(texts):
    """The rows of all displays in [(name, text)]; what may hide one is a faulty row."""
    rows, part, depth = [], None, 0
    for name, text in texts:
        for m in TOKENS.finditer(text):
            line = text.count("\n", 0, m.start()) + 1
            shown = m["rows"] or m["dollars"] or m["brackets"]
            if m["title"]:  # a deeper heading belongs to the part
                found = [p for p in PARTS if re.match(rf"{p}(?!\w)", m["title"])]
                if found or m["level"].count("#") <= depth:
                    part, depth = max(found, default=None), m["level"].count("#")
            elif m["stop"]:
                part = None
            elif shown and part:
                rows += read_display(shown, part, name, line)
            else:
                why = "is in no part of symbols.py" if shown else "is not read here"
                fault = f"`{m[0].splitlines()[0]}` {why}"
                rows.append(Row(f"{name}:{line}", part, "", m[0], fault))
    return rows


def read_display(text, part, name, line):
    """The rows of a display that begins at the line."""
    before = None
    text = re.sub(r"\\(begin|end)\{(aligned|gathered|split)\}(\[[tbc]\])?", "", text)
    for row in re.split(r"\\\\\*?(?:\[\s*-?[\d.]+\s*[a-z]{2}\s*\])?", text):
        source = plain = row.strip()
        place = f"{name}:{line + row[: row.find(source)].count(chr(10))}"
        line += row.count("\n")
        for pattern, spelling in SPELLINGS:
            plain = re.sub(pattern, spelling, plain, flags=re.S).strip()
        if source:
            before, fault = judge(plain, before, part)
            tags = re.findall(r"\\tag\{(.*?)\}", source)
            yield Row(place, part, " ".join(tags), source, fault)


def judge(plain, before, part):
    """(the last side of a row, what is wrong with the row)"""
    last = None
    try:
        tree = PARSER.parse(plain)
        sides, relations = tree.children[::2], tree.children[1::2]
        sides[0] = sides[0] or before or refuse("a row that continues nothing")
        last = sides[-1]
        steps = [holds(*step, part) for step in zip(sides, relations, sides[1:])]
        false = [f"relation {n}" for n, true in enumerate(steps, 1) if not true]
        return last, f"not confirmed: {', '.join(false)}" if false else ""
    except UnexpectedInput as error:
        at = error.pos_in_stream
        if getattr(getattr(error, "token", None), "type", "") == "$END":
            return last, f"`{plain[-20:]}` ends too early, or has no relation"
        around = plain[:at].rstrip()[-12:] + "@" + plain[at:][:12]
        hint = next((f"; {hint}" for at, hint in HINTS if re.search(at, around)), "")
        return last, f"`{plain[at:][:20]}` is not understood here{hint}"
    except (Refused, RuntimeError) as error:
        return last, str(error)


def faults(rows):
    return [f"{row.place}: {row.fault}" for row in rows if row.fault]


def read_file(path):
    """The rows of derivations.tex or, if the path ends so, of a notebook (.ipynb)."""
    text, cells = path.read_text("utf8"), []
    if path.suffix == ".ipynb":
        for number, cell in enumerate(json.loads(text)["cells"], 1):
            source = "".join(cell["source"])
            if cell["cell_type"] != "markdown":
                source = r"\begin{display in a code cell}" if "$$" in source else ""
            cells.append((f"{path.name} cell {number}", source))
        return read(cells)
    rows = read([(path.name, re.sub(r"(?<![\\%])%(?!% (begin|end) ).*", "", text))])
    empty = {"problem-1", "problem-3"} - {row.part for row in rows}
    return rows + [Row(f"{path.name}:1", part, "", "", f"no equation in {part}")
                   for part in sorted(empty)]


def main(files):
    rows = [row for file in files for row in read_file(Path(file))]
    for row in rows:
        print("FAIL" if row.fault else "ok  ", row.place, row.tag)
    print(len(rows), "equations")
    sys.exit("\n".join(faults(rows)) or 0)


if __name__ == "__main__":
    main(sys.argv[1:])
