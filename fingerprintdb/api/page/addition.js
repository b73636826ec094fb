/** A file on its way into the library, and the row that says how far it is. */

import { button, element, fill } from "./element.js";
import { sentence } from "./problem.js";

const OPEN = new Set(["waiting", "sending", "queued", "processing"]);

/** One file; `acts` holds what its buttons do: cancel, drop, retry. */
export class Addition {
  element;
  file;
  fields;
  key = null;
  work = null;
  state = "waiting";
  #acts;
  #stats;
  #name = element("strong");
  #state = element("span");
  #bar = element("progress", { max: 1, hidden: true });
  #why = element("p", { class: "failure-reason" });
  #buttons = element("div", { class: "actions" });

  constructor(file, fields, stats, acts) {
    this.file = file;
    this.fields = fields;
    this.#stats = stats;
    this.#acts = acts;
    this.#bar.setAttribute("aria-label", `Sending ${file.name}`);
    fill(this.#name, file.name);
    this.element = element(
      "li",
      { class: "addition" },
      element("div", { class: "addition-words" }, this.#name, this.#state),
      this.#bar,
      this.#why,
      this.#buttons,
    );
    this.tell("waiting");
  }

  /** Whether something will still happen to it by itself. */
  get isOpen() {
    return OPEN.has(this.state);
  }

  /** Show what it has come to; `canRetry` where sending it again may help. */
  tell(state, { why = "", title = null, canRetry = false } = {}) {
    this.state = state;
    this.#state.className = `state ${state}`;
    fill(this.#state, this.#words());
    if (title) fill(this.#name, title);
    fill(this.#why, why && sentence(why));
    this.#bar.hidden = state !== "sending";
    fill(
      this.#buttons,
      state === "sending" &&
        button(`Cancel ${this.file.name}`, {
          sign: "close",
          class: "bare",
          onclick: () => this.#acts.cancel(this),
        }),
      state === "waiting" &&
        button(`Take back ${this.file.name}`, {
          sign: "close",
          class: "bare",
          onclick: () => this.#acts.drop(this),
        }),
      canRetry &&
        button("Try again", { class: "button small", onclick: () => this.#acts.retry(this) }),
    );
  }

  /** Show how much was sent; at 1, the service looks at it. */
  progress(share) {
    if (share < 1) this.#bar.value = share;
    else this.#bar.removeAttribute("value");
    fill(this.#state, share < 1 ? `sending, ${Math.round(100 * share)} %` : "being looked at");
  }

  #words() {
    if (this.state === "known") return "was there already";
    if (this.state === "queued" && this.#stats.now?.workers === 0) return "queued; no worker runs";
    return this.state;
  }
}
