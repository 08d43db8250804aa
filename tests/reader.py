r"""Reads the displayed equations of derivations.tex, evaluates both sides at random
points in float64 and compares them; derivatives come from automatic differentiation.

The notation it accepts (everything else is refused with its line, never skipped):
- Rows of equation, align and gather. `A = B = C` is a chain; a row that begins with
  `&=`, `&\le` or `&\ge` continues the row before, one with `&\quad +` its expression.
  Layout: \boxed \tag \notag & \Bigl \bigr \, a last comma or stop, `&& reason`.
  `\quad (\ell = 1, 2)` gives a free index its range, `\quad (A \le B)` a hypothesis.
- `:=` defines, once and before use; what it defines is put in wherever it stands.
- Symbols carry all their indices: h_\ell^{(i)}, x_{n j}. Only symbols and functions of
  symbols.py exist: `p (1 - p)` is a product, `g(a)` is g at a.
- Scalars, n x 1 columns and matrices; nothing broadcasts. A B \odot C = (A B) \odot C.
  \sum and \prod reach to the next + or - of their level. A number stands first in its
  product. No `/`: write \frac.
- \frac{\partial A}{\partial B} has the shape of B for a scalar A, the numerator's rows
  for a vector A. \mathrm{d}A is the derivative of A along one random direction of all
  parameters. \frac{\partial^2 A}{\partial w \partial w^\top} is the Hessian.
- An equation that names k, or no layer by its number, is evaluated at several depths.

python reader.py derivations.tex hw2.ipynb [--marks FILE.json]
"""

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import lark
import torch
from notation import (
    GRAMMAR,
    Definition,
    Expr,
    Reading,
    Refused,
    Symbols,
    needs,
    refuse,
    same,
)
from symbols import TABLES

TOLERANCE = 1e-12  # of an equality's relative error
REACHED = 1e-9  # how near to equality a bound has to come somewhere


