"""The schema as a picture: tables as boxes in layers, foreign keys as lines from right to left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from graphlearn.report import words
from graphlearn.report.canvas import WIDE, Canvas
from graphlearn.report.markup import Markup, tag
from graphlearn.schema import Schema

_BOX, _NARROWEST, _WIDEST = 62, 128, 190
_GAP, _SPACE, _LANE = 46, 16, 10  # between layers, between boxes, and what a line that passes a layer takes
_SWEEPS = 8


@dataclass(eq=False)
class _Node:
    """A table, or (without one) the place where a line passes a layer."""

    layer: int
    table: str | None = None
    links: list[_Node] = field(default_factory=list)
    y: float = 0.0

    @property
    def height(self) -> int:
        return _BOX if self.table is not None else _LANE


def diagram(schema: Schema, entity: str, rows: Mapping[str, int] | None) -> Markup:
    """All tables with rows and time columns; whoever names a row of another table stands to the right of it.

    Args:
        schema: Tables and keys.
        entity: The table that is asked about, which is marked.
        rows: Number of rows of each table, if it is known.
    """
    layer = _layers(schema)
    nodes = {name: _Node(layer[name], name) for name in schema.tables}
    lines = [
        (table.name, key.name, _route(nodes[table.name], nodes[key.table]))
        for table in schema.tables.values()
        for key in table.fkeys
        if key.table in nodes
    ]
    columns: list[list[_Node]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for node in [*nodes.values(), *(node for _, _, route in lines for node in route[1:-1])]:
        columns[node.layer].append(node)
    height = _arrange(columns)
    wide = min(max((WIDE - 4 - _GAP * (len(columns) - 1)) // len(columns), _NARROWEST), _WIDEST)
    width = wide * len(columns) + _GAP * (len(columns) - 1) + 4
    canvas = Canvas(width, height + 4, f"Diagram of {len(nodes)} tables and their foreign keys")
    ports = _ports(route for _, _, route in lines)
    for i, (child, key, route) in enumerate(lines):
        canvas.add(_line(route, wide, ports[i, 0], ports[i, -1], f"{child}.{key} names a row of {route[-1].table}"))
    for name, node in nodes.items():
        _box(canvas, node, wide, schema, name == entity, None if rows is None else rows.get(name))
    return canvas.markup("full")


def _layers(schema: Schema) -> dict[str, int]:
    """Each table to the right of those that it refers to, as far as they do not refer to each other."""
    layer = dict.fromkeys(schema.tables, 0)
    keys = [
        (t.name, k.table)
        for t in schema.tables.values()
        for k in t.fkeys
        if k.table in layer and k.table != t.name
    ]  # fmt: skip
    back: set[tuple[str, str]] = set()
    for name in schema.tables:  # keys that close a circle do not count
        _find_back(name, keys, back, set(), set())
    forward = [key for key in keys if key not in back]
    for _ in schema.tables:
        for child, parent in forward:
            layer[child] = max(layer[child], layer[parent] + 1)
    referring = {child for child, _ in forward}
    for name in schema.tables:
        children = [layer[child] for child, parent in forward if parent == name]
        if name not in referring and children:  # close to the first that needs it
            layer[name] = min(children) - 1
    return layer


def _find_back(
    name: str, keys: list[tuple[str, str]], back: set[tuple[str, str]], path: set[str], done: set[str]
) -> None:
    path.add(name)
    for child, parent in keys:
        if child != name or (child, parent) in back:
            continue
        if parent in path:
            back.add((child, parent))
        elif parent not in done:
            _find_back(parent, keys, back, path, done)
    path.discard(name)
    done.add(name)


def _route(child: _Node, parent: _Node) -> list[_Node]:
    """The nodes that a line goes through, from the child on; it passes a layer between at a node of its own."""
    step = -1 if parent.layer < child.layer else 1
    between = [_Node(layer) for layer in range(child.layer + step, parent.layer, step)] if parent is not child else []
    route = [child, *between, parent]
    for one, other in pairwise(route):
        if one is not other:
            one.links.append(other)
            other.links.append(one)
    return route


def _arrange(columns: list[list[_Node]]) -> float:
    """Orders each layer by the middle of what its nodes are tied to, puts them there, and gives the height of all."""
    tall = max(_stack(column) for column in columns)
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wanted = {
                node: sum(other.y for other in node.links) / len(node.links) if node.links else node.y
                for node in column
            }
            column.sort(key=lambda node: wanted[node])
            _stack(column)
            middle = sum(wanted.values()) / len(wanted) - sum(node.y for node in column) / len(column)
            top, bottom = column[0].y - column[0].height / 2, column[-1].y + column[-1].height / 2
            shift = min(max(middle, -top), max(tall - bottom, -top))
            for node in column:
                node.y += shift
    return tall


def _stack(column: list[_Node]) -> float:
    """Puts nodes below each other and gives their height together."""
    y = 0.0
    for node in column:
        node.y = y + node.height / 2
        y += node.height + _SPACE
    return y - _SPACE


def _ports(lines: Iterable[list[_Node]]) -> dict[tuple[int, int], float]:
    """Where at a box each line ends: (number of line, 0 child or -1 parent) -> y; in the order of the other ends."""
    ends: dict[tuple[_Node, bool], list[tuple[float, int, int]]] = {}
    for i, route in enumerate(lines):
        for end, near in ((0, 1), (-1, -2)):
            node, other = route[end], route[near]
            ends.setdefault((node, other.layer < node.layer), []).append((other.y, i, end))
    ports = {}
    for (node, _), met in ends.items():
        apart = min(9.0, (_BOX - 18) / max(len(met) - 1, 1))
        for place, (_, i, end) in enumerate(sorted(met)):
            ports[i, end] = node.y + (place - (len(met) - 1) / 2) * apart
    return ports


def _line(route: list[_Node], wide: int, start: float, end: float, title: str) -> Markup:
    left = [node.layer * (wide + _GAP) + 2 for node in route]
    child, parent = route[0], route[-1]
    if child.layer == parent.layer:  # a key into the own table or one beside it: around the right edge
        x, y, to = left[0] + wide, child.y + 2, parent.y + 2
        y, to = (y - 12, y + 12) if child is parent else (y, to)
        d = f"M{x} {y:.1f} C{x + 24} {y:.1f} {x + 24} {to:.1f} {x} {to:.1f}"
        return tag("path", tag("title", title), d=d, class_="key")
    rightwards = parent.layer > child.layer
    near, far = (wide, 0) if rightwards else (0, wide)
    heights = [start, *(node.y for node in route[1:-1]), end]
    x, y = left[0] + near, heights[0] + 2
    parts = [f"M{x} {y:.1f}"]
    for node, at, height in zip(route[1:], left[1:], heights[1:], strict=True):
        to, half = at + far, (x + at + far) / 2
        parts.append(f"C{half:g} {y:.1f} {half:g} {height + 2:.1f} {to} {height + 2:.1f}")
        x, y = to, height + 2
        if node.table is None:  # past the boxes of a layer
            x = at + near
            parts.append(f"L{x} {y:.1f}")
    return tag("path", tag("title", title), d=" ".join(parts), class_="key")


def _box(canvas: Canvas, node: _Node, wide: int, schema: Schema, is_entity: bool, rows: int | None) -> None:
    name = str(node.table)
    table = schema.tables[name]
    x, y = node.layer * (wide + _GAP) + 2, node.y - _BOX / 2 + 2
    most = int((wide - 18) / 7.9)
    canvas.rect(x, y, wide, _BOX, "box entity" if is_entity else "box", title=name, r=6)
    canvas.text(x + 10, y + 19, words.clipped(name, most), class_="strong")
    counted = "" if rows is None else words.count(rows, "row")
    canvas.text(x + 10, y + 36, f"{counted}{' · entity' if is_entity and rows is not None else ''}", class_="tick")
    time = f"time {table.time_col}" if table.time_col else "no time"
    canvas.text(x + 10, y + 52, words.clipped(time, most + 2), class_="tick")
