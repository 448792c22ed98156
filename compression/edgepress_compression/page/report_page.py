"""A compression's report (docs/report.md) as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgepress_compression.page.html import (
    bar,
    bar_of,
    count,
    micros,
    page,
    percent,
    section,
    size,
    table,
    tiles,
)
from edgepress_compression.page.plot import around, lines

_TENSORS = 20  # of the largest are listed
_CURVES = 24


def report_page(report: Mapping[str, Any]) -> str:
    """HTML of a report as `compress` gives it; what an older report does not have is left out."""
    title = f"{report['model']}: {report['recipe']['name']} for {report['profile']}"
    sections = [_summary(report)]
    sections += [f'<section class="warn"><p>{escape(w)}</p></section>' for w in report.get("warnings", [])]
    sections.append(_stages(report))
    sections += sensitivity(report["stages"]) + filters(report["stages"])
    sections.append(_tensors(report))
    sections.append(_origin(report))
    sections.append(section("Make it again", f"<pre>{escape(report['command'])}</pre>"))
    return page(title, str(report["recipe"].get("description", "")), sections)


def _summary(report: Mapping[str, Any]) -> str:
    sent, latency, memory = report["bytes"], report["latency_us"], report.get("memory_bytes")
    rows = [
        (
            "Artifact",
            size(sent["artifact"]),
            f"{sent['ratio']:.1f}x smaller than {size(sent['weights_before'])}",
        ),
    ]
    accuracy = report.get("accuracy")
    if accuracy is not None:
        ci95 = accuracy["ci95"]
        between = f", 95 %: {100 * ci95[0]:.2f} to {100 * ci95[1]:.2f}" if ci95 else ""
        before = f"before {percent(accuracy['before'])}; n = {accuracy['n']:,}{between}"
        rows.append((accuracy["metric"], percent(accuracy["after"]), before))
    rows.append(
        (
            "Latency here, p50",
            micros(latency["after"]["p50"]),
            f"before {micros(latency['before']['p50'])}, {latency['speedup']:.2f}x",
        )
    )
    costs = report.get("costs")
    if costs is not None:
        before, after = costs["before"], costs["after"]
        rows.append(("FLOPs of a sample", count(after["flops"]), f"before {count(before['flops'])}"))
        zero = 1 - after["nonzero"] / max(1, after["parameters"])
        was = f"before {count(before['parameters'])}; {100 * zero:.1f} % are zero"
        rows.append(("Parameters", count(after["parameters"]), was))
        peak = f"before {size(before['peak_activation_bytes'])}"
        rows.append(("Peak of activations", size(after["peak_activation_bytes"]), peak))
    if memory is not None:
        rows.append(("Memory to run it here", size(memory["after"]), f"before {size(memory['before'])}"))
    return tiles(rows)


def _stages(report: Mapping[str, Any]) -> str:
    before = (report.get("costs") or {}).get("before", {})
    first = {
        "name": "original",
        "bytes_estimate": report["bytes"]["weights_before"],
        "flops": before.get("flops"),
        "parameters": before.get("parameters"),
        "peak_activation_bytes": before.get("peak_activation_bytes"),
    }
    last = {"name": "artifact, decoded", "bytes_estimate": report["bytes"]["artifact"]}
    rows = [first, *report["stages"], last]
    largest = max((row.get("bytes_estimate") or 0 for row in rows), default=1)
    columns: list[tuple[str, Any]] = [
        (">Zero", lambda row: _of(row, "sparsity", lambda v: f"{100 * v:.1f} %")),
        (">Bits", lambda row: _of(row, "bits", lambda v: f"{v:.2f}")),
        (">FLOPs", lambda row: _of(row, "flops", count)),
        (">Parameters", lambda row: _of(row, "parameters", count)),
        (">Peak memory", lambda row: _of(row, "peak_activation_bytes", size)),
        (">Latency", lambda row: _of(row, "latency_us", micros)),
        (">Speed", lambda row: _of(row, "speedup", lambda v: f"{v:.2f}x")),
        (">Held out", lambda row: _of(row, "accuracy", percent)),
        (">Time", lambda row: _of(row, "seconds", lambda v: f"{v:.1f} s")),
    ]
    shown = [(name, cell) for name, cell in columns if any(cell(row) for row in rows)]
    cells = []
    for number, row in enumerate(rows):
        bytes_ = row.get("bytes_estimate")
        kind = "before" if number == 0 else "after"
        note = f"<small>{escape(row['note'])}</small>" if row.get("note") else ""
        length = "" if bytes_ is None else bar(bytes_, largest, size(bytes_), kind)
        cells.append([escape(row["name"]) + note, length, *(cell(row) for _, cell in shown)])
    note = (
        "Bytes between the first and the last line are estimates. Latency is of onnxruntime on the machine "
        "that compressed, in turns with the original. Accuracy on the way is of held-out training samples."
    )
    return section("Stages", table(["Stage", "Bytes", *(name for name, _ in shown)], cells), note)


def _of(row: Mapping[str, Any], key: str, text: Any) -> str:
    value = row.get(key)
    return "" if value is None else escape(text(value))


def sensitivity(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """A plot for each stage that tried its tensors one by one."""
    made = []
    for stage in stages:
        rows = (stage.get("detail") or {}).get("sensitivity") or []
        for what, title in (("sparsity", "fraction of the tensor that is zero"), ("bits", "bits a weight")):
            curves: dict[str, list[tuple[float, float]]] = {}
            for row in rows:
                if row.get(what) is not None and row.get("loss") is not None:
                    curves.setdefault(str(row["tensor"]), []).append((float(row[what]), float(row["loss"])))
            if not curves:
                continue
            worst = sorted(curves.items(), key=lambda one: -max(loss for _, loss in one[1]))[:_CURVES]
            points = [point for _, curve in worst for point in curve]
            x = around([px for px, _ in points], title, lambda v: f"{v:g}"[:5])
            y = around([py for _, py in points], "loss", lambda v: f"{v:.3g}")
            note = "The loss when this tensor alone is changed; the most sensitive ones have a colour."
            made.append(section(f"Sensitivity, {stage['name']}", lines(worst, x, y), note))
    return made


def filters(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is left of each group of channels, for each stage that says so."""
    made = []
    for stage in stages:
        rows = (stage.get("detail") or {}).get("filters") or []
        if not rows:
            continue
        largest = max(row["of"] for row in rows)
        cells = [
            [
                escape(str(row["group"])),
                bar_of(row["alive"], row["of"], largest, f"{row['alive']} of {row['of']}"),
                f"{100 * (1 - row['alive'] / max(1, row['of'])):.0f} %",
            ]
            for row in rows
        ]
        alive, total = sum(row["alive"] for row in rows), sum(row["of"] for row in rows)
        note = f"{alive:,} of {total:,} channels are left."
        body = table(["Channels of", "Alive", ">Gone"], cells)
        made.append(section(f"Filters alive after {stage['name']}", body, note))
    return made


