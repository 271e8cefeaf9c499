"""The space of a search, from overrides in Hydra's words.

interval(a, b) is every number between, tag(log, interval(a, b)) evenly in its logarithm,
int(interval(a, b)) and range(a, b) are integers, choice(x, y) or x,y is a choice. What seed sweeps
over are the seeds of each trial.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mlp.config import APART
from mlp.errors import UserError


@dataclass(frozen=True)
class Dimension:
    words: str  # what values it has
    ends: list  # values that stand for the others in a check, as text
    suggest: Callable  # (Optuna trial, key) -> a value as text


@dataclass(frozen=True)
class Space:
    fixed: list  # overrides that hold for all trials
    seed_override: list  # as it was given; empty for the configuration's own seed
    seeds: list  # what tells the runs of a trial apart: a list of overrides each
    dimensions: dict

    def point(self, trial):
        """The overrides that an Optuna trial proposes, or has proposed."""
        values = {key: one.suggest(trial, key) for key, one in self.dimensions.items()}
        return [f"{key}={value}" for key, value in values.items()]

    def jobs(self, point):
        return [[*self.fixed, *point, *seed] for seed in self.seeds]

    def corners(self):
        """Overrides of jobs from all ends of the space: where these can run, most others can."""
        first = {key: one.ends[0] for key, one in self.dimensions.items()}
        points = [first]
        for key, one in self.dimensions.items():
            points += [{**first, key: end} for end in one.ends[1:]]
        named = [[f"{key}={value}" for key, value in point.items()] for point in points]
        return [job for point in named for job in self.jobs(point)]

    @property
    def own(self):
        """The fixed ones that change what a run computes."""
        return [one for one in self.fixed if one.split("=")[0] not in APART]

    def tell(self):
        """What a search is, in plain values: with another one of these, it is another search."""
        seeds = [" ".join(seed) for seed in self.seeds]
        space = {key: one.words for key, one in self.dimensions.items()}
        return {"fixed": sorted(self.own), "seeds": seeds, "space": space}


def read_space(overrides):
    """The Space of parsed overrides; the last one of a key wins. Raises UserError."""
    fixed, seed_override, seeds, dimensions = [], [], [[]], {}
    for key, override in {one.get_key_element(): one for one in overrides}.items():
        if not override.is_sweep_override():
            fixed.append(f"{key}={override.get_value_element_as_str()}")
        elif key in APART:
            raise UserError(f"{key} holds for a whole search: give it one value")
        elif key == "seed":
            if override.is_interval_sweep():
                raise UserError(f"{override.input_line}: seeds are a list or a range")
            seed_override = [override.input_line]
            seeds = [[f"seed={value}"] for value in override.sweep_string_iterator()]
        else:
            dimensions[key] = dimension(override)
    if not dimensions:
        raise UserError("sweeper=optuna needs a space, such as lr='tag(log,interval(0.001,1))'")
    return Space(fixed, seed_override, seeds, dimensions)


def dimension(override):
    value, log = override.value(), "log" in getattr(override.value(), "tags", ())
    if override.is_interval_sweep():
        low, high, step = value.start, value.end, 1
    elif override.is_range_sweep() and isinstance(value.start + value.stop + value.step, int):
        values = list(map(int, override.sweep_string_iterator()))
        low, high, step = min(values), max(values), abs(value.step)
    else:
        choices = list(override.sweep_string_iterator())
        return Dimension(
            " or ".join(choices),
            choices,
            lambda trial, key: trial.suggest_categorical(key, choices),
        )
    line = override.input_line
    if not low < high:
        raise UserError(f"{line}: the first number must be less than the last, got {low}, {high}")
    if log and low <= 0:
        raise UserError(f"{line}: with tag log all numbers must be > 0, got {low}")
    if log and step > 1:
        raise UserError(f"{line}: tag log and a step don't go together")
    words = f"{low} to {high}" + f" by {step}" * (step > 1) + ", evenly in the logarithm" * log
    if isinstance(low, int) and isinstance(high, int):

        def suggest(trial, key):
            return str(trial.suggest_int(key, low, high, step=step, log=log))

    else:

        def suggest(trial, key):
            # Four digits tell values apart, and keep the names of folders readable
            rounded = float(f"{trial.suggest_float(key, low, high, log=log):.4g}")
            return repr(min(max(rounded, low), high))

    return Dimension(words, [str(low), str(high)], suggest)
