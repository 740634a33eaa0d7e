"""Measure whether zero-cost proxies help to predict the accuracy of Accel-NASBench's networks.

    python benchmarks/zero_cost.py ARCHIVE [--proxies FILE] [--networks N] [--splits N]
        [--image-size N] [--images N] [--json FILE]

Two predictors of accuracy are fitted to a few networks of the benchmark, with and without these
features, and evaluated on the other networks:

costs    log of FLOPs, parameters and activations, in closed form (`phinas.space.cost`), at the
         space's resolution
synflow  log of the sum of |weight * gradient|, in closed form (`synflow.py`), at the space's
         resolution. It is compared with synflow itself (arXiv:2006.05467, as in arXiv:2101.08134)
         on the first networks
naswot   log-determinant of the Hamming kernel of a random batch: for each pair of images, the
         number of activations whose inputs have the same sign (arXiv:2006.04647; batch norm in
         training mode, as in its code)
stages   log of FLOPs and parameters of each stage, in closed form
depths   log of the depth of each stage
noise    a random number, as an example of a useless feature
"""

import argparse
import json
import logging
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import kendalltau, rankdata
from synflow import log_synflow, measured_log_synflow
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from phinas.nas.evaluators.accel_nasbench_surrogate import read_records
from phinas.space.cost import stage_costs
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import ArchSpec

FloatArray = NDArray[np.float64]
SPACE = load_space("accel_nasbench")
COSTS = ("flops", "params", "activations")
PROXIES = ("synflow", "naswot")
FEATURES = {
    "choices only": (),
    "synflow": ("synflow",),
    "naswot": ("naswot",),
    "costs": COSTS,
    "costs, noise": (*COSTS, "noise"),
    "costs, synflow": (*COSTS, "synflow"),
    "costs, naswot": (*COSTS, "naswot"),
    "costs, synflow, naswot": (*COSTS, *PROXIES),
    "costs, stages": (*COSTS, "stages"),
    "costs, stages, synflow": (*COSTS, "stages", "synflow"),
    "costs, stages, depths": (*COSTS, "stages", "depths"),
    "costs, stages, depths, synflow": (*COSTS, "stages", "depths", "synflow"),
}
COMPARISONS = [
    *((name, "choices only") for name in ("synflow", "naswot", "costs")),
    *((name, "costs") for name in list(FEATURES)[4:9]),
    ("costs, synflow, naswot", "costs, synflow"),
    ("costs, stages, synflow", "costs, stages"),
    ("costs, stages, depths", "costs, stages"),
    ("costs, stages, depths, synflow", "costs, stages, depths"),
]
SIZES = (25, 50, 100, 200)
NUM_REPEATED = 100  # networks whose proxies are also computed with a second seed


def sample_networks(archive: Path, networks: int) -> tuple[list[Choices], FloatArray]:
    """Random networks of the archive, the same in each call, and their accuracies in points.

    The accuracy of a network with two records is their mean.
    """
    rows, accuracies = read_records(archive)
    selected = np.random.default_rng(0).permutation(len(rows))[:networks]
    return [SPACE.from_indices(row) for row in rows[selected].tolist()], 100 * accuracies[selected]


