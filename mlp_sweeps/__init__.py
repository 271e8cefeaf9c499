"""A sweep is a set of run folders: what is done is read from them, and the rest is run.

jobs.py makes jobs of overrides, state.py reads what their folders say, launcher.py decides, submits
and reports, engines.py runs jobs somewhere, worker.py is what happens there. None knows training.
"""

import os
import shlex
import sys


def how_to_start(command):
    """What starts run.py, or a command of the analysis, for the user of this program."""
    program = sys.argv[0]
    if program.startswith("mlp "):
        return f"mlp {command}"
    if command == "run":
        return shlex.join(["python", os.path.relpath(program)])
    return f"python -m analysis.{command}" if program == "run.py" else f"mlp {command}"


def how_to_see(*folders):
    """A line that tells how to draw the curves of runs or sweeps."""
    return f"to see it: {how_to_start('curves')} {shlex.join(map(os.path.relpath, folders))}"


def checked_by(check):
    """Tell sweeps how to check a task function's configurations before the first one runs.

    check(tree, overrides) is given a configuration's plain values, without Hydra's own, and the
    overrides it was composed from. It returns the tree that result.json will hold, and raises
    UserError.
    """

    def mark(task_function):
        task_function.check = check
        return task_function

    return mark


def stacked_by(stacks, together):
    """Tell sweeps which jobs of a task function run together in one process, and how.

    stacks(configs, n_parts) gives lists of indices of those; together(jobs) runs (config, folder,
    overrides, notes) of each, and returns for each the exception that ended it early, or None.
    """

    def mark(task_function):
        task_function.stacks, task_function.together = stacks, together
        return task_function

    return mark
