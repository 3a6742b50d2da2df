"""A page that needs nothing but itself: no network, no script, no other file."""

from importlib.resources import files

from coplms.report.markup import Html, element

_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Should markup ever slip in, the browser neither runs nor loads anything."""


def document(title: str, *body: Html) -> str:
    """The whole file."""
    style = files("coplms.report").joinpath("page.css").read_text(encoding="utf-8")
    void = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{_CONTENT_POLICY}">'
    )
    head = element("head", Html(void), element("title", title), element("style", Html(style)))
    return f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n"