def naswot(spec: ArchSpec, images: int) -> float:
    """NASWOT of a network that is initialized with torch's global generator."""
    model = spec.build().train()
    agreement = torch.zeros(images, images, dtype=torch.float64)

    def compare(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        signs = torch.where(inputs[0].flatten(1) > 0, 1.0, -1.0)
        # Exact in float32, because a layer has less than 2**24 activations
        agreement.add_((signs @ signs.T + signs.shape[1]) / 2)

    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.register_forward_pre_hook(compare)
    with torch.no_grad():
        model(torch.randn(images, spec.channels, spec.resolution, spec.resolution))
    return float(torch.linalg.slogdet(agreement).logabsdet)


def proxies(networks: list[Choices], *, image_size: int, images: int) -> dict[str, Any]:
    """Compute the proxies of networks.

    Returns:
        "values": proxy to one list for each network, with one value for each seed (NASWOT of all
        networks, synflow of the first `NUM_REPEATED`, which have two seeds). "seconds": proxy to
        the median seconds of one value.
    """
    values: dict[str, list[list[float]]] = {"synflow": [], "naswot": []}
    seconds: dict[str, list[float]] = {"synflow": [], "naswot": []}
    for number, choices in enumerate(networks):
        spec = replace(SPACE.decode(choices), resolution=image_size, drop_path=0.0, dropout=0.0)
        calls: dict[str, Callable[[], float]] = {"naswot": partial(naswot, spec, images)}
        if number < NUM_REPEATED:
            calls["synflow"] = partial(measured_log_synflow, spec)
        for name, call in calls.items():
            values[name].append([])
            for seed in range(2 if number < NUM_REPEATED else 1):
                torch.manual_seed(seed * len(networks) + number)
                start_time = time.perf_counter()
                values[name][-1].append(call())
                seconds[name].append(time.perf_counter() - start_time)
        if number % 50 == 0:
            logging.info("proxies: %d of %d networks", number, len(networks))
    return {
        "values": values,
        "seconds": {name: float(np.median(seconds_list)) for name, seconds_list in seconds.items()},
    }


def tau(one: FloatArray, other: FloatArray) -> float:
    return float(kendalltau(one, other).statistic)


def partial_tau(one: FloatArray, other: FloatArray, control: FloatArray) -> float:
    """Kendall's partial rank correlation of `one` with `other`, given `control`."""
    t12, t13, t23 = tau(one, other), tau(one, control), tau(other, control)
    return (t12 - t13 * t23) / float(np.sqrt((1 - t13**2) * (1 - t23**2)))


def rank_residuals(values: FloatArray, costs: FloatArray) -> FloatArray:
    """Residuals of a linear regression of the ranks of `values` on those of the costs."""
    design = np.column_stack([np.ones(len(values)), rankdata(costs, axis=0)])
    ranks = rankdata(values)
    return ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]


def features(
    networks: list[Choices], proxy_results: dict[str, Any]
) -> tuple[dict[str, FloatArray], dict[str, float]]:
    """Feature to its values (networks, columns), and feature to the seconds of one network."""
    specs = [SPACE.decode(choices) for choices in networks]
    seconds = {"naswot": proxy_results["seconds"]["naswot"]}
    start_time = time.perf_counter()
    costs = [spec.cost() for spec in specs]
    seconds |= dict.fromkeys(COSTS, (time.perf_counter() - start_time) / len(specs))
    columns = {name: np.log([[getattr(cost, name)] for cost in costs]) for name in COSTS}
    start_time = time.perf_counter()
    columns["synflow"] = np.array([[log_synflow(spec)] for spec in specs])
    seconds["synflow"] = (time.perf_counter() - start_time) / len(specs)
    columns["naswot"] = np.array([[values[0]] for values in proxy_results["values"]["naswot"]])
    parts = [[row.cost for row in stage_costs(spec)[1:-1]] for spec in specs]
    columns["stages"] = np.log(
        [[*(part.flops for part in row), *(part.params for part in row)] for row in parts]
    )
    columns["depths"] = np.log([[stage.depth for stage in spec.stages] for spec in specs])
    columns["noise"] = np.random.default_rng(1).normal(size=(len(networks), 1))
    return columns, seconds


def correlations(columns: dict[str, FloatArray], accuracy: FloatArray) -> list[dict[str, Any]]:
    costs = np.hstack([columns[name] for name in COSTS])
    rows = []
    for name in (*COSTS, *PROXIES):
        value = columns[name][:, 0]
        row: dict[str, Any] = {
            "name": name,
            "tau": tau(value, accuracy),
            "activations": tau(value, columns["activations"]),
        }
        if name != "flops":
            row["given FLOPs"] = partial_tau(value, accuracy, columns["flops"])
        if name in PROXIES:
            row["given all costs"] = tau(
                rank_residuals(value, costs), rank_residuals(accuracy, costs)
            )
        rows.append(row)
    return rows


