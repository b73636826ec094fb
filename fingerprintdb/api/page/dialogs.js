/** Asks in a dialog: what a recording is to be called, whether to delete it, which URI to add. */

import { ask } from "./api.js";
import { button, element, fill } from "./element.js";
import { foreseen, problemMessage } from "./problem.js";
import { called } from "./wording.js";

/** Return the changed recording; null where nothing was to be changed. */
export function edit(asset, stats) {
  const fields = [
    field("Title", element("input", { name: "title", value: asset.title ?? "", maxlength: 1000 })),
    field(
      "Artist",
      element("input", { name: "artist", value: asset.artist ?? "", maxlength: 1000 }),
    ),
    field(
      "Content type",
      choice("content_type", stats.now?.content_types ?? [asset.content_type], asset.content_type),
    ),
    field(
      "Metadata, as a JSON object",
      element(
        "textarea",
        {
          name: "metadata",
          rows: 6,
          spellcheck: "false",
          class: "code",
          oninput: ({ target }) => target.setCustomValidity(wrongJson(target.value)),
        },
        JSON.stringify(asset.metadata, null, 2),
      ),
    ),
  ];
  return form(`Edit ${called(asset)}`, fields, "Save", (given) =>
    ask("PATCH", `/api/v1/assets/${asset.asset_id}`, {
      json: {
        title: given.title.trim() || null,
        artist: given.artist.trim() || null,
        content_type: given.content_type,
        metadata: JSON.parse(given.metadata),
      },
    }),
  );
}

/** Return true where a recording was deleted. */
export async function remove(asset) {
  const words = element(
    "p",
    {},
    element("strong", {}, called(asset)),
    " goes with its landmarks, vectors and bytes, and clips of it are found no more. This cannot be undone.",
  );
  const done = await form(
    "Delete this recording?",
    [words],
    "Delete",
    async () => {
      await ask("DELETE", `/api/v1/assets/${asset.asset_id}`);
      return true;
    },
    "danger",
  );
  return done === true;
}

/** Return the URI that is to be added; null where none. */
export function uri() {
  const fields = [
    element("p", { class: "quiet" }, "Workers fetch it, from where this service allows."),
    field(
      "URI",
      element("input", {
        name: "uri",
        required: true,
        maxlength: 200,
        spellcheck: "false",
      }),
    ),
  ];
  return form("Add by URI", fields, "Add", async (given) => given.uri.trim());
}

function field(words, control) {
  return element("label", { class: "field" }, words, control);
}

function choice(name, values, chosen) {
  return element(
    "select",
    { name },
    values.map((value) =>
      element("option", { value, selected: value === chosen }, value.replace("_", " ")),
    ),
  );
}

function wrongJson(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value)
      ? ""
      : 'Write an object, such as {"year": 1999}';
  } catch {
    return 'This is not JSON: write it as {"year": 1999}';
  }
}

function form(title, content, words, act, kind = "primary") {
  const trouble = element("div", {});
  const submit = button(words, { class: `button ${kind}`, type: "submit" });
  const sheet = element(
    "form",
    { method: "dialog" },
    element("h2", { id: "dialog-title" }, title),
    content,
    trouble,
    element(
      "div",
      { class: "actions" },
      button("Cancel", { class: "button", onclick: () => dialog.close() }),
      submit,
    ),
  );
  const dialog = element("dialog", { "aria-labelledby": "dialog-title" }, sheet);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let done = null;
    sheet.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      try {
        done = await act(Object.fromEntries(new FormData(sheet)));
        dialog.close();
      } catch (error) {
        fill(trouble, problemMessage(foreseen(error)));
      } finally {
        submit.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    dialog.showModal();
  });
}
