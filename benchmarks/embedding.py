"""Says how fast CLAP embeds, beside the plain transformers loop and the device's matrix peak.

`python -m benchmarks.embedding [--model NAME_OR_FOLDER]` embeds five-second windows of noise; what
they hold does not change their cost. Without `--model` a full-size ClapModel of random weights is
made, which costs what real weights do. A round measures everything once, so that a busy minute of
the machine touches all of it; the table gives the median of the rounds and their range.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from fingerprintdb.embedding.checkpoint import find
from fingerprintdb.embedding.clap import ClapEmbedder
from fingerprintdb.embedding.embedder import Array
from fingerprintdb.extraction import BATCH_SEGMENTS

WINDOW_SEC, HOP_SEC = 5.0, 2.5
PLAIN_WINDOWS = 8
FEWEST_ROUNDS = 3
MATRIX = {"cpu": 2048, "cuda": 8192}
ROWS = {
    "plain": "plain loop",
    "ours": "ours, one call",
    "two_calls": "ours, two calls",
}


def main() -> None:
    """Run the benchmark and print its table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", help="a CLAP checkpoint in the hub's cache, or a folder")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    log: Any = transformers.utils.logging
    log.disable_progress_bar()
    with _model(options.model) as name:
        report = _measure(name, options.seconds)
    if options.json:
        print(json.dumps(report))
    else:
        _show(report)


@contextmanager
def _model(name: str | None) -> Iterator[str]:
    """Give the model's name, or a folder with one of random weights where none is named."""
    if name is not None:
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="fpdb-bench-") as folder:
        # The audio tower is of full size; the text tower, which nothing here uses, is not.
        config = transformers.ClapConfig(text_config={"num_hidden_layers": 1})
        transformers.ClapModel(config).save_pretrained(folder)
        transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
        yield folder


def _measure(name: str, seconds: float) -> dict[str, Any]:
    checkpoint = find(name)
    embedder, plain = ClapEmbedder(checkpoint), _PlainLoop(checkpoint.folder)
    device = embedder._device
    rng = np.random.default_rng(0)
    shape = (BATCH_SEGMENTS, round(WINDOW_SEC * embedder.sample_rate_hz))
    windows = list(0.1 * rng.standard_normal(shape, np.float32))
    tasks: dict[str, Callable[[], float]] = {
        "peak_gflops": lambda: _matrix_gflops(device.name, bf16=device.has_bf16),
        "plain": lambda: _rate(PLAIN_WINDOWS, plain.embed, windows[:PLAIN_WINDOWS]),
        "ours": lambda: _rate(len(windows), embedder.embed_audio, windows),
        "front_end": lambda: _rate(len(windows), _front_end, embedder, windows),
        "two_calls": lambda: _rate(2 * len(windows), _two_calls, embedder, windows),
    }
    for task in tasks.values():  # the first time allocates
        task()
    rounds: list[dict[str, float]] = []
    began = time.perf_counter()
    while len(rounds) < FEWEST_ROUNDS or time.perf_counter() - began < seconds:
        rounds.append({name: task() for name, task in tasks.items()})
    return {
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if device.name == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "precision": "bfloat16" if device.has_bf16 else "float32",
        "gflop_a_window": plain.gflop(windows[0]),
        "rounds": rounds,
    }


class _PlainLoop:
    """What a few lines of transformers do: the extractor, then the model, window by window."""

    def __init__(self, folder: Path) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = transformers.ClapModel.from_pretrained(folder)
        self._model = model.eval().to(self._device)
        self._extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)

    def embed(self, windows: Sequence[Array]) -> None:
        for window in windows:
            inputs = self._extractor(
                window, sampling_rate=self._extractor.sampling_rate, return_tensors="pt"
            ).to(self._device)
            with torch.inference_mode():
                self._model.get_audio_features(**inputs).pooler_output.cpu()

    def gflop(self, window: Array) -> float:
        """Return what the matrix products and convolutions of a window cost."""
        with FlopCounterMode(display=False) as counter:
            self.embed([window])
        return float(counter.get_total_flops()) / 1e9


def _rate(count: int, work: Callable[..., Array | None], *args: Any) -> float:
    """Return how many windows a second are worked off."""
    began = time.perf_counter()
    work(*args)
    return count / (time.perf_counter() - began)


def _front_end(embedder: ClapEmbedder, windows: Sequence[Array]) -> None:
    with torch.inference_mode():
        for start in range(0, len(windows), embedder._batch):
            embedder._log_mel(windows[start : start + embedder._batch]).sum().item()


def _two_calls(embedder: ClapEmbedder, windows: Sequence[Array]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(embedder.embed_audio, [windows, windows]))


def _matrix_gflops(device: str, *, bf16: bool) -> float:
    """Return the best of five large matrix products, in GFLOP/s."""
    size = MATRIX[device]
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9


def _processor() -> str:
    """Return the processor's name and how many of its cores there are."""
    names = [platform.processor() or platform.machine()]
    if (info := Path("/proc/cpuinfo")).exists():
        lines = [line.partition(":") for line in info.read_text().splitlines()]
        names = [value.strip() for key, _, value in lines if key.strip() == "model name"] or names
    return f"{names[0]}, {os.cpu_count()} cores"


def _show(report: dict[str, Any]) -> None:
    console, rounds = Console(), report["rounds"]
    gflop = report["gflop_a_window"]

    def spread(values: Sequence[float], form: str = ".1f", scale: float = 1.0) -> str:
        low, mid, high = (scale * value for value in np.percentile(values, [0, 50, 100]))
        return f"{mid:{form}} ({low:{form}}–{high:{form}})"

    console.print(
        f"{report['processor']}; on {report['device']}, {report['threads']} threads,"
        f" {report['precision']}; torch {report['torch']}, transformers {report['transformers']};"
        f" {len(rounds)} rounds, median (range)"
    )
    peak = max(each["peak_gflops"] for each in rounds)
    console.print(f"matrix peak {peak:.0f} GFLOP/s (the best round); {gflop:.1f} GFLOP a window")
    table = Table("", "windows/s", "× real time", "% of peak", "× plain loop")
    for key, label in ROWS.items():
        rates = [each[key] for each in rounds]
        table.add_row(
            label,
            spread(rates),
            spread(rates, ".0f", HOP_SEC),
            spread(rates, ".0f", 100 * gflop / peak),
            spread([each[key] / each["plain"] for each in rounds], ".2f"),
        )
    console.print(table)
    shares = [each["ours"] / each["front_end"] for each in rounds]
    console.print(
        f"{WINDOW_SEC:g}-s windows, one every {HOP_SEC:g} s of sound; the plain transformers loop"
        f" takes one at a time, a call of ours {BATCH_SEGMENTS}, two calls run in two threads; our"
        f" log-mel front end takes {spread(shares, '.0f', 100)} % of our time"
    )


if __name__ == "__main__":
    main()
