"""The server's side of a link over Flower."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from coplms.runtimes.flower.calls import EngineLost
from coplms.runtimes.flower.exchange import Exchange
from coplms.runtimes.flower.superlink import SuperLink
from coplms.transport.link import Reply


class FlowerLink:
    """Messages to the devices that are registered at a SuperLink.

    Satisfies `coplms.transport.link.Link`.
    """

    def __init__(
        self,
        superlink: SuperLink,
        *,
        return_seconds: float = 60.0,
        offer: Callable[[Mapping[str, Path]], None] = lambda blobs: None,
        fetched: Callable[[str], Mapping[str, int]] = lambda device: {},
        wire_bytes: Callable[[str], tuple[int, int] | None] = lambda device: None,
    ) -> None:
        """Takes a SuperLink that was started.

        Args:
            superlink: Where the devices are.
            return_seconds: How long a device that is not connected is waited for.
            offer: What the gate in front of the SuperLink does with offered files.
            fetched: What it counts of them.
            wire_bytes: What it counts of everything.
        """
        self._superlink = superlink
        self._return_seconds = return_seconds
        self._offer = offer
        self._fetched = fetched
        self._wire_bytes = wire_bytes
        self._num_exchanges = 0

    def present(self) -> frozenset[str]:
        """Names of the devices that are connected now.

        One that was cut off without a farewell is missed after a minute.

        Raises:
            RunError: If the SuperLink does not answer.
        """
        while True:
            run = self._superlink.run()
            try:
                online = run.online()
            except EngineLost:
                run.drop()
            else:
                names = self._superlink.nodes.items()
                return frozenset(name for name, node_id in names if node_id in online)

    def offer(self, blobs: Mapping[str, Path]) -> None:
        self._offer(blobs)

    def exchange(
        self, message: bytes, devices: Sequence[str], seconds: float, max_bytes: int
    ) -> Iterator[Reply]:
        """See `Link`. A device that vanishes gets the message again when it is back.

        So does one that is registered while it is waited for.

        Raises:
            RunError: If the SuperLink does not answer.
        """
        self._num_exchanges += 1
        exchange = Exchange(
            self._superlink,
            message,
            devices,
            seconds,
            self._return_seconds,
            max_bytes,
            group=str(self._num_exchanges),
        )
        yield from exchange.replies()

    def fetched(self, device: str) -> Mapping[str, int]:
        return self._fetched(device)

    def wire_bytes(self, device: str) -> tuple[int, int] | None:
        return self._wire_bytes(device)
