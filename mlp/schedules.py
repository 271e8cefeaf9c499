"""Schedules: the factor on the learning rate as a function of progress.

Progress runs from 0 to 1 over all steps of a run. A step's own progress is that of its middle,
(step - 0.5) / n_steps, so that no step is wasted on a factor of 0. All take and give arrays.
"""

from dataclasses import dataclass

import numpy as np

from mlp.settings import setting


@dataclass(frozen=True)
class Constant:
    """factor 1 throughout"""

    name = "constant"

    def __call__(self, progress):
        return np.ones_like(progress)


@dataclass(frozen=True)
class Linear:
    """from 1 straight down to 0"""

    name = "linear"

    def __call__(self, progress):
        return 1 - progress


@dataclass(frozen=True)
class Cosine:
    """from 1 down to 0 along half a cosine (Loshchilov and Hutter 2017, without restarts)"""

    name = "cosine"

    def __call__(self, progress):
        return (1 + np.cos(np.pi * progress)) / 2


@dataclass(frozen=True)
class OneCycle:
    """straight up to 1, then half a cosine down to 0 (after Smith and Topin 2019)"""

    name = "one_cycle"
    warm_up: float = setting("fraction of all steps spent on the way up", above=0, below=1)

    def __call__(self, progress):
        after = (progress - self.warm_up) / (1 - self.warm_up)
        down = Cosine()(np.clip(after, 0, 1))
        return np.where(progress < self.warm_up, progress / self.warm_up, down)


SCHEDULES = Constant, Linear, Cosine, OneCycle
