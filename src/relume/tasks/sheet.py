r"""A contact sheet: the same photographs after every contender, with their figures, on a page of HTML."""

__all__ = ["Section", "Shown", "sheet"]

import html
from collections.abc import Sequence
from string import Template
from typing import NamedTuple
from urllib.parse import quote


class Shown(NamedTuple):
    """One picture of the page: its file beside the page, and what stands below it."""

    file: str
    caption: str


class Section(NamedTuple):
    """One photograph: a heading, and its pictures in a row that wraps."""

    heading: str
    pictures: Sequence[Shown]


def sheet(title: str, sections: Sequence[Section]) -> str:
    """A page of HTML without scripts; it loads nothing but the pictures beside it.

    >>> "a &amp; b" in sheet("t", [Section("a & b", [Shown("x.png", "x")])])
    True
    """
    body = "\n".join(
        f"<h2>{html.escape(section.heading)}</h2>\n<div>\n"
        + "\n".join(_figure(shown) for shown in section.pictures)
        + "\n</div>"
        for section in sections
    )
    return _PAGE.substitute(title=html.escape(title), body=body)


def _figure(shown: Shown) -> str:
    file, caption = quote(shown.file), html.escape(shown.caption)
    return (
        f'<figure><a href="{file}"><img src="{file}" alt="{caption}"></a>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
  body { margin: 1rem; background: #222; color: #eee; font: 1rem/1.4 system-ui, sans-serif; }
  div { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
  figure { margin: 0; }
  img { width: 100%; height: auto; display: block; }
  a:focus-visible { outline: 3px solid #6bf; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")
