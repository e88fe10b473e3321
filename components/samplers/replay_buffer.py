"""Past states of Langevin chains, from which new chains may start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from components.errors import UserError


class ReplayBuffer:
    """A store of past states; a new chain starts from one of them with probability p.

    p grows linearly from 0 to `probability` over the first `anneal_steps` training steps; else a
    chain starts from N(0, I), or from where `draw` is told. VAEBM keeps ε_z here and always draws
    ε_x afresh: dissertation, appendix of chapter 4, after Table 4.10 (10,000 rows, p to 0.6 in
    5,000 steps on CIFAR-10).
    Replay buffer: Du and Mordatch, https://arxiv.org/abs/1903.08689.

    Args:
        size: rows kept; when full, new rows replace rows chosen at random.
        shape: of one row.
        probability: p after annealing, in [0, 1].
        anneal_steps: training steps until p is reached; 0 for at once.
        device: where the rows are kept; the generators given to the methods are on it too.

    Raises:
        UserError: a setting is out of its range.
    """

    def __init__(
        self,
        size: int,
        shape: Sequence[int],
        probability: float,
        anneal_steps: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if size < 1 or anneal_steps < 0 or not 0.0 <= probability <= 1.0:
            raise UserError(
                "a replay buffer needs a size of 1 or more, a probability from 0 to 1 and "
                f"anneal steps of 0 or more, not {size}, {probability} and {anneal_steps}"
            )
        self._rows = torch.zeros(size, *shape, device=device)
        self._count = 0
        self._probability = probability
        self._anneal_steps = anneal_steps

    def __len__(self) -> int:
        """Number of rows held."""
        return self._count

    def probability(self, step: int) -> float:
        """Return p at a training step, counted from 0."""
        progress = min(1.0, step / self._anneal_steps) if self._anneal_steps else 1.0
        return self._probability * progress

    def draw(
        self, n: int, step: int, generator: torch.Generator, fresh: Tensor | None = None
    ) -> Tensor:
        """Draw initial states.

        Args:
            n: number of rows.
            step: training step, for p.
            generator: decides for each row between buffer and noise, and draws both.
            fresh: n×shape, on the device: what takes the place of the noise, for chains whose
                starts have another law.

        Returns:
            float32, n×shape, a copy. All noise while the buffer is empty.
        """
        device = self._rows.device
        noise = (
            torch.randn(n, *self._rows.shape[1:], generator=generator, device=device)
            if fresh is None
            else fresh.clone()
        )
        if self._count == 0:
            return noise
        index = torch.randint(self._count, (n,), generator=generator, device=device)
        is_old = torch.rand(n, generator=generator, device=device) < self.probability(step)
        return torch.where(
            is_old.view(n, *[1] * (noise.dim() - 1)), self._rows.index_select(0, index), noise
        )

    def push(self, x: Tensor, generator: torch.Generator) -> None:
        """Store rows, in the place of random ones once there is no room.

        Args:
            x: n×shape; of more rows than the buffer's size the last are stored.
            generator: chooses the rows that go.
        """
        size = len(self._rows)
        x = x.detach()[-size:]
        free = min(len(x), size - self._count)
        self._rows[self._count : self._count + free] = x[:free]
        if free < len(x):
            # Only rows that were there before: a state just stored is not thrown out by its batch.
            gone = torch.randperm(self._count, generator=generator, device=self._rows.device)
            self._rows[gone[: len(x) - free]] = x[free:].to(self._rows)
        self._count += free

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows held, count×shape, as a copy."""
        return {"rows": self._rows[: self._count].clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up the rows of another buffer's `state_dict`.

        Raises:
            UserError: there are more rows, or of another shape, than this buffer holds.
        """
        rows = state["rows"]
        if len(rows) > len(self._rows) or rows.shape[1:] != self._rows.shape[1:]:
            raise UserError(
                f"the saved replay buffer holds {tuple(rows.shape)}, this one takes at most "
                f"{tuple(self._rows.shape)}: keep its size, or start the training anew"
            )
        self._rows[: len(rows)] = rows
        self._count = len(rows)
