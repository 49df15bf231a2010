// What another threshold would have left of the last results.
//
// Invariants: pure; a box below the threshold that ran is in no result, so only a raised threshold has a preview.

const BARS = 20;

/** Return the threshold of a label. `thresholds`: {score_threshold, labels: {label: threshold}}. */
export function thresholdOf(thresholds, label) {
  return Object.hasOwn(thresholds.labels, label) ? thresholds.labels[label] : thresholds.score_threshold;
}

/** Compare the thresholds that run with those that are wanted, on the boxes of the device's own model.
 *
 * Returns {results, boxes, fewer, lowered, labels: [{label, boxes, fewer, lowered, bars}]}, the labels by name.
 * `results` counts them. `lowered`: the wanted threshold lies below all that is known, so it has no preview.
 * `bars` counts the boxes by score, in steps of 0.05.
 */
export function preview(results, running, wanted) {
  const own = results.filter((result) => result.source === "local");
  const scores = new Map(Object.keys({...running.labels, ...wanted.labels}).map((label) => [label, []]));
  for (const {label, score} of own.flatMap((result) => result.detections)) {
    if (score === null) continue;
    if (!scores.has(label)) scores.set(label, []);
    scores.get(label).push(score);
  }
  const labels = [...scores].sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([label, all]) => previewOf(label, all, thresholdOf(running, label), thresholdOf(wanted, label)));
  const sum = (name) => labels.reduce((total, each) => total + each[name], 0);
  return {
    results: own.length,
    boxes: sum("boxes"),
    fewer: sum("fewer"),
    lowered: labels.length ? labels.some((each) => each.lowered) : wanted.score_threshold < running.score_threshold,
    labels,
  };
}

function previewOf(label, scores, running, wanted) {
  const bars = new Array(BARS).fill(0);
  for (const score of scores) bars[Math.min(Math.floor(score * BARS), BARS - 1)] += 1;
  return {
    label,
    boxes: scores.length,
    fewer: scores.filter((score) => score < wanted).length,
    lowered: wanted < scores.reduce((least, score) => Math.min(least, score), running),
    bars,
  };
}
