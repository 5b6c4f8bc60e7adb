"""The model card's Markdown as HTML."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.pages import Page
from likeness_apps.shell.report.markdown import render_markdown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A", "<h3>A</h3>"),
        (
            "a **b** *c* _d_ `*e*`",
            "<p>a <strong>b</strong> <em>c</em> <em>d</em> <code>*e*</code></p>",
        ),
        ("- a\n- b\n  c", "<ul><li>a</li><li>b c</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("> q\n> r", "<blockquote>q r</blockquote>"),
        ("```\n<x>\n```", "<pre><code>&lt;x&gt;</code></pre>"),
        ("snake_case_name and 2*3*4", "<p>snake_case_name and 2*3*4</p>"),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("[a](javascript:x)", "<p>[a](javascript:x)</p>"),
        ("a\0b", "<p>ab</p>"),
        ("---\nlicense: x\n---\n# A", "<pre><code>license: x</code></pre>\n<h3>A</h3>"),
    ],
)
def test_markdown(text, html):
    assert str(render_markdown(text)) == html


def test_markdown_tables_and_links():
    table = str(render_markdown("|a|b|\n|---|---|\n|1|x \\| y|"))
    assert '<th scope="col">a</th>' in table
    assert "<td>x | y</td>" in table
    link = str(render_markdown('[`a`](https://x.org/?a=1&b="2")'))
    assert 'href="https://x.org/?a=1&amp;b=&#34;2&#34;"' in link
    assert "<code>a</code></a>" in link


@given(st.text(alphabet="<>&\"'`*_[]()#|-\n\0 ab1.:/http", max_size=80))
@settings(max_examples=150)
def test_no_markdown_makes_an_unknown_element(text):
    parsed = Page(str(render_markdown(text)))
    known = {
        "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "pre", "code", "em", "strong", "a", "hr",
        "blockquote", "div", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert {tag for tag, _ in parsed.elements} <= known
    assert all(a["href"].startswith("http") for a in parsed.all("a"))
