/** A bar that stands for a whole recording, with the span that a clip is from. */

import { element, fill } from "./element.js";
import { clock, span } from "./wording.js";

/** The timeline of a match; `onSeek` hears the second that is pointed at. */
export class Timeline {
  element;
  #bar = element("div", { class: "timeline-bar" });
  #span = element("div", { class: "timeline-span" });
  #clip = element("div", { class: "timeline-clip", hidden: true });
  #head = element("div", { class: "timeline-head", hidden: true });
  #words = element("p", { class: "timeline-words" });
  #match;
  #lengthSec;
  #clipSec = 0;

  constructor(match, onSeek) {
    this.#match = match;
    fill(this.#bar, this.#clip, this.#span, this.#head);
    this.element = element("div", { class: "timeline" }, this.#words, this.#bar);
    this.#bar.addEventListener("click", (event) => {
      const { left, width } = this.#bar.getBoundingClientRect();
      onSeek(((event.clientX - left) / width) * this.#lengthSec);
    });
    this.lasts(match.reference_end_sec);
  }

  /** Say how long the recording is. */
  lasts(sec, isKnown = false) {
    const { reference_start_sec: from, reference_end_sec: to } = this.#match;
    this.#lengthSec = Math.max(sec, to);
    this.#put(this.#span, from, to);
    this.heard(this.#clipSec);
    const whole = isKnown
      ? [element("span", { class: "quiet" }, ` of ${clock(this.#lengthSec)}`)]
      : [];
    fill(this.#words, element("strong", {}, span(from, to)), whole);
  }

  /** Show, fainter, where the whole clip lies, of which the span is what agrees. */
  heard(clipSec) {
    this.#clipSec = clipSec;
    this.#clip.hidden = clipSec === 0;
    const { offset_sec: beganSec } = this.#match;
    this.#put(this.#clip, Math.max(0, beganSec), Math.min(this.#lengthSec, beganSec + clipSec));
  }

  /** Show where it plays; null where it does not. */
  follow(sec) {
    this.#head.hidden = sec === null;
    if (sec !== null) this.#head.style.left = `${Math.min(100, (100 * sec) / this.#lengthSec)}%`;
  }

  #put(part, fromSec, toSec) {
    part.style.left = `${(100 * fromSec) / this.#lengthSec}%`;
    part.style.width = `${(100 * (toSec - fromSec)) / this.#lengthSec}%`;
  }
}
