/** Starts the page: who is here, which view is shown, and what the views share. */

import { onKeyNeeded } from "./api.js";
import { takeDrops } from "./drop.js";
import { one } from "./element.js";
import { startIdentify } from "./identify.js";
import { startLibrary } from "./library.js";
import { Player } from "./player.js";
import { foreseen, problemMessage } from "./problem.js";
import { Session } from "./session.js";
import { Stats } from "./stats.js";
import { startWords } from "./words.js";

const TITLES = { identify: "Identify", library: "Library", words: "Words" };

const session = new Session();
const stats = new Stats(one("#status"));
const player = new Player(one("#player"));
const shared = { session, stats, player };
const views = {
  identify: startIdentify(one("#identify-view"), shared),
  library: startLibrary(one("#library-view"), shared),
  words: startWords(one("#words-view"), shared),
};
let shown = null;

function wanted() {
  const named = location.hash.slice(1);
  return named in views ? named : "identify";
}

function show(name) {
  for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== `${name}-view`;
  if (shown && shown !== name) views[shown]?.hide?.();
  const isChange = shown !== null && shown !== name;
  shown = name;
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "key" ? "Key · fingerprintdb" : `${TITLES[name]} · fingerprintdb`;
  views[name]?.show?.();
  if (isChange) {
    one("h1", one(`#${name}-view`)).focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

async function open() {
  try {
    await session.read();
  } catch (error) {
    const message = problemMessage(foreseen(error), () => {
      message.remove();
      open();
    });
    one("#content").prepend(message);
    return;
  }
  one("#pages").hidden = session.needsKey;
  if (session.needsKey) {
    player.close();
    show("key");
    return;
  }
  show(wanted());
  await stats.read();
}

onKeyNeeded(() => {
  if (shown !== "key" && shown !== null) open();
});
addEventListener("hashchange", () => {
  if (!session.needsKey) show(wanted());
});
session.addEventListener("change", open);
one(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash says which view is shown
  one("#content").focus();
});
takeDrops({
  words: () => (session.needsKey ? "" : (views[shown]?.dropWords?.() ?? "")),
  take: (files) => (views[shown] ?? views.identify).take?.(files),
});
open();
