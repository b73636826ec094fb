/** What went wrong, in the service's own words, and what can be done about it. */

import { button, element } from "./element.js";

/** No other try would go better: what was sent is not what is taken. */
const FINAL = new Set([403, 409, 413, 422]);

/** A request that failed; `status` is 0 where no answer came at all. */
export class Problem extends Error {
  constructor({ status = 0, detail, remedy = "" }) {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.remedy = remedy;
  }

  /** Whether trying again is of no use. */
  get isFinal() {
    return FINAL.has(this.status);
  }
}

/** Return the problem that an answer's status and text tell of. */
export function problemOf(status, text) {
  let told = {};
  try {
    told = JSON.parse(text) ?? {};
  } catch {
    // What stands between here and the service may answer in other words.
  }
  return new Problem({
    status,
    detail: typeof told.detail === "string" ? told.detail : `the service answered with ${status}`,
    remedy: typeof told.remedy === "string" ? told.remedy : "",
  });
}

/** Return the problem of a service that does not answer. */
export function unreachable() {
  return new Problem({
    detail: "the service does not answer",
    remedy: "check that it runs and that this device is connected, then try again",
  });
}

/** Return the problem of a file that the service would not take; null where it would. */
export function tooLarge(file, mostBytes, said) {
  if (!mostBytes || file.size <= mostBytes) return null;
  return new Problem({
    status: 413,
    detail: `${file.name} has ${said(file.size)}, and the service takes ${said(mostBytes)} at most`,
    remedy: "cut out a shorter part: ten seconds are enough",
  });
}

/** Return words for any failure; only what we did not foresee is thrown on. */
export function foreseen(error) {
  if (error instanceof Problem) return error;
  throw error;
}

/** Return a message with what happened, what to do, and a way to try again. */
export function problemMessage(problem, retry = null) {
  return element(
    "div",
    { class: "problem", role: "alert" },
    element("p", { class: "detail" }, sentence(problem.detail)),
    problem.remedy && element("p", { class: "remedy" }, sentence(problem.remedy)),
    retry && !problem.isFinal && button("Try again", { class: "button", onclick: retry }),
  );
}

/** Return words as a sentence. */
export function sentence(words) {
  const isName = /^\S*[^\w\s]/.test(words); // a file's is left as it is
  const begun = isName ? words : words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}
