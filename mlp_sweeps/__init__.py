"""A sweep is a set of run folders: what is done is read from them, and the rest is run.

jobs.py makes jobs of overrides, state.py reads what their folders say, launcher.py decides, submits
and reports, engines.py runs jobs somewhere, worker.py is what happens there. None knows training.
"""


def checked_by(check):
    """Tell sweeps how to check a task function's configurations before the first one runs.

    check(cfg) returns the tree of plain values that result.json will hold, and raises UserError.
    """

    def mark(task_function):
        task_function.check = check
        return task_function

    return mark
