/** Brings files into the library, a few at a time. */

import { Addition } from "./addition.js";
import { one } from "./element.js";
import { foreseen, sentence, tooLarge } from "./problem.js";
import { send } from "./sending.js";
import { size } from "./wording.js";

const AT_ONCE = 3;

/** The list of what is being added; `onAsset` hears of each recording that came of it. */
export class Additions {
  #panel;
  #stats;
  #onAsset;
  #all = [];
  #acts = {
    cancel: (addition) => addition.work.abort(),
    drop: (addition) => this.#drop(addition),
    retry: (addition) => this.#send(addition),
  };

  constructor(panel, stats, onAsset) {
    this.#panel = panel;
    this.#stats = stats;
    this.#onAsset = onAsset;
    one("#clear").addEventListener("click", () => {
      for (const addition of this.#all.filter(({ isOpen }) => !isOpen)) this.#drop(addition);
    });
  }

  /** Take files; `fields` go with each. */
  add(files, fields) {
    const added = files.map((file) => new Addition(file, fields, this.#stats, this.#acts));
    this.#all.push(...added);
    one(".addition-list", this.#panel).append(...added.map(({ element }) => element));
    this.#next();
  }

  /** Hear how far a recording is; null where it was removed. */
  news(key, asset) {
    for (const addition of this.#all.filter((other) => other.key === key)) {
      if (asset) addition.tell(asset.status, { why: asset.error ?? "" });
      else this.#drop(addition);
    }
    this.#count();
  }

  #next() {
    const free = AT_ONCE - this.#all.filter(({ state }) => state === "sending").length;
    const waiting = this.#all.filter(({ state }) => state === "waiting");
    for (const addition of waiting.slice(0, Math.max(0, free))) this.#send(addition);
    this.#count();
  }

  async #send(addition) {
    const { file, fields } = addition;
    const { signal } = (addition.work = new AbortController());
    addition.tell("sending");
    addition.progress(0);
    try {
      const refusal = tooLarge(file, this.#stats.mostBytes, size);
      if (refusal) throw refusal;
      const { status, answer } = await send("/api/v1/assets", {
        file,
        fields,
        signal,
        onProgress: (share) => addition.progress(share),
      });
      addition.key = answer.asset_id;
      addition.tell(status === 200 ? "known" : answer.status, {
        why: answer.error ?? "",
        title: answer.title,
      });
      this.#onAsset(answer);
    } catch (error) {
      if (signal.aborted) {
        this.#drop(addition);
      } else {
        const { detail, remedy, isFinal } = foreseen(error);
        addition.tell("refused", {
          why: [detail, remedy].filter(Boolean).map(sentence).join(" "),
          canRetry: !isFinal,
        });
      }
    }
    this.#next();
  }

  #drop(addition) {
    addition.element.remove();
    this.#all = this.#all.filter((other) => other !== addition);
    this.#count();
  }

  #count() {
    const open = this.#all.filter(({ isOpen }) => isOpen).length;
    const failed = this.#all.filter(
      ({ state }) => state === "failed" || state === "refused",
    ).length;
    const done = this.#all.length - open - failed;
    this.#panel.hidden = this.#all.length === 0;
    one("#clear").hidden = open === this.#all.length;
    const said = [open && `${open} to go`, done && `${done} done`, failed && `${failed} failed`]
      .filter(Boolean)
      .join(", ");
    const state = one("#additions-state");
    if (state.textContent !== said) state.textContent = said; // so that it is said once
  }
}
