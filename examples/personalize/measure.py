"""`python -m examples.personalize.measure`: how well six drawn things are told apart after 1, 5 and 10 pictures each.

Invariants: no picture is learnt from and tested on; each row has the same test pictures.
"""

from __future__ import annotations

import argparse
import resource
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from examples.personalize.drawn import THINGS, Portraits
from examples.personalize.learn import STEPS, Example, Learner
from vedette.vision import images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from examples.personalize.learn import Reals

SHOTS = (1, 5, 10)
TESTS = 50
TRIALS = 10
FOLDS = 5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measures what a few pictures of each thing give.")
    parser.add_argument("model", type=Path, help=f"a file that `make` wrote for {len(THINGS)} labels")
    parser.add_argument("--runtime", default="auto", help="litert or tflite-runtime")
    args = parser.parse_args()
    learner = Learner(args.model, args.runtime)
    measure(learner)
    began_s = time.perf_counter()
    learner.train([Example(np.zeros_like(learner.features(images.frame_of(Portraits("our car").draw(0).data, 1))), 0)])
    print(f"a step takes {(time.perf_counter() - began_s) / STEPS * 1e3:.3f} ms")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak_mb:.0f} MB, with what draws the pictures")


def measure(learner: Learner) -> None:
    """Print a row for each number of pictures.

    First the share of test pictures whose label is right. Then F1 of the scores at the usual threshold of 0.5, and at
    a threshold for each label that five-fold cross-validation on the pictures themselves has found.
    """
    pool = [np.concatenate([learner.features(images.frame_of(Portraits(name).draw(number).data, 1))
                            for number in range(TESTS + TRIALS * max(SHOTS))]) for name in THINGS]
    labels = np.eye(len(pool), dtype=bool)
    tests, truth = np.concatenate([rows[:TESTS] for rows in pool]), np.repeat(labels, TESTS, 0)
    first = learner.read()
    for shots in SHOTS:
        found: list[tuple[float, ...]] = []
        for trial in range(TRIALS):
            chosen = [rows[TESTS + trial * max(SHOTS):][:shots] for rows in pool]
            means = np.stack([rows.mean(0) for rows in chosen])
            examples = [Example(row[None], label) for label, rows in enumerate(chosen) for row in rows]
            scores = scores_of(learner, first, examples, tests)
            usual, own = f1(scores, truth, 0.5), float("nan")
            if shots >= FOLDS:
                unseen = np.empty((len(examples), len(pool)))
                for fold in range(FOLDS):
                    rows = np.concatenate([each.features for each in examples[fold::FOLDS]])
                    others = [each for place, each in enumerate(examples) if place % FOLDS != fold]
                    unseen[fold::FOLDS] = scores_of(learner, first, others, rows)
                own = f1(scores, truth, thresholds(unseen, labels[[each.label for each in examples]]))
            nearest = ((tests[:, None] - means) ** 2).sum(2).argmin(1)
            found.append((np.mean(truth[range(len(tests)), nearest]),
                          np.mean(truth[range(len(tests)), scores.argmax(1)]), usual, own))
        close, trained, usual, own = np.mean(found, 0)
        print(f"{shots:>2} pictures a label: nearest class mean {close:.2f}, trained {trained:.2f}, chance "
              f"{1 / len(pool):.2f}; F1 {usual:.2f} at a threshold of 0.5"
              + (f", {own:.2f} at automatic ones" if shots >= FOLDS else ""), flush=True)


def scores_of(learner: Learner, first: dict[str, Reals], examples: list[Example], rows: Reals) -> Reals:
    """Return the scores for these features, (rows, labels), after learning the examples from the start."""
    learner.write(first)
    learner.train(examples)
    now = learner.read()
    logits = rows @ now["weights"].T + now["bias"]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)


def f1(scores: NDArray[Any], truth: NDArray[np.bool_], threshold: float | NDArray[Any]) -> float:
    """Return F1 of the scores that reach the threshold."""
    hits = scores >= threshold
    return float(2 * (hits & truth).sum() / (hits.sum() + truth.sum()))


def thresholds(scores: NDArray[Any], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each label the threshold with the best F1."""
    steps = np.arange(0.05, 0.96, 0.05)
    return np.array([max(steps, key=partial(f1, scores[:, label], truth[:, label])) for label in range(truth.shape[1])])


if __name__ == "__main__":
    main()
