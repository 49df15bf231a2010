// All words that a person reads on the page. Functions make the sentences that have numbers in them.
//
// A time is shown on the reader's own clock face (time zone), but it is an instant of the device's clock.

const IRREGULAR = {person: "people", bus: "buses", mouse: "mice", sheep: "sheep", skis: "skis", scissors: "scissors",
  knife: "knives", bench: "benches", sandwich: "sandwiches", "wine glass": "wine glasses", toothbrush: "toothbrushes",
  couch: "couches", motion: "moving things"};

// Numbers and their units stay on one line: \u00a0 is a space that does not break.

/** "1 car", "3 people". */
export function count(number, label) {
  return `${whole(number)}\u00a0${number === 1 ? label : plural(label)}`;
}

/** "people", "cars". */
export function plural(label) {
  return IRREGULAR[label] ?? `${label}s`;
}

/** 41200 becomes "41,200". */
export function whole(number) {
  return Math.round(number).toLocaleString("en-GB");
}

/** "80 ms", "3.2 s", "12 s", "5 min", "3 h 20 min", "2 days". */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.max(0, Math.round(seconds * 1000))}\u00a0ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 99.5) return `${Math.round(seconds)}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes}\u00a0min`;
  if (minutes < 48 * 60) return minutes % 60 ? `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min` : `${minutes / 60}\u00a0h`;
  return `${Math.round(minutes / 1440)}\u00a0days`;
}

/** "14:02" of the same day, else "29 Nov, 14:02". `now` and `time` are milliseconds or ISO texts. */
export function clock(time, now = Date.now(), {seconds = false} = {}) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  const options = {hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(seconds ? {second: "2-digit"} : {})};
  const text = at.toLocaleTimeString("en-GB", options);
  if (at.toDateString() === new Date(now).toDateString()) return text;
  return `${at.toLocaleDateString("en-GB", {day: "numeric", month: "short"})}, ${text}`;
}

const list = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);

