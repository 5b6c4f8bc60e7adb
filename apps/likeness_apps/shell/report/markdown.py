"""A small Markdown renderer for model cards: every character is escaped, no HTML passes through."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+(.*)")
_NUMBERED = re.compile(r"\s*\d{1,3}[.)]\s")
_RULE = re.compile(r"(?:-{3,}|\*{3,}|_{3,})\s*$")
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^\s()]+)\)")


def render_markdown(text: str, top: int = 3) -> Markup:
    """Render headings, paragraphs, lists, tables, quotes, code, emphasis and web links.

    Args:
        text: the Markdown. HTML inside is shown as text; images and other addresses stay text.
        top: the level of heading that `#` becomes.

    Returns:
        Safe HTML.
    """
    lines = text.replace("\r\n", "\n").replace("\0", "").split("\n")
    parts: list[Markup] = []
    place = 0
    if lines and lines[0].strip() == "---" and "---" in [line.strip() for line in lines[1:]]:
        end = next(i for i in range(1, len(lines)) if lines[i].strip() == "---")
        parts.append(_code(lines[1:end]))
        place = end + 1
    while place < len(lines):
        part, place = _block(lines, place, top)
        parts.append(part)
    return Markup("\n").join(part for part in parts if part)


def _block(lines: Sequence[str], place: int, top: int) -> tuple[Markup, int]:
    """One block and the line after it."""
    line = lines[place]
    heading = _HEADING.match(line)
    if not line.strip() or _RULE.match(line):
        return Markup("<hr>") if line.strip() else Markup(), place + 1
    if heading:
        level = min(6, top - 1 + len(heading[1]))
        return Markup(f"<h{level}>{_inline(heading[2])}</h{level}>"), place + 1
    if line.lstrip().startswith("```"):
        end = place + 1
        while end < len(lines) and not lines[end].lstrip().startswith("```"):
            end += 1
        return _code(lines[place + 1 : end]), end + 1
    if "|" in line and place + 1 < len(lines) and _TABLE_RULE.match(lines[place + 1]):
        end = place + 2
        while end < len(lines) and "|" in lines[end]:
            end += 1
        return _table(line, lines[place + 2 : end]), end
    if line.startswith(">"):
        end = place
        while end < len(lines) and lines[end].startswith(">"):
            end += 1
        body = " ".join(item.lstrip("> ") for item in lines[place:end])
        return Markup(f"<blockquote>{_inline(body)}</blockquote>"), end
    if _ITEM.match(line):
        return _list(lines, place)
    end = place + 1
    while end < len(lines) and lines[end].strip() and not _begins(lines[end]):
        end += 1
    return Markup(f"<p>{_inline(' '.join(lines[place:end]))}</p>"), end


def _begins(line: str) -> bool:
    starts = line.startswith((">", "```")) or _RULE.match(line)
    return bool(starts or _HEADING.match(line) or _ITEM.match(line))


def _list(lines: Sequence[str], place: int) -> tuple[Markup, int]:
    """A list of one level; an indented or lazy line goes on with its item."""
    kind = "ol" if _NUMBERED.match(lines[place]) else "ul"
    items: list[str] = []
    while place < len(lines):
        item = _ITEM.match(lines[place])
        if item:
            items.append(item[1])
        elif lines[place].strip() and not _begins(lines[place]):
            items[-1] += " " + lines[place].strip()
        else:
            break
        place += 1
    body = "".join(f"<li>{_inline(item)}</li>" for item in items)
    return Markup(f"<{kind}>{body}</{kind}>"), place


def _table(head: str, rows: Sequence[str]) -> Markup:
    def cells(line: str, tag: str) -> str:
        inner = line.strip().removeprefix("|").removesuffix("|")
        names = [name.replace("\\|", "|") for name in re.split(r"(?<!\\)\|", inner)]
        return "".join(f"<{tag}>{_inline(name.strip())}</{tag}>" for name in names)

    top = cells(head, 'th scope="col"').replace('</th scope="col">', "</th>")
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return Markup(
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _code(lines: Sequence[str]) -> Markup:
    return Markup("<pre><code>{}</code></pre>").format("\n".join(lines))


def _inline(text: str) -> Markup:
    """Emphasis, code and links in a line; code is set aside so that nothing inside it counts."""
    kept: list[str] = []

    def keep(html: str) -> str:
        kept.append(html)
        return f"\0{len(kept) - 1}\0"

    text = _CODE.sub(lambda m: keep(f"<code>{escape(m[1])}</code>"), text)
    text = _LINK.sub(
        lambda m: keep(f'<a href="{escape(m[2])}" rel="noreferrer noopener">{escape(m[1])}</a>'),
        text,
    )
    safe = str(escape(text))
    safe = re.sub(r"\*\*(\S(?:.*?\S)?)\*\*", r"<strong>\1</strong>", safe)
    safe = re.sub(r"(?<![\w*])\*(\S(?:[^*]*?\S)?)\*(?![\w*])", r"<em>\1</em>", safe)
    safe = re.sub(r"(?<!\w)_(\S(?:[^_]*?\S)?)_(?!\w)", r"<em>\1</em>", safe)
    # A kept part may itself hold a kept part: code inside the text of a link.
    for _ in range(2):
        safe = re.sub(r"\0(\d+)\0", lambda m: kept[int(m[1])], safe)
    return Markup(safe)
