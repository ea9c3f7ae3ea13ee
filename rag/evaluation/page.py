"""The frame of a report: one HTML file with style and script inside, and a policy that lets nothing else in.

Whatever comes from a document or a question goes through `text`: markup in it is shown, never obeyed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import unicodedata
from collections.abc import Iterable, Sequence

_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d8d6d0, #3c3d42); --soft: light-dark(#f6f5f1, #202125);
  --quiet: light-dark(#5d5b55, #a5a49f); --good: light-dark(#1c6b3c, #7fcf9d);
  --bad: light-dark(#a3271f, #f29a92); --mark: light-dark(#2455a4, #8fb4f2); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 70rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .75rem .25rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--line); font-weight: normal; }
thead th { color: var(--quiet); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .4rem 0; padding: .4rem .8rem; }
details[open] { background: var(--soft); } summary { cursor: pointer; overflow-wrap: anywhere; }
blockquote { margin: .3rem 0; padding-left: .8rem; border-left: 3px solid var(--line);
  white-space: pre-wrap; overflow-wrap: anywhere; }
.bar { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; } input, select { font: inherit; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; } svg text { fill: currentColor; }
"""

_SCRIPT = """
const list = document.getElementById("questions");
if (list) {
  const items = [...list.children];
  const word = document.getElementById("word"), kind = document.getElementById("kind");
  const order = document.getElementById("order"), count = document.getElementById("count");
  const show = () => {
    const wanted = word.value.toLowerCase();
    let shown = 0;
    for (const item of items) {
      const fits = item.textContent.toLowerCase().includes(wanted)
        && (!kind.value || item.dataset.kinds.split(" ").includes(kind.value));
      item.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown + " of " + items.length;
    const name = order.value;
    list.append(...[...items].sort((a, b) => name ? Number(b.dataset[name]) - Number(a.dataset[name]) : 0));
  };
  for (const control of [word, kind, order]) control.addEventListener("input", show);
  show();
}
"""


def text(value: object) -> str:
    """A text as it can stand in the page: no markup, no control character, no mark that reorders others."""
    return html.escape(
        "".join(
            character
            if character in "\n\t"
            or (unicodedata.category(character) not in ("Cc", "Cs") and character not in _BIDI_CONTROLS)
            else "\ufffd"
            for character in str(value)
        )
    )


def said(value: object, element: str = "bdi") -> str:
    """A text of a document or a person, in the direction of its own script."""
    return f'<{element} dir="auto">{text(value)}</{element}>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of cells that are HTML already; `numbers` are the columns set flush right."""
    right = set(numbers)
    cells = "".join(
        f'<th scope="col"{_class(column, right)}>{text(name)}</th>' for column, name in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_class(column, right)}>{cell}</td>" for column, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def listing(items: Sequence[str], kinds: Sequence[tuple[str, str]], orders: Sequence[tuple[str, str]]) -> str:
    """Questions with the controls that filter and sort them; without script all are shown."""
    options = "".join(f'<option value="{text(key)}">{text(name)}</option>' for key, name in kinds)
    sorting = "".join(f'<option value="{text(key)}">{text(name)}</option>' for key, name in orders)
    return (
        '<div class="bar"><label>Words <input id="word" type="search"></label>'
        f'<label>Show <select id="kind"><option value="">all</option>{options}</select></label>'
        f'<label>Order <select id="order"><option value="">as asked</option>{sorting}</select></label>'
        f'<output id="count">{len(items)}</output></div><div id="questions">{"".join(items)}</div>'
    )


def page(title: str, body: str) -> str:
    """The whole file. Its policy (CSP) allows this style, this script, and no request at all."""
    policy = (
        f"default-src 'none'; style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{text(title)}</h1>{body}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _class(column: int, right: set[int]) -> str:
    return ' class="n"' if column in right else ""


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
