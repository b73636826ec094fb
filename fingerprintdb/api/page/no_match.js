/** Says kindly that nothing was found, and what may help. */

import { element } from "./element.js";
import { elapsed } from "./wording.js";

/** Return the words for a clip that is from no recording of the library. */
export function noMatch(answer, stats) {
  const isEmpty = stats.now !== null && stats.assets("ready") === 0;
  const hints = isEmpty
    ? [
        [
          "The library holds no recording that is ready yet. ",
          element("a", { href: "#library" }, "Add some"),
          " first.",
        ],
      ]
    : [
        ["Take ten seconds where the music plays and nobody talks over it."],
        ["Record closer to the loudspeaker; noise is fine, distance and echo are not."],
        [
          "Another performance is another recording: a concert or a cover is not found by its studio version.",
        ],
        [
          "Look whether it is there at all, in the ",
          element("a", { href: "#library" }, "library"),
          ".",
        ],
      ];
  return element(
    "div",
    { class: "no-match" },
    element("p", { class: "kicker quiet" }, "No match"),
    element("h2", { tabindex: "-1" }, "Nothing in the library holds this clip"),
    element(
      "p",
      { class: "quiet" },
      "That is an answer, not a failure: rather none than a wrong one. What may help:",
    ),
    element(
      "ul",
      { class: "hints" },
      hints.map((hint) => element("li", {}, hint)),
    ),
    element(
      "p",
      { class: "quiet small-print" },
      `Answered in ${elapsed(answer.processing_time_ms)}${answer.is_whole === false ? "; only the first ten minutes were judged" : ""}.`,
    ),
  );
}
