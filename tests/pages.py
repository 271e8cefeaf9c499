"""What tests of pages share: sweeps with known curves, and what a page holds."""

import base64
import json
import re

import numpy as np
from made_up import STEPS_PER_EPOCH, write_run

HOSTILE = [
    "<img src=x onerror=document.title=1>\"'</script><script>document.title=1</script>",
    r"$$\frac{1}{2}$$ {{ 7 * 7 }} {% raw %} `${document.title=1}`",
]


def losses_of(seed, n_steps=3000, lr=0.1):
    """A falling, noisy loss."""
    steps = np.arange(1, n_steps + 1)
    noise = np.random.default_rng([seed, int(lr * 1e6)]).lognormal(0, 0.5, n_steps)
    return (0.2 + 2 * np.exp(-lr * steps / 100)) * noise


def write_sweep(folder, lrs=(0.1, 1.0), n_seeds=3, n_steps=3000, **config):
    """Runs of every lr and seed, with the losses that `losses_of` tells."""
    for lr in lrs:
        for seed in range(n_seeds):
            losses = losses_of(seed, n_steps, lr)
            how = {"lr": lr, "seed": seed, "epochs": n_steps // STEPS_PER_EPOCH} | config
            write_run(folder / f"lr={lr},seed={seed}", losses, **how)
    return folder


def data_of(path):
    """The data in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )


def numbers(data, place):
    """An array of the page."""
    text = data["arrays"][place]
    return np.frombuffer(base64.b64decode(text[1:]), f"<f{text[0]}").astype(float)
