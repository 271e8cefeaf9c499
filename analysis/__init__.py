"""From a sweep's folder to curves, tables and pictures. Reads files; trains nothing.

from mlp.analysis import load_run, plot_curves, read_sweep

load_run("outputs/try").predict(inputs)  # the class of each of the inputs (n, n_features)
sweep = read_sweep("outputs/lr-sweep")
sweep.frame()  # a pandas DataFrame with a row per run; table() has one per group
plot_curves(sweep, "val_loss").savefig("curves.pdf")
"""

from importlib import import_module

_HOMES = {
    "load_run": "runs",
    "read_sweep": "sweep",
    "plot_curves": "curves",
    "plot_sensitivity": "sensitivity",
    "plot_seeds": "seeds",
    "plot_dataset": "dataset",
    "as_html": "page",
}
__all__ = list(_HOMES)


def __getattr__(name):
    """Import a public name when it is first used: pandas and Matplotlib take half a second."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