def check_proxies(
    networks: list[Choices], proxy_results: dict[str, Any], image_size: int
) -> list[str]:
    """Sentences on the effect of a seed, and on the accuracy of the closed form of synflow."""
    lines = []
    for name in PROXIES:
        first, second = np.array(proxy_results["values"][name][:NUM_REPEATED]).T
        noise = np.std(first - second) / np.sqrt(2) / np.std(first)
        time_text = format_seconds(proxy_results["seconds"][name])
        lines.append(
            f"{name}, {len(first)} networks initialized twice: tau {tau(first, second):.4f}, "
            f"noise / std {noise:.4f}; {time_text}"
        )
    measured_synflow = np.array([values[0] for values in proxy_results["values"]["synflow"]])
    specs = [
        replace(SPACE.decode(choices), resolution=image_size)
        for choices in networks[: len(measured_synflow)]
    ]
    closed_form_synflow = np.array([log_synflow(spec) for spec in specs])
    relative_std = np.std(measured_synflow - closed_form_synflow) / np.std(measured_synflow)
    lines.append(
        f"synflow and its closed form, {image_size} px: tau "
        f"{tau(measured_synflow, closed_form_synflow):.4f}, difference / std {relative_std:.4f}"
    )
    return lines


def one_hot(networks: list[Choices]) -> FloatArray:
    indices = np.array([SPACE.to_indices(choices) for choices in networks])
    return np.hstack(
        [
            np.eye(len(d.values))[column]
            for d, column in zip(SPACE.decisions, indices.T, strict=True)
        ]
    )


def ordinal(networks: list[Choices]) -> FloatArray:
    """The index of each choice, scaled to -1 to 1."""
    last = np.array([len(decision.values) - 1 for decision in SPACE.decisions])
    return np.array([SPACE.to_indices(choices) for choices in networks]) / last * 2 - 1


def ridge(
    choices: FloatArray,
    groups: list[FloatArray],
    _order: FloatArray,
    accuracy: FloatArray,
    train: NDArray[np.intp],
) -> FloatArray:
    """Ridge regression on the choices and features.

    The regularization strength, and the factor by which it is weaker for the features, minimize the
    leave-one-out error.

    Args:
        choices: One-hot choices of all networks.
        groups: The groups of features, each (networks, columns).
        _order: Not used; the Gaussian process needs it.
        accuracy: Accuracies of all networks.
        train: Positions of the networks that are fitted.

    Returns:
        Predicted accuracies of all networks.
    """
    alphas = np.logspace(-0.5, 3, 15)
    mean, fits = accuracy[train].mean(), []
    for weight in (1.0, 3.0, 10.0) if groups else (1.0,):
        design = np.hstack([choices, *(weight * group for group in groups)])
        design = design - design[train].mean(0)
        left_vectors, sizes, right_vectors = np.linalg.svd(design[train], full_matrices=False)
        shrunk = sizes[:, None] ** 2 / (sizes[:, None] ** 2 + alphas)
        projected = left_vectors.T @ (accuracy[train] - mean)
        errors = (accuracy[train, None] - mean - left_vectors @ (shrunk * projected[:, None])) / (
            1 - left_vectors**2 @ shrunk - 1 / len(train)
        )
        losses = (errors**2).mean(0)
        alpha = alphas[losses.argmin()]
        fits.append(
            (
                losses.min(),
                mean + design @ (right_vectors.T @ (projected * sizes / (sizes**2 + alpha))),
            )
        )
    return min(fits, key=lambda fit: fit[0])[1]


