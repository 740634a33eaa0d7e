"""The controller of `ppo`: a recurrent policy that emits one decision after another, and its
training. Needs torch.

LSTM, embeddings, a softmax for each decision and weights drawn from -0.08 to 0.08 as in Zoph & Le
(arXiv:1611.01578); the clipped objective of PPO (Schulman et al., arXiv:1707.06347, eq. 7) with an
entropy bonus, and a moving average of the rewards as the baseline. Those papers train on thousands
of networks; the constants here are for hundreds.
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

CLIP = 0.2  # epsilon of the PPO paper
# Chosen by measurement at 100 trials, on linear-plus-pairwise accuracies over accel_nasbench: half
# and twice were no better.
RATE = 1e-2  # of Adam
EPOCHS = 8  # steps for each batch
ENTROPY = 0.01
HIDDEN = 64  # not varied, nor the baseline
BASELINE = 0.9  # of the moving average that stays at each trial
_REMEMBERED = 16  # learners, of about a megabyte each


@dataclass(frozen=True, slots=True)
class Batch:
    """Trials in a row: positions of their choices (trials, decisions), and rewards."""

    rows: tuple[tuple[int, ...], ...]
    rewards: tuple[float, ...]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, and torch's settings left as they were found."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Policy(nn.Module):
    """Of decisions with so many values each (radices), which have consecutive tokens; the last
    token starts a sequence.
    """

    def __init__(self, radices: Sequence[int], *, seed: int) -> None:
        super().__init__()
        tokens = sum(radices)
        first = np.cumsum([0, *radices[:-1]])
        own = (np.arange(tokens) >= first[:, None]) & (
            np.arange(tokens) < (first + np.array(radices))[:, None]
        )
        self.first = torch.from_numpy(first)
        self.closed = torch.from_numpy(~own)  # (decisions, tokens)
        with torch.random.fork_rng(
            devices=[]
        ):  # the layers draw weights from the global generator while they are made
            self.embedding = nn.Embedding(tokens + 1, HIDDEN)
            self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
            self.head = nn.Linear(HIDDEN, tokens)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.08, 0.08, generator=generator)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(trials, decisions) -> log-probability of each trial, and mean entropy of the decisions
        on its way.
        """
        tokens = rows + self.first
        start = torch.full((len(rows), 1), self.embedding.num_embeddings - 1)
        hidden, _ = self.lstm(self.embedding(torch.cat([start, tokens[:, :-1]], dim=1)))
        logs = self.head(hidden).masked_fill(self.closed, -1e9).log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1).mean(-1)
        return logs.gather(-1, tokens[..., None]).squeeze(-1).sum(-1), entropy

    @torch.no_grad()
    def sample(self, count: int, *, seed: int) -> NDArray[np.int64]:
        """Positions of so many sets of choices (count, decisions)."""
        generator = torch.Generator().manual_seed(seed)
        token = torch.full((count, 1), self.embedding.num_embeddings - 1)
        state = None
        drawn = []
        with _one_thread():
            for first, closed in zip(self.first, self.closed, strict=True):
                hidden, state = self.lstm(self.embedding(token), state)
                chances = self.head(hidden[:, 0]).masked_fill(closed, -1e9).softmax(-1)
                token = torch.multinomial(chances, 1, generator=generator)
                drawn.append(token - first)
        return torch.cat(drawn, dim=1).numpy()


class Learner:
    """A policy with what its training carries from batch to batch."""

    def __init__(self, radices: Sequence[int], *, seed: int) -> None:
        self.policy = Policy(radices, seed=seed)
        self._optimizer = torch.optim.Adam(self.policy.parameters(), lr=RATE)
        self._rewards: list[float] = []
        self._baseline = 0.0

    def after(self, batch: Batch) -> "Learner":
        """Another learner, which has also learned that batch. The batch is taken as drawn from this
        one's policy.
        """
        learner = copy.deepcopy(self)
        learner._learn(batch)
        return learner

    def _learn(self, batch: Batch) -> None:
        rows = torch.tensor(batch.rows)
        advantage = torch.tensor(self._advantages(batch.rewards), dtype=torch.float32)
        with torch.no_grad():
            before, _ = self.policy(rows)
        for _ in range(EPOCHS):
            logs, entropy = self.policy(rows)
            ratio = (logs - before).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
            self._optimizer.zero_grad()
            (-gain - ENTROPY * entropy).mean().backward()
            self._optimizer.step()

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        """Rewards less the moving average of those before, in standard deviations of all: their
        scale is no one's choice.
        """
        if not self._rewards:
            self._baseline = float(np.mean(rewards))
        self._rewards += rewards
        deviation = float(np.std(self._rewards)) or 1.0
        advantages = []
        for reward in rewards:
            advantages.append((reward - self._baseline) / deviation)
            self._baseline = BASELINE * self._baseline + (1 - BASELINE) * reward
        return advantages


_learners: OrderedDict[str, Learner] = OrderedDict()


def learned(radices: Sequence[int], batches: Sequence[Batch]) -> Policy:
    """The policy that has learned these batches, at least one: a function of them and of nothing
    else.

    The first batch decides the initial weights, too. The last learners are remembered by all that
    they have learned, so a search that goes on trains one batch further, and one that was resumed
    trains all of them once.
    """
    names = [hashlib.sha256(repr(tuple(radices)).encode()).hexdigest()]
    for batch in batches:
        names.append(hashlib.sha256((names[-1] + repr(batch)).encode()).hexdigest())
    with _one_thread():
        known = next(
            (count for count in range(len(batches), 0, -1) if names[count] in _learners), 0
        )
        learner = _learners[names[known]] if known else Learner(radices, seed=int(names[1][:8], 16))
        for count in range(known, len(batches)):
            learner = learner.after(batches[count])
            _learners[names[count + 1]] = learner
        _learners.move_to_end(names[-1])
        while len(_learners) > _REMEMBERED:
            _learners.popitem(last=False)
    return learner.policy
