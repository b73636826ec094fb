/** Draws both constellations laid upon each other, and the landmarks that agree. */

import { Picture, roundNumbers } from "./picture.js";

const HZ_TICKS = [100, 500, 1000, 2000, 3000, 4000, 5000];
const LOWEST_HZ = 30;

/** The constellation of an explanation; its layers can be left out. */
export class Constellation {
  layers = { clip: true, reference: true, agreed: true };
  #seen;
  #picture;
  #highest;

  constructor(seen, words) {
    this.#seen = seen;
    const times = [...seen.clip_peaks, ...seen.reference_peaks].map(([sec]) => sec);
    // Of a long clip, only a part was sent.
    this.fromSec =
      seen.duration_sec > 60 && times.length ? times.reduce((a, b) => Math.min(a, b)) : 0;
    this.toSec =
      seen.duration_sec > 60 && times.length
        ? times.reduce((a, b) => Math.max(a, b))
        : seen.duration_sec;
    const highest = [...seen.clip_peaks, ...seen.reference_peaks].reduce(
      (most, [, hz]) => Math.max(most, hz),
      1000,
    );
    this.#highest = Math.sqrt(highest * 1.04);
    this.#picture = new Picture(words, (frame) => this.#draw(frame));
  }

  get canvas() {
    return this.#picture.canvas;
  }

  /** Return the share of the picture's width at which a second of the clip lies. */
  share(sec) {
    return (sec - this.fromSec) / (this.toSec - this.fromSec || 1);
  }

  /** Show a layer, or leave it out. */
  toggle(layer, isShown) {
    this.layers[layer] = isShown;
    this.#picture.redraw();
  }

  // Between linear, which crowds the low tones, and logarithmic, which spreads the lowest too far.
  #height(hz) {
    const low = Math.sqrt(LOWEST_HZ);
    return (Math.sqrt(Math.max(hz, LOWEST_HZ)) - low) / (this.#highest - low);
  }

  #draw(frame) {
    const { pen, colours } = frame;
    const ticks = HZ_TICKS.filter((hz) => this.#height(hz) < 0.97);
    frame.up(ticks.map((hz) => [this.#height(hz), hz < 1000 ? `${hz}` : `${hz / 1000}k`]));
    frame.along(
      roundNumbers(this.fromSec, this.toSec, frame.width / 90).map((sec) => [
        this.share(sec),
        `${+sec.toFixed(1)} s`,
      ]),
    );
    const at = ([sec, hz]) => [frame.x(this.share(sec)), frame.y(this.#height(hz))];
    const radius = Math.min(
      3,
      Math.max(1.3, (frame.plotWidth / (this.toSec - this.fromSec || 1)) * 0.035),
    );
    if (this.layers.agreed) this.#drawLandmarks(pen, at, colours.agreed);
    const { clip_peaks: clip, reference_peaks: reference, shared } = this.#seen;
    if (this.layers.reference)
      dots(pen, reference.filter((_, n) => !shared[n]).map(at), radius * 0.8, colours.reference);
    if (this.layers.clip) rings(pen, clip.map(at), radius * 1.5, colours.clip);
    if (this.layers.agreed)
      dots(pen, reference.filter((_, n) => shared[n]).map(at), radius, colours.agreed);
  }

  #drawLandmarks(pen, at, colour) {
    const { landmarks } = this.#seen;
    pen.save();
    pen.strokeStyle = colour;
    pen.lineWidth = Math.min(1.2, Math.max(0.5, 350 / (landmarks.length || 1)));
    pen.globalAlpha = 0.55;
    pen.beginPath();
    for (const [fromSec, fromHz, toSec, toHz] of landmarks) {
      pen.moveTo(...at([fromSec, fromHz]));
      pen.lineTo(...at([toSec, toHz]));
    }
    pen.stroke();
    pen.restore();
  }
}

function dots(pen, places, radius, colour) {
  pen.fillStyle = colour;
  for (const [x, y] of places) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
  }
}

function rings(pen, places, radius, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  for (const [x, y] of places) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.stroke();
  }
}
