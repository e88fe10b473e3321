"""The gradient flow of an energy: noise-free dynamics as an ODE, and back.

Dissertation, section 5.3, Eq. 5.5 to 5.7; neural ODEs and the adjoint method: Chen et al.,
https://arxiv.org/abs/1806.07366; Hutchinson's estimate in them: Grathwohl et al.,
https://arxiv.org/abs/1810.01367.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchdiffeq import odeint, odeint_adjoint

from components.errors import UserError
from components.networks.derivatives import estimated_slope, exact_slope, gradient

Backward = Literal["adjoint", "direct"]


class FlowError(ArithmeticError):
    """The solver gave up: the field is not finite, or too steep for its steps."""


@dataclass(frozen=True)
class FlowSettings:
    """How dx/dt = -∇f(x) is solved: by the pair of Dormand and Prince (dopri5), or in equal steps.

    dopri5 takes one time step for all items, by the mean of their errors: an item's result
    depends on the others within the tolerance. Over a short way most of its work goes into finding
    the step: equal steps of the classical method of order 4 are nearer to the solution for fewer
    evaluations there, and nothing tells when they no longer are.

    Attributes:
        time: T, where the flow ends; positive. Part of the model, as K is of short-run chains.
        tolerance: of the error of a step of dopri5, relative and absolute; positive.
        max_steps: steps after which dopri5 gives up, 1 or more.
        equal_steps: number of equal steps of order 4, 4 evaluations each; None: dopri5.
        products: number format of the products in the hidden layers of a fully connected energy,
            on the way back with the exact trace. bfloat16 rounds more
            coarsely than any tolerance of dopri5, and takes half of the time on a CPU that has it.

    Raises:
        UserError: a value is out of its range.
    """

    time: float
    tolerance: float
    max_steps: int = 1000
    equal_steps: int | None = None
    products: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("time", "tolerance"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise UserError(f"flow {name} must be positive, not {getattr(self, name)}")
        if self.max_steps < 1:
            raise UserError(f"flow max_steps must be 1 or more, not {self.max_steps}")
        if self.equal_steps is not None and self.equal_steps < 1:
            raise UserError(f"flow equal_steps must be 1 or more, not {self.equal_steps}")
        if self.products == "bfloat16" and self.equal_steps is None:
            raise UserError("dopri5 is misled by products in bfloat16: give equal_steps")


class Pushed(NamedTuple):
    """Items at time T, N×..., without a graph, and the number of evaluations of ∇f."""

    items: Tensor
    nfe: int


class Pulled(NamedTuple):
    """Where items come from.

    Attributes:
        start: x(0), N×....
        gain: log p(x(T)) - log p(x(0)), nats, N: ∫ tr ∇²f(x(t)) dt (Eq. 5.7).
        nfe: number of evaluations of the slope in the solve itself, that of its adjoint aside.
    """

    start: Tensor
    gain: Tensor
    nfe: int


def push(energy: nn.Module, start: Tensor, settings: FlowSettings) -> Pushed:
    """Carry items from time 0 to T (Eq. 5.6). Wrap the call in `frozen(energy)`.

    Args:
        energy: f, items to N energies.
        start: x(0), N×....
        settings: of the solver.

    Raises:
        FlowError: the solver gave up.
    """
    field = _Descent(energy)
    with torch.no_grad():
        (items,) = _solve(odeint, field, (start,), 0.0, settings.time, settings)
    return Pushed(items, field.nfe)


def pull(
    energy: nn.Module,
    items: Tensor,
    settings: FlowSettings,
    probes: Tensor | None = None,
    backward: Backward = "direct",
) -> Pulled:
    """Carry items from time T back to 0, gathering the change of log-density on the way.

    Where gradients are switched on, the result can be differentiated by the energy's parameters.

    Args:
        energy: f.
        items: x(T), N×....
        settings: of the solver.
        probes: v of Hutchinson's estimate, P×N×..., the same along the whole way; None: the exact
            trace.
        backward: through the solver's own steps (memory grows with their number), or by the
            adjoint ODE, solved to the same tolerance (memory of one evaluation).

    Raises:
        FlowError: the solver gave up.
    """
    products = torch.bfloat16 if settings.products == "bfloat16" else None
    field = _Ascent(energy, probes, products)
    state = (items, items.new_zeros(len(items)))
    if backward == "adjoint" and torch.is_grad_enabled():
        # The seminorm leaves the parameters' gradients out of the error: they feed back into
        # nothing, so that they need no steps of their own (https://arxiv.org/abs/2009.09457).
        further = {
            "adjoint_params": tuple(p for p in energy.parameters() if p.requires_grad),
            "adjoint_options": {"norm": "seminorm", **_options(settings)},
        }
        start, loss = _solve(odeint_adjoint, field, state, settings.time, 0.0, settings, **further)
    else:
        start, loss = _solve(odeint, field, state, settings.time, 0.0, settings)
    return Pulled(start, -loss, field.nfe)


class _Descent(nn.Module):
    """dx/dt = -∇f(x)."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy, self.nfe = energy, 0

    def forward(self, t: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
        self.nfe += 1
        return (-gradient(self.energy, state[0]),)


class _Ascent(nn.Module):
    """dx/dt = -∇f(x) and d log p/dt = tr ∇²f(x), to be solved from T to 0."""

    def __init__(
        self, energy: nn.Module, probes: Tensor | None, products: torch.dtype | None
    ) -> None:
        super().__init__()
        self.energy, self.probes, self.products, self.nfe = energy, probes, products, 0

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.nfe += 1
        x = state[0]
        if self.probes is None:
            slope = exact_slope(self.energy, x, self.products)
        else:
            slope = estimated_slope(self.energy, x, self.probes)
        return -slope.gradient, slope.laplacian


def _options(settings: FlowSettings) -> dict[str, Any]:
    count = settings.equal_steps
    if count is None:
        return {"max_num_steps": settings.max_steps}

    def grid(func: Any, state: Tensor, times: Tensor) -> Tensor:
        shares = torch.arange(count + 1, dtype=times.dtype, device=times.device) / count
        return times[0] + shares * (times[-1] - times[0])

    return {"grid_constructor": grid}


def _solve(
    solver: Any,
    field: nn.Module,
    state: tuple[Tensor, ...],
    begin: float,
    end: float,
    settings: FlowSettings,
    **further: Any,
) -> tuple[Tensor, ...]:
    times = torch.tensor([begin, end], dtype=state[0].dtype, device=state[0].device)
    try:
        path = solver(
            field,
            state,
            times,
            rtol=settings.tolerance,
            atol=settings.tolerance,
            method="dopri5" if settings.equal_steps is None else "rk4",
            options=_options(settings),
            **further,
        )
    except AssertionError as error:  # the only way in which torchdiffeq says so
        raise FlowError(f"the gradient flow cannot be solved: {error}") from None
    return tuple(part[-1] for part in path)
