"""What the text claims of its numbers: {name: a test of the Facts}.

The text marks each such sentence, \\claim{NAME}{SENTENCE}. The full report is not built where a
claim does not hold. The quick one doesn't ask: its networks are too small and too short of data.
"""

import math

from mlp.errors import UserError

ZEROS = "h.1", "h.2", "h.3", "k.1", "k.2", "k.3", "W.11", "W.12", "W.13", "W.21", "W.22", "W.23"
CLAIMS = {
    "two-step-fails": lambda f: math.isnan(f["naive.two"]) and f["naive.direct"] == -1,
    "worked-zero": lambda f: not any(f[f"worked.dl/d{x}"] for x in ZEROS),
    "synth-normal": lambda f: f["synth.mean"] < 0.02 and abs(f["synth.std"] - 1) < 0.02,
    "synth-falls": lambda f: f["scalar.falls"],
    "synth-one-behind": lambda f: f["scalar.val.second"] - f["scalar.val.least"] > 2,
    "balanced": lambda f: f["mnist.most"] < 1.3 * f["mnist.least"],
    "check-scalar": lambda f: f["check.scalar"] < 1e-14,
    "check-numeric": lambda f: f["check.numeric"] < 1e-8,
    "speed-rises": lambda f: f["speed.rises"],
    "speed-shortcuts": lambda f: (
        f["speed.fast-wins"] and f["speed.fast-gain"] > f["speed.last-gain"]
    ),
    "falls-early": lambda f: f["batch.early"] > 50,
    "late-outliers": lambda f: f["batch.largest-late"] > 10 * f["batch.median-late"],
    "easy-first": lambda f: f["gap.first"] < 0,
    "gap-widens": lambda f: f["gap.widens"] and f["gap.last"] > 0,
    "both-fall": lambda f: f["gap.train_loss.falls"] and f["gap.val_loss.falls"],
    "examples-not-networks": lambda f: 0.75 < f["seeds.std-ratio"] / f["seeds.std-root"] < 1.25,
    "spread-shrinks": lambda f: f["spread.last"] < f["spread.first"],
    "lr-rises": lambda f: f["lr.rises"],
    "lr-difference": lambda f: f["lr.low"] > 0,
    "slow-underfits": lambda f: f["lr.slow.train"] > f["lr.slow.val"],
    "one-top": lambda f: f["one.smallest"] < f["one.best"] < f["one.largest"],
    "one-breaks": lambda f: f["one.loss"] > f["mnist.guess"],
    "many-top": lambda f: f["many.smallest"] < f["many.best"] < f["many.largest"],
    "many-breaks": lambda f: f["many.loss"] > f["mnist.guess"],
    "none-diverges": lambda f: f["one.diverged"] == f["many.diverged"] == 0,
    "top-moves": lambda f: f["many.ratio"] > 1,
    "small-rate-behind": lambda f: f["many.smallest"] == f["one.smallest"] and f["many.behind"] > 5,
    "ours-higher": lambda f: f["course.lead"] > 0,
    "wide-lower": lambda f: f["wide.large"] > 2 * f["wide.small"],
    "wide-explains": lambda f: 25 < f["wide.share"] < 75,
    "hidden-rises": lambda f: f["hidden.rises"],
    "hidden-saturates": lambda f: f["hidden.change"] < f["hidden.std"],
    "batch-rates-rise": lambda f: f["batch.rates-rise"],
    "batch-small-wins": lambda f: f["batch.small.val"] > f["batch.large.val"],
    "activation-differs": lambda f: f["activation.lower"],
    "activation-alike": lambda f: f["activation.gain"] < 0.3,
    "few-directions": lambda f: f["directions.share"] > 50,
    "muon-leads": lambda f: f["search.lead"] > 0,
    "search-falls": lambda f: f["free.fall"] > 0,
    "free-wins": lambda f: f["free.test.low"] > f["plain.test.high"],
    "agrees": lambda f: f["final.agrees"],
    "ledger": lambda f: (
        (f["ledger.final"], f["ledger.configurations"]) == (2 * f["final.n-seeds"], 2)
    ),
}


def failing(facts):
    """Names of the claims that these facts do not bear out."""
    return [name for name, holds in CLAIMS.items() if not holds(facts)]


def check(facts, enforce=True):
    """Raises UserError where a claim does not hold. Without enforce, it may fail, but not break."""
    names = failing(facts)
    if names and enforce:
        raise UserError(f"the runs don't bear out what report/ claims: {', '.join(names)}")
