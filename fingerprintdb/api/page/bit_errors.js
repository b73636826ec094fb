/** Draws which share of the bits differs along the clip, beside the least that chance gives. */

import { Picture, roundNumbers } from "./picture.js";

const MOST = 0.6;

/** Return the canvas of an explanation's bit errors, over the time that `constellation` shows. */
export function bitErrors(seen, chanceRate, constellation, words) {
  return new Picture(words, (frame) => draw(frame, seen.bit_errors, chanceRate, constellation))
    .canvas;
}

function draw(frame, errors, chanceRate, constellation) {
  const { pen, colours } = frame;
  frame.up([0, 0.25, 0.5].map((rate) => [rate / MOST, `${100 * rate} %`]));
  const ticks = roundNumbers(constellation.fromSec, constellation.toSec, frame.width / 90);
  frame.along(ticks.map((sec) => [constellation.share(sec), `${+sec.toFixed(1)} s`]));
  if (chanceRate !== null) frame.level(chanceRate / MOST, colours.chance, { dashed: true });
  pen.fillStyle = colours.agreed;
  const radius = errors.length > 200 ? 1.4 : 2.2;
  for (const [sec, rate] of errors) {
    pen.beginPath();
    pen.arc(
      frame.x(constellation.share(sec)),
      frame.y(Math.min(rate, MOST) / MOST),
      radius,
      0,
      2 * Math.PI,
    );
    pen.fill();
  }
  if (chanceRate !== null) {
    frame.write(
      "the least that chance gives",
      frame.x(1) - 2,
      frame.y(chanceRate / MOST) - 6,
      colours.chance,
      {
        align: "right",
        onGround: true,
      },
    );
  }
}
