"""HTML elements; text becomes markup only by being escaped."""

import html
from collections.abc import Iterable


class Html(str):
    """Markup. A plain `str` is text, and is escaped wherever it enters markup."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Html:
    """One element around `children`.

    A trailing underscore of an attribute's name is dropped, other underscores become hyphens;
    an empty value leaves the attribute out.

    >>> element("td", "1 < 2", class_="number")
    '<td class="number">1 &lt; 2</td>'
    """
    names = {
        name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value
    }
    opening = "".join(f' {name}="{html.escape(value)}"' for name, value in names.items())
    return Html(f"<{tag}{opening}>{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Html:
    """The children one after another, text escaped."""
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children))


def table(caption: str, head: Html, *bodies: Html) -> Html:
    """A table that scrolls inside its own box where the page is too narrow for it."""
    content = element("table", element("caption", caption), element("thead", head), *bodies)
    return element("div", content, class_="scroll", role="region", aria_label=caption, tabindex="0")


def row(*cells: str) -> Html:
    """A table row; text becomes a cell of its own, markup is taken as it is."""
    return element("tr", *(c if isinstance(c, Html) else element("td", c) for c in cells))


def header(text: str, scope: str = "col", **attributes: str) -> Html:
    """A header cell of a column (`scope="col"`) or of a row (`scope="row"`)."""
    return element("th", text, scope=scope, **attributes)
