"""Text cannot become markup by accident."""

from coplms.report.markup import Html, element, join, table


def test_text_is_escaped_and_markup_is_not() -> None:
    assert join(["<b>", Html("<i>")]) == "&lt;b&gt;<i>"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    found = element("div", class_="wide", aria_label='a "b"', id="")
    assert found == '<div class="wide" aria-label="a &quot;b&quot;"></div>'


def test_joining_text_to_markup_escapes_again_rather_than_trusting() -> None:
    assert element("p", Html("<b>") + "<script>") == "<p>&lt;b&gt;&lt;script&gt;</p>"


def test_a_table_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    found = table("Scores", element("tr"))
    assert 'class="scroll" role="region" aria-label="Scores" tabindex="0"' in found
