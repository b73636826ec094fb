/** A constellation behind the question: still, or made of the peaks that the microphone hears. */

import { coloursOf } from "./picture.js";

const STARS = 120;
const TARGETS = 2;
const FARTHEST = 120;
const PEAKS_A_LOOK = 3;
const LOOK_MS = 90;
const CROSSED_SEC = 6;
const LOWEST_BIN = 4;
const HIGHEST_BIN = 220; // some 5 kHz

/** The sky of a canvas. */
export class Sky {
  #canvas;
  #peaks = [];
  #analyser = null;
  #onLevel = () => {};
  #lookedMs = 0;
  #stillness = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Draw what an analyser hears, and tell its level, until `rest`. */
  hear(analyser, onLevel) {
    this.#analyser = analyser;
    this.#onLevel = onLevel;
    this.#peaks = [];
    requestAnimationFrame(() => this.#step());
  }

  /** Be still again. */
  rest() {
    this.#analyser = null;
    this.#draw();
  }

  #step() {
    if (!this.#analyser) return;
    const now = performance.now();
    if (now - this.#lookedMs >= LOOK_MS) {
      this.#lookedMs = now;
      this.#look(now);
    }
    this.#draw();
    requestAnimationFrame(() => this.#step());
  }

  #look(now) {
    const wave = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(wave);
    const power = wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length;
    this.#onLevel(Math.min(1, Math.max(0, 1 + Math.log10(power + 1e-12) / 6))); // −60 dB is nothing
    const levels = new Uint8Array(this.#analyser.frequencyBinCount);
    this.#analyser.getByteFrequencyData(levels);
    const tops = [];
    for (let bin = LOWEST_BIN; bin < HIGHEST_BIN; bin += 1) {
      if (levels[bin] > 70 && levels[bin] >= levels[bin - 1] && levels[bin] > levels[bin + 1])
        tops.push(bin);
    }
    tops.sort((a, b) => levels[b] - levels[a]);
    const height = (bin) => Math.sqrt(bin / HIGHEST_BIN);
    for (const bin of tops.slice(0, PEAKS_A_LOOK))
      this.#peaks.push({ at: now, y: 1 - height(bin), size: levels[bin] / 255 });
    this.#peaks = this.#peaks.filter(({ at }) => now - at < CROSSED_SEC * 1000);
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const stars = this.#analyser && !this.#stillness.matches ? this.#heard() : stillStars();
    const places = stars.map(({ x, y, size }) => ({
      x: x * width,
      y: y * height,
      radius: 1 + 2 * size,
    }));
    const colours = coloursOf(this.#canvas);
    pen.strokeStyle = colours.agreed;
    places.forEach((from, n) => {
      const near = places
        .slice(n + 1, n + 12)
        .map((to) => [Math.hypot(from.x - to.x, from.y - to.y), to]);
      for (const [far, to] of near.sort(([a], [b]) => a - b).slice(0, TARGETS)) {
        if (far > FARTHEST) break;
        pen.globalAlpha = 0.45 * (1 - far / FARTHEST);
        pen.beginPath();
        pen.moveTo(from.x, from.y);
        pen.lineTo(to.x, to.y);
        pen.stroke();
      }
    });
    pen.globalAlpha = this.#analyser ? 0.85 : 0.4;
    pen.fillStyle = this.#analyser ? colours.agreed : colours.quiet;
    for (const { x, y, radius } of places) {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  #heard() {
    const now = performance.now();
    return this.#peaks.map(({ at, y, size }) => ({
      x: 1 - (now - at) / 1000 / CROSSED_SEC,
      y: 0.06 + 0.88 * y,
      size,
    }));
  }
}

/** The same sky every time: numbers of a linear congruential generator. */
function stillStars() {
  let state = 20_11;
  const next = () => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;
  return Array.from({ length: STARS }, (_, n) => ({
    x: (n + next()) / STARS,
    y: next(),
    size: next() ** 3,
  }));
}
