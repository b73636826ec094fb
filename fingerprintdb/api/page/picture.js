/** A canvas that stays crisp: drawn anew whenever its size, the screen or the colours change. */

import { element } from "./element.js";

const COLOURS = ["ink", "quiet", "line", "paper", "clip", "reference", "agreed", "chance"];
const LEFT = 44;
const RIGHT = 10;
const TOP = 14;
const BOTTOM = 26;

/** Return a canvas with words for those who do not see it; `draw` is called with a Frame. */
export class Picture {
  canvas;
  #draw;

  constructor(words, draw) {
    this.#draw = draw;
    this.canvas = element("canvas", { class: "picture", role: "img", "aria-label": words });
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const recolour = () => {
      if (this.canvas.isConnected) this.redraw();
      else dark.removeEventListener("change", recolour);
    };
    dark.addEventListener("change", recolour);
  }

  /** Draw it, as large as it is now. */
  redraw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.font = `12px ${getComputedStyle(this.canvas).fontFamily}`;
    this.#draw(new Frame(pen, width, height, coloursOf(this.canvas)));
  }
}

/** Return the page's colours, as they are where an element is. */
export function coloursOf(place) {
  const style = getComputedStyle(place);
  return Object.fromEntries(
    COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
}

/** Return how far into a picture's width a share of its horizontal axis lies, as CSS. */
export function across(share) {
  return `calc(${LEFT}px + ${share} * (100% - ${LEFT + RIGHT}px))`;
}

/** A pen with axes: x and y are shares of the plot, from its lower left corner. */
export class Frame {
  constructor(pen, width, height, colours) {
    this.pen = pen;
    this.width = width;
    this.height = height;
    this.colours = colours;
    this.plotWidth = width - LEFT - RIGHT;
    this.plotHeight = height - TOP - BOTTOM;
  }

  x(share) {
    return LEFT + share * this.plotWidth;
  }

  y(share) {
    return TOP + (1 - share) * this.plotHeight;
  }

  /** Draw a line across the plot at a height, dashed where it is a limit. */
  level(share, colour, { dashed = false } = {}) {
    const { pen } = this;
    pen.save();
    pen.strokeStyle = colour;
    pen.setLineDash(dashed ? [5, 4] : []);
    pen.beginPath();
    pen.moveTo(this.x(0), Math.round(this.y(share)) + 0.5);
    pen.lineTo(this.x(1), Math.round(this.y(share)) + 0.5);
    pen.stroke();
    pen.restore();
  }

  /** Write words at a place in pixels, upon a ground that keeps marks from running into them. */
  write(words, x, y, colour, { align = "left", baseline = "alphabetic", onGround = false } = {}) {
    const { pen } = this;
    pen.textAlign = align;
    pen.textBaseline = baseline;
    if (onGround) {
      pen.strokeStyle = this.colours.paper;
      pen.lineWidth = 4;
      pen.lineJoin = "round";
      pen.strokeText(words, x, y);
      pen.lineWidth = 1;
    }
    pen.fillStyle = colour;
    pen.fillText(words, x, y);
  }

  /** Write what lies along the horizontal axis: `[share, words]`. */
  along(ticks) {
    for (const [share, words] of ticks) {
      const align = share < 0.03 ? "left" : share > 0.97 ? "right" : "center";
      this.write(words, this.x(share), this.height - 6, this.colours.quiet, { align });
    }
    this.level(0, this.colours.line);
  }

  /** Write what lies up the vertical axis, each with a faint line. */
  up(ticks) {
    for (const [share, words] of ticks) {
      this.level(share, this.colours.line);
      this.write(words, LEFT - 8, this.y(share), this.colours.quiet, {
        align: "right",
        baseline: "middle",
      });
    }
  }
}

/** Return round numbers between two, some `most` of them. */
export function roundNumbers(low, high, most) {
  const rough = Math.max(high - low, 1e-9) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let number = Math.ceil(low / step) * step; number <= high + step / 1e6; number += step)
    found.push(number);
  return found;
}
