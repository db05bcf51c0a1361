"""PyTorch on the CPU, eager and compiled, with the fused Adam. Batches are indexed, which is faster than a loader."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recipes.commands.benchmark.cases import CLASSES, Problem, Result
from recipes.commands.benchmark.turns import Epochs

L2 = 1e-4


def eager(problem: Problem, epochs: Epochs, compiled: bool = False) -> Result:
    """Train step by step."""
    case = problem.case
    model = build_model(problem)
    forward = torch.compile(model) if compiled else model
    if case.classifies:
        optimizer: Any = torch.optim.Adam(model.parameters(), lr=case.learning_rate, eps=1e-7, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=case.learning_rate)
    x, y = torch.from_numpy(problem.x_train), torch.from_numpy(problem.y_train)
    y = y.long() if case.classifies else y
    kernels = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    for _ in epochs:
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in torch.from_numpy(problem.rows(epochs.epoch)):
            targets = y[rows]
            outputs = forward(x[rows])
            if case.classifies:
                loss = functional.cross_entropy(outputs, targets)
                correct += (outputs.detach().argmax(1) == targets).sum()
            else:
                loss = functional.mse_loss(outputs, targets)
            if case.name == "mlp_regularized":
                loss = loss + L2 * sum(kernel.square().sum() for kernel in kernels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item(), correct.item()
    model.eval()
    with torch.no_grad():
        return model(torch.from_numpy(problem.x_test)).numpy(), [each.numpy() for each in model.state_dict().values()]


def compiled(problem: Problem, epochs: Epochs) -> Result:
    """Train with forward and backward compiled by TorchInductor."""
    return eager(problem, epochs, compiled=True)


def build_model(problem: Problem) -> nn.Module:
    """Return the case's model, with the weights that all contestants begin with."""
    torch.manual_seed(0)
    weights = [torch.from_numpy(weight) for weight in problem.weights]
    builders: dict[str, Any] = {
        "softmax": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Linear(10, CLASSES)),
        "mlp": lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
        ),
        "mlp_regularized": lambda: nn.Sequential(nn.Flatten(), *_block(784), *_block(64), nn.Linear(64, CLASSES)),
        "cnn": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 28)),
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 128),
            nn.ReLU(),
            nn.Linear(128, CLASSES),
        ),
        "lstm": LSTM,
        "transformer": Transformer,
        "linear": lambda: nn.Linear(10, 1),
    }
    model: nn.Module = builders[problem.case.builder]()
    with torch.no_grad():
        _load(model, problem.case.builder, weights)
    return model.train()


def _block(width: int) -> list[nn.Module]:
    # Keras' moving average keeps 0.99 of the old value; PyTorch's momentum is the share of the new one
    return [nn.Linear(width, 64), nn.BatchNorm1d(64, eps=1e-3, momentum=0.01), nn.ReLU(), nn.Dropout(0.2)]


class LSTM(nn.Module):
    """The rows of an image, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 64, batch_first=True)
        self.lstm.bias_hh_l0.requires_grad_(False)  # Keras has one bias
        self.head = nn.Linear(64, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, classes) of images (batch, rows, features)."""
        _, (hidden, _) = self.lstm(rows)
        return self.head(hidden[0])


class Transformer(nn.Module):
    """The rows of an image as tokens, two pre-norm blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(28, 64)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(64),
                    "queries_keys_values": nn.Linear(64, 192),
                    "out": nn.Linear(64, 64),
                    "second_norm": nn.LayerNorm(64),
                    "up": nn.Linear(64, 128),
                    "down": nn.Linear(128, 64),
                }
            )
            for _ in range(2)
        )
        self.head = nn.Linear(64, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, classes) of images (batch, tokens, features)."""
        x = self.embed(rows)
        for block in self.blocks:
            parts = block["queries_keys_values"](block["norm"](x)).chunk(3, -1)
            heads = [part.unflatten(-1, (4, 16)).transpose(1, 2) for part in parts]
            attended = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
            x = x + block["out"](attended)
            x = x + block["down"](functional.relu(block["up"](block["second_norm"](x))))
        return self.head(x.mean(1))


def _load(model: nn.Module, name: str, weights: list[torch.Tensor]) -> None:
    """Copy Keras' weights: kernels are transposed here, and fused where PyTorch fuses."""
    if isinstance(model, LSTM):
        kernel, recurrent, bias, head, head_bias = weights
        model.lstm.weight_ih_l0.copy_(kernel.T)  # the gates have the same order: input, forget, cell, output
        model.lstm.weight_hh_l0.copy_(recurrent.T)
        model.lstm.bias_ih_l0.copy_(bias)
        model.lstm.bias_hh_l0.zero_()
        model.head.weight.copy_(head.T)
        model.head.bias.copy_(head_bias)
        return
    if isinstance(model, Transformer):
        model.embed.weight.copy_(weights[0].T)
        model.embed.bias.copy_(weights[1])
        for index, block in enumerate(model.blocks):
            own = weights[2 + 16 * index : 18 + 16 * index]
            block["norm"].weight.copy_(own[0])
            block["norm"].bias.copy_(own[1])
            block["queries_keys_values"].weight.copy_(torch.cat([part.reshape(64, 64) for part in own[2:8:2]], 1).T)
            block["queries_keys_values"].bias.copy_(torch.cat([part.reshape(64) for part in own[3:8:2]]))
            block["out"].weight.copy_(own[8].reshape(64, 64).T)
            block["out"].bias.copy_(own[9])
            block["second_norm"].weight.copy_(own[10])
            block["second_norm"].bias.copy_(own[11])
            for layer, kernel, bias in (("up", own[12], own[13]), ("down", own[14], own[15])):
                block[layer].weight.copy_(kernel.T)
                block[layer].bias.copy_(bias)
        model.head.weight.copy_(weights[-2].T)
        model.head.bias.copy_(weights[-1])
        return
    remaining = list(weights)
    flattened = False
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            for target in (module.weight, module.bias, module.running_mean, module.running_var):
                target.copy_(remaining.pop(0))
        elif isinstance(module, nn.Conv2d):
            module.weight.copy_(remaining.pop(0).permute(3, 2, 0, 1))
            module.bias.copy_(remaining.pop(0))
        elif isinstance(module, nn.Linear):
            kernel = remaining.pop(0)
            if name == "cnn" and not flattened:  # Keras flattens (height, width, channels), PyTorch channels first
                kernel = kernel.reshape(7, 7, 64, 128).permute(2, 0, 1, 3).reshape(64 * 7 * 7, 128)
                flattened = True
            module.weight.copy_(kernel.T)
            module.bias.copy_(remaining.pop(0))
    assert not remaining
