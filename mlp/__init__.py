"""A multilayer perceptron from scratch, and the experiments around it."""

from mlp.experiment import make_config, run

__all__ = ["make_config", "run"]
