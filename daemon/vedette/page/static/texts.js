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
  return Object.hasOwn(IRREGULAR, label) ? IRREGULAR[label] : `${label}s`;
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

/** How long something has lasted, in whole seconds at least: "12 s", "5 min". */
export function elapsed(seconds) {
  return seconds < 99.5 ? `${Math.max(1, Math.round(seconds))}\u00a0s` : duration(seconds);
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

/** Makes a sentence of a message of the daemon: "no route to host" becomes "No route to host." */
function sentence(message) {
  const text = /^[a-z]+( |$)/.test(message) ? message[0].toUpperCase() + message.slice(1) : message;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

const list = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);

const orUnknown = (value, say = String) => (value === null || value === undefined ? "unknown" : say(value));
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const megabytes = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} GB`
  : `${value < 10 ? value.toFixed(1) : whole(value)} MB`);
const percent = (share) => (share > 0 && share < 0.0005 ? "under 0.1 %"
  : `${share > 0 && share < 0.0995 ? (100 * share).toFixed(1) : Math.round(100 * share)} %`);
const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : whole(value)} ms`;
const named = (model) => `${model.name}${model.version ? ` ${model.version}` : ""}`;
const short = (sha256) => sha256.slice(0, 12);
const secondsOf = (event, now) => (event.isLost ? event.scores.at(-1)?.[0] ?? 0
  : ((event.ended ? Date.parse(event.ended) : now) - Date.parse(event.began)) / 1000);
const seenAt = (event) => `Detected last ${event.zones.length ? `in ${list(event.zones)}` : "here"}`;
const GAPS = {
  paused: "paused", camera_offline: "no camera", camera_stalled: "the camera was silent",
  camera_frozen: "the camera was frozen", no_model: "no model", model_refused: "the model could not be used",
  detector_failing: "the model failed", all_stale: "all pictures were too old",
  worker_hung: "a part of the daemon hung",
  unloaded: "too many events",
  away: "the daemon did not answer", unrecorded: "this page did not record", unknown: "no reason is known",
};
const DROPPED = {
  replaced: "replaced by a newer picture", busy: "no memory was free", stale: "too old", failed: "detection failed",
  paused: "paused", no_model: "no model", slow: "the cloud was faster", governed: "the rate is lowered",
  still: "nothing moved",
};
const MODEL_STATES = {
  none: "No model runs.",
  pinned: "This model is set in the configuration. Updates do not replace it.",
  box: "The model in the box runs. It knows only the drawn street.",
  downloading: "A new model is on its way.",
  staged: "A new model is here. The device tests it before it runs.",
  shadow: "A new model runs unseen beside this one, and the device compares both.",
  trial: "This model is new, and on trial. If it fails, the device goes back to the one before.",
  good: "This model is proved.",
};
const labelsOf = (labels) => (labels.length > 12 ? `${labels.slice(0, 12).join(", ")} and ${labels.length - 12} more`
  : labels.join(", "));
const LAST_ENDS = {
  stopped: "stopped on request", failed: "ended with an error", hung: "hung, and was ended",
  killed: "killed, or crashed", power_cut: "the power was cut, or the machine restarted",
};

