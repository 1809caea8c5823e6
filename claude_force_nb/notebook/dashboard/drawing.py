"""The dashboard's sections as HTML and as plain text. Pure."""

from __future__ import annotations

import html
from typing import Dict, List

from claude_force_nb.notebook.display.bundles import bundle
from claude_force_nb.text_tables import plain_table, terminal_width

from .view import Cell, Curve, DashboardState, Section, sections

__all__ = ["STYLE", "dashboard_bundle", "section_html"]

_BLOCKS = "▁▂▃▄▅▆▇█"

# Colours are JupyterLab's variables, so that they follow its theme; in other front ends they are inherited.
STYLE = """<style>
.claude-force-dash{font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:1.45;max-width:60em;
color:var(--jp-ui-font-color1,inherit)}
.widget-html-content:has(>.claude-force-dash){min-width:0}
.claude-force-dash h4{margin:.9em 0 .35em;font-size:1em;font-weight:600}
.claude-force-dash .cf-tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.2em,1fr));gap:.5em;margin:0;padding:0}
.claude-force-dash .cf-tile{border:1px solid var(--jp-border-color2,rgba(127,127,127,.35));border-radius:4px;
padding:.4em .65em .5em;background:var(--jp-layout-color1,transparent)}
.claude-force-dash .cf-label{display:block;font-size:.85em;color:var(--jp-ui-font-color2,inherit)}
.claude-force-dash .cf-value{display:block;font-size:1.35em;font-weight:600;line-height:1.3;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.claude-force-dash .cf-facts{grid-template-columns:repeat(auto-fill,minmax(8.2em,1fr))}
.claude-force-dash .cf-facts .cf-value{font-size:1.1em}
.claude-force-dash .cf-facts+.cf-wide{margin-top:.5em}
.claude-force-dash .cf-note{display:inline-block;font-size:12px;font-weight:400;color:var(--jp-ui-font-color2,inherit)}
.claude-force-dash table{border-collapse:collapse;width:100%;margin:0;table-layout:auto;font-size:1em}
.claude-force-dash th,.claude-force-dash td{text-align:right;padding:.25em .8em .25em 0;vertical-align:top;
border:0;background:transparent;font-variant-numeric:tabular-nums;white-space:nowrap}
.claude-force-dash th{font-weight:500;font-size:.85em;color:var(--jp-ui-font-color2,inherit)}
.claude-force-dash th:first-child,.claude-force-dash td:first-child{text-align:left;white-space:normal;min-width:11em;
overflow-wrap:break-word}
.claude-force-dash .cf-wide{overflow-x:auto;max-width:100%}
.claude-force-dash .cf-curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(14em,1fr));gap:.5em 1.5em;margin-top:.5em}
.claude-force-dash tbody tr{border-top:1px solid var(--jp-border-color2,rgba(127,127,127,.35));background:transparent!important}
.claude-force-dash .cf-bar{height:5px;min-width:5.5em;margin-top:.25em;border-radius:3px;overflow:hidden;
background:var(--jp-border-color2,rgba(127,127,127,.25))}
.claude-force-dash .cf-bar>div{height:100%;background:var(--jp-brand-color1,#1976d2)}
.claude-force-dash .cf-saved>div{background:var(--jp-success-color1,#388e3c)}
.claude-force-dash .cf-low>div{background:var(--jp-warn-color1,#f57c00)}
.claude-force-dash svg{display:block;width:100%;height:44px;color:var(--jp-brand-color1,#1976d2)}
.claude-force-dash svg.cf-saved{color:var(--jp-success-color1,#388e3c)}
.claude-force-dash .cf-alert{border-left:3px solid var(--jp-warn-color1,#f57c00);padding:.25em .6em;margin:.6em 0 0;
background:var(--jp-layout-color2,rgba(127,127,127,.12))}
</style>"""


# ---------------------------------------------------------------------- as HTML


def _text(value: str) -> str:
    # MathJax does not pair up dollar signs that are in elements of their own.
    return html.escape(value).replace("$", "<span>$</span>")


def _value(cell: Cell) -> str:
    note = f' <span class="cf-note">{_text(cell.note)}</span>' if cell.note else ""
    return _text(cell.text) + note


