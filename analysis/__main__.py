"""The command `mlp`: what `python run.py` and `python -m analysis.<name>` do, in any folder."""

import sys
from importlib import import_module

from mlp.experiment import CONF

COMMANDS = {
    "run": "train a network, or sweep many with -m",
    "curves": "draw losses and accuracies",
    "table": "tabulate and compare the groups of a sweep",
    "sensitivity": "draw a result against a hyperparameter",
    "page": "write a sweep as one page, to look at in a browser",
    "seeds": "draw how far means of few seeds can be trusted",
    "dataset": "look at a dataset, and at what a network makes of it",
    "export": "hand runs to TensorBoard, MLflow, or as a table to anything",
    "verify": "train again, and compare byte for byte",
    "worked_example": "show every value and derivative of a small network",
}


def main():
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        listed = "\n".join(f"  {name:15} {what}" for name, what in COMMANDS.items())
        usage = f"Usage: mlp COMMAND ...\n\n{listed}\n\nmlp COMMAND --help tells more."
        if name in ("-h", "--help"):
            print(usage)
            return
        sys.exit(f"mlp: no command is named {name}\n\n{usage}")
    sys.argv[:] = [f"mlp {name}", *arguments]  # the name is what messages call the program
    if name == "run":
        sys.path.insert(0, str(CONF.parent))
    import_module(name if name == "run" else f".{name}", __package__).main()


if __name__ == "__main__":
    main()
