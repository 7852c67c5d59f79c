"""HTML of the report: one file without scripts and external parts, for light and dark screens and print."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --text: #1c2128; --soft: #5c6672;
  --line: #dde1e6; --accent: #2f6fb0; --good: #2b7a4b; --doubt: #b25a12; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1319; --card: #171c24; --text: #e3e7ec;
  --soft: #98a2ae; --line: #2b323c; --accent: #78aee6; --good: #6cc28f; --doubt: #f0a35e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main, header, nav { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 32px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 12px; }
h3 { font-size: 14px; margin: 20px 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 6px 0 12px; max-width: 80ch; }
.soft, figcaption, caption { color: var(--soft); }
nav { padding-top: 12px; padding-bottom: 4px; font-size: 14px; }
nav a { color: var(--accent); text-decoration: none; margin-right: 16px; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 20px 22px;
  margin: 16px 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 16px; }
.tiles div { flex: 1 1 100px; border: 1px solid var(--line); border-radius: 6px; padding: 8px 10px; }
.tiles b { display: block; font-size: 19px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 13px; }
ul.checks { list-style: none; margin: 0; padding: 0; }
ul.checks li { padding: 4px 0 4px 26px; position: relative; }
ul.checks li::before { position: absolute; left: 2px; font-weight: 700; }
ul.checks li.good::before { content: "✓"; color: var(--good); }
ul.checks li.doubt::before { content: "!"; color: var(--doubt); left: 6px; }
ul.checks li.doubt { color: var(--doubt); }
figure { margin: 0 0 14px; }
img { max-width: 100%; height: auto; display: block; }
img.dark { border-radius: 6px; background: #000; }
img.pixels { image-rendering: pixelated; width: min(100%, 720px); border-radius: 6px; }
figcaption { font-size: 13px; margin-top: 6px; max-width: 90ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums;
  margin: 4px 0 12px; }
caption { text-align: left; font-size: 13px; padding-bottom: 6px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
table.plain td, table.plain th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.plain th { padding-right: 24px; white-space: nowrap; }
pre { overflow: auto; max-height: 480px; background: var(--page); border: 1px solid var(--line);
  border-radius: 6px; padding: 12px;
  font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--accent); }
footer { max-width: 1180px; margin: 0 auto; padding: 8px 20px 40px; color: var(--soft); font-size: 13px; }
@media print { nav { display: none; } section { break-inside: avoid; border: 0; padding: 8px 0; }
  pre { max-height: none; } }
"""
# Nothing but what the file itself holds may be loaded.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page:
    """A page that grows section by section. All text is escaped.

    Parameters
    ----------
    title, subtitle : str
        Heading.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self._title, self._subtitle = title, subtitle
        self._sections: list[tuple[str, str]] = []
        self._parts: list[str] = []

    def section(self, title: str) -> None:
        """Begin a section; what follows goes into it."""
        self._close()
        self._sections.append((title, ""))

    def heading(self, text: str) -> None:
        """Add a heading within the section."""
        self._parts.append(f"<h3>{escape(text)}</h3>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def tiles(self, tiles: Iterable[tuple[str, str]]) -> None:
        """Add figures with their names: (value, name)."""
        cells = (f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in tiles)
        self._parts.append(f'<div class="tiles">{"".join(cells)}</div>')

    def checks(self, checks: Iterable[tuple[bool, str]]) -> None:
        """Add a list of findings: (whether all is well, text)."""
        lines = (f'<li class="{"good" if good else "doubt"}">{escape(text)}</li>' for good, text in checks)
        self._parts.append(f'<ul class="checks">{"".join(lines)}</ul>')

    def image(self, png: bytes, alt: str, caption: str = "", style: str = "") -> None:
        """Add a PNG image; `style` is "dark" (drawn on black), "pixels" (small, enlarged) or ""."""
        data = base64.b64encode(png).decode()
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        kind = f' class="{style}"' if style else ""
        self._parts.append(
            f'<figure><img{kind} alt="{escape(alt)}" src="data:image/png;base64,{data}">{below}</figure>'
        )

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> None:
        """Add a table; the first column is aligned left, the others right."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        above = f"<caption>{escape(caption)}</caption>" if caption else ""
        self._parts.append(
            f'<div class="scroll"><table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
            "</div>"
        )

    def settings(self, settings: Iterable[tuple[str, str]]) -> None:
        """Add names with their values."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in settings
        )
        self._parts.append(f'<table class="plain"><tbody>{rows}</tbody></table>')

    def listing(self, summary: str, text: str, *, is_open: bool = False) -> None:
        """Add preformatted text that unfolds."""
        state = " open" if is_open else ""
        self._parts.append(
            f"<details{state}><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"
        )

    def html(self, footer: str) -> str:
        """Return the page."""
        self._close()
        links = "".join(
            f'<a href="#part-{i}">{escape(title)}</a>' for i, (title, _) in enumerate(self._sections)
        )
        sections = "".join(
            f'<section id="part-{i}"><h2>{escape(title)}</h2>{content}</section>\n'
            for i, (title, content) in enumerate(self._sections)
        )
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self._title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f'<header><h1>{escape(self._title)}</h1><div class="soft">{escape(self._subtitle)}</div>'
            f"</header>\n<nav>{links}</nav>\n<main>\n{sections}</main>\n<footer>{escape(footer)}</footer>\n"
            "</body>\n</html>\n"
        )

    def _close(self) -> None:
        if self._sections:
            title, _ = self._sections.pop()
            self._sections.append((title, "\n".join(self._parts)))
            self._parts = []
