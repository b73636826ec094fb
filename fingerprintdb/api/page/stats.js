/** What the service is and holds, and the quiet line at the foot that says so. */

import { ask } from "./api.js";
import { element, fill } from "./element.js";
import { count, duration } from "./wording.js";
import { foreseen } from "./problem.js";

/** The statistics as last read; says `change` when they were read anew. */
export class Stats extends EventTarget {
  now = null;
  #line;

  constructor(line) {
    super();
    this.#line = line;
  }

  /** The largest file that the service takes; 0 while that is not known. */
  get mostBytes() {
    return this.now?.limits.max_upload_bytes ?? 0;
  }

  /** How many recordings there are, of one status or of all. */
  assets(status = null) {
    const counts = this.now?.assets ?? {};
    return status ? (counts[status] ?? 0) : Object.values(counts).reduce((sum, n) => sum + n, 0);
  }

  /** Read them. */
  async read() {
    try {
      this.now = await ask("GET", "/api/v1/stats");
    } catch (error) {
      const problem = foreseen(error);
      fill(this.#line, problem.status === 401 ? "" : problem.detail);
      return;
    }
    this.#tell();
    this.dispatchEvent(new Event("change"));
  }

  #tell() {
    const { version, model, profile, workers, duration_sec: sec } = this.now;
    const said = [
      `fingerprintdb ${version}`,
      count(this.assets(), "recording"),
      sec > 0 && duration(sec),
      profile && `profile ${profile}`,
      model && `model ${model}`,
      workers > 0 && count(workers, "worker"),
    ].filter(Boolean);
    fill(
      this.#line,
      said.map((words) => element("span", {}, words)),
      workers === 0 &&
        element(
          "span",
          { class: "warning" },
          "no worker: nothing new is fingerprinted until ",
          element("code", {}, "fpdb worker"),
          " runs",
        ),
    );
  }
}
