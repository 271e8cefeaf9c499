"""Schedules: the factor on the learning rate as a function of progress.

Progress runs from 0 to 1 over all steps of a run; a step's own is taken at its middle,
(step - 0.5) / n_steps, so that no step is wasted on a factor of 0. All take and give arrays.
"""

import numpy as np


def constant(progress):
    return np.ones_like(progress)


def linear(progress):
    """From 1 straight down to 0."""
    return 1 - progress


def cosine(progress):
    """From 1 down to 0 along half a cosine (Loshchilov and Hutter 2017, without restarts)."""
    return (1 + np.cos(np.pi * progress)) / 2


def one_cycle(progress, warm_up):
    """Straight up to 1 over the fraction warm_up, then along half a cosine down to 0 (after
    Smith and Topin 2019)."""
    after = (progress - warm_up) / (1 - warm_up)
    return np.where(progress < warm_up, progress / warm_up, cosine(np.clip(after, 0, 1)))


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine, "one_cycle": one_cycle}