class Part:
    """Parses and compares in the notation of one table of symbols."""

    def __init__(self, table):
        self.table, self.memo = table, {}
        table.entries = {}  # (name, number of subscripts, example?): (kinds, value)
        for sign, value in table.symbols.items():
            parts = re.fullmatch(r"(.+?)(?:_(\w+))?(?:\^(\w))?", sign)
            name, sub, sup = parts.groups("")
            table.entries[name, len(sub), bool(sup)] = sub + sup, value
        names = sorted(map(re.escape, table.functions), key=len, reverse=True)
        names = "|".join(name + "(?![a-zA-Z'])" for name in names)
        self.parser = lark.Lark(GRAMMAR.replace("@", names), start="row", parser="lalr",
                                propagate_positions=True)

    def parse(self, text):
        """([left side or None, relation, side, ...], clauses) of a row."""
        if text not in self.memo:
            sides, clauses = [], []
            for c in Symbols().transform(self.parser.parse(text)).children:
                data = getattr(c, "data", None)
                if data == "rel":
                    sides.append(str(c.children[0]))
                elif data in ("range", "hypothesis"):
                    clauses.append((data, [Expr(t) if isinstance(t, lark.Tree) else t
                                           for t in c.children[1:]]))
                else:
                    sides.append(c and Expr(c))
            self.memo[text] = sides, clauses
        return self.memo[text]

    def verify(self, left, relation, right, clauses, defs):
        """(largest relative error, tightness or None), at all points and indices."""
        given = [e for _, c in clauses for e in c if isinstance(e, Expr)]
        parts = [left, right, *given]
        names = set().union(*(e.names for e in parts))
        key = relation, *map(id, parts), id(clauses), needs(defs, names)
        if key not in self.memo:
            try:
                self.memo[key] = self.compare(
                    left, relation, right, clauses, defs, parts)
            except Refused as error:
                self.memo[key] = error
        if isinstance(self.memo[key], Refused):
            raise self.memo[key]
        return self.memo[key]

    def compare(self, left, relation, right, clauses, defs, parts):
        table, equal, less = self.table, relation == "=", relation.startswith(r"\le")
        ranges = {str(c[0]): c[1:] for what, c in clauses if what == "range"}
        bounds = [c for what, c in clauses if what == "hypothesis"]
        letters = sorted((left.letters | right.letters) - set(table.ends))
        loose = set().union(*(e.letters for b in bounds for e in b[::2]))
        for x in (*letters, *ranges, *loose - set(table.ends)):
            if (x in ranges and x not in letters) or x not in table.letters:
                refuse(f"the index {x} is bound by nothing or stands nowhere")
        numbered = ranges or left.numbered or right.numbered
        if numbered and not any("k" in e.letters | e.names for e in parts):
            depths = [table.named_depth]
        else:
            depths = table.depths
        errors, gaps, largest = [], defaultdict(list), [0.0, 0.0]
        never, sometimes = set(), set()
        for point in (p for k in depths for p in table.points(k, not equal)):
            read = Reading(table, point, defs)
            for bound in self.bindings(read, letters, ranges, {}):
                if not all(self.holds(read, *b, ranges, bound) for b in bounds):
                    continue
                a, b = read(left.tree, bound), read(right.tree, bound)
                same(a, b, f"`{relation}`")
                sizes = [v.abs().max().item() for v in (a, b)]
                gap = (a - b).abs().max().item() if equal else (
                    b - a if less else a - b).item() if a.ndim == 0 else refuse(
                    "an inequality of matrices")
                if not math.isfinite(gap):
                    refuse("a value that is no finite number")
                size = max(sizes)
                errors.append((gap if equal else -gap) / (size or 1.0))
                if equal and errors[-1] > TOLERANCE:
                    return errors[-1], None
                largest = [max(pair) for pair in zip(largest, sizes, strict=True)]
                layers = (v for kind, v in bound.values() if kind == table.number)
                gaps[getattr(point, "k", None), *layers].append((gap, size))
            never, sometimes = never | read.never, sometimes | read.sometimes
        if not errors:
            refuse("an empty range: true of nothing")
        if never - sometimes:
            refuse("a product that is always empty")
        if equal:
            return max(errors), None
        # The tightest instance, for the worst depth and layer; the distance to a
        # bound by zero is relative to the largest value that the other side takes.
        top, zero = max(largest), min(largest) == 0
        return max(0.0, *errors), max(
            min(abs(gap) / (top if zero else size) for gap, size in found
                if zero or size > 1e-9 * top) for found in gaps.values())

    def bindings(self, read, letters, ranges, bound):
        """`bound`, extended by all values of the letters."""
        values = []
        for x in letters:
            kind, given = self.table.letters[x], ranges.get(x)
            if given is None:
                values.append(self.table.kinds[kind](read.point))
                continue
            ends = [read.index(e.tree, {})[1] for e in given if isinstance(e, Expr)]
            dots = len(ends) < len(given)  # 1, \dots, k - 1
            values.append(range(ends[0], ends[-1] + 1) if dots else ends)
        for found in product(*values):
            yield bound | {x: (self.table.letters[x], v)
                           for x, v in zip(letters, found, strict=True)}

    def holds(self, read, a, sign, b, ranges, bound):
        """Whether a hypothesis holds, for all values of the letters it has alone."""
        alone = sorted((a.letters | b.letters) - set(self.table.ends) - set(bound))
        gaps = [read(b.tree, inner) - read(a.tree, inner)
                for inner in self.bindings(read, alone, ranges, bound)]
        return all(gap >= 0 if sign.startswith(r"\le") else gap <= 0 for gap in gaps)


PARTS = {name: Part(table) for name, table in TABLES.items()}


@dataclass
class Result:
    """What was found of one equation; the build sets `error` beside its last row."""

    line: int  # of its end
    tag: str
    kind: str  # "equality", "inequality" or "definition"
    error: float  # None for a definition
    tightness: float  # None unless an inequality
    source: str
    boxed: bool
    place: str  # file:line of its beginning
    start: int  # where the source begins in the file
    rows: list  # (start, end) of its rows in the file

    @property
    def ok(self):
        near = self.tightness is None or self.tightness <= REACHED
        return self.error is None or (self.error <= TOLERANCE and near)


LAYOUT = re.compile(r"\\(?:[bB]igg?[lr]?|left|right)(?![a-zA-Z])|\\[,;:!]|~")
TAG = re.compile(r"\\tag\{([^{}]*)\}|\\notag(?![a-zA-Z])")
ROW = re.compile(r"((?:(?!\\\\)[\s\S])*)(\\\\|$)")
DISPLAY = re.compile(r"\\begin\{(equation|align|gather)\}([\s\S]*?)\\end\{\1\}")
DOLLARS = re.compile(
    r"\$\$(\s*\\begin\{aligned\})?([\s\S]*?)(?(1)\\end\{aligned\}\s*)\$\$")
SECTION = re.compile(r"(?:^#|\A)(?:(?!^##? )[\s\S])*", re.MULTILINE)
UNKNOWN = re.compile(
    r"\\\[|\$\$|\\begin\s*\{(?!(?:document|center|tabular|itemize|enumerate)\})"
    r"|\\(?:displaystyle|def|let|(?:re)?newcommand|input|include)(?![a-zA-Z])")


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def displays(text, where, dollars):
    """(environment, start, end) of each display; what else may be one is refused."""
    found = [(m[1], *m.span(2)) for m in DISPLAY.finditer(text)]
    rest = DISPLAY.sub(blank, text)
    if dollars:
        found += [("align" if m[1] else "equation", *m.span(2))
                  for m in DOLLARS.finditer(rest)]
        rest = DOLLARS.sub(blank, rest)
    if unknown := UNKNOWN.search(rest):
        raise Refused(f"{where(unknown.start())}: `{unknown[0]}` is not read here")
    return sorted(found, key=lambda display: display[1])