def _tensors(report: Mapping[str, Any]) -> str:
    rows = sorted(report.get("tensors", []), key=lambda row: -row["stored_bytes"])
    shown, rest = rows[:_TENSORS], rows[_TENSORS:]
    largest = shown[0]["stored_bytes"] if shown else 1
    cells = [
        [
            escape(row["name"] or row["part"])
            + f"<small>{escape(' x '.join(map(str, row['shape'])))}</small>",
            bar(row["stored_bytes"], largest, size(row["stored_bytes"])),
            size(row["raw_bytes"]) if row["raw_bytes"] else "",
            f"{8 * row['stored_bytes'] / elements:.2f}" if (elements := _elements(row)) else "",
            escape(str(row["coding"])),
        ]
        for row in shown
    ]
    note = f"{len(rest)} smaller parts take {size(sum(r['stored_bytes'] for r in rest))}." if rest else ""
    columns = ["Part", "In the artifact", ">In ONNX", ">Bits an element", "Coded by"]
    return section("Where the bytes went", table(columns, cells), note)


def _elements(row: Mapping[str, Any]) -> int:
    product = 1
    for length in row["shape"]:
        product *= length
    return product if row["part"] == "tensor" else 0


def _origin(report: Mapping[str, Any]) -> str:
    latency, data = report["latency_us"], report.get("dataset")
    accuracy = report.get("accuracy")
    rows = [
        ("Model", escape(report["model"]) + f"<small>SHA-256 {escape(report['source_sha256'])}</small>"),
        ("Artifact", f"<small>SHA-256 {escape(report['artifact_sha256'])}</small>"),
        ("Paper", escape(report["recipe"].get("source") or "our own")),
        ("Data", escape(f"{data['name']}, split {accuracy['split']}" if data and accuracy else "none")),
        ("Timed on", escape(f"{latency['machine']}, {latency['runtime']}, {latency['threads']} thread(s)")),
        ("Took", escape(f"{report['seconds']:.0f} s, seed {report['seed']}")),
    ]
    return section("From what", table(["", ""], rows))
