/** Draws how many landmarks vote for each offset, beside what chance would bring together. */

import { Picture, roundNumbers } from "./picture.js";
import { clock, count, place } from "./wording.js";

/** Return the canvas of an explanation's offset histogram. */
export function histogram(seen, words) {
  return new Picture(words, (frame) => draw(frame, seen)).canvas;
}

function draw(frame, seen) {
  const { pen, colours } = frame;
  const {
    histogram_offsets_sec: offsets,
    histogram_votes: votes,
    peak_offset_sec: peakSec,
    peak_votes: peak,
    chance_votes: chance,
  } = seen;
  const low = Math.min(peakSec, offsets[0] ?? peakSec);
  const high = Math.max(peakSec + 1, offsets.at(-1) ?? peakSec);
  const most = 1.15 * votes.reduce((a, b) => Math.max(a, b), Math.max(peak, chance, 1));
  const x = (sec) => frame.x((sec - low) / (high - low));

  frame.up(roundNumbers(0, most, 4).map((number) => [number / most, String(number)]));
  pen.fillStyle = colours.clip;
  const width = Math.max(1, frame.plotWidth / Math.max(offsets.length, 1));
  votes.forEach((number, at) => {
    if (number)
      pen.fillRect(
        x(offsets[at]),
        frame.y(number / most),
        width,
        (frame.plotHeight * number) / most,
      );
  });
  frame.level(chance / most, colours.chance, { dashed: true });
  const ticks = roundNumbers(low, high, frame.width / 90);
  frame.along(
    ticks.map((sec) => [(sec - low) / (high - low), sec < 0 ? `−${clock(-sec)}` : clock(sec)]),
  );

  const isLeft = x(peakSec) < frame.width / 2;
  const [peakX, peakY] = [x(peakSec) + width / 2, frame.y(peak / most)];
  mark(pen, peakX, peakY - 2, colours.agreed);
  frame.write(
    `${place(peakSec)} · ${count(peak, "vote")}`,
    peakX + (isLeft ? 11 : -11),
    peakY - 4,
    colours.agreed,
    {
      align: isLeft ? "left" : "right",
      onGround: true,
    },
  );
  const chanceY = frame.y(chance / most) - 6;
  frame.write(
    `the most that chance gives: ${Math.round(chance)}`,
    frame.x(isLeft ? 1 : 0) + (isLeft ? -2 : 4),
    chanceY,
    colours.chance,
    {
      align: isLeft ? "right" : "left",
      onGround: true,
    },
  );
}

function mark(pen, x, y, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x - 5.5, y - 9);
  pen.lineTo(x + 5.5, y - 9);
  pen.fill();
}
