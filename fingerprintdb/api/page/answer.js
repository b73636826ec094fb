/** Says which recording a clip is from, where in it, how sure that is, and why. */

import { ask } from "./api.js";
import { element, fill, icon } from "./element.js";
import { Evidence } from "./evidence.js";
import { noMatch } from "./no_match.js";
import { Timeline } from "./timeline.js";
import { called, clock, count, elapsed, played, probability, span } from "./wording.js";

const KICKERS = {
  match: "This is",
  ambiguous: "Several recordings hold this very passage. The likeliest",
};

/** The view of one answer; it listens to the player until it is put away. */
export class Answer {
  element = element("article", { class: "answer" });
  #answer;
  #shared;
  #chosen;
  #summary = element("div", { class: "summary" });
  #evidence = element("div", {});
  #others = element("div", {});
  #drawn = null;
  #timeline = null;
  #play = null;
  #listening = new AbortController();

  constructor(answer, shared) {
    this.#answer = answer;
    this.#shared = shared;
    if (answer.verdict === "no match") {
      fill(this.element, noMatch(answer, shared.stats));
      return;
    }
    fill(this.element, this.#summary, this.#evidence, this.#others);
    const { signal } = this.#listening;
    shared.player.addEventListener("change", () => this.#follow(), { signal });
    shared.player.addEventListener("time", () => this.#follow(), { signal });
    this.#choose(answer.matches[0]);
    if (answer.explanation) this.explain(answer.explanation);
  }

  /** Have the reader begin here. */
  focus() {
    this.element.querySelector("h2")?.focus({ preventScroll: true });
  }

  /** Forget it. */
  close() {
    this.#listening.abort();
    this.element.remove();
  }

  /** Draw why; what explains another recording than those found is left out. */
  explain(explanation) {
    const match = this.#answer.matches.find((one) => one.asset_id === explanation.asset_id);
    if (!match) return;
    this.#drawn = {
      match,
      evidence: new Evidence(explanation, match),
      lengthSec: explanation.duration_sec,
    };
    this.#showEvidence();
  }

  #choose(match) {
    this.#chosen = match;
    this.#timeline = new Timeline(match, (sec) => this.#playFrom(sec));
    this.#play = element("button", {
      type: "button",
      class: "button primary play",
      onclick: () => this.#toggle(),
    });
    const title = element("h2", { tabindex: "-1" }, called(match));
    const about = element("p", { class: "about" }, match.artist ?? "");
    fill(
      this.#summary,
      element(
        "div",
        { class: "cover" },
        element("p", { class: "kicker" }, KICKERS[this.#answer.verdict]),
        title,
        about,
        match.work_id !== match.asset_id &&
          element(
            "p",
            { class: "quiet" },
            `A version of ${match.work_title || `recording ${match.work_id}`}`,
          ),
      ),
      element(
        "p",
        { class: "sure" },
        element("strong", {}, probability(match.confidence)),
        element("span", { class: "quiet" }, "likely to be right"),
      ),
      element("div", { class: "place" }, this.#play, this.#timeline.element),
      this.#facts(match),
    );
    this.#showEvidence();
    this.#showOthers();
    this.#follow();
    this.#tellMore(match, about);
  }

  #facts(match) {
    const { evidence } = match;
    const facts = [
      ["In the clip", span(match.query_start_sec, match.query_end_sec)],
      ["Played", played(evidence.tempo, evidence.pitch)],
      ["Evidence", votes(evidence)],
      ["Answered in", elapsed(this.#answer.processing_time_ms)],
      ["Judged", this.#answer.is_whole === false ? "only the first ten minutes" : ""],
    ];
    return element(
      "dl",
      { class: "facts" },
      facts
        .filter(([, value]) => value)
        .map(([name, value]) =>
          element("div", {}, element("dt", {}, name), element("dd", {}, value)),
        ),
    );
  }

  async #tellMore(match, about) {
    let asset;
    try {
      asset = await ask("GET", `/api/v1/assets/${match.asset_id}`, {
        signal: this.#listening.signal,
      });
    } catch {
      return; // it may have been removed since; what was found still stands
    }
    if (this.#chosen !== match) return;
    const { album, date } = asset.metadata;
    fill(
      about,
      [match.artist, album, date]
        .filter((word) => typeof word === "string" || typeof word === "number")
        .join(" · "),
    );
    if (asset.duration_sec) this.#timeline.lasts(asset.duration_sec, true);
  }

  #showEvidence() {
    const isDrawn = this.#drawn?.match === this.#chosen;
    fill(this.#evidence, isDrawn && this.#drawn.evidence.element);
    if (isDrawn) this.#timeline.heard(this.#drawn.lengthSec * this.#chosen.evidence.tempo);
  }

  #showOthers() {
    const { matches, verdict } = this.#answer;
    if (matches.length < 2) return;
    const rows = matches.map((match) =>
      element(
        "li",
        {},
        element(
          "button",
          {
            type: "button",
            class: "match",
            "aria-pressed": String(match === this.#chosen),
            onclick: () => this.#pick(match),
          },
          element(
            "span",
            { class: "match-title" },
            called(match),
            match.artist && element("span", { class: "quiet" }, ` ${match.artist}`),
          ),
          element(
            "span",
            { class: "quiet" },
            span(match.reference_start_sec, match.reference_end_sec),
          ),
          element("span", {}, probability(match.confidence)),
        ),
      ),
    );
    fill(
      this.#others,
      element(
        "h3",
        {},
        verdict === "ambiguous" ? "All that hold it" : "Everything found in the clip",
      ),
      element("ul", { class: "matches" }, rows),
    );
  }

  #pick(match) {
    this.#choose(match);
    this.#others.querySelector('[aria-pressed="true"]').focus();
  }

  #playFrom(sec) {
    this.#shared.player.play(this.#chosen, sec);
  }

  #toggle() {
    const { player } = this.#shared;
    if (player.plays(this.#chosen.asset_id)) player.toggle();
    else this.#playFrom(this.#chosen.reference_start_sec);
  }

  #follow() {
    const { player } = this.#shared;
    const {
      asset_id: key,
      reference_start_sec: startSec,
      offset_sec: offsetSec,
      evidence,
    } = this.#chosen;
    const isPlaying = player.plays(key);
    fill(
      this.#play,
      icon(isPlaying ? "pause" : "play"),
      isPlaying ? "Pause" : `Play from ${clock(Math.round(startSec))}`,
    );
    const sec = player.asset?.asset_id === key ? player.sec : null;
    this.#timeline.follow(sec);
    if (this.#drawn?.match === this.#chosen)
      this.#drawn.evidence.follow(sec === null ? null : (sec - offsetSec) / evidence.tempo);
  }
}

function votes({ aligned_landmarks: found, chance_landmarks: chance }) {
  return (
    count(found, "vote") + (chance === null ? "" : `, by chance ${Math.round(chance)} at most`)
  );
}
