/** Plays stored recordings from a place on, in a bar at the foot of the page. */

import { button, element, fill, icon } from "./element.js";
import { Problem, problemOf, sentence, unreachable } from "./problem.js";
import { called, clock } from "./wording.js";

/** The one player of the page; says `change` when it plays or stops, and `time` as it goes. */
export class Player extends EventTarget {
  asset = null;
  #bar;
  #audio = element("audio", { preload: "auto" });
  #toggle = button("Play", { sign: "play", class: "round", onclick: () => this.toggle() });
  #title = element("strong", { class: "player-title" });
  #artist = element("span", { class: "quiet" });
  #note = element("p", { class: "player-note", role: "status" });
  #time = element("span", { class: "player-time" });
  #place = element("input", {
    type: "range",
    min: 0,
    step: 0.1,
    value: 0,
    "aria-label": "Place in the recording",
  });

  constructor(bar) {
    super();
    this.#bar = bar;
    fill(
      bar,
      this.#audio,
      this.#toggle,
      element("div", { class: "player-words" }, this.#title, this.#artist, this.#note),
      this.#place,
      this.#time,
      button("Close the player", { sign: "close", class: "bare", onclick: () => this.close() }),
    );
    for (const kind of ["play", "pause", "ended"])
      this.#audio.addEventListener(kind, () => this.#changed());
    for (const kind of ["timeupdate", "durationchange", "seeked"])
      this.#audio.addEventListener(kind, () => this.#moved());
    this.#audio.addEventListener("error", () => this.#failed());
    this.#place.addEventListener("input", () => {
      this.#audio.currentTime = Number(this.#place.value);
    });
  }

  /** Where it is, in seconds of the recording. */
  get sec() {
    return this.#audio.currentTime;
  }

  /** Whether this recording is heard now. */
  plays(key) {
    return this.asset?.asset_id === key && !this.#audio.paused;
  }

  /** Play a recording from a place on. */
  play(asset, sec = 0) {
    const isOther = this.asset?.asset_id !== asset.asset_id || this.#audio.error;
    this.asset = asset;
    this.#bar.hidden = false;
    document.body.classList.add("has-player");
    fill(this.#note);
    fill(this.#title, called(asset));
    fill(this.#artist, asset.artist ?? "");
    if (isOther) this.#audio.src = `/api/v1/assets/${asset.asset_id}/audio`;
    this.#audio.currentTime = sec; // before there is anything to play, this is where it will begin
    this.#audio.play().catch(() => {}); // `error` says why
  }

  /** Play on, or pause. */
  toggle() {
    if (this.#audio.paused) this.#audio.play().catch(() => {});
    else this.#audio.pause();
  }

  /** Stop, and put the bar away. */
  close() {
    this.#audio.pause();
    this.asset = null;
    this.#bar.hidden = true;
    document.body.classList.remove("has-player");
    this.dispatchEvent(new Event("change"));
  }

  #changed() {
    const words = this.#audio.paused ? "Play" : "Pause";
    this.#toggle.setAttribute("aria-label", words);
    this.#toggle.title = words;
    fill(this.#toggle, icon(words.toLowerCase()));
    this.dispatchEvent(new Event("change"));
  }

  #moved() {
    const { currentTime, duration } = this.#audio;
    const length = Number.isFinite(duration) ? duration : (this.asset?.duration_sec ?? 0);
    this.#place.max = length;
    this.#place.value = currentTime;
    this.#place.setAttribute("aria-valuetext", clock(currentTime));
    fill(this.#time, `${clock(currentTime)} / ${clock(length)}`);
    this.dispatchEvent(new Event("time"));
  }

  async #failed() {
    const asset = this.asset;
    if (!asset) return;
    let why = new Problem({ detail: "this browser cannot play the recording's format" });
    try {
      const answer = await fetch(this.#audio.src, { headers: { Range: "bytes=0-0" } });
      if (!answer.ok) why = problemOf(answer.status, await answer.text());
    } catch {
      why = unreachable();
    }
    if (this.asset === asset)
      fill(this.#note, [why.detail, why.remedy].filter(Boolean).map(sentence).join(" "));
    this.#changed();
  }
}
