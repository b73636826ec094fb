/** A row of the library: a recording, how far the work on it is, and what can be done with it. */

import { button, element, fill, icon, one } from "./element.js";
import { sentence } from "./problem.js";
import { called, clock, number, size } from "./wording.js";

const STATES = { queued: "queued", processing: "processing", ready: "ready", failed: "failed" };

/** One recording; `acts` holds what its buttons do: play, similar, edit, remove, reprocess. */
export class Recording {
  element = element("li", { class: "recording" });
  asset;
  #acts;
  #mayWrite;
  #isOpen = false;
  #extra = element("div", { class: "recording-extra" });

  constructor(asset, mayWrite, acts) {
    this.#acts = acts;
    this.#mayWrite = mayWrite;
    this.tell(asset);
  }

  /** Show it as it is now. */
  tell(asset) {
    this.asset = asset;
    const held = this.element.contains(document.activeElement)
      ? document.activeElement.dataset.act
      : null;
    fill(
      this.element,
      this.#row(),
      asset.status === "failed" && this.#failure(),
      this.#isOpen && this.#details(),
    );
    if (held)
      (
        this.element.querySelector(`[data-act="${held}"]`) ?? one('[data-act="open"]', this.element)
      ).focus();
  }

  /** Show something below it, such as what sounds alike. */
  show(content) {
    fill(this.#extra, content);
  }

  #row() {
    const { asset } = this;
    const name = called(asset);
    const toggle = element(
      "button",
      {
        type: "button",
        class: "recording-name",
        "aria-expanded": String(this.#isOpen),
        "data-act": "open",
        onclick: () => this.#toggle(),
      },
      element("strong", {}, name),
      asset.artist && element("span", { class: "quiet" }, asset.artist),
      icon("down"),
    );
    return element(
      "div",
      { class: "row" },
      button(`Play ${name}`, {
        sign: "play",
        class: "round",
        "data-act": "play",
        onclick: () => this.#acts.play(asset),
      }),
      toggle,
      element(
        "span",
        { class: "quiet where-in" },
        asset.collection,
        asset.content_type !== "music" && ` · ${asset.content_type.replace("_", " ")}`,
      ),
      element(
        "span",
        { class: "quiet number" },
        asset.duration_sec ? clock(asset.duration_sec) : "",
      ),
      element("span", { class: `state ${asset.status}` }, STATES[asset.status]),
    );
  }

  #toggle() {
    this.#isOpen = !this.#isOpen;
    if (this.#isOpen) fill(this.#extra);
    this.tell(this.asset);
  }

  #failure() {
    return element(
      "div",
      { class: "failure" },
      element("p", {}, sentence(this.asset.error || "it could not be processed")),
      this.#mayWrite &&
        button("Process again", {
          class: "button small",
          "data-act": "again",
          onclick: () => this.#acts.reprocess(this),
        }),
    );
  }

  #details() {
    const { asset } = this;
    const facts = [
      [
        "Added",
        new Date(asset.created_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
      ],
      ["Source", asset.uri ?? (asset.content_bytes ? `upload, ${size(asset.content_bytes)}` : "")],
      ["Landmarks", asset.landmark_count === null ? "" : number(asset.landmark_count)],
      ...Object.entries(asset.metadata).map(([name, value]) => [
        name,
        typeof value === "object" ? JSON.stringify(value) : String(value),
      ]),
      ["Key", String(asset.asset_id)],
    ];
    const may = this.#mayWrite;
    return element(
      "div",
      { class: "details" },
      element(
        "dl",
        { class: "facts" },
        facts
          .filter(([, value]) => value)
          .map(([name, value]) =>
            element("div", {}, element("dt", {}, name), element("dd", {}, value)),
          ),
      ),
      element(
        "div",
        { class: "actions" },
        asset.embedding_status === "ready" &&
          button("Sounds like …", {
            class: "button small",
            "data-act": "similar",
            onclick: () => this.#acts.similar(this),
          }),
        may &&
          button("Edit", {
            class: "button small",
            "data-act": "edit",
            onclick: () => this.#acts.edit(this),
          }),
        may &&
          asset.status !== "failed" &&
          button("Process again", {
            class: "button small",
            "data-act": "again",
            onclick: () => this.#acts.reprocess(this),
          }),
        may &&
          button("Delete", {
            class: "button small danger",
            "data-act": "remove",
            onclick: () => this.#acts.remove(this),
          }),
      ),
      this.#extra,
    );
  }
}
