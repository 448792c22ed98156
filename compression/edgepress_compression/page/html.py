"""The frame of a page, and the small things that all pages have: tables, figures in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--ground:#f4f5f7;--surface:#fff;--rule:#e2e5ea;--text:#161a22;--muted:#586072;
--accent:#1f4fd8;--before:#9aa3b2;--warn:#8a5a00;--warn-soft:#fdf1d8}
@media(prefers-color-scheme:dark){:root{--ground:#0e1116;--surface:#161b22;--rule:#262d38;--text:#e6e9ef;
--muted:#98a2b3;--accent:#8aa9ff;--before:#5d6879;--warn:#e8b54d;--warn-soft:#33270d}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1040px;margin:0 auto;padding:20px 16px 48px;display:grid;gap:16px;
grid-template-columns:minmax(0,1fr)}
h1{font-size:21px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:15px;margin:0}
p{margin:0}
a{color:var(--accent)}
.lead,.note,small{color:var(--muted)}
section{background:var(--surface);border:1px solid var(--rule);border-radius:8px;padding:14px 16px;
display:grid;gap:10px;grid-template-columns:minmax(0,1fr)}
.warn{background:var(--warn-soft);color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:0;padding:0;overflow:hidden}
.tiles div{padding:12px 14px;box-shadow:1px 1px 0 var(--rule)}
.tiles b{display:block;font-size:21px;line-height:1.3;font-weight:620}
.box{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 10px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top}
tr:last-child>*{border-bottom:0}
thead th{color:var(--muted);font-weight:500;font-size:12.5px}
tbody th{font-weight:560;min-width:110px}
.num{text-align:right;white-space:nowrap}
small{display:block;font-weight:400}
.grey th,.grey td{color:var(--muted)}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;
font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace}
.bar{display:grid;grid-template-columns:minmax(40px,1fr) 84px;gap:10px;align-items:center;min-width:170px}
.bar i{display:block;height:9px;border-radius:2px;background:var(--accent);min-width:1px}
.bar .of{position:relative}
.bar .of i+i{position:absolute;top:0;left:0}
.bar i.before{background:var(--before)}
.plot{position:relative;height:280px;margin:16px 18px 34px 58px}
.plot svg{width:100%;height:100%;overflow:visible;display:block}
.plot text{font-size:12px;fill:var(--muted)}
.plot .name{fill:var(--text)}
.plot .name.grey{fill:var(--muted)}
.plots{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}
.key{display:flex;flex-wrap:wrap;gap:3px 14px;font-size:12.5px;padding:0;margin:0;
list-style:none;color:var(--muted)}
.key span{display:inline-block;width:12px;height:3px;border-radius:1px;vertical-align:middle;margin-right:5px}
"""


def page(title: str, lead: str, sections: Iterable[str]) -> str:
    """A whole document; `sections` are HTML already, `title` and `lead` are text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>'
        f"{''.join(sections)}</main></body></html>\n"
    )


def section(title: str, body: str, note: str = "") -> str:
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}{body}</section>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], grey: Sequence[bool] = ()) -> str:
    """Cells are HTML; a column whose name starts with '>' is right-aligned; the first cell heads its row."""
    numeric = [' class="num"' if column.startswith(">") else "" for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column.lstrip(">"))}</th>'
        for kind, column in zip(numeric, columns, strict=True)
    )
    body = ""
    for number, row in enumerate(rows):
        cells = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(numeric[1:], row[1:], strict=True))
        dim = ' class="grey"' if number < len(grey) and grey[number] else ""
        body += f'<tr{dim}><th scope="row">{row[0]}</th>{cells}</tr>'
    return f'<div class="box"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(value: float, largest: float, text: str, kind: str = "after") -> str:
    """A length beside its figure."""
    share = 100 * value / largest if largest > 0 else 0.0
    return (
        f'<div class="bar"><div><i class="{kind}" style="width:{share:.2f}%"></i></div>{escape(text)}</div>'
    )


def bar_of(value: float, whole: float, largest: float, text: str) -> str:
    """A length on the length of what it is a part of."""
    lengths = "".join(
        f'<i class="{kind}" style="width:{100 * one / max(largest, 1e-12):.2f}%"></i>'
        for one, kind in ((whole, "before"), (value, "after"))
    )
    return f'<div class="bar"><div class="of">{lengths}</div>{escape(text)}</div>'


def tiles(pairs: Iterable[tuple[str, str, str]]) -> str:
    """(name, figure, what it was before) each."""
    inner = "".join(
        f'<div><span class="note">{escape(name)}</span><b>{escape(figure)}</b>'
        f'<span class="note">{escape(before)}</span></div>'
        for name, figure, before in pairs
    )
    return f'<section class="tiles">{inner}</section>'


def size(size_bytes: float | None) -> str:
    """1536 -> '1.5 KB'."""
    if size_bytes is None:
        return "-"
    for unit in ("B", "KB", "MB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.2f} GB"


def count(number: float | None) -> str:
    """1_234_567 -> '1.23 M'."""
    if number is None:
        return "-"
    for unit in ("", " k", " M"):
        if abs(number) < 1000:
            return f"{number:.0f}" if unit == "" else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} G"


def micros(us: float | None) -> str:
    return "-" if us is None else (f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.0f} µs")


def percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f} %"
