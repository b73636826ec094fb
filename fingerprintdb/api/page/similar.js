/** Shows below a recording what sounds like it. */

import { ask } from "./api.js";
import { button, element } from "./element.js";
import { Gauge } from "./gauge.js";
import { foreseen, problemMessage } from "./problem.js";
import { called } from "./wording.js";

/** Ask, and show it in the recording's row. */
export async function similarTo(recording, player) {
  recording.show(element("p", { class: "quiet" }, "Looking …"));
  let found;
  try {
    found = await ask("GET", `/api/v1/similar/${recording.asset.asset_id}`, { query: { k: 8 } });
  } catch (error) {
    recording.show(problemMessage(foreseen(error), () => similarTo(recording, player)));
    return;
  }
  const heading = element("h3", { tabindex: "-1" }, `Sounds like ${called(recording.asset)}`);
  recording.show([
    heading,
    found.length
      ? element(
          "ul",
          { class: "similar" },
          found.map((asset) => row(asset, player)),
        )
      : element("p", { class: "quiet" }, "Nothing else is here to compare."),
  ]);
  heading.focus();
}

function row(asset, player) {
  return element(
    "li",
    { class: "row" },
    button(`Play ${called(asset)}`, {
      sign: "play",
      class: "round",
      onclick: () => player.play(asset),
    }),
    element(
      "div",
      { class: "row-words" },
      element("strong", {}, called(asset)),
      element("span", { class: "quiet" }, asset.artist ?? ""),
    ),
    new Gauge("Similarity", asset.similarity).element,
    element("span", { class: "quiet number" }, asset.similarity.toFixed(2)),
  );
}
