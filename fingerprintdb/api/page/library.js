/** The view of all recordings: find, add, play, change and delete them. */

import { Additions } from "./additions.js";
import { ask } from "./api.js";
import { edit, remove, uri } from "./dialogs.js";
import { element, fill, one } from "./element.js";
import { foreseen, problemMessage } from "./problem.js";
import { Recording } from "./recording.js";
import { similarTo } from "./similar.js";
import { isUnfinished, Watch } from "./watch.js";
import { count } from "./wording.js";

const PAGE_SIZE = 30;
const TYPING_MS = 250;

/** Start the view, and return what the page asks of it. */
export function startLibrary(view, shared) {
  const library = new Library(view, shared);
  return {
    dropWords: () => (shared.session.mayWrite ? "Drop to add to the library" : ""),
    take: (files) => library.add(files),
    show: () => library.read(),
  };
}

class Library {
  #shared;
  #filters;
  #list;
  #recordings = new Map();
  #total = 0;
  #nextBefore = null;
  #reading = new AbortController();
  #watch = new Watch((key, asset) => this.#news(key, asset));
  #additions;

  constructor(view, shared) {
    this.#shared = shared;
    this.#filters = one(".filters", view);
    this.#list = one(".recordings", view);
    this.#additions = new Additions(one("#additions"), shared.stats, (asset) => this.#added(asset));
    let typing = 0;
    this.#filters.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.read(), TYPING_MS);
    });
    this.#filters.addEventListener("submit", (event) => {
      event.preventDefault();
      this.read();
    });
    one("#more").addEventListener("click", () => this.#readMore());
    one("#add").addEventListener("click", () => one("#files").click());
    one("#files").addEventListener("change", ({ target }) => {
      this.add([...target.files]);
      target.value = "";
    });
    one("#add-uri").addEventListener("click", () => this.#addUri());
    shared.stats.addEventListener("change", () => this.#tellNames());
  }

  /** Add files to the library. */
  add(files) {
    this.#additions.add(files, this.#where());
  }

  /** Show the newest recordings that fit the filters. */
  async read() {
    await this.#page(null);
  }

  async #readMore() {
    const last = this.#list.lastElementChild;
    await this.#page(this.#nextBefore);
    one("button", last?.nextElementSibling ?? this.#list).focus();
  }

  async #page(before) {
    this.#reading.abort();
    this.#reading = new AbortController();
    const { signal } = this.#reading;
    const query = { ...this.#wanted(), limit: PAGE_SIZE, before };
    let page;
    try {
      page = await ask("GET", "/api/v1/assets", { query, signal });
    } catch (error) {
      if (!signal.aborted)
        fill(
          one("#library-problem"),
          problemMessage(foreseen(error), () => this.#page(before)),
        );
      return;
    }
    fill(one("#library-problem"));
    if (before === null) this.#recordings.clear();
    for (const asset of page.assets) this.#recordings.set(asset.asset_id, this.#recording(asset));
    this.#total = page.total;
    this.#nextBefore = page.next_before;
    this.#tell();
  }

  #recording(asset) {
    this.#watch.add(asset);
    return new Recording(asset, this.#shared.session.mayWrite, {
      play: (played) => this.#shared.player.play(played),
      similar: (row) => similarTo(row, this.#shared.player),
      edit: async (row) => this.#changed(await edit(row.asset, this.#shared.stats)),
      remove: async (row) => {
        if (!(await remove(row.asset))) return;
        this.#news(row.asset.asset_id, null);
        one("#library-title").focus({ preventScroll: true });
      },
      reprocess: (row) => this.#reprocess(row),
    });
  }

  async #reprocess(row) {
    try {
      this.#changed(await ask("POST", `/api/v1/assets/${row.asset.asset_id}/reprocess`));
    } catch (error) {
      row.show(problemMessage(foreseen(error)));
    }
  }

  #changed(asset) {
    if (!asset) return;
    this.#watch.add(asset);
    this.#news(asset.asset_id, asset);
  }

  #news(key, asset) {
    this.#additions.news(key, asset);
    if (asset) this.#recordings.get(key)?.tell(asset);
    else if (this.#recordings.delete(key)) {
      this.#total -= 1;
      this.#tell();
    }
    if (!asset || !isUnfinished(asset)) this.#shared.stats.read();
  }

  #added(asset) {
    this.#watch.add(asset);
    this.#shared.stats.read();
    const { search, collection, content_type: type, status } = this.#wanted();
    if (
      search ||
      status ||
      (collection && collection !== asset.collection) ||
      (type && type !== asset.content_type)
    )
      return;
    if (!this.#recordings.has(asset.asset_id)) this.#total += 1;
    this.#recordings.set(asset.asset_id, this.#recording(asset));
    this.#tell();
  }

  async #addUri() {
    const given = await uri();
    if (!given) return;
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...this.#where(), uri: given }))
      if (value) form.append(name, value);
    try {
      this.#added(await ask("POST", "/api/v1/assets", { form }));
    } catch (error) {
      fill(one("#library-problem"), problemMessage(foreseen(error)));
    }
  }

  #wanted() {
    return Object.fromEntries(new FormData(this.#filters));
  }

  #where() {
    return {
      collection: one("#to-collection").value.trim(),
      content_type: one("#to-content-type").value,
    };
  }

  #tell() {
    const newest = [...this.#recordings.values()].sort(
      (a, b) => b.asset.asset_id - a.asset.asset_id,
    );
    fill(
      this.#list,
      newest.map((recording) => recording.element),
    );
    fill(one("#library-count"), count(this.#total, "recording"));
    one("#more").hidden = this.#nextBefore === null;
    if (!newest.length)
      fill(this.#list, element("li", { class: "empty quiet" }, this.#emptyWords()));
  }

  #emptyWords() {
    if (Object.values(this.#wanted()).some(Boolean)) return "No recording fits.";
    return this.#shared.session.mayWrite
      ? "No recordings yet. Drop some here, or choose them with “Add recordings”."
      : "No recordings yet.";
  }

  #tellNames() {
    const { collections, content_types: types, limits } = this.#shared.stats.now;
    const filters = this.#filters.elements;
    options(filters.collection, [
      ["", "Any collection"],
      ...collections.map((name) => [name, name]),
    ]);
    options(filters.content_type, [
      ["", "Any content type"],
      ...types.map((name) => [name, name.replace("_", " ")]),
    ]);
    options(
      one("#to-content-type"),
      types.map((name) => [name, name.replace("_", " ")]),
      "music",
    );
    filters.collection.parentElement.hidden = collections.length < 2;
    fill(
      one("#collections"),
      collections.map((value) => element("option", { value })),
    );
    const to = one("#to-collection");
    to.disabled = this.#shared.session.collection !== null;
    if (!to.value || to.disabled) to.value = this.#shared.session.collection ?? "default";
    one("#add-uri").hidden = !limits.takes_uris;
  }
}

function options(select, values, first = "") {
  const chosen = select.value || first;
  fill(
    select,
    values.map(([value, words]) => element("option", { value, selected: value === chosen }, words)),
  );
}
