/** A bar that is as full as a share says. */

import { element } from "./element.js";

/** A gauge with its name for those who do not see it. */
export class Gauge {
  element;
  #filling = element("span");

  constructor(words, share = 0) {
    this.element = element(
      "span",
      {
        class: "gauge",
        role: "meter",
        "aria-label": words,
        "aria-valuemin": 0,
        "aria-valuemax": 1,
      },
      this.#filling,
    );
    this.tell(share);
  }

  /** Show a share of 1; what lies below nothing is nothing. */
  tell(share) {
    const shown = Math.min(1, Math.max(0, share));
    this.element.setAttribute("aria-valuenow", shown.toFixed(2));
    this.#filling.style.width = `${100 * shown}%`;
  }
}
