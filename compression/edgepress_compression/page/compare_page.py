"""A comparison of recipes as a page: the Pareto plots and the table."""

from __future__ import annotations

from html import escape

from edgepress_compression.compare import Comparison, Point
from edgepress_compression.page.html import count, micros, page, percent, section, size, table
from edgepress_compression.page.plot import Dot, around, scatter


def compare_page(found: Comparison) -> str:
    """HTML; links go to the files that lie beside it."""
    data = "without a data set" if found.dataset is None else f"on {found.dataset}"
    if found.dataset is not None and found.n is not None:
        data = f"on {found.n:,} samples of {found.dataset}"
    lead = f"{len(found.points)} recipes for {found.profile}, {data}; every figure of the decoded artifact."
    sections = [
        *_plots(found),
        _table(found),
        section("Make it again", f"<pre>{escape(found.command)}</pre>"),
    ]
    return page(f"{found.model}: recipes compared", lead, sections)


def _plots(found: Comparison) -> list[str]:
    points = [found.original, *(point for point in found.points if point.artifact_bytes is not None)]
    if len(points) < 2:
        return []
    if found.original.accuracy is None:
        body = _pareto(found, "artifact_bytes", "latency_us")
        return [section("Latency against bytes", body, "Accuracy is unknown without a data set.")]
    note = "Left and up is better. Grey: another recipe is no worse in both and better in one."
    return [
        '<div class="plots">'
        + section("Accuracy against bytes", _pareto(found, "artifact_bytes", "accuracy"), note)
        + section("Accuracy against latency", _pareto(found, "latency_us", "accuracy"), note)
        + "</div>"
    ]


def _pareto(found: Comparison, across: str, up: str) -> str:
    shown = [p for p in (found.original, *found.points) if getattr(p, across) and getattr(p, up) is not None]
    title = {"artifact_bytes": "bytes", "latency_us": "latency, p50"}[across]
    text = {"artifact_bytes": lambda v: size(v).replace(".0 ", " "), "latency_us": micros}[across]
    x = around([getattr(p, across) for p in shown], title, text, log=True)
    edges = [getattr(p, up) for p in shown]
    if up == "accuracy":
        edges += [edge for p in shown for edge in p.ci95 or ()]
        y = around(edges, found.metric or "accuracy", lambda v: f"{100 * v:.4g} %")
    else:
        y = around(edges, "latency, p50", micros)
    return scatter([_dot(p, across, up) for p in shown], x, y)


def _dot(point: Point, across: str, up: str) -> Dot:
    grey = point.dominated_by_bytes if across == "artifact_bytes" else point.dominated_by_latency
    figures = f"{size(point.artifact_bytes)}, {percent(point.accuracy)}, {micros(point.latency_us)}"
    with_ci = up == "accuracy" and point.ci95 is not None
    return Dot(
        x=getattr(point, across),
        y=getattr(point, up),
        name=point.recipe,
        title=f"{point.recipe}: {figures}",
        grey=grey,
        hollow=point.recipe == "original",
        low=point.ci95[0] if with_ci and point.ci95 else None,
        high=point.ci95[1] if with_ci and point.ci95 else None,
        href=None if point.artifact is None else f"{point.recipe}.html",
    )


def _table(found: Comparison) -> str:
    original = found.original
    rows, grey = [], []
    for point in (original, *found.points):
        name = escape(point.recipe)
        if point.report is not None:
            name = f'<a href="{name}.html">{name}</a>'
        if point.error is not None:
            rows.append([f"{name}<br><small>{escape(point.error)}</small>", *[""] * 8])
            grey.append(True)
            continue
        lost = None
        if point.accuracy is not None and original.accuracy is not None:
            lost = 100 * (point.accuracy - original.accuracy)
        faster = None
        if point.latency_us and original.latency_us:
            faster = original.latency_us / point.latency_us
        rows.append(
            [
                name,
                size(point.artifact_bytes),
                "" if point.ratio is None else f"{point.ratio:.1f}x",
                percent(point.accuracy),
                "" if lost is None else f"{lost:+.2f}",
                micros(point.latency_us),
                "" if faster is None else f"{faster:.2f}x",
                count(point.flops),
                "" if point.sparsity is None else f"{100 * point.sparsity:.0f} %",
            ]
        )
        grey.append(point.dominated_by_bytes and point.dominated_by_latency)
    columns = ["Recipe", ">Bytes", ">Smaller", f">{found.metric or 'Accuracy'}", ">Points"]
    columns += [">Latency", ">Faster", ">FLOPs", ">Zero"]
    machine = f"Latency: one sample, all in turns on {found.machine}." if found.machine else ""
    return section("Recipes", table(columns, rows, grey), machine)
