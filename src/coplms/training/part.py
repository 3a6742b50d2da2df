"""What is trained together: named parameters, their AdamW moments and their schedule."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coplms.config.method import OptimizerConfig
from coplms.errors import RunError


class Part:
    """Parameters with one optimiser whose state is kept across rounds.

    A part is the unit of checkpoints: `state` holds all that a later phase depends on.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, nn.Parameter],
        config: OptimizerConfig,
        learning_rate: float,
        planned_steps: int,
    ) -> None:
        """Start with no steps taken.

        Args:
            name: Unique in a run, such as `hospital-a/slm`; used in file names.
            parameters: Stable names to parameters.
            config: Everything about AdamW but its peak learning rate.
            learning_rate: Peak learning rate.
            planned_steps: Steps over the whole run; the cosine ends there.
        """
        self.name = name
        self.parameters = dict(parameters)
        self.config = config
        self.learning_rate = learning_rate
        self.planned_steps = planned_steps
        self.steps_taken = 0
        self._optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.AdamW:
        values = list(self.parameters.values())
        decay = [p for p in values if p.ndim >= 2]
        rest = [p for p in values if p.ndim < 2]
        groups = [
            {"params": decay, "weight_decay": self.config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.learning_rate,
            betas=self.config.betas,
            fused=True,
        )

    def set_trainable(self, *, trainable: bool) -> None:
        """Let the parameters take gradients, or not."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(trainable)
            parameter.grad = None

    def current_learning_rate(self) -> float:
        """Linear warm-up, then a cosine to `final_fraction` of the peak."""
        planned = max(1, self.planned_steps)
        warmup = self.config.warmup_fraction * planned
        position = self.steps_taken + 1
        if position < warmup:
            return self.learning_rate * position / warmup
        progress = min(1.0, (position - warmup) / max(1.0, planned - warmup))
        low = self.config.final_fraction
        return self.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2)

    def step(self) -> Tensor:
        """Apply the gathered gradients, clipped; returns their norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
        rate = self.current_learning_rate()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps_taken += 1
        return norm

    def values(self) -> dict[str, Tensor]:
        """A copy of the parameters on the CPU: what travels, where the part is shared."""
        return {
            name: parameter.detach().to("cpu", copy=True).contiguous()
            for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def load_values(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite the parameters; the optimiser's moments stay.

        Raises:
            RunError: If names or shapes differ from the part's own; nothing was changed then.
        """
        if values.keys() != self.parameters.keys():
            differing = sorted(values.keys() ^ self.parameters.keys())
            raise RunError(
                f"part '{self.name}': only one side has {differing[0]}. The other is of another "
                "model: use the same models and the same version of coplms throughout a run"
            )
        for name, parameter in self.parameters.items():
            if values[name].shape != parameter.shape:
                raise RunError(
                    f"part '{self.name}': {name} has shape {tuple(values[name].shape)}, expected "
                    f"{tuple(parameter.shape)}. They are of another model: use the same models "
                    "and the same version of coplms throughout a run"
                )
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """Parameters, moments and steps taken, for a checkpoint."""
        state = {f"value/{name}": value for name, value in self.values().items()}
        for name, parameter in self.parameters.items():
            moments = self._optimizer.state.get(parameter)
            if moments:
                state[f"exp_avg/{name}"] = moments["exp_avg"].detach().cpu().contiguous()
                state[f"exp_avg_sq/{name}"] = moments["exp_avg_sq"].detach().cpu().contiguous()
        state["steps_taken"] = torch.tensor(self.steps_taken)
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            RunError: If it is another part's.
        """
        prefix = "value/"
        self.load_values({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        self.steps_taken = int(state["steps_taken"])
        self._optimizer = self._new_optimizer()
        for name, parameter in self.parameters.items():
            if f"exp_avg/{name}" in state:
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.steps_taken), device=parameter.device),
                    "exp_avg": state[f"exp_avg/{name}"].to(parameter.device, copy=True),
                    "exp_avg_sq": state[f"exp_avg_sq/{name}"].to(parameter.device, copy=True),
                }
