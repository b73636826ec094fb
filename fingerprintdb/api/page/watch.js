/** Looks at recordings that workers are not done with, ever less often while nothing changes. */

import { ask } from "./api.js";
import { Problem } from "./problem.js";

const SOONEST_MS = 500;
const LATEST_MS = 8_000;
const SLOWER = 1.4;
const AT_ONCE = 8;

/** Whether workers have still to do with a recording. */
export function isUnfinished(asset) {
  return asset.status === "queued" || asset.status === "processing";
}

/** Those watched, by key; `onNews` hears of each that changed, and of null where it is gone. */
export class Watch {
  #known = new Map();
  #onNews;
  #timer = 0;
  #waitMs = SOONEST_MS;

  constructor(onNews) {
    this.#onNews = onNews;
    document.addEventListener("visibilitychange", () => this.#plan(SOONEST_MS));
  }

  /** Watch a recording for as long as it is unfinished. */
  add(asset) {
    if (!isUnfinished(asset)) {
      this.#known.delete(asset.asset_id);
      return;
    }
    this.#known.set(asset.asset_id, asset);
    this.#plan(SOONEST_MS);
  }

  #plan(waitMs) {
    clearTimeout(this.#timer);
    this.#waitMs = Math.min(LATEST_MS, waitMs);
    if (this.#known.size && !document.hidden)
      this.#timer = setTimeout(() => this.#look(), this.#waitMs);
  }

  async #look() {
    // The oldest are the next that workers take.
    const keys = [...this.#known.keys()].sort((a, b) => a - b).slice(0, AT_ONCE);
    const changed = await Promise.all(keys.map((key) => this.#ask(key)));
    this.#plan(changed.some(Boolean) ? SOONEST_MS : this.#waitMs * SLOWER);
  }

  async #ask(key) {
    const before = this.#known.get(key);
    let asset;
    try {
      asset = await ask("GET", `/api/v1/assets/${key}`);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) return false;
      this.#known.delete(key);
      this.#onNews(key, null);
      return true;
    }
    if (before !== this.#known.get(key)) return false; // it was changed here meanwhile
    const { status, landmark_status: landmarks, embedding_status: vectors } = asset;
    if (
      status === before.status &&
      landmarks === before.landmark_status &&
      vectors === before.embedding_status
    )
      return false;
    if (isUnfinished(asset)) this.#known.set(key, asset);
    else this.#known.delete(key);
    this.#onNews(key, asset);
    return true;
  }
}
