/** Who this browser is to the service: the key form, the name, and the way out. */

import { ask } from "./api.js";
import { button, element, fill, one } from "./element.js";
import { foreseen, problemMessage } from "./problem.js";

/** The session; says `change` when a key was given. */
export class Session extends EventTarget {
  needsKey = false;
  mayWrite = false;
  collection = null;

  constructor() {
    super();
    one(".key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter(event.target);
    });
  }

  /** Ask who this is. */
  async read() {
    const told = await ask("GET", "/api/v1/session");
    this.needsKey = told.needs_key;
    this.mayWrite = told.may_write;
    this.collection = told.collection;
    for (const part of document.querySelectorAll(".writing")) part.hidden = !this.mayWrite;
    this.#name(told);
  }

  #name(told) {
    const about = [told.name, told.collection, told.may_write ? null : "may read"].filter(Boolean);
    fill(
      one("#session"),
      told.has_key &&
        element("span", { class: "quiet who", title: about.join(" · ") }, about.join(" · ")),
      told.has_key && button("Sign out", { class: "button small", onclick: () => this.#leave() }),
    );
  }

  async #enter(form) {
    const answer = one(".answer-to-key", form);
    fill(answer);
    try {
      await ask("POST", "/api/v1/session", { json: { key: form.elements.key.value.trim() } });
    } catch (error) {
      const problem = foreseen(error);
      if (problem.status === 401) problem.remedy = "look for a missing part, or ask for a new one";
      fill(answer, problemMessage(problem));
      form.elements.key.focus();
      return;
    }
    form.reset();
    this.dispatchEvent(new Event("change"));
  }

  async #leave() {
    await ask("DELETE", "/api/v1/session").catch(foreseen);
    location.reload(); // nothing that was seen stays
  }
}