def _bar(cell: Cell) -> str:
    if cell.share is None:
        return ""
    width = max(0.0, min(1.0, cell.share)) * 100
    extra = " cf-" + cell.colour if cell.colour else ""
    # Hidden from screen readers, which have read the number already.
    return f'<div class="cf-bar{extra}" aria-hidden="true"><div style="width:{width:.1f}%"></div></div>'


def section_html(section: Section) -> str:
    """Return a section as HTML in which every text is escaped; `STYLE` gives it its look."""
    parts: List[str] = []
    if section.title:
        parts.append(f"<h4>{_text(section.title)}</h4>")
    if section.facts:
        tiles = "".join(
            f'<div class="cf-tile"><span class="cf-label">{_text(label)}</span> <span class="cf-value">{_value(cell)}</span>{_bar(cell)}</div>'
            for label, cell in section.facts
        )
        parts.append('<div class="cf-tiles{}">{}</div>'.format("" if section.large else " cf-facts", tiles))
    if section.curves:
        parts.append('<div class="cf-curves">{}</div>'.format("".join(map(_curve, section.curves))))
    if section.header:
        parts.append(_table(section))
    for alert in section.alerts:
        parts.append(f'<p class="cf-alert">{_text(alert)}</p>')
    return '<section data-part="{}">{}</section>'.format(section.name, "".join(parts))


def _table(section: Section) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in section.header)
    body = "".join(
        "<tr>{}</tr>".format("".join(f"<td>{_value(cell)}{_bar(cell)}</td>" for cell in row)) for row in section.rows
    )
    if not section.rows:
        body = f'<tr><td colspan="{len(section.header)}">nothing yet</td></tr>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    # Narrow front ends scroll the table sideways instead of breaking words; the tab index allows that by keyboard too.
    label = html.escape(section.title or section.header[0])
    return f'<div class="cf-wide" role="group" tabindex="0" aria-label="{label}">{table}</div>'


def _curve(curve: Curve) -> str:
    step = 300 / (len(curve.points) - 1)
    line = " ".join(f"{index * step:.1f},{42 - 40 * share:.1f}" for index, share in enumerate(curve.points))
    css_class = ' class="cf-saved"' if curve.colour == "saved" else ""
    return (
        f'<div><div class="cf-note">{_text(curve.label)}</div>'
        f'<svg role="img" aria-label="{html.escape(curve.label)}" viewBox="0 0 300 44" preserveAspectRatio="none"{css_class}>'
        f'<polygon points="0,44 {line} 300,44" fill="currentColor" opacity="0.18"></polygon>'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="2" vector-effect="non-scaling-stroke">'
        "</polyline></svg></div>"
    )


# ---------------------------------------------------------------------- as plain text


def _plain(section: Section) -> str:
    lines: List[str] = []
    if section.title:
        lines += ["", section.title]
    width = max((len(label) for label, _ in section.facts), default=0)
    lines += [f"  {label.ljust(width)}  {cell.whole}" for label, cell in section.facts]
    for curve in section.curves:
        lines += ["  " + curve.label, "  " + "".join(_BLOCKS[min(7, int(share * 8))] for share in curve.points)]
    if section.header:
        rows = [[cell.whole for cell in row] for row in section.rows]
        columns = terminal_width()
        table = plain_table(
            section.header,
            rows,
            right=range(1, len(section.header)),
            width=None if columns is None else columns - 2,
        )
        lines += [f"  {line}".rstrip() for line in table]
        if not rows:
            lines.append("  nothing yet")
    lines += ["  ! " + alert for alert in section.alerts]
    return "\n".join(lines)


def dashboard_bundle(state: DashboardState, css_class: str = "") -> Dict[str, str]:
    """Return the dashboard without its buttons, a form that every front end and a saved notebook can show.

    Parameters
    ----------
    state : DashboardState
    css_class : str
        Additional class of the HTML element.
    """
    parts = sections(state)
    plain = "\n".join(map(_plain, parts))
    inner = '{}<div class="claude-force-dash {}">{}</div>'.format(
        STYLE, html.escape(css_class), "".join(map(section_html, parts))
    )
    return bundle(plain, f"```text\n{plain}\n```", inner)
