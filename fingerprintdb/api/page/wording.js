/** Says numbers in words: times, sizes, probabilities, changes of tempo and pitch. */

const counted = new Intl.NumberFormat("en");

/** Return seconds as m:ss, or h:mm:ss. */
export function clock(sec) {
  const whole = Math.max(0, Math.floor(sec + 1e-6));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const seconds = String(s).padStart(2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${seconds}` : `${m}:${seconds}`;
}

/** Return from where to where, to the nearest second. */
export function span(fromSec, toSec) {
  return `${clock(Math.round(fromSec))}–${clock(Math.round(toSec))}`;
}

/** Return a place to the tenth of a second; before the beginning it is negative. */
export function place(sec) {
  const tenths = Math.round(Math.abs(sec) * 10);
  return `${sec < 0 && tenths ? "−" : ""}${clock(tenths / 10)}.${tenths % 10}`;
}

/** Return a probability as a share that is never rounded up to certainty. */
export function probability(share) {
  if (share >= 0.9995) return "over 99.9 %";
  const percent = share * 100;
  return share >= 0.99 ? `${Math.floor(percent * 10) / 10} %` : `${Math.floor(percent)} %`;
}

/** Return a number with its thousands apart. */
export function number(value) {
  return counted.format(value);
}

/** Return a count with its noun. */
export function count(amount, noun) {
  return `${number(amount)} ${amount === 1 ? noun : `${noun}s`}`;
}

/** Return a size as people read it. */
export function size(bytes) {
  if (bytes < 1024) return count(bytes, "byte");
  const [value, unit] = bytes < 1024 ** 2 ? [bytes / 1024, "KiB"] : [bytes / 1024 ** 2, "MiB"];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** Return a length of time in its largest fitting unit. */
export function duration(sec) {
  if (sec < 60) return count(Math.round(sec), "second");
  if (sec < 3600) return count(Math.round(sec / 60), "minute");
  return `${number(Math.round(sec / 360) / 10)} hours`;
}

/** Return how a clip was played, beside the recording; empty where it is the same. */
export function played(tempo, pitch) {
  const said = [];
  const percent = (tempo - 1) * 100;
  if (Math.abs(percent) >= 0.1) {
    said.push(`${Math.abs(percent).toFixed(1)} % ${percent > 0 ? "faster" : "slower"}`);
  }
  const semitones = 12 * Math.log2(pitch);
  if (Math.abs(semitones) >= 0.05) {
    const amount = String(Math.round(Math.abs(semitones) * 10) / 10);
    const noun = amount === "1" ? "semitone" : "semitones";
    said.push(`${amount} ${noun} ${semitones > 0 ? "higher" : "lower"}`);
  }
  return said.join(", ");
}

/** Return milliseconds as people read them. */
export function elapsed(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Return what a recording is called. */
export function called({ title, uri, asset_id: key }) {
  return title || (uri ? uri.split("/").pop() : "") || `Recording ${key}`;
}
