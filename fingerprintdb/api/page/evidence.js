/** Shows why a clip matched: three pictures, each with a sentence that says the same. */

import { bitErrors } from "./bit_errors.js";
import { Constellation } from "./constellation.js";
import { element } from "./element.js";
import { histogram } from "./histogram.js";
import { across } from "./picture.js";
import { count, place } from "./wording.js";

const LAYERS = { agreed: "in both", clip: "of the clip", reference: "of the recording alone" };

/** The pictures of an explanation, with a line that goes along while the recording plays. */
export class Evidence {
  element;
  #constellation;
  #cursor = element("div", { class: "cursor", hidden: true });

  constructor(seen, match) {
    const { evidence } = match;
    const shared = seen.shared.filter(Boolean).length;
    const found = `${shared} of the recording's ${count(seen.shared.length, "peak")} here are peaks of the clip too; ${count(seen.landmarks.length, "landmark")}, pairs of peaks, agree on the place.`;
    this.#constellation = new Constellation(seen, `Constellations of clip and recording. ${found}`);
    const votes = `${count(seen.peak_votes, "vote")}, at most three of an anchor, say that the clip begins ${begins(seen.peak_offset_sec)}. Chance brings together ${Math.round(seen.chance_votes)} at most.`;
    const rate = evidence.bit_error_rate;
    const bits =
      rate === null
        ? ""
        : `${Math.round(100 * rate)} % of the bits of ${count(evidence.compared_sub_fingerprints, "sub-fingerprint")} differ. Of unrelated sound, about half do.`;
    this.element = element(
      "section",
      { class: "evidence", "aria-label": "Evidence" },
      element("h3", {}, "Why"),
      figure(
        "Constellation",
        found,
        element("div", { class: "plot tall" }, this.#constellation.canvas, this.#cursor),
        this.#legend(),
      ),
      element(
        "div",
        { class: "figures" },
        figure(
          "Votes by offset",
          votes,
          element(
            "div",
            { class: "plot" },
            histogram(seen, `Histogram of votes by offset. ${votes}`),
          ),
        ),
        rate !== null &&
          seen.bit_errors.length > 0 &&
          figure(
            "Bit errors",
            bits,
            element(
              "div",
              { class: "plot" },
              bitErrors(
                seen,
                evidence.chance_bit_error_rate,
                this.#constellation,
                `Bit errors along the clip. ${bits}`,
              ),
            ),
          ),
      ),
    );
  }

  /** Show where in the clip the recording plays now; null where it does not. */
  follow(clipSec) {
    const share = clipSec === null ? -1 : this.#constellation.share(clipSec);
    this.#cursor.hidden = share < 0 || share > 1;
    this.#cursor.style.left = across(share);
  }

  #legend() {
    return element(
      "fieldset",
      { class: "legend" },
      element("legend", { class: "unseen" }, "Peaks shown"),
      Object.entries(LAYERS).map(([layer, words]) =>
        element(
          "label",
          { class: `layer ${layer}` },
          element("input", {
            type: "checkbox",
            checked: true,
            onchange: (event) => this.#constellation.toggle(layer, event.target.checked),
          }),
          element("span", { class: "swatch", "aria-hidden": "true" }),
          words,
        ),
      ),
    );
  }
}

function begins(offsetSec) {
  return offsetSec < 0
    ? `${place(-offsetSec)} before the recording does`
    : `at ${place(offsetSec)} of the recording`;
}

function figure(name, said, picture, legend = null) {
  const words = element(
    "figcaption",
    {},
    element("strong", {}, name),
    element("span", { class: "quiet" }, said),
  );
  return element("figure", {}, words, picture, legend);
}