export const texts = Object.freeze({
  page: Object.freeze({
    name: "Vedette",
    device: "Camera",
    navigation: "Sections",
    unnamed: (number) => `Camera ${number}`,
    away: "away",
    logOut: "Log out",
    loggedInAs: (name) => `Logged in as ${name}`,
    dismiss: "Dismiss",
    title: (section, device) => [section, device, "Vedette"].filter(Boolean).join(" · "),
    version: (vedette) => `Vedette ${vedette}`,
    loading: "Loading.",
    unreachable: "The page's server does not answer.",
    failed: (status) => `The page's server answered with the status ${status}.`,
    sections: Object.freeze({live: "Live", events: "Events", health: "Health", model: "Model", setup: "Set-up",
      broker: "Broker"}),
  }),

  login: Object.freeze({
    title: "Log in",
    name: "Name",
    password: "Password",
    submit: "Log in",
    wrong: "Name or password is wrong.",
    limited: "Too many attempts. Wait a minute, then try again.",
    unreachable: "The page's server does not answer. Try again.",
  }),

  // Each sentence is [what is said aloud when it changes, what also changes every second].
  strip: Object.freeze({
    label: "What the device does",
    connecting: ["Asking the daemon.", ""],
    pageAway: (at) => [`This page's server does not answer since ${at}.`, "Trying again."],
    noDevice: ["No camera is set up for this page.", "Name its socket in page.daemons."],
    daemonAway: (at, error) => [`The daemon does not answer since ${at}.`, error ?? "Trying again."],
    starting: ["Starting.", "No picture was looked at yet."],
    watching: (seen, age) => ["Watching.", [seen, age].filter(Boolean).join(" ")],
    byCloud: (seen, age) => ["Detecting by the cloud.", [seen, age].filter(Boolean).join(" ")],
    byMotion: (seen, age) => ["Detecting only motion.", [seen, age].filter(Boolean).join(" ")],
    paused: (until) => [until ? `Not looking: paused until ${until}.` : "Not looking: paused until you resume it.", ""],
    cameraSilent: (age) => ["Camera silent", age ? `for ${age}; restarting it.` : "; restarting it."],
    cameraOffline: (age, cause) => ["No camera", `${age ? `for ${age}; ` : ""}trying again. ${cause ?? ""}`.trim()],
    cameraFrozen: (age) => ["Camera frozen", `${age ? `for ${age}` : ""}: all pictures are the same.`],
    noModel: ["Not looking: no model is installed.", ""],
    modelRefused: (detail) => ["Not looking: the model cannot be used.", detail ?? ""],
    modelFailing: (detail) => ["Not looking: the model fails.", detail ?? ""],
    allStale: ["Not looking: every picture is too old before its turn.", ""],
    otherFailure: (meaning, detail) => ["Not looking:", [meaning, detail].filter(Boolean).join(" ")],
    notLooking: ["Not looking.", "No result counts now."],
    seen: (counts) => {
      const all = Object.entries(counts).filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);
      if (!all.length) return "Nothing in view.";
      const rest = all.slice(5).reduce((sum, [, number]) => sum + number, 0);
      return `${all.slice(0, 5).map(([label, number]) => count(number, label)).join(", ")}`
        + `${rest ? ` and ${rest} more` : ""}.`;
    },
    age: (seconds) => `${duration(seconds)} old.`,
    still: "Nothing moves.",
    more: (number) => `What to do about this and ${number} more`,
    toHealth: "What to do",
    pause: "Pause",
    resume: "Resume",
    snapshot: "Snapshot",
    pausedNow: "Detection is paused for an hour at most.",
    resumedNow: "Detection goes on.",
    snapshotTaken: (name) => `Saved as ${name}.`,
    refused: (error) => `Not done: ${error}`,
  }),

  live: Object.freeze({
    title: "Live",
    show: "Show",
    boxes: "Boxes",
    names: "Names",
    zones: "Zones",
    lines: "Lines",
    masks: "Masks",
    mask: "mask",
    all: "All cameras",
    one: (device) => `Open ${device}`,
    picture: (device) => `Picture of ${device}`,
    seenNow: "In the picture",
    nothing: "Nothing is detected in this picture.",
    thing: (label, score, track) =>
      `${label}${score === null ? "" : ` ${score.toFixed(2)}`}${track === null ? "" : ` #${track}`}`,
    spoken: (items) => (items.length ? `In view: ${list(items)}.` : "Nothing in view."),
    waiting: "Waiting for the first picture.",
    noDevice: "No camera is set up for this page. Name the socket of a daemon in page.daemons, and start the page again.",
    still: (at) => `Nothing moves. Picture of ${at}.`,
    last: (why, at) => (at ? `${why} Last picture of ${at}.` : why),
    paused: "Paused.",
    cameraAway: "The camera gives no pictures.",
    daemonAway: "The daemon does not answer.",
    pageAway: "The page's server does not answer.",
    notDetecting: "The device does not detect, so it gives no pictures.",
    none: "No new picture.",
    things: count,
    facts: (width, height, source) => `${width} × ${height}, ${source}`,
    states: Object.freeze({paused: "Paused", starting: "Starting", daemonAway: "Daemon away", cameraSilent: "Camera silent",
      cameraOffline: "No camera", cameraFrozen: "Camera frozen", noModel: "No model", modelRefused: "Model refused",
      modelFailing: "Model fails", allStale: "Pictures too old", otherFailure: "Not looking", notLooking: "Not looking",
      pageAway: "Server away"}),
    sources: Object.freeze({local: "own model", cloud: "cloud", motion: "only motion"}),
    rate: (perSecond) => `${perSecond.toFixed(1)} pictures/s`,
    track: "Track",
    label: "Label",
    score: "Score",
    crossed: "in",
  }),

  events: Object.freeze({
    // events
  }),

  health: Object.freeze({
    // health
  }),

  model: Object.freeze({
    // model
  }),

  setup: Object.freeze({
    // set-up
  }),

  broker: Object.freeze({
    // broker
  }),
});
