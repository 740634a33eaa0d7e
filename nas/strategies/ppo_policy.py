"""The controller of `ppo`: a recurrent policy that samples one decision after another, and its
training. It needs torch.

The LSTM, the embeddings, the softmax for each decision and the initial weights between -0.08 and
0.08 are those of Zoph & Le (arXiv:1611.01578). The objective is the clipped one of PPO (Schulman et
al., arXiv:1707.06347, eq. 7) with an entropy bonus, and the baseline is a moving average of the
rewards. Those papers train on thousands of networks. The constants here are for hundreds.
"""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CLIP_EPSILON = 0.2  # epsilon of the PPO paper
# Measured at 100 trials on linear-plus-pairwise scores over accel_nasbench: half and twice the
# value were no better.
LEARNING_RATE = 1e-2  # of Adam
EPOCHS_PER_BATCH = 8
ENTROPY_COEFFICIENT = 0.01
HIDDEN_SIZE = 64  # not tuned
BASELINE_DECAY = 0.9  # not tuned
_MAX_CACHED_TRAINERS = 16  # about 1 MB each


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive trials.

    Attributes:
        rows: Indices of their choices, (trials, decisions).
        rewards: Their rewards.
    """

    rows: tuple[tuple[int, ...], ...]
    rewards: tuple[float, ...]


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Use one thread, so that sums have one order; restores the setting afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Policy(nn.Module):
    """A policy over sequences of decisions.

    Args:
        num_choices: Number of values of each decision. The values of all decisions have consecutive
            tokens, and the last token starts a sequence.
        seed: Seed of the initial weights.
    """

    def __init__(self, num_choices: Sequence[int], *, seed: int) -> None:
        super().__init__()
        tokens = sum(num_choices)
        token_offsets = np.cumsum([0, *num_choices[:-1]])
        is_valid = (np.arange(tokens) >= token_offsets[:, None]) & (
            np.arange(tokens) < (token_offsets + np.array(num_choices))[:, None]
        )
        self.token_offsets = torch.from_numpy(token_offsets)
        self.invalid_mask = torch.from_numpy(~is_valid)  # (decisions, tokens)
        # The layers initialize themselves from the global generator.
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(tokens + 1, HIDDEN_SIZE)
            self.lstm = nn.LSTM(HIDDEN_SIZE, HIDDEN_SIZE, batch_first=True)
            self.head = nn.Linear(HIDDEN_SIZE, tokens)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.08, 0.08, generator=generator)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The log-probability of each trial and the mean entropy of its decisions.

        Args:
            rows: Indices of the choices, (trials, decisions).

        Returns:
            Both of shape (trials,).
        """
        tokens = rows + self.token_offsets
        start_tokens = torch.full((len(rows), 1), self.embedding.num_embeddings - 1)
        hidden, _ = self.lstm(self.embedding(torch.cat([start_tokens, tokens[:, :-1]], dim=1)))
        log_probs = self.head(hidden).masked_fill(self.invalid_mask, -1e9).log_softmax(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean(-1)
        return log_probs.gather(-1, tokens[..., None]).squeeze(-1).sum(-1), entropy

    @torch.no_grad()
    def sample(self, count: int, *, seed: int) -> NDArray[np.int64]:
        """Sample indices of choices, (count, decisions)."""
        generator = torch.Generator().manual_seed(seed)
        token = torch.full((count, 1), self.embedding.num_embeddings - 1)
        state = None
        samples = []
        with _single_threaded_torch():
            for token_offsets, invalid_mask in zip(
                self.token_offsets, self.invalid_mask, strict=True
            ):
                hidden, state = self.lstm(self.embedding(token), state)
                probs = self.head(hidden[:, 0]).masked_fill(invalid_mask, -1e9).softmax(-1)
                token = torch.multinomial(probs, 1, generator=generator)
                samples.append(token - token_offsets)
        return torch.cat(samples, dim=1).numpy()


class PolicyTrainer:
    """A policy and the state of its training."""

    def __init__(self, num_choices: Sequence[int], *, seed: int) -> None:
        self.policy = Policy(num_choices, seed=seed)
        self._optimizer = torch.optim.Adam(self.policy.parameters(), lr=LEARNING_RATE)
        self._rewards: list[float] = []
        self._baseline = 0.0

    def updated_with(self, batch: Batch) -> "PolicyTrainer":
        """A copy that was also trained on this batch, as if its policy had sampled the batch."""
        trainer = copy.deepcopy(self)
        trainer._update(batch)
        return trainer

    def _update(self, batch: Batch) -> None:
        rows = torch.tensor(batch.rows)
        advantage = torch.tensor(self._advantages(batch.rewards), dtype=torch.float32)
        with torch.no_grad():
            old_log_probs, _ = self.policy(rows)
        for _ in range(EPOCHS_PER_BATCH):
            log_probs, entropy = self.policy(rows)
            ratio = (log_probs - old_log_probs).exp()
            clipped_objective = torch.minimum(
                ratio * advantage, ratio.clamp(1 - CLIP_EPSILON, 1 + CLIP_EPSILON) * advantage
            )
            self._optimizer.zero_grad()
            (-clipped_objective - ENTROPY_COEFFICIENT * entropy).mean().backward()
            self._optimizer.step()

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards minus the moving average of earlier ones, divided by the standard deviation of
        all rewards. So the scale of the rewards has no effect.
        """
        if not self._rewards:
            self._baseline = float(np.mean(rewards))
        self._rewards += rewards
        std = float(np.std(self._rewards)) or 1.0
        advantages = []
        for reward in rewards:
            advantages.append((reward - self._baseline) / std)
            self._baseline = BASELINE_DECAY * self._baseline + (1 - BASELINE_DECAY) * reward
        return advantages


_trainer_cache: OrderedDict[str, PolicyTrainer] = OrderedDict()


def _hash(value: tuple[object, ...]) -> str:
    """A hash of plain numbers that is the same in every process."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


def train_policy(num_choices: Sequence[int], batches: Sequence[Batch]) -> Policy:
    """Train a policy on batches.

    The result depends on the batches only. The seed of the initial weights is derived from the
    choices of the first batch (not from its rewards, whose last bits differ between processors).
    Trainers are cached by their batches. So a running search trains on one more batch, and a
    resumed search on each batch once.

    Args:
        num_choices: Number of values of each decision.
        batches: At least one.
    """
    history_hashes = [_hash(tuple(num_choices))]
    for batch in batches:
        history_hashes.append(_hash((history_hashes[-1], batch.rows, batch.rewards)))
    seed = int(_hash((tuple(num_choices), batches[0].rows))[:8], 16)
    with _single_threaded_torch():
        num_cached = next(
            (
                count
                for count in range(len(batches), 0, -1)
                if history_hashes[count] in _trainer_cache
            ),
            0,
        )
        trainer = (
            _trainer_cache[history_hashes[num_cached]]
            if num_cached
            else PolicyTrainer(num_choices, seed=seed)
        )
        for count in range(num_cached, len(batches)):
            trainer = trainer.updated_with(batches[count])
            _trainer_cache[history_hashes[count + 1]] = trainer
        _trainer_cache.move_to_end(history_hashes[-1])
        while len(_trainer_cache) > _MAX_CACHED_TRAINERS:
            _trainer_cache.popitem(last=False)
    return trainer.policy
