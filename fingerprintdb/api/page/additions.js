/** Brings files into the library, a few at a time, and says how far each is. */

import { button, element, fill, one } from "./element.js";
import { Problem, sentence, tooLarge } from "./problem.js";
import { send } from "./sending.js";
import { size } from "./wording.js";

const AT_ONCE = 3;
const OPEN = new Set(["waiting", "sending", "queued", "processing"]);

/** The list of what is being added; `onAsset` hears of each recording that came of it. */
export class Additions {
  #panel;
  #list;
  #stats;
  #onAsset;
  #all = [];

  constructor(panel, stats, onAsset) {
    this.#panel = panel;
    this.#list = one(".addition-list", panel);
    this.#stats = stats;
    this.#onAsset = onAsset;
    one("#clear").addEventListener("click", () => {
      for (const addition of this.#all.filter(({ state }) => !OPEN.has(state))) this.#drop(addition);
    });
  }

  /** Take files; `fields` go with each. */
  add(files, fields) {
    for (const file of files) {
      const addition = { file, fields, state: "waiting", share: 0, row: element("li", { class: "addition" }), key: null };
      this.#all.push(addition);
      this.#list.append(addition.row);
      this.#tell(addition);
    }
    this.#next();
  }

  /** Hear how far a recording is; null where it was removed. */
  news(key, asset) {
    for (const addition of this.#all.filter((other) => other.key === key)) {
      if (asset) this.#set(addition, { state: asset.status, why: asset.error ?? "" });
      else this.#drop(addition);
    }
  }

  #next() {
    const free = AT_ONCE - this.#all.filter(({ state }) => state === "sending").length;
    const waiting = this.#all.filter(({ state }) => state === "waiting");
    for (const addition of waiting.slice(0, Math.max(0, free))) this.#send(addition);
  }

  async #send(addition) {
    const refusal = tooLarge(addition.file, this.#stats.mostBytes, size);
    const work = new AbortController();
    this.#set(addition, { state: "sending", share: 0, why: "", work });
    try {
      if (refusal) throw refusal;
      const { status, answer } = await send("/api/v1/assets", {
        file: addition.file,
        fields: addition.fields,
        signal: work.signal,
        onProgress: (share) => this.#set(addition, { share }),
      });
      const isKnown = status === 200;
      this.#set(addition, { state: isKnown ? "known" : answer.status, why: answer.error ?? "", key: answer.asset_id, title: answer.title });
      this.#onAsset(answer, isKnown);
    } catch (error) {
      if (work.signal.aborted) this.#drop(addition);
      else if (error instanceof Problem) this.#set(addition, { state: "refused", isFinal: error.isFinal, why: [error.detail, error.remedy].filter(Boolean).map(sentence).join(" ") });
      else throw error;
    }
    this.#next();
  }

  #set(addition, news) {
    Object.assign(addition, news);
    this.#tell(addition);
  }

  #drop(addition) {
    addition.row.remove();
    this.#all = this.#all.filter((other) => other !== addition);
    this.#count();
  }

  #tell(addition) {
    const { file, state, share, why, title, row } = addition;
    fill(
      row,
      element("div", { class: "addition-words" }, element("strong", {}, title || file.name), element("span", { class: `state ${state}` }, this.#words(addition))),
      state === "sending" && element("progress", { max: 1, value: share < 1 ? share : null, "aria-label": `Sending ${file.name}` }),
      why && element("p", { class: "failure-reason" }, sentence(why)),
      element(
        "div",
        { class: "actions" },
        state === "sending" && button(`Cancel ${file.name}`, { sign: "close", class: "bare", onclick: () => addition.work.abort() }),
        state === "waiting" && button(`Take back ${file.name}`, { sign: "close", class: "bare", onclick: () => this.#drop(addition) }),
        state === "refused" && !addition.isFinal && button("Try again", { class: "button small", onclick: () => this.#send(addition) }),
      ),
    );
    this.#count();
  }

  #words({ state, share }) {
    if (state === "sending") return share < 1 ? `sending, ${Math.round(100 * share)} %` : "being looked at";
    if (state === "known") return "was there already";
    if (state === "queued" && this.#stats.now?.workers === 0) return "queued; no worker runs";
    return state;
  }

  #count() {
    const open = this.#all.filter(({ state }) => OPEN.has(state)).length;
    this.#panel.hidden = this.#all.length === 0;
    one("#clear").hidden = open === this.#all.length;
    const failed = this.#all.filter(({ state }) => state === "failed" || state === "refused").length;
    const done = this.#all.length - open - failed;
    const said = [open && `${open} to go`, done && `${done} done`, failed && `${failed} failed`].filter(Boolean).join(", ");
    const state = one("#additions-state");
    if (state.textContent !== said) state.textContent = said;
  }
}