def gaussian_process(
    choices: FloatArray,
    groups: list[FloatArray],
    order: FloatArray,
    accuracy: FloatArray,
    train: NDArray[np.intp],
) -> FloatArray:
    """Gaussian process with a linear and a Matern 5/2 kernel.

    The linear kernel is on the choices and features, the Matern kernel on the ordinal choices and
    the features. Each group of features has its own variance and length scale. All hyperparameters
    maximize the posterior density with log-normal priors.

    Args:
        choices: One-hot choices of all networks.
        groups: The groups of features, each (networks, columns).
        order: Ordinal choices of all networks, from -1 to 1.
        accuracy: Accuracies of all networks.
        train: Positions of the networks that are fitted.

    Returns:
        Predicted accuracies of all networks.
    """
    mean, std = accuracy[train].mean(), accuracy[train].std()
    targets = torch.from_numpy((accuracy[train] - mean) / std)
    rows = torch.from_numpy(train)
    extra_features = [torch.from_numpy(group / np.sqrt(group.shape[1])) for group in groups]
    linear, ordered = torch.from_numpy(choices - choices.mean(0)), torch.from_numpy(order)
    products = [part @ part[rows].T for part in (linear, *extra_features)]
    squares = [torch.cdist(part, part[rows]) ** 2 for part in (ordered, *extra_features)]
    num_groups = len(groups)
    # Variances of the Matern kernel and the noise, variances of the linear kernels, length scales
    start = [0.3, 0.1, *[0.1] * (1 + num_groups), 8.0, *[4.0] * num_groups]
    center = torch.log(torch.tensor(start, dtype=torch.float64))

    def kernel(logs: Tensor, of: Any) -> Tensor:
        matern, _, *rest = logs.exp()
        variances, lengths = rest[: 1 + num_groups], rest[1 + num_groups :]
        total = sum(
            (s[of] / length**2 for s, length in zip(squares, lengths, strict=True)),
            torch.tensor(1e-12),
        )
        r = torch.sqrt(5 * total)
        linear_part = sum(
            (v * p[of] for v, p in zip(variances, products, strict=True)), torch.tensor(0.0)
        )
        return matern * (1 + r + r**2 / 3) * torch.exp(-r) + linear_part

    def noisy(logs: Tensor) -> Tensor:
        return kernel(logs, rows) + (logs[1].exp() + 1e-6) * torch.eye(
            len(rows), dtype=torch.float64
        )

    def loss(values: FloatArray) -> tuple[float, FloatArray]:
        logs = torch.from_numpy(values).requires_grad_()
        factor = torch.linalg.cholesky(noisy(logs))
        whitened = torch.linalg.solve_triangular(factor, targets[:, None], upper=False)
        total = (
            whitened.square().sum() / 2
            + factor.diagonal().log().sum()
            + ((logs - center) / 1.5).square().sum() / 2
        )
        (slope,) = torch.autograd.grad(total, logs)
        return total.item(), slope.numpy()

    bounds = [(value - 7, value + 7) for value in center.tolist()]
    result = minimize(
        loss, center.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}
    )
    logs = torch.from_numpy(result.x)
    return (
        kernel(logs, slice(None)) @ torch.linalg.solve(noisy(logs), targets)
    ).numpy() * std + mean


PREDICTORS = {"ridge": ridge, "Gaussian process": gaussian_process}


def evaluate_predictors(
    networks: list[Choices], columns: dict[str, FloatArray], accuracy: FloatArray, splits: int
) -> dict[str, Any]:
    """Predictor to size to features to scores: (tau, R2) on the test networks of each split.

    All predictors and features use the same splits.
    """
    choices, order = one_hot(networks), ordinal(networks)
    scores_by_predictor: dict[str, Any] = {}
    for predictor, predict in PREDICTORS.items():
        for size in SIZES:
            scores: dict[str, list[tuple[float, float]]] = {name: [] for name in FEATURES}
            for split in range(splits):
                train, rest = np.split(
                    np.random.default_rng(split).permutation(len(networks)), [size]
                )
                scaled = {
                    name: (values - values[train].mean(0)) / values[train].std(0)
                    for name, values in columns.items()
                }
                for name, feature_names in FEATURES.items():
                    groups = [scaled[feature] for feature in feature_names]
                    prediction = predict(choices, groups, order, accuracy, train)[rest]
                    r2 = 1 - np.mean((accuracy[rest] - prediction) ** 2) / np.var(accuracy[rest])
                    scores[name].append((tau(prediction, accuracy[rest]), float(r2)))
            scores_by_predictor.setdefault(predictor, {})[size] = scores
            logging.info("%s, %d networks", predictor, size)
    return scores_by_predictor


