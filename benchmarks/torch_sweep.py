"""One run of 784-300-10 on MNIST in PyTorch; a sweep under Hydra's joblib launcher.

    python -m benchmarks.torch_sweep -m lr=0.03,0.1 seed='range(3)'

It does what a run of run.py does: sigmoid, plain SGD, mini-batches in a fresh order every epoch,
training and validation figures after each, and a result in the run's folder.
"""

import json
from pathlib import Path

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from torch import nn
from torch.nn.functional import cross_entropy

from mlp.mnist import load_mnist


@hydra.main(version_base="1.3", config_path="conf", config_name="torch_sweep")
def job(cfg):
    torch.set_num_threads(1)
    torch.manual_seed(cfg.seed)
    (x, y), (x_val, y_val) = (
        (torch.from_numpy(np.float32(x) / 255), torch.from_numpy(np.int64(y)))
        for x, y in load_mnist()[:2]
    )
    model = nn.Sequential(nn.Linear(784, 300), nn.Sigmoid(), nn.Linear(300, 10))
    optimizer = torch.optim.SGD(model.parameters(), cfg.lr)
    some = torch.randperm(len(x))[: len(x_val)]
    for _ in range(cfg.epochs):
        for batch in torch.randperm(len(x)).split(cfg.batch_size):
            optimizer.zero_grad()
            loss = cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            metrics = figures(model, x[some], y[some], "train") | figures(
                model, x_val, y_val, "val"
            )
    Path(HydraConfig.get().runtime.output_dir, "result.json").write_text(
        json.dumps({"config": dict(cfg), "metrics": metrics})
    )


def figures(model, x, y, name):
    logits = model(x)
    accuracy = (logits.argmax(1) == y).float().mean().item()
    return {f"{name}_loss": cross_entropy(logits, y).item(), f"{name}_accuracy": accuracy}


if __name__ == "__main__":
    job()
