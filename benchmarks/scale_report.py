"""Prints and draws what benchmarks.scale measured."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FIGURES = ("p50_ms", "p95_ms", "cpu_ms", "hashes", "rows", "buffers", "backend_mb")
KINDS = ("plain 10 s", "plain 5 s", "wide 10 s", "identify 10 s", "cold")


def show(report: dict[str, Any]) -> None:
    """Print the tables for a person."""
    console = Console(width=120)
    points = report["points"]
    sealed = report["sealed"]
    console.print(
        f"{sealed['recordings']:.0f} recordings, {sealed['postings']:,.0f} postings:"
        f" COPY {sealed['copy_sec']:.1f} s, fpdb.compact() seals them in"
        f" {sealed['seal_sec']:.1f} s"
        f" ({_a_second(sealed, 'postings', 'seal_sec')} a second)"
    )
    _table(
        console,
        "Bytes, all indexes included",
        (
            "recordings",
            "runs",
            "postings",
            "a posting",
            "of it live",
            "a recording",
            "of it live",
            "sub-fingerprints a recording",
        ),
        [
            (
                f"{point['recordings']:,}",
                f"{point['sizes']['runs']:.0f}",
                f"{point['sizes']['postings']:,.0f}",
                f"{point['sizes']['bytes_a_posting']:.2f}",
                f"{point['sizes']['live_bytes_a_posting']:.2f}",
                f"{point['sizes']['bytes_a_recording']:,.0f}",
                f"{point['sizes']['live_bytes_a_recording']:,.0f}",
                f"{point['sizes']['sub_fingerprint_bytes'] / point['sizes']['assets']:,.0f}",
            )
            for point in points
        ],
    )
    _table(
        console,
        "Building",
        ("recordings", "runs written, s", "fpdb.compact(), s", "merged a second"),
        [
            (
                f"{point['recordings']:,}",
                f"{point['build']['write_sec']:.1f}",
                f"{point['build']['merge_sec']:.1f}",
                f"{_a_second(point['build'], 'merged_postings', 'merge_sec')}",
            )
            for point in points
        ],
    )
    for name in KINDS:
        _table(
            console,
            {"cold": "plain 10 s, cold"}.get(name, name + ", warm"),
            ("recordings", "p50 ms", "p95 ms", "CPU ms", "hashes", "rows", "pages", "backend MB"),
            [
                (f"{point['recordings']:,}", *(_number(point[name].get(key)) for key in FIGURES))
                for point in points
                if point[name]
            ],
        )
    for point in points:
        console.print(
            f"{point['recordings']:,} recordings: 8 clients get"
            f" {point['calls_a_second']:.0f} plain calls a second in all"
        )
        if point["cold"]:
            console.print(f"cold: {point['cold']['how']}", style="dim")
    narrow = [
        (f"{point['recordings']:,}", layout["layout"], layout["bytes_a_posting"], layout["p50_ms"])
        for point in points
        if "narrow" in point
        for layout in (
            {
                "layout": "packed",
                "bytes_a_posting": point["sizes"]["bytes_a_posting"],
                "p50_ms": point["narrow"]["packed"]["p50_ms"],
            },
            *point["narrow"]["layouts"],
        )
    ]
    _table(
        console,
        "All votes of a 10 s clip, no budget, no bits",
        ("recordings", "layout", "bytes a posting", "p50 ms"),
        [(size, layout, f"{held:.1f}", f"{p50:.1f}") for size, layout, held, p50 in narrow],
    )
    if report["growth"] is not None:
        console.print(f"plain stage: time grows as recordings ^ {report['growth']:.2f}")
    if report["cpu_growth"] is not None:
        console.print(f"plain stage: processor time as recordings ^ {report['cpu_growth']:.2f}")


def draw(report: dict[str, Any], folder: Path) -> None:
    """Write scale.png to a folder: milliseconds and bytes over recordings."""
    import matplotlib as mpl  # noqa: PLC0415 — only who wants a plot needs it
    import matplotlib.pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    points = report["points"]
    for name in KINDS:
        drawn = [point for point in points if point[name]]
        left.loglog(
            [point["recordings"] for point in drawn],
            [point[name]["p50_ms"] for point in drawn],
            "o-",
            label={"cold": "plain 10 s, cold"}.get(name, name),
        )
    for number in range(2):
        drawn = [point for point in points if "narrow" in point]
        if drawn:
            label = drawn[0]["narrow"]["layouts"][number]["layout"]
            asked = [point["recordings"] for point in drawn]
            layouts = [point["narrow"]["layouts"][number] for point in drawn]
            left.loglog(asked, [one["p50_ms"] for one in layouts], "x--", label=label)
            right.semilogx(asked, [one["bytes_a_posting"] for one in layouts], "x--", label=label)
    for key, label in (("bytes_a_posting", "packed"), ("live_bytes_a_posting", "packed, live")):
        right.semilogx(
            [point["recordings"] for point in points],
            [point["sizes"][key] for point in points],
            "o-",
            label=label,
        )
    left.set_ylabel("ms, median")
    right.set_ylabel("bytes a posting")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("recordings")
        axes.legend(fontsize=7, loc="lower right" if axes is left else "center right")
        axes.grid(alpha=0.3)
    figure.savefig(folder / "scale.png", dpi=120)
    plt.close(figure)


def _table(
    console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    if not rows:
        return
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == "layout" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _a_second(found: dict[str, float], amount: str, seconds: str) -> str:
    return f"{found[amount] / max(found[seconds], 1e-9):,.0f}"
