/** The view that finds moments by what they sound like, in words. */

import { ask } from "./api.js";
import { button, element, fill, one } from "./element.js";
import { Gauge } from "./gauge.js";
import { foreseen, problemMessage } from "./problem.js";
import { called, count, elapsed, span } from "./wording.js";

/** Start the view, and return what the page asks of it. */
export function startWords(view, { player }) {
  const form = one("form", view);
  let asking = new AbortController();

  async function find() {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    fill(one("#words-problem"));
    fill(one(".moments", view));
    fill(one("#words-state"), "Looking …");
    try {
      const q = form.elements.q.value.trim();
      show(await ask("GET", "/api/v1/search/text", { query: { q, k: 20 }, signal }));
    } catch (error) {
      if (signal.aborted) return;
      fill(one("#words-state"));
      fill(one("#words-problem"), problemMessage(foreseen(error), find));
    }
  }

  function show({ moments, processing_time_ms: ms }) {
    fill(
      one("#words-state"),
      moments.length
        ? `${count(moments.length, "moment")}, most similar first, in ${elapsed(ms)}`
        : "No moment sounds like that.",
    );
    fill(
      one(".moments", view),
      moments.map((moment) => row(moment, player)),
    );
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  return {};
}

function row(moment, player) {
  const name = called(moment);
  return element(
    "li",
    { class: "row" },
    button(`Play ${name} from ${span(moment.start_sec, moment.end_sec)}`, {
      sign: "play",
      class: "round",
      onclick: () => player.play(moment, moment.start_sec),
    }),
    element(
      "div",
      { class: "row-words" },
      element("strong", {}, name),
      element("span", { class: "quiet" }, moment.artist ?? ""),
    ),
    element("span", { class: "quiet number" }, span(moment.start_sec, moment.end_sec)),
    new Gauge("Similarity", moment.similarity).element,
    element("span", { class: "quiet number" }, moment.similarity.toFixed(2)),
  );
}
