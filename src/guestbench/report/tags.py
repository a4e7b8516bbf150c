"""Builds HTML and SVG elements; all text and every attribute passes through here, and none becomes markup.

Elements take their looks from classes alone: the report's Content-Security-Policy allows no style attributes.
"""

from __future__ import annotations

from html import escape as escape_html

from guestbench.text import visible


class Html(str):
    """Text that is HTML already and is put into a page as it is."""

    __slots__ = ()


EMPTY = Html("")


def show(text: str) -> Html:
    """Any text as HTML, in printable characters."""
    return text if isinstance(text, Html) else Html(escape_html(visible(text), quote=False))


def tag(name: str, *contents: str, **attributes: str | float | bool | None) -> Html:
    """An element. Contents that are not `Html` are escaped.

    Of the attributes' names an underscore at the end is dropped and others become hyphens; True stands for an
    attribute without a value, and None and False for no attribute.
    """
    opening = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        opening += " " + key.removesuffix("_").replace("_", "-")
        if value is not True:
            shown = f"{value:.6g}" if isinstance(value, float) else visible(str(value))
            opening += f'="{escape_html(shown)}"'
    if not contents and name in _EMPTY:
        return Html(f"<{opening}/>")
    return Html(f"<{opening}>{''.join(show(each) for each in contents)}</{name}>")


_EMPTY = frozenset({"circle", "input", "line", "path", "rect"})
"""Elements that hold nothing here and close themselves."""