def equations(text, env, start, end, where):
    """[text with its layout blanked out, rows, tags, boxed] of each equation."""
    groups = []
    for m in ROW.finditer(text, start, end):
        if m.start() == end and groups:
            break
        row, tags = TAG.sub(blank, m[1]), [t[1] for t in TAG.finditer(m[1]) if t[1]]
        row = LAYOUT.sub(blank, re.sub(r"&&[^&]*$", blank, row))
        if boxed := re.fullmatch(r"(\s*)\\boxed\{(.*)\}([\s.,]*)", row, re.DOTALL):
            row = boxed[1] + " " * 7 + boxed[2] + " " + boxed[3]
        goes_on = groups and re.match(r"\s*&\s*\\quad(?=\s*[+-])", row)
        if not row.strip() or row.count("&") > (env == "align") or (
                env == "equation" and groups):
            raise Refused(f"{where(m.start())}: an empty row, or more columns or rows "
                          f"than {env} has")
        if goes_on:
            row = blank(goes_on) + row[goes_on.end():]
        else:
            groups.append(["", [], [], False])
        group = groups[-1]
        group[0] += " " * 2 * bool(group[1]) + row.replace("&", " ")
        group[1].append((m.start(), m.end(1)))
        group[2] += tags
        group[3] |= bool(boxed)
    return groups


def stream(text, part, defs, where, dollars=False):
    """The results of all displays of the text; its definitions are added to defs."""
    text = re.sub(r"(?<!\\)%[^\n]*", blank, text)
    for env, start, end in displays(text, where, dollars):
        before = None
        for row, spans, tags, boxed in equations(text, env, start, end, where):
            row = re.sub(r"[.,](?=\s*$)", " ", row)
            at, row = spans[0][0] + len(row) - len(row.lstrip()), row.strip()
            try:
                sides, clauses = part.parse(row)
                if len(tags) > 1 or (sides[0] is None and before is None):
                    refuse("two tags, or a row that continues nothing")
                judged = judge(part, sides, clauses, defs, before, where(at))
            except Refused as error:
                raise Refused(f"{where(at)}: {error}") from None
            except lark.UnexpectedInput as error:
                place = getattr(error, "pos_in_stream", None)
                place = len(row) if place is None or place < 0 else place
                raise Refused(f"{where(at + place)}: `{row[place:][:20]}` is not "
                              "understood here") from None
            before = sides[-1]
            line = where(len(text[:spans[-1][1]].rstrip()) - 1).rpartition(":")[2]
            yield Result(int(line), *tags or [None], *judged, row, boxed, where(at), at,
                         spans)


def judge(part, sides, clauses, defs, before, place):
    """(kind, error, tightness) of a row; what it defines is added to defs."""
    left, *steps = sides if sides[0] is not None else [before, *sides[1:]]
    steps = list(zip(steps[::2], steps[1::2], strict=True))
    names = set().union(*(e.names for _, e in steps))
    kind, error, tightness = "equality", None, None
    if steps[0][0] == ":=":
        kind, (_, body) = "definition", steps.pop(0)
        define(part, left, body, clauses, defs, place)
        left = body
    else:
        names |= left.names
    for (name, *_), d in defs.items():
        d.used |= name in names and d.place != place
    for relation, right in steps:
        if relation == ":=":
            refuse("a definition in the middle of a chain")
        found, near = part.verify(left, relation, right, clauses, defs)
        error, left = max(error or 0.0, found), right
        if near is not None:
            kind, tightness = "inequality", max(near, tightness or near)
    return kind, error, tightness


def define(part, left, body, clauses, defs, place):
    table = part.table
    if left.tree.data != "symbol" or clauses:
        refuse("a definition of something other than a symbol")
    key, *indices = left.tree.children
    letters = tuple("".join(filter(None, i.children)) for i in indices)
    if key in defs or key in table.entries:
        refuse(f"`{key[0]}` is defined twice")
    if not set(letters) <= set(table.letters) or len(set(letters)) < len(letters):
        refuse("the indices of a defined symbol are different letters")
    if body.letters - set(letters) - set(table.ends):
        refuse("the definition has an index that its symbol lacks")
    unknown = body.names - {name for name, *_ in (*defs, *table.entries)}
    if unknown:
        refuse(f"`{min(unknown)}` is used before it is defined")
    defs[key] = Definition(letters, body, needs(defs, body.names), place)


