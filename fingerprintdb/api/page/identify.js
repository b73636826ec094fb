/** The view that takes a clip, from a file or the microphone, and shows what it is. */

import { Answer } from "./answer.js";
import { element, fill, one } from "./element.js";
import { Gauge } from "./gauge.js";
import { Listening } from "./listening.js";
import { foreseen, problemMessage, tooLarge } from "./problem.js";
import { Sky } from "./sky.js";
import { send } from "./sending.js";
import { called, clock, probability, size } from "./wording.js";

const SEARCH = "/api/v1/search";

/** Start the view, and return what the page asks of it. */
export function startIdentify(view, shared) {
  const identify = new Identify(view, shared);
  return {
    dropWords: () => "Drop to identify",
    take: (files) => identify.take(files),
    hide: () => identify.stopListening(),
  };
}

class Identify {
  #view;
  #shared;
  #sky;
  #level = new Gauge("Level of the microphone");
  #answer = null;
  #work = null; // what runs now: it can be aborted

  constructor(view, shared) {
    this.#view = view;
    this.#shared = shared;
    this.#sky = new Sky(one(".sky", view));
    one("#level").append(this.#level.element);
    one("#choose").addEventListener("click", () => one("#clip").click());
    one("#clip").addEventListener("change", ({ target }) => {
      const files = [...target.files];
      target.value = ""; // so that the same file can be chosen again
      if (files.length) this.take(files);
    });
    one("#cancel").addEventListener("click", () => {
      this.cancel();
      one("#choose").focus();
    });
    one("#listen").addEventListener("click", () => this.#listen());
    shared.stats.addEventListener("change", () => this.#hint());
  }

  /** Identify the first of some files. */
  take(files) {
    this.cancel();
    const more =
      files.length > 1
        ? `Only the first of ${files.length} files is taken; the library takes them all. `
        : "";
    this.#send(files[0], more);
  }

  /** Stop what runs. */
  cancel() {
    this.#work?.abort();
  }

  /** Let go of the microphone; a file may be searched for on, out of sight. */
  stopListening() {
    if (this.#view.dataset.state === "listening") this.cancel();
  }

  async #send(file, note = "") {
    this.#clear();
    const retry = () => this.#send(file);
    const refusal = tooLarge(file, this.#shared.stats.mostBytes, size);
    if (refusal) {
      this.#fail(refusal, retry);
      return;
    }
    const work = this.#begin("working");
    one("#working-name").textContent = file.name;
    const progress = one("#working-progress");
    const tell = (share) => {
      if (share < 1) {
        progress.value = share;
        fill(
          one("#working-state"),
          `${note}Sending, ${Math.round(100 * share)} % of ${size(file.size)}`,
        );
      } else {
        progress.removeAttribute("value");
        fill(one("#working-state"), `${note}Listening to it …`);
        this.#say("Listening to it");
      }
    };
    tell(0);
    this.#say(`Sending ${file.name}`);
    try {
      const { answer } = await send(SEARCH, {
        file,
        query: { explain: "true" },
        signal: work.signal,
        onProgress: tell,
      });
      this.#show(answer, work);
    } catch (error) {
      if (work.signal.aborted) this.#say("Cancelled");
      else this.#fail(foreseen(error), retry);
    } finally {
      this.#end(work);
    }
  }

  async #listen() {
    this.cancel();
    this.#clear();
    this.#shared.player.close(); // the microphone would hear it
    const work = this.#begin("listening");
    const retry = () => this.#listen();
    fill(one("#listening-state"), "Opening the microphone …");
    fill(one("#heard"), clock(0));
    let ticking = 0;
    try {
      const listening = await Listening.begin();
      work.signal.addEventListener("abort", () => listening.cancel());
      if (work.signal.aborted) listening.cancel();
      one("#stop").onclick = () => {
        fill(one("#listening-state"), "Looking once more, thoroughly …");
        listening.end();
      };
      one("#forget").onclick = () => {
        work.abort();
        this.#end(work);
        one("#listen").focus();
      };
      fill(one("#listening-state"), "Listening; a few seconds will do");
      this.#say("Listening");
      one("#stop").focus();
      this.#sky.hear(listening.microphone.analyser(), (level) => this.#level.tell(level));
      const began = performance.now();
      ticking = setInterval(
        () => fill(one("#heard"), clock((performance.now() - began) / 1000)),
        250,
      );
      const heard = await listening.answer(() =>
        fill(one("#listening-state"), "Not sure yet: going on"),
      );
      if (!heard) return;
      this.#show(heard.answer, work);
      this.#end(work);
      if (heard.answer.found) await this.#explain(heard.file, this.#answer);
    } catch (error) {
      this.#fail(foreseen(error), retry);
    } finally {
      clearInterval(ticking);
      this.#sky.rest();
      this.#end(work);
    }
  }

  /** Have drawn why the microphone's sound matched; without it, the answer is none the worse. */
  async #explain(file, answer) {
    try {
      const { signal } = new AbortController();
      const sent = await send(SEARCH, {
        file,
        query: { explain: "true" },
        signal,
        onProgress: () => {},
      });
      if (sent.answer.explanation) answer.explain(sent.answer.explanation);
    } catch (error) {
      foreseen(error);
    }
  }

  #begin(state) {
    const work = new AbortController();
    this.#work = work;
    this.#view.dataset.state = state;
    for (const part of ["working", "listening"]) one(`#${part}`).hidden = part !== state;
    return work;
  }

  #end(work) {
    if (this.#work !== work) return;
    this.#work = null;
    this.#view.dataset.state = one("#outcome").hasChildNodes() ? "answered" : "idle";
    for (const part of ["working", "listening"]) one(`#${part}`).hidden = true;
  }

  #clear() {
    this.#answer?.close();
    this.#answer = null;
    fill(one("#outcome"));
  }

  #show(answer, work) {
    this.#answer = new Answer(answer, this.#shared);
    fill(one("#outcome"), this.#answer.element);
    this.#end(work);
    const best = answer.matches[0];
    this.#say(
      best ? `${called(best)}, ${probability(best.confidence)} likely to be right` : "No match",
    );
    this.#answer.focus();
  }

  #fail(problem, retry) {
    fill(one("#outcome"), problemMessage(problem, retry));
    this.#view.dataset.state = "answered";
  }

  #hint() {
    const { stats } = this.#shared;
    const isEmpty = stats.assets() === 0;
    fill(
      one("#hint"),
      isEmpty && [
        "The library is empty so far. ",
        element("a", { href: "#library" }, "Add recordings"),
        " first.",
      ],
    );
  }

  #say(words) {
    one("#said").textContent = words;
  }
}
