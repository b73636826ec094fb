/** Builds elements of the page; what is given as text stays text, whatever it holds. */

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  play: "M8 5.2v13.6L19 12z",
  pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z",
  close:
    "M6.4 5 5 6.4 10.6 12 5 17.6 6.4 19 12 13.4 17.6 19 19 17.6 13.4 12 19 6.4 17.6 5 12 10.6z",
  down: "M6.7 9 12 14.3 17.3 9l1.2 1.3L12 17 5.5 10.3z",
};

/**
 * Return an element. Attributes whose value is a function are listeners (`onclick`), true stands for
 * an attribute without a value; false and null are left out, of attributes and of children.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...present(children));
  return made;
}

/** Put children in place of what an element holds. */
export function fill(parent, ...children) {
  parent.replaceChildren(...present(children));
  return parent;
}

/** Return a drawn sign; it is for the eye, so whatever holds it needs words of its own. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return a button that holds words, or a sign with the words as its label. */
export function button(words, { sign = null, ...attributes } = {}) {
  const named = sign ? { "aria-label": words, title: words } : {};
  return element("button", { type: "button", ...named, ...attributes }, sign ? icon(sign) : words);
}

/** Return the element of the page that a selector names; it is a mistake of ours if there is none. */
export function one(selector, within = document) {
  const found = within.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

function present(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false);
}