def locator(name, text, offset=0):
    return lambda at: f"{name}:{text.count(chr(10), 0, offset + at) + 1}"


def part_of(tex, part, name):
    """(start, end) of the part; a display outside of all parts is refused."""
    spans = {p: [m.start() for mark in ("begin", "end")
                 for m in re.finditer(rf"^%% {mark} {p}$", tex, re.MULTILINE)]
             for p in TABLES}
    if any(len(s) != 2 or s[0] > s[1] for s in spans.values()):
        raise Refused(f"{name}:1: `%% begin` and `%% end` of each part must stand once")
    rest = tex
    for start, end in spans.values():
        rest = rest[:start] + re.sub(r"[^\n]", " ", rest[start:end]) + rest[end:]
    if found := displays(rest, locator(name, tex), dollars=False):
        raise Refused(f"{locator(name, tex)(found[0][1])}: a display outside the parts")
    return spans[part]


def results(tex, part, name="derivations.tex", reader=None, defs=None):
    """Each equation of one part of the text as it is checked; see check."""
    start, end = part_of(tex, part, name)
    defs = {} if defs is None else defs
    empty = True
    for result in stream(tex[start:end], reader or PARTS[part], defs,
                         locator(name, tex, start)):
        result.start += start
        result.rows = [(start + a, start + b) for a, b in result.rows]
        empty = False
        yield result
    for (symbol, *_), d in defs.items():
        if not d.used:
            raise Refused(f"{d.place}: the definition of `{symbol}` is used by nothing")
    if empty:
        raise Refused(f"{name}:1: {part} holds no equation")


def check(*arguments, **options):
    """The results of all equations of one part of the text, in order.

    Raises Refused, with one sentence that names the line, for what is not in the
    notation. `reader` is a Part with another table; `defs` is filled with the
    definitions.
    """
    return list(results(*arguments, **options))


def check_notebook(notebook, tex, name="hw2.ipynb"):
    """The results of the displays in the Markdown cells, by the problem they are in."""
    defs, part, found = {p: {} for p in TABLES}, None, []
    for p in TABLES:
        check(tex, p, defs=defs[p])
    for number, cell in enumerate(notebook["cells"], 1):
        text = "".join(cell["source"])
        where = locator(f"{name} cell {number}", text)
        if cell["cell_type"] != "markdown":
            if unknown := re.search(r"\$\$|\\begin\{", text):
                raise Refused(f"{where(unknown.start())}: a display in a code cell")
            continue
        for section in SECTION.finditer(text):
            if heading := re.match(r"##? (.*)", section[0]):
                problem = re.match(r"Problem ([13])\b", heading[1])
                part = f"problem-{problem[1]}" if problem else None
            where = locator(f"{name} cell {number}", text, section.start())
            shown = displays(section[0], where, dollars=True)
            if shown and part is None:
                raise Refused(f"{where(shown[0][1])}: a display outside Problems 1, 3")
            if shown:
                found += stream(section[0], PARTS[part], defs[part], where, True)
    return found


def main(arguments=None):
    options = argparse.ArgumentParser(description="Check displayed equations.")
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--marks", type=Path)
    options = options.parse_args(arguments)
    torch.set_num_threads(1)
    rows, marks, tex = [], [], None
    try:
        for path in options.files:
            text = path.read_text("utf8")
            if path.suffix == ".ipynb":
                found = check_notebook(json.loads(text), tex or refuse(
                    f"{path.name}: give derivations.tex before it"), path.name)
            else:
                tex = text
                found = [r for part in TABLES for r in check(tex, part, path.name)]
            rows += found
            marks += [{"file": path.name, "ok": r.ok, **asdict(r)} for r in found]
    except Refused as error:
        sys.exit(str(error))
    for r in rows:
        note = "def." if r.error is None else f"{r.error:.0e}"
        near = "" if r.tightness is None else f", reached within {r.tightness:.0e}"
        print(f"{'ok  ' if r.ok else 'FAIL'} {r.place} {r.tag or '-'} {note}{near}")
    kinds = [r.kind for r in rows]
    print(", ".join(f"{kinds.count(kind)} {what}" for kind, what in (
        ("equality", "equalities"), ("inequality", "inequalities"),
        ("definition", "definitions"))))
    if options.marks:
        options.marks.write_text(json.dumps(marks, indent=1) + "\n")
    if bad := [r.place for r in rows if not r.ok]:
        sys.exit(f"not confirmed: {', '.join(bad)}")


if __name__ == "__main__":
    main()
