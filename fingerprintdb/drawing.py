"""Draws an explanation: the numbers of why a clip matched, as one figure of four panels."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fingerprintdb.errors import FingerprintError
from fingerprintdb.explanation import Explanation, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL_COMMAND = 'pip install "fingerprintdb[plot]"'
SUFFIXES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps", ".ps")

# Okabe and Ito's colours, which every eye tells apart.
CLIP, REFERENCE, AGREED, CHANCE, INK, QUIET = (
    *("#0072B2", "#D55E00", "#007A5A", "#9C4F82", "#222222", "#777777"),
)
BEHIND_TEXT = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
RANGE_DB = 60.0
"""What lies so far below the loudest is white."""

SHOWN_SEC = 60.0
"""Of a longer clip so much is drawn, around the middle of what agrees: more is a blur."""

HISTOGRAM_COLUMNS = 1500
"""Offsets are drawn in so many columns, the greatest of each."""

NEAR_SEC = 0.5
"""How far the magnified part of the histogram reaches on both sides of the peak."""


class DrawingError(FingerprintError):
    """Nothing can be drawn here, or not in this format."""


def require_drawable(path: Path) -> None:
    """Raise DrawingError unless a picture can be written here, in the format of the suffix."""
    if path.suffix.lower() not in SUFFIXES:
        raise DrawingError(
            f"{path.name} has no suffix of a picture", f"use one of {', '.join(SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise DrawingError(f"there is no folder {path.parent}", "make it, or name another")
    _figure()


def save(figure: "Figure", path: Path) -> None:
    """Write a figure; the suffix says the format."""
    with warnings.catch_warnings():
        # A title in a script that the font lacks is drawn with boxes, which says it all.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=130)


def draw(seen: Explanation, heading: str, details: str) -> "Figure":
    """Return a figure with the heading (which recording) and the details (how sure, where)."""
    figure = _figure()
    grid = figure.add_gridspec(4, 2, height_ratios=(3.0, 3.0, 2.0, 1.9), width_ratios=(3.4, 1))
    peaks = figure.add_subplot(grid[0, :])
    landmarks = figure.add_subplot(grid[1, :], sharex=peaks, sharey=peaks)
    histogram = figure.add_subplot(grid[2, 0])
    near = figure.add_subplot(grid[2, 1], sharey=histogram)
    bits = figure.add_subplot(grid[3, :], sharex=peaks)
    # A title is text, not mathematics, whatever its dollar signs.
    for text, y, size, weight in ((heading, 0.99, 15, "bold"), (details, 0.966, 11, "normal")):
        figure.text(0.012, y, text, va="top", color=INK, size=size, weight=weight, parse_math=False)
    _draw_peaks(peaks, seen)
    _draw_landmarks(landmarks, seen)
    _draw_histogram(histogram, near, seen)
    _draw_bits(bits, seen)
    peaks.set_xlim(*_shown_sec(seen))
    if seen.duration_sec > SHOWN_SEC:
        bits.set_xlabel(f"time in the clip (s), which is {seen.duration_sec:.0f} s long", color=INK)
    for axes in (peaks, landmarks, histogram, near, bits):
        axes.tick_params(color=QUIET, labelcolor=INK, labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
    return figure


def _figure() -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 — an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise DrawingError(
            "pictures need matplotlib, which is not installed here", INSTALL_COMMAND
        ) from error
    figure = Figure(figsize=(12, 13), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.005, 0.005, 0.99, 0.945), h_pad=0.06)  # type: ignore[call-arg]
    return figure


def _draw_peaks(axes: "Axes", seen: Explanation) -> None:
    _draw_spectrogram(axes, seen)
    size = _mark_size(seen)
    start_sec, end_sec = _shown_sec(seen)
    hollow = {"s": 7 * size, "facecolors": "none", "edgecolors": CLIP, "linewidths": size**0.5 / 2}
    alone = {"s": 2.6 * size, "color": REFERENCE, "linewidths": 0}
    both = {"s": 3.2 * size, "color": AGREED, "linewidths": 0}
    for points, style, whose in (
        (seen.clip_peaks, hollow, "of the clip"),
        (seen.reference_peaks.where(~seen.is_shared), alone, "of the recording alone"),
        (seen.reference_peaks.where(seen.is_shared), both, "of both"),
    ):
        shown = points.where((points.times_sec >= start_sec) & (points.times_sec <= end_sec))
        axes.scatter(*_places(shown), label=f"{len(shown)} peaks {whose}", **style)
    _title(axes, "Constellations", "")
    _legend(axes, 3)


def _draw_landmarks(axes: "Axes", seen: Explanation) -> None:
    from matplotlib.collections import LineCollection  # noqa: PLC0415 — an extra

    _draw_spectrogram(axes, seen)
    ends = np.stack((np.stack(_places(seen.anchors), 1), np.stack(_places(seen.targets), 1)), 1)
    axes.add_collection(
        LineCollection(
            list(ends),
            colors=AGREED,
            linewidths=float(np.clip(600 / max(len(ends), 1), 0.4, 1.2)),
            alpha=0.75,
        ),
        autolim=False,
    )
    axes.scatter(*_places(seen.anchors), s=1.6 * _mark_size(seen), color=AGREED, linewidths=0)
    chance = seen.histogram.chance_votes
    _title(
        axes,
        "Landmarks that agree",
        f"{len(seen.anchors)} lines from anchor (dot) to target; {seen.aligned_landmarks} votes,"
        f" at most three an anchor; chance gives at most {chance:.0f}",
    )


def _draw_histogram(axes: "Axes", near: "Axes", seen: Explanation) -> None:
    histogram, frame_sec = seen.histogram, seen.frame_sec
    offsets_sec = (np.arange(len(histogram.votes)) + histogram.lowest_frames) * frame_sec
    peak_sec, peak_votes = seen.peak_frames * frame_sec, seen.aligned_landmarks
    starts, columns = histogram.columns(HISTOGRAM_COLUMNS)
    drawn = columns > 0
    axes.vlines(starts[drawn] * frame_sec, 0, columns[drawn], CLIP, linewidth=1.0)
    axes.set_xlim(offsets_sec[0], max(offsets_sec[-1], offsets_sec[0] + 1))
    axes.set_ylim(0, 1.35 * max(float(columns.max(initial=1)), histogram.chance_votes))
    axes.plot(peak_sec, peak_votes, "v", color=AGREED, markersize=9, zorder=5)
    is_left = peak_sec < np.mean(axes.get_xlim())
    axes.annotate(
        f"{peak_votes} votes at {peak_sec:.2f} s",
        (peak_sec, peak_votes),
        (10 if is_left else -10, 1),
        textcoords="offset points",
        ha="left" if is_left else "right",
        color=AGREED,
        weight="bold",
        bbox=BEHIND_TEXT,
    )
    axes.set_xlabel("offset = time in the recording − time in the clip (s)", color=INK)
    axes.set_ylabel("votes", color=INK)
    axes.locator_params(axis="y", integer=True)
    _title(axes, "Votes by offset", "hashes that both have, neighbouring offsets together")
    is_near = np.abs(offsets_sec - peak_sec) <= NEAR_SEC
    near.bar(offsets_sec[is_near], histogram.votes[is_near], frame_sec, color=CLIP)
    near.set_xlim(peak_sec - NEAR_SEC, peak_sec + NEAR_SEC)
    near.set_xlabel("offset (s)", color=INK)
    near.tick_params(labelleft=False)
    _title(near, "", "near the alignment")
    for one in (axes, near):
        one.axhline(histogram.chance_votes, color=CHANCE, linestyle="--", linewidth=1.2)
    axes.annotate(
        "most that chance gives",
        (1 if is_left else 0, histogram.chance_votes),
        (-4 if is_left else 4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right" if is_left else "left",
        size=9,
        color=CHANCE,
        bbox=BEHIND_TEXT,
    )


def _draw_bits(axes: "Axes", seen: Explanation) -> None:
    errors = seen.bit_errors
    judged = errors.is_judged
    size = max(6.0, 2.2 * _mark_size(seen))
    axes.axhline(0.5, color=QUIET, linewidth=1.0, label="unrelated sound")
    if errors.chance_rate is not None:
        said = f"lowest mean that chance gives, {100 * errors.chance_rate:.1f} %"
        axes.axhline(errors.chance_rate, color=CHANCE, linestyle="--", linewidth=1.2, label=said)
    for chosen, color, said in ((judged, CLIP, "judged"), (~judged, QUIET, "not judged")):
        if chosen.any():
            marks = errors.times_sec[chosen], errors.rates[chosen]
            axes.scatter(*marks, s=size, color=color, linewidths=0, label=said)
    if errors.mean is not None:
        ends = errors.times_sec[judged][[0, -1]]
        said = f"mean, {100 * errors.mean:.1f} %"
        axes.plot(ends, [errors.mean] * 2, color=AGREED, linewidth=2.0, label=said)
    axes.set_ylim(0, max(0.6, float(errors.rates.max(initial=0)) + 0.03))
    axes.yaxis.set_major_formatter(lambda rate, _: f"{100 * rate:.0f} %")
    axes.set_ylabel("bits that differ", color=INK)
    axes.set_xlabel("time in the clip (s)", color=INK)
    _title(axes, "Bit errors along time", "")
    _legend(axes, 5)


def _draw_spectrogram(axes: "Axes", seen: Explanation) -> None:
    shown = seen.spectrogram
    since, upto = (max(0, round(sec / shown.frame_sec)) for sec in _shown_sec(seen))
    decibels = shown.decibels[since:upto]
    times_sec = shown.first_sec + (since + np.arange(len(decibels))) * shown.frame_sec
    frequencies_hz = np.arange(decibels.shape[1]) * shown.bin_hz
    loudest = float(np.percentile(decibels, 99.9))
    axes.pcolormesh(
        times_sec,
        frequencies_hz,
        decibels.T,
        shading="nearest",
        cmap="Greys",
        vmin=loudest - RANGE_DB,
        vmax=loudest + 25,  # marks must stand out from the darkest
        rasterized=True,
    )
    # Between linear, which crowds the low bands, and logarithmic, which has no bins for them.
    axes.set_yscale("function", functions=(lambda hz: np.sqrt(np.maximum(hz, 0)), np.square))
    axes.set_ylim(30, frequencies_hz[-1])
    axes.set_yticks([100, 300, 600, 1000, 1500, 2000, 3000, 4000])
    axes.set_ylabel("frequency (Hz)", color=INK)


def _shown_sec(seen: Explanation) -> tuple[float, float]:
    """Return from where to where the clip is drawn, in seconds."""
    spare_sec = max(0.0, seen.duration_sec - SHOWN_SEC)
    agreed_sec = seen.anchors.times_sec
    middle_sec = float(np.median(agreed_sec)) if len(agreed_sec) else 0.0
    start_sec = min(max(0.0, middle_sec - SHOWN_SEC / 2), spare_sec)
    return start_sec, start_sec + seen.duration_sec - spare_sec


def _places(points: Points) -> tuple[Any, Any]:
    return points.times_sec, points.frequencies_hz


def _mark_size(seen: Explanation) -> float:
    """Return how large a mark may be, in square points, that a crowd of them stays readable."""
    start_sec, end_sec = _shown_sec(seen)
    return float(np.clip(75 / (end_sec - start_sec), 1.0, 8.0))


def _title(axes: "Axes", what: str, said: str) -> None:
    axes.set_title(what, loc="left", size=12, weight="bold", color=INK)
    axes.annotate(
        said,
        (1, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        size=10,
        color=INK,
    )


def _legend(axes: "Axes", columns: int) -> None:
    """Name the marks above a panel, as peaks lie everywhere in it."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.01, 0.985),
        ncols=columns,
        fontsize=10,
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.2,
        labelcolor=INK,
    )
