"""Wrong equations made from right ones, by changing one token of the LaTeX text."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import lark
from notation import Reading, Refused
from reader import PARTS, check


@dataclass
class Mutant:
    name: str  # the equation: what was done: to what
    what: str
    kind: str  # of the equation
    part: str
    text: str  # the whole file


def scalar(table, tree, defs):
    """Whether a factor is a scalar, seen at one point."""
    (point, *_) = table.points(table.named_depth, False)
    bound = {x: (kind, 1) for x, kind in table.letters.items()}
    try:
        return Reading(table, point, defs)(tree, bound).ndim == 0
    except Refused:
        return False


def edits(tree, source, is_scalar):
    """(what, start, end, replacement, what to call it) for each change below a tree."""
    data, c = tree.data, tree.children
    a, z = tree.meta.start_pos, tree.meta.end_pos
    text = source[a:z]

    def span(node):
        return ((node.start_pos, node.end_pos) if isinstance(node, lark.Token)
                else (node.meta.start_pos, node.meta.end_pos))

    if data == "symbol":
        key, *indices = c
        if key[2]:
            i = source.rindex("^", a, z)
            top = r"^\top" if r"\top" in source[i:z] else ""
            yield "example's index dropped", i, z, top
        if key[:2] == ("N", 0):
            yield "N to 1", a, z, "1"
        for idx in indices[:key[1]]:
            i, j = span(idx)
            if idx.children[0] == "n":
                spot = (i, j) if key[1] > 1 else (source.index("_", a), j)
                yield "example's index dropped", *spot, ""
    elif data == "idx":
        base, sign, offset = (*c, None, None)[:3]
        if sign:
            yield "layer index", span(sign)[0], span(offset)[1], ""
        elif base.type != "NAME":
            n = int(base)
            yield "layer index", *span(base), str(n - 1)
            yield "layer index", *span(base), str(n + 1)
        elif base in (r"\ell", "j", "k") or (base == "i" and "x_{n i}" in source):
            other = {"i": "j", "j": "i"}.get(base, "{" + base + "-1}") \
                if "x_{n i}" in source else "{" + base + "-1}"
            yield "layer index", *span(base), other
    elif data == "expr":
        signed = c if isinstance(c[0], lark.Token) else [None, *c]
        pairs = list(zip(signed[::2], signed[1::2], strict=True))
        for sign, term in pairs:
            if sign is not None:
                flipped = "-" if sign == "+" else "" if len(pairs) == 1 else "+"
                yield "sign", *span(sign), flipped
            if len(pairs) > 1:
                start = span(sign)[0] if sign is not None else span(term)[0]
                stop = span(term)[1]
                if term is pairs[0][1] and pairs[1][0] == "+":
                    stop = span(pairs[1][0])[1]
                yield "term dropped", start, stop, ""
    elif data == "term":
        for left, right in pairwise(c):
            (i, j), (k, m) = span(left), span(right)
            if isinstance(left, lark.Token):
                continue
            if isinstance(right, lark.Token):
                yield r"\odot to product", k, m, ""
            elif not is_scalar(left) and not is_scalar(right):
                yield r"product to \odot", j, k, r" \odot "
                if right.data != "bigop":
                    yield "operands swapped", i, m, source[k:m] + " " + source[i:j]
    elif data == "raised" and c[1].data == "transpose":
        i = source.rindex(r"\top", a, z)
        j = i + 4
        i -= source[i - 1] == "^"
        yield "transpose dropped", i, j, ""
    elif data == "raised":
        yield "exponent dropped", *span(c[1]), ""
    elif data == "number":
        yield {"2": "2 to 1"}.get(text, "number"), a, z, "1" if text == "2" else "2"
    elif data == "call" and c[0] == "g'":
        yield "g' to g", *span(c[0]), "g"
    elif data == "frac":
        yield ("operands swapped", span(c[1])[0], span(c[2])[1],
               source[slice(*span(c[2]))] + "}{" + source[slice(*span(c[1]))])
    elif data == "norm":
        yield "norm dropped", a, z, "(" + source[slice(*span(c[0]))] + ")"
    whole = data in ("symbol", "call", "frac", "derivative", "bracket")
    raised = r"\top" in text[-6:] or re.match(r"\s*\^", source[z:])
    if whole and not raised and not is_scalar(tree):
        if data == "symbol" and c[0][2]:
            yield "transpose added", z - 1, z, r"\top}", text
        else:
            yield "transpose added", z, z, r"^\top", text
    for child in c:
        if isinstance(child, lark.Tree):
            yield from edits(child, source, is_scalar)


def brackets(source):
    """Each pair of brackets that holds more than one token and is no function's."""
    for m in re.finditer(r"(?<!g)(?<!')(?<![a-z}{^])\s\(|^\(", source):
        depth = 0
        for i in range(m.end() - 1, len(source)):
            depth += {"(": 1, ")": -1}.get(source[i], 0)
            if depth == 0:
                yield m.end() - 1, i
                break


def mutants(tex, part):
    defs = {}
    for n, r in enumerate(check(tex, part, defs=defs), 1):
        label = r.tag or f"{part[-1]}.{n}"
        sides, clauses = PARTS[part].parse(r.source)
        found = []
        for side in sides:
            if hasattr(side, "tree"):
                found += edits(side.tree, r.source, lambda t: scalar(
                    PARTS[part].table, t, defs))
        last = sides[-1].tree.meta.start_pos
        if r.source[last] != "-":
            found.append(("sign", last, last, "-"))
        found += [("relation", m.start(), m.end(), m[0].translate({108: "g", 103: "l"}))
                  for m in re.finditer(r"\\[lg]e(?![a-z])", r.source)]
        found += [("hypothesis dropped", m.start(), len(r.source), "")
                  for m in re.finditer(r"\\quad", r.source) if clauses[0][0] != "range"]
        for i, j in brackets(r.source):
            found.append(("brackets dropped", i, j + 1, r.source[i + 1:j]))
        seen = Counter()
        for what, a, z, new, *shown in dict.fromkeys(found):
            old = " ".join((shown or [r.source[a:z]])[0].split())
            name = f"{label}: {what}: {old or '_'} -> {' '.join(new.split()) or '_'}"
            seen[name] += 1
            name += f" #{seen[name]}" if seen[name] > 1 else ""
            pad = " " if new[:1].isalpha() else ""
            text = tex[:r.start + a] + pad + new + tex[r.start + z:]
            yield Mutant(name, what, r.kind, part, text)
