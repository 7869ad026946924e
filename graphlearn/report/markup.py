"""HTML and SVG as text in which everything that was not written here is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is markup already; every other text is escaped where it is put into markup."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. ``class_`` stands for class and ``_`` for ``-``; attributes that are None or False are left out.

    Characters that a page must not hold are shown as U+FFFD.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{_escaped(value)}"')
    opened = f"<{' '.join(words)}>"
    if name in _VOID:
        return Markup(opened)
    return Markup(f"{opened}{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Markup:
    """Parts one after the other; text that is no markup is escaped, None is left out."""
    return Markup("".join(p if isinstance(p, Markup) else _escaped(p) for p in parts if p is not None))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str, text: int = 1) -> Markup:
    """A table whose first ``text`` columns are text and whose other columns are numbers, aligned to the right."""

    def cells(kind: str, row: Sequence[object]) -> Markup:
        return join(
            tag("th" if i == 0 and kind == "td" else kind, cell, class_="n" if i >= text else None,
                scope={"th": "col"}.get(kind, "row" if i == 0 else None))
            for i, cell in enumerate(row)
        )  # fmt: skip

    body = [
        tag("caption", caption, class_="unseen"),
        tag("thead", tag("tr", cells("th", head))),
        tag("tbody", join(tag("tr", cells("td", row)) for row in rows)),
    ]
    # A region that scrolls by itself has to be reachable by the keyboard.
    return tag("div", tag("table", *body), class_="scroll", tabindex=0, role="region", aria_label=caption)


def _escaped(value: object) -> str:
    return html.escape(_UNFIT.sub("\ufffd", str(value)), quote=True)


# Control characters and lone surrogates, which no page may hold, and marks that turn the direction of what follows.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
_VOID = frozenset({"meta", "link", "br"})