export const texts = Object.freeze({
  notice: Object.freeze({
    none: "Nothing is known yet. This begins once a daemon answers.",
    noAnswer: "the daemon does not answer",
    away: (since, now) => `What you see here is from before ${clock(since, now)}.`,
  }),

  page: Object.freeze({
    name: "Vedette",
    device: "Camera",
    navigation: "Sections",
    unnamed: (number) => `Camera ${number}`,
    away: "away",
    logOut: "Log out",
    loggedInAs: (name) => `Logged in as ${name}`,
    title: (section, device) => [section, device, "Vedette"].filter(Boolean).join(" · "),
    version: (vedette) => `Vedette ${vedette}`,
    loading: "Loading.",
    unreachable: "The page's server does not answer.",
    failed: (status) => `The page's server answered with the status ${status}.`,
    sections: Object.freeze({live: "Live", events: "Events", health: "Health", model: "Model", setup: "Set-up",
      broker: "Broker"}),
  }),

  login: Object.freeze({
    password: "Password",
    submit: "Log in",
    wrong: "The password is wrong.",
    limited: (seconds) => `Too many attempts. Wait ${elapsed(seconds)}, then try again.`,
    unreachable: "The page's server does not answer. Try again.",
  }),

  // Each sentence is [what is said aloud when it changes, what also changes every second].
  strip: Object.freeze({
    label: "What the device does",
    connecting: ["Asking the daemon.", ""],
    pageAway: (at) => [`This page's server does not answer since ${at}.`, "Trying again."],
    noDevice: ["No camera is set up for this page.", "Name its socket in page.daemons."],
    daemonAway: (at, error) => [`The daemon does not answer since ${at}.`, error ? sentence(error) : "Trying again."],
    starting: ["Starting.", "No picture was looked at yet."],
    watching: (seen, age) => ["Watching.", [seen, age].filter(Boolean).join(" ")],
    byCloud: (seen, age) => ["Detecting by the cloud.", [seen, age].filter(Boolean).join(" ")],
    byMotion: (seen, age) => ["Detecting only motion.", [seen, age].filter(Boolean).join(" ")],
    paused: (until) => [until ? `Not looking: paused until ${until}.` : "Not looking: paused until you resume it.", ""],
    cameraSilent: (age) => ["Camera silent", age ? `for ${age}; restarting it.` : "; restarting it."],
    cameraOffline: (age, cause) => ["No camera", `${age ? `for ${age}; ` : ""}trying again. ${cause ? sentence(cause) : ""}`.trim()],
    cameraFrozen: (age) => ["Camera frozen", `${age ? `for ${age}` : ""}: all pictures are the same.`],
    noModel: ["Not looking: no model is installed.", ""],
    modelRefused: (detail) => ["Not looking: the model cannot be used.", detail ? sentence(detail) : ""],
    modelFailing: (detail) => ["Not looking: the model fails.", detail ? sentence(detail) : ""],
    allStale: ["Not looking: every picture is too old before its turn.", ""],
    otherFailure: (meaning, detail) => ["Not looking:", [meaning, detail && sentence(detail)].filter(Boolean).join(" ")],
    notLooking: ["Not looking.", "No result counts now."],
    seen: (counts) => {
      const all = Object.entries(counts).filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);
      if (!all.length) return "Nothing in view.";
      const rest = all.slice(4).reduce((sum, [, number]) => sum + number, 0);
      return `${all.slice(0, 4).map(([label, number]) => count(number, label)).join(", ")}`
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
    seenLast: "In the last picture",
    nothing: "Nothing is detected in this picture.",
    noPicture: "No picture yet.",
    list: "All that is in the picture",
    more: (number) => `and ${whole(number)} more`,
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
    time: "Time",
    ranges: Object.freeze({1: "Last hour", 6: "Last 6 hours", 24: "Last 24 hours", 168: "Last 7 days", day: "One day"}),
    day: "Day",
    label: "What",
    zone: "Zone",
    allLabels: "All",
    allZones: "All",
    off: "Events are off in the configuration (events.enabled). The device detects, but records no visits.",
    failed: (error) => `Not loaded: ${error}`,
    found: (number) => `${count(number, "event")}.`,
    tooMany: (number) => `The newest ${whole(number)} events. Choose a label or a zone to go further back.`,
    nothingFits: "No event fits. Choose another time, label or zone.",
    nothingThen: "Nothing happened in this time.",
    nothing: (since, looked, begun, now) => [since === null ? "Nothing yet." : `Nothing since ${clock(since, now)}.`,
      looked === null ? "" : `Looked at ${count(looked, "picture")}`
        + `${begun === null ? "." : ` since the start at ${clock(begun, now)}.`}`].join(" ").trim(),
    more: (next, left) => `Show ${next} more of ${whole(left)}`,
    bar: (event, now) => `${event.label}, ${texts.events.when(event, now)}`,
    when: (event, now) => `${clock(event.began, now, {seconds: true})}, `
      + (event.isLost ? "its end is not known" : `${event.ended ? "for" : "still there after"} `
        + duration(secondsOf(event, now))),
    tags: (event) => [
      ...event.entered.map((zone) => (event.loitering.includes(zone) ? `stays in ${zone}` : `in ${zone}`)),
      ...event.crossed.slice(-3).map(({line, direction}) => `crossed ${line}, ${direction}`),
      ...(event.stationary ? ["stood still"] : []), ...(event.interrupted ? ["end not seen"] : [])],
    noPicture: "no picture",
    laterPicture: "picture at its end",
    picturesOff: "Pictures of events are off in the configuration (events.pictures).",
    whyButton: "Why?",
    pointAt: "Point at a bar or a hatched part to read what it is.",
    lanesLabel: (number, from, to, now) => `${count(number, "event")} from ${clock(from, now)} to ${clock(to, now)}. `
      + "The list below has them all.",
    tick: (at) => (new Date(at).getHours() || new Date(at).getMinutes() ? clock(at, at)
      : new Date(at).toLocaleDateString("en-GB", {day: "numeric", month: "short"})),
    gap: (why, from, to, now) => {
      const seconds = (to ?? now) - from < 120_000;
      const kind = {unrecorded: "Not recorded", unloaded: "Not shown"}[why] ?? "Not looking";
      return `${kind}, ${clock(from, now, {seconds})} to ${to === null ? "now" : clock(to, now, {seconds})}: `
        + `${GAPS[why] ?? why}.`;
    },
    gaps: (number) => (number === 1 ? "What the hatched part is" : `What the ${whole(number)} hatched parts are`),
    gapsLabel: "Hatched parts",
    close: "Close",
    pictureOf: (event) => `Best picture of this ${event.label}`,
    score: "score",
    thresholdKey: (threshold) => (threshold === null ? "threshold unknown" : `threshold ${threshold.toFixed(2)}`),
    scoreAt: (seconds, score) => `${seconds.toFixed(1)} s: ${score.toFixed(2)}`,
    chart: (scores, threshold) => {
      const values = scores.map(([, score]) => score);
      return `Scores from ${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}, `
        + `${texts.events.thresholdKey(threshold)}.`;
    },
    noScores: "The single scores of this event were not recorded.",
    why: (event, threshold, minimum, now) => {
      const number = event.scores.length;
      const seconds = duration(secondsOf(event, now));
      const isSure = number && number < 100 && !event.stationary && event.ended && event.scores[0][0] < 0.05;
      return [
        number ? `Detected ${isSure ? "" : "at least "}${count(number, "time")} in ${seconds}.`
          : `Was there for ${seconds}.`,
        `Median score ${event.score.toFixed(2)}, ${texts.events.thresholdKey(threshold)}.`,
        minimum ? `An event needs a median of ${minimum.toFixed(2)}.` : "",
        ...Object.entries(event.dwell_s).map(([zone, dwell]) => (event.ended || !event.zones.includes(zone)
          ? `Was in ${zone} for ${duration(dwell)}.` : `Is in ${zone}.`)),
        ...event.loitering.map((zone) => `Loiters in ${zone}.`),
        ...event.crossed.map(({line, direction}) => `Crossed ${line} (${direction}).`),
        event.stationary ? "Stood still." : "",
        event.interrupted ? "Nobody saw it leave: the device did not look at that time." : "",
      ].filter(Boolean).join(" ");
    },
    place: (event) => `${seenAt(event)}.`,
    facts: (event) => [
      ["Highest score", event.top_score.toFixed(2)],
      ["Moved", `${percent(event.moved)} of the picture`],
      ["Model", event.model ? named(event.model) : "unknown"],
      ["Event", event.id],
    ],
  }),

  health: Object.freeze({
    unknown: "unknown",
    state: (state, at, reachable, now) => {
      const words = {ok: "All is well.", degraded: "It works, but something is wrong.",
        failed: "It does not detect."}[state] ?? state;
      return reachable ? words : `Last known at ${clock(at, now)}: ${words}`;
    },
    noneYet: "No health message has come yet. The first comes within a minute.",
    detail: (detail) => `Cause: ${detail}`,
    toDo: "What to do:",
    since: (since, now) => `Since ${clock(since, now)}.`,
    time: "Time",
    ranges: Object.freeze({24: "Last 24 hours", 168: "Last 7 days"}),
    curvesTitle: "Over time",
    noMinutes: "Nothing is recorded yet. The first point comes within a minute.",
    curvesFailed: (error) => `Not loaded: ${error}`,
    age: "Age of a result",
    rate: "Pictures per second",
    captured: "captured",
    detected: "detected in",
    temperature: "Temperature",
    score: "Mean score",
    ms: (value, isTick = false) => (isTick ? whole(value) : milliseconds(value)),
    perSecond: (value, isTick = false) => (isTick ? `${value}` : `${value.toFixed(1)}/s`),
    celsius: (value, isTick = false) => (isTick ? value.toFixed(0) : `${value.toFixed(1)} °C`),
    scoreValue: (value) => orUnknown(value, (known) => known.toFixed(2)),
    tick: (at) => texts.events.tick(at),
    summary: (name, newest, low, high) =>
      `${name ? `${capital(name)}: n` : "N"}ow ${newest ?? "unknown"}, lowest ${low}, `
        + `highest ${high}.`,
    unknownCurve: (name) => `${name ? `${capital(name)}: u` : "U"}nknown in all this time.`,
    framesTitle: "What became of the pictures",
    framesCaption: "Pictures since the start of the daemon. The rows below the first add up to it.",
    what: "What",
    frames: "Number",
    share: "Share",
    allCaptured: "Captured",
    detectedIn: "Detected in",
    dropped: (cause) => `Not detected in: ${DROPPED[cause] ?? cause}`,
    pending: "Waiting",
    number: (value) => orUnknown(value, whole),
    shareOf: (part, all) => (all ? percent(part / all) : "unknown"),
    deviceTitle: "Device",
    facts: (health) => {
      const {looking} = health.fallback;
      const board = health.board ?? {};
      const last = health.last_end;
      return [
        ["Detects with", looking ? {cloud: "the cloud", motion: "motion only"}[looking] : "its own model"],
        ["Running for", duration(health.uptime_s)],
        ["Last end", last ? `${LAST_ENDS[last.kind] ?? last.kind}${last.detail ? `: ${last.detail}` : ""}`
          : "no earlier run is known"],
        ["Temperature", orUnknown(board.temperature_c, texts.health.celsius)],
        ["Power and heat", orUnknown(board.throttled_now,
          (now) => (now.length ? list(now).replaceAll("_", " ") : "no trouble"))],
        ["Memory, daemon", orUnknown(board.rss_mb, megabytes)],
        ["Memory, capture", orUnknown(board.capture_rss_mb, megabytes)],
        ["Memory free", orUnknown(board.memory_available_mb, megabytes)],
        ["Disk free", `${orUnknown(board.disk_free_mb, megabytes)} of ${orUnknown(board.disk_mb, megabytes)}`],
        ["Clock", orUnknown(board.clock_synced, (synced) => (synced ? "" : "not ") + "set by a time server")],
        ["Rate", orUnknown(health.governor, (governor) => (governor.step ? `lowered: ${governor.why ?? "cause unknown"}`
          : "not lowered"))],
        ["Pictures for the workshop",
          health.collect ? `${whole(health.collect.pictures)}, ${health.collect.state}` : "off"],
        ["Time for one picture", orUnknown(health.inference.timing_ms.invoke, ({p50, p95}) =>
          `${milliseconds(p50)}; 95 % within ${milliseconds(p95)}`)],
      ];
    },
    driftTitle: "Slow changes (drift)",
    driftIs: (hours) => "Compared over seven days. What gets worse here causes no error."
      + `${hours === null ? "" : ` The device still learns what is usual, for ${duration(hours * 3600)}.`}`,
    noDrift: "Drift is unknown: the health message came without it.",
    noLabels: "No scores yet.",
    driftCaption: "Mean score of each label, compared with its baseline",
    label: "Label",
    mean: "Mean",
    baseline: "Baseline",
    change: "Change",
    scores: "Scores",
    baselineOf: (value) => (value === null ? "not known yet" : value.toFixed(2)),
    changeOf: (mean, baseline) => (mean === null || !baseline ? "unknown"
      : `${mean < baseline ? "−" : "+"}${percent(Math.abs(mean / baseline - 1))}`),
    driftFacts: ({latency, image, feedback}) => [
      ["Time of the model", `${orUnknown(latency.mean_ms, milliseconds)}, usual: `
        + (latency.baseline_ms === null ? "still learning" : milliseconds(latency.baseline_ms))],
      ["View", image.changes.length ? `changed: ${list(image.changes)}`
        : image.likeness === null ? "unknown: no view is known yet" : "as known"],
      ["Likeness of the view", orUnknown(image.likeness, percent)],
      ["Known views", whole(image.references)],
      ["Feedback", feedback.count ? `${feedback.wrong} of ${count(feedback.count, "result")} wrong` : "none"],
    ],
  }),

  model: Object.freeze({
    state: (model) => MODEL_STATES[model.state] ?? model.state,
    noneYet: "Nothing is known of the model yet.",
    progress: "Progress",
    inProgress: (model) => (model.update_percentage === null ? "In progress."
      : `${Math.round(model.update_percentage)} % done.`),
    trial: (trial, active, now) => `On trial since ${clock(trial.since_utc, now)}: ${count(trial.frames, "picture")}`
      + `${active?.trial ? ` of ${whole(active.trial.frames)}` : ""} in ${duration(trial.seconds)}`
      + `${active?.trial ? ` of ${duration(60 * active.trial.minutes)}` : ""}. `
      + `${count(trial.starts, "start")}, ${trial.crashes === 1 ? "1 crash" : `${trial.crashes} crashes`}.`,
    runningTitle: "Runs now",
    running: (model, detector, inference) => [
      ["Name", model.title ?? "none"],
      ["Version", model.installed_version ?? "unknown"],
      ["Release", model.release === null ? "none" : String(model.release)],
      ["File (SHA-256)", orUnknown(model.sha256, short)],
      ...(model.variant ? [["Variant", model.variant]] : []),
      ["Runtime", detector ? `${detector.runtime} ${detector.runtime_version}` : "unknown"],
      ["On fast code (XNNPACK)", orUnknown(inference?.xnnpack_share ?? detector?.xnnpack_share, percent)],
      ["Decoder", detector?.decoder ?? "unknown"],
      ["Input", detector ? `${detector.input_width} × ${detector.input_height}` : "unknown"],
      ["Threads", orUnknown(inference?.threads ?? detector?.threads)],
      ["Labels", detector ? labelsOf(detector.labels) : "unknown"],
      ...(detector?.warnings.length ? [["Warnings", detector.warnings.join(" ")]] : []),
    ],
    newestTitle: "Newest",
    newest: (model) => (model.latest_version === null ? "No newer version is known."
      : model.latest_version === model.installed_version
        ? `Version ${model.latest_version} is the newest known one, and it runs.`
        : `Version ${model.latest_version} is the newest known one.`),
    outcome: (words) => `Last update: ${words}.`,
    check: "Check now",
    back: "Go back",
    noCheck: "You cannot check for a new model here: page.allow does not list update.",
    noBack: "You cannot go back here: page.allow does not list rollback.",
    noPrevious: "You cannot go back: there is no previous model.",
    pinnedBack: "You cannot go back: the configuration names the model (detector.model).",
    asked: (data) => `The device asks for a new model within ${duration(Math.max(1, data?.within_s ?? 1))}.`,
    went: (data) => `Done: ${data?.words ?? "the previous model runs"}.`,
    notDone: (error) => `Not done: ${error}`,
    backTitle: "Go back to the previous model?",
    backQuestion: (active, previous) => `${previous ? named(previous) : "The previous model"} will run in place of `
      + `${active ? named(active) : "this one"}. It stays until a higher release comes. No picture is lost meanwhile.`,
    cancel: "Cancel",
    shadowTitle: "The new model, compared",
    shadowNone: "No comparison was published. The release decides whether its results are (shadow.publish).",
    shadowIs: (model) => `New: ${named(model)}. Its results reach no subscriber of detections.`,
    compared: ({frames, both, running, coming}) => `Since you opened this page, ${count(frames, "picture")} compared. `
      + `Both saw: ${whole(both)}. Only the running model: ${whole(running)}. Only the new one: ${whole(coming)}.`,
    shadowTimes: (shadow) => `Time in the newest picture: running ${milliseconds(shadow.active_invoke_ms)}, `
      + `new ${milliseconds(shadow.invoke_ms)}.`,
    shadowCaption: (at) => `Scores in the picture of ${clock(at, Date.now(), {seconds: true})}`,
    shadowEmpty: "Neither sees anything in the newest picture.",
    label: "Label",
    runningModel: "Running",
    comingModel: "New",
    scores: (detections, label) => detections.filter((each) => each.label === label)
      .map(({score}) => score?.toFixed(2) ?? "unknown").join(", ") || "not seen",
    listTitle: "On this device",
    listCaption: "Models on the disk of the device",
    listHead: Object.freeze(["Role", "Model", "Release", "File (SHA-256)", "Size"]),
    listNone: "No model is installed. The running one comes from the configuration, or from the box.",
    listFailed: (error) => `Not loaded: ${error}.`,
    roles: Object.freeze({active: "Active", previous: "Previous", candidate: "New, not active yet"}),
    row: (model) => [named(model), model.release === null ? "none" : String(model.release), short(model.sha256),
      megabytes(model.size / 1e6)],
    held: (release) => `By choice of a person, only a release above ${release} replaces it.`,
    refusedCaption: "Models that the device refused",
    refusedHead: Object.freeze(["File (SHA-256)", "When", "Why"]),
    refusedRow: (refused) => [short(refused.sha256), clock(refused.at), refused.why],
    refusedNone: "No model was refused.",
  }),

  setup: Object.freeze({
    shapes: "Region, masks, zones and lines",
    noShapes: "Nothing is drawn yet. The whole picture is used.",
    stage: "Picture with the shapes on it",
    kinds: Object.freeze({roi: "Region", mask: "Mask", zone: "Zone", line: "Line"}),
    draw: Object.freeze({roi: "Set region", mask: "Draw mask", zone: "Draw zone", line: "Draw line"}),
    shapeName: (kind, name) => (kind === "roi" ? "Region" : `${texts.setup.kinds[kind]} ${name}`),
    axes: Object.freeze(["from left", "from top"]),
    finish: "Finish",
    back: "Remove last corner",
    cancel: "Cancel",
    undo: "Undo",
    reset: "Discard changes",
    remove: "Delete",
    in: "in",
    hint: "Drag a corner to move it, or choose it and use the arrow keys. Delete removes a corner or a shape.",
    drawHints: Object.freeze({
      zone: "Click each corner. Enter or a double click ends, Escape cancels. By keyboard: the arrow keys move the "
        + "cross, Space sets a corner.",
      mask: "Click each corner. Enter or a double click ends, Escape cancels. By keyboard: the arrow keys move the "
        + "cross, Space sets a corner.",
      line: "Click both ends. Things that cross from left to right, seen along the line, go in. By keyboard: the arrow "
        + "keys move the cross, Space sets an end.",
      roi: "Click two opposite corners. The model gets only this part. By keyboard: the arrow keys move the cross, "
        + "Space sets a corner.",
    }),
    cornerSet: (number) => `Corner ${number} is set.`,
    added: (shape) => `${shape} is drawn.`,
    corner: (number, all, [x, y]) => `Corner ${number} of ${all}, at ${x}, ${y}`,
    pointName: (kind, index) => (kind === "roi" ? ["Upper left", "Lower right"] : kind === "line" ? ["From", "To"]
      : [])[index] ?? `${index + 1}`,
    coordinate: (kind, index, axis) => {
      const side = axis === 0 ? "from the left" : "from the top";
      return `${texts.setup.pointName(kind, index).replace(/^\d+$/, "Corner $&")}, ${side}, 0 to 1`;
    },
    addCorner: (number) => `Add a corner after corner ${number}`,
    removeCorner: (number) => `Remove corner ${number}`,
    removeShape: (shape) => `Delete ${shape}`,
    name: "Name",
    labels: "Labels that count, with commas between them",
    allLabels: "all",
    noLabels: "none",
    loiter: "Loiters after, in seconds",
    never: "never",
    hold: "Stays occupied for, in seconds",
    direction: "The arrow shows the way in: from left to right, seen along the line.",
    turn: "Turn around",
    problems: Object.freeze({
      name_empty: "Give it a name.",
      name_long: "The name is longer than 64 characters.",
      name_control: "The name has a character that cannot be shown.",
      name_twice: "Another one has this name.",
      range: "Each coordinate must be from 0 to 1.",
      corners: "It has too few corners.",
      region: "It has no area.",
      length: "Both ends are at the same place.",
      inside: "It has no area: its corners are all on a line.",
      loiter: "The seconds must be more than 0, or empty.",
      hold: "The seconds must be 0 or more.",
    }),

    thresholds: "Thresholds",
    overall: "Lowest score of a box, for all labels",
    ownThreshold: (label) => `Own threshold for ${label}`,
    thresholdOf: (label) => `Threshold for ${label}`,
    fewer: (threshold, fewer, boxes, results) =>
      `At ${threshold.toFixed(2)}: ${whole(fewer)} fewer ${fewer === 1 ? "box" : "boxes"} of ${whole(boxes)} `
      + `in the last ${count(results, "result")}.`,
    fewerOf: (fewer, boxes) => `${whole(fewer)} fewer of ${whole(boxes)}`,
    unknown: "cannot be previewed: try it",
    lowered: "A lower threshold cannot be previewed: try it. The results have no box below the threshold that ran.",
    noResults: "There is no result yet, so there is nothing to preview.",
    allow: "Only these labels, with commas between them",
    deny: "Never these labels",

    tryTitle: "Try it",
    try: "Try on the running daemon",
    takeBack: "Take back",
    same: "Nothing differs from what runs now.",
    tryWhat: (keys) => `To try: ${list(keys)}. It lasts until the daemon restarts or reloads its configuration.`,
    notTriable: "Region and masks cannot be tried. They are only in the YAML.",
    notTried: "Nothing is tried now.",
    tried: (keys) => `Tried now, until the daemon restarts: ${list(keys)}.`,
    triedNow: "The daemon tries it now.",
    takenBack: "The daemon runs its configuration again.",
    refused: (error) => `Not done: ${error}`,
    notAllowed: "This device does not allow to try. To allow it, list try in page.allow, then reload the daemon:",
    allowYaml: "YAML that allows it",

    forGoodTitle: "For good",
    forGood: "The page cannot write files. Copy this YAML and apply it on the device:",
    yaml: "YAML of the changes",
    copy: "Copy",
    copied: "Copied.",
    notCopied: "The browser does not allow it. Select the text and copy it.",
    mendFirst: "First mend what is said to be wrong.",
    nothing: "Nothing differs from the configuration.",
    save: "Save it on the device as a file, such as changes.yaml.",
    apply: "Apply it: ",
    command: "sudo vedette config apply changes.yaml",
    next: "Reload or restart the daemon, as this command then says.",
    restart: "Masks need a restart of the daemon.",

    away: "The daemon does not answer.",
    noConfig: "The daemon does not give its configuration yet.",
    lastPicture: "This is the last picture.",
    noPicture: "There is no picture yet. You can draw all the same.",
  }),

  settings: Object.freeze({
    title: "Settings, and where they come from",
    caption: "Keys that a reload or a signed configuration can change",
    head: ["Key", "Value", "From"],
    place: (place) => ({undefined: "default", model: "the model", tried: "tried now"})[place] ?? place,
  }),

  broker: Object.freeze({
    state: (connected, since, now) => (connected ? "Connected to the broker."
      : `Not connected to the broker${since ? ` since ${clock(since, now)}` : ""}. Messages wait on the device.`),
    noErrors: "No errors with the broker.",
    facts: (mqtt) => [
      ["Published", `${count(mqtt.published, "message")} in this run`],
      ["Connected again", mqtt.reconnects === 1 ? "1 time" : `${whole(mqtt.reconnects)} times`],
      ["Waiting in memory", count(mqtt.outbox_depth, "message")],
      ["Waiting on disk", `${count(mqtt.spooled, "message")}, ${mqtt.spool_mb.toFixed(1)} MB`],
      ["Dropped", `${count(mqtt.outbox_dropped, "message")} in this run`],
      ["Dropped ever", Object.entries(mqtt.dropped_ever)
        .map(([topic, number]) => `${topic} ${whole(number)}`).join(", ") || "none"],
      ["Refused by the broker", count(mqtt.refused, "message")],
    ],
    logTitle: "Log of the daemon",
    filter: "Lines with",
    onlyBad: "Only warnings and errors",
    lines: (shown, all) => (all === 0 ? "The log is empty." : shown === all ? `The last ${count(all, "line")}.`
      : `${whole(shown)} of the last ${count(all, "line")}.`),
    logFailed: (error) => `Not loaded: ${error}.`,
  }),
});
