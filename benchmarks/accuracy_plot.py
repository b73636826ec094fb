"""Draws what benchmarks.accuracy found."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

mpl.use("Agg")


def draw(report: dict[str, Any], folder: Path) -> None:
    """Write accuracy.png (conditions by lengths) and reliability.png to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    conditions = list(dict.fromkeys(cell["condition"] for cell in report["cells"]))
    durations = sorted({cell["duration_sec"] for cell in report["cells"]})
    shares = np.full((len(conditions), len(durations)), np.nan)
    for cell in report["cells"]:
        row, column = conditions.index(cell["condition"]), durations.index(cell["duration_sec"])
        shares[row, column] = 100 * cell["right"] / cell["trials"]
    figure, axes = plt.subplots(figsize=(5, 7), layout="constrained")
    axes.imshow(shares, vmin=50, vmax=100, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(durations)), [f"{sec:g} s" for sec in durations])
    axes.set_yticks(range(len(conditions)), conditions)
    for row, column in np.ndindex(shares.shape):
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color="w")
    axes.set_title(f"right, %, profile {report['profile']}")
    figure.savefig(folder / "accuracy.png", dpi=120)
    plt.close(figure)
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.8")
    rows = report["reliability"]
    axes.plot([r["predicted"] for r in rows], [r["observed"] for r in rows], "o-")
    for row in rows:
        axes.annotate(str(row["trials"]), (row["predicted"], row["observed"]))
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that was right")
    figure.savefig(folder / "reliability.png", dpi=120)
    plt.close(figure)
