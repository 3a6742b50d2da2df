"""One instruction, its input, and the answers that count as right."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """Text only: how it becomes tokens is `coplms.training.encoding`'s business.

    Attributes:
        instruction: What to do (an SNI task's definition); may be empty.
        input: What to do it to; may be empty.
        references: Acceptable answers, the first is trained on; empty where nobody knows one.
        domain: What partitions go by.
        task: What scores are averaged by; the domain where the source knows no task.
        origin: `file:line` or `file[index]`, for error messages.
    """

    instruction: str
    input: str
    references: tuple[str, ...]
    domain: str
    task: str
    origin: str

    @property
    def text(self) -> tuple[str, str]:
        """Instruction and input: what tells two examples apart."""
        return (self.instruction.strip(), self.input.strip())

    @property
    def answer(self) -> str:
        """The answer that is trained on.

        Raises:
            ValueError: If the example has none.
        """
        if not self.references:
            raise ValueError(f"{self.origin} has no answer")
        return self.references[0]
