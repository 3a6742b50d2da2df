"""The state that networks are in while they take training steps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from coplms.models.attention import padding_comes_last
from coplms.models.checkpointing import checkpointed
from coplms.training.learner import Learner
from coplms.training.loop import StepLoss


@contextmanager
def training_mode(learners: Sequence[Learner], learning: Sequence[Learner]) -> Iterator[None]:
    """Dropout on for the models that learn while the block runs, and checkpoints where asked for.

    Args:
        learners: All that the steps read. What they need to know of a model's output head is read
            now: within a step the host would wait for the device.
        learning: Those of them of which a part is trained.
    """
    for learner in learners:
        _ = learner.head
    with ExitStack() as stack:
        for learner in learning:
            network = learner.model.network
            if learner.compute.gradient_checkpointing:
                stack.enter_context(checkpointed(network))
            stack.callback(network.train, False)
            network.train(True)
        yield


def in_step_mode(
    learners: Sequence[Learner], step: Callable[[], StepLoss]
) -> Callable[[], StepLoss]:
    """The step in the state in which its forward passes and its loss are computed.

    Every model that wants it computes in bfloat16 where PyTorch holds that safe. The backward pass
    stays outside, as it repeats the types of the forward pass by itself.
    """

    def run() -> StepLoss:
        with ExitStack() as stack:
            stack.enter_context(padding_comes_last())
            for device in sorted({x.model.device.type for x in learners if x.compute.autocast}):
                stack.enter_context(torch.autocast(device, torch.bfloat16))
            return step()

    return run
