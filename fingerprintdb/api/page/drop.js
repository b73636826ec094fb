/** Takes files that are dropped anywhere on the page, or pasted. */

import { one } from "./element.js";

/** Have `take` called with files; `words` says what would happen to them now, or nothing. */
export function takeDrops({ words, take }) {
  const sign = one("#dropping");
  let depth = 0; // every element that is entered says so

  const leave = () => {
    depth = 0;
    sign.hidden = true;
  };
  addEventListener("dragenter", (event) => {
    if (!holdsFiles(event) || !words()) return;
    depth += 1;
    one("p", sign).textContent = words();
    sign.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && --depth <= 0) leave();
  });
  addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault(); // the browser would open the file in place of the page
    leave();
    hand(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => hand(event.clipboardData?.files ?? []));

  function hand(list) {
    const files = [...list];
    if (files.length && words() && !document.querySelector("dialog[open]")) take(files);
  }
}

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}