def with_error(values: Any) -> str:
    """The mean and its standard error over the splits, as text."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


def format_seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds > 1e-3 else f"{seconds * 1e6:.0f} µs"


def correlation_table(rows: list[dict[str, Any]], seconds: dict[str, float]) -> list[str]:
    titles = ("tau", "given FLOPs", "given all costs", "activations")
    lines = [
        "| feature | tau with accuracy | partial tau given FLOPs | tau of residuals given costs "
        "| tau with activations | time per network |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [f"{row[title]:.3f}" if title in row else "" for title in titles]
        lines.append(
            f"| {row['name']} | {' | '.join(cells)} | {format_seconds(seconds[row['name']])} |"
        )
    return lines


def score_tables(scores: dict[str, Any]) -> list[str]:
    lines = []
    titles = " | ".join(f"n = {size}" for size in SIZES)
    for predictor, by_size in scores.items():
        for index, metric in enumerate(("tau", "R2")):
            lines += ["", f"| {predictor}: {metric} | {titles} |", "|---|" + "--:|" * len(SIZES)]
            for name in FEATURES:
                cells = [
                    with_error([score[index] for score in by_size[size][name]]) for size in SIZES
                ]
                lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += [
            "",
            f"| {predictor}: difference of tau, paired | {titles} |",
            "|---|" + "--:|" * len(SIZES),
        ]
        for name, other_name in COMPARISONS:
            pairs = [
                [a[0] - b[0] for a, b in zip(by_size[n][name], by_size[n][other_name], strict=True)]
                for n in SIZES
            ]
            lines.append(f"| {name} - {other_name} | {' | '.join(map(with_error, pairs))} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "archive", type=Path, help="anb_dataset_jsons.tar.gz of Accel-NASBench's authors"
    )
    parser.add_argument(
        "--networks",
        type=int,
        default=600,
        metavar="N",
        help="number of random networks (default: 600)",
    )
    parser.add_argument(
        "--splits",
        type=int,
        default=20,
        metavar="N",
        help="number of random splits into training and test networks (default: 20)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=64,
        metavar="N",
        help="image size for the proxies, in px (default: 64)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=32,
        metavar="N",
        help="number of images in NASWOT's batch (default: 32)",
    )
    parser.add_argument(
        "--proxies",
        type=Path,
        metavar="FILE",
        help="JSON file of the proxies, which is read if it exists and written if not",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the scores of each split as JSON"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    threadpool_limits(1)
    networks, accuracy = sample_networks(options.archive, options.networks)
    if options.proxies and options.proxies.is_file():
        proxy_results = json.loads(options.proxies.read_text())
    else:
        proxy_results = proxies(networks, image_size=options.image_size, images=options.images)
        if options.proxies:
            options.proxies.write_text(json.dumps(proxy_results) + "\n")
    columns, seconds = features(networks, proxy_results)
    rows = correlations(columns, accuracy)
    scores = evaluate_predictors(networks, columns, accuracy, options.splits)
    if options.json:
        results = {"correlations": rows, "seconds": seconds, "scores": scores}
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    header = (
        f"{len(networks)} networks, accuracy {accuracy.mean():.2f} ± "
        f"{accuracy.std():.2f}; {options.splits} splits; "
    )
    header += f"one thread; Python {platform.python_version()}, torch {torch.__version__}"
    checks = [f"* {line}" for line in check_proxies(networks, proxy_results, options.image_size)]
    lines = [header, "", *correlation_table(rows, seconds), "", *checks, *score_tables(scores)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
