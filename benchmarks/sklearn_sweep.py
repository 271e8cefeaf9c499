"""A sweep of 784-300-10 on MNIST in scikit-learn's MLPClassifier, under joblib.

python -m benchmarks.sklearn_sweep --lr 0.03 0.1 --seeds 3

As run.py: sigmoid, plain SGD, a fresh order every epoch. It evaluates once, at the end.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from mlp.mnist import load_mnist


def fit(lr, seed, batch_size, epochs):
    from sklearn.neural_network import MLPClassifier

    (x, y), (x_val, y_val) = ((np.float32(x) / 255, y) for x, y in load_mnist()[:2])
    model = MLPClassifier(
        (300,),
        activation="logistic",
        solver="sgd",
        alpha=0,
        batch_size=batch_size,
        learning_rate_init=lr,
        max_iter=epochs,
        n_iter_no_change=epochs,
        momentum=0,
        random_state=seed,
    )
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        model.fit(x, y)
    folder = Path(f"scikit-learn/lr={lr:g},seed={seed}")
    folder.mkdir(parents=True)
    result = {"config": {"lr": lr}, "metrics": {"val_accuracy": model.score(x_val, y_val)}}
    (folder / "result.json").write_text(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lr", type=float, nargs="+", default=[0.1])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    Parallel(n_jobs=-1)(
        delayed(fit)(lr, seed, args.batch_size, args.epochs)
        for lr in args.lr
        for seed in range(args.seeds)
    )


if __name__ == "__main__":
    main()
