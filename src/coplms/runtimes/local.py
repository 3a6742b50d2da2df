"""Devices in this process, one after another, through the codec that a network would use."""

from collections.abc import Sequence

from coplms.consortium.journal import Journal
from coplms.consortium.members import SHARED, Device
from coplms.consortium.messages import (
    WELCOME,
    Download,
    Upload,
    Welcome,
    download_message,
    download_schema,
    read_download,
    read_upload,
    read_welcome,
    upload_message,
    upload_schema,
    welcome_message,
)
from coplms.consortium.rounds import Method
from coplms.transport.codec import Message, Schema, count_tensor_bytes, decode, encode
from coplms.transport.ledger import Direction, Ledger, LedgerEntry


class LocalRuntime:
    """Takes every device in every round."""

    def __init__(
        self, method: Method, devices: Sequence[Device], journal: Journal, ledger: Ledger
    ) -> None:
        self.method = method
        self.devices = devices
        self.journal = journal
        self.ledger = ledger

    def exchange(self, download: Download) -> list[Upload]:
        """Each device's answer to the download, in the devices' order."""
        uploads = []
        for device in self.devices:
            received = self._receive(device, download)
            upload = self.method.device_round(device, received, self.journal)
            schema = upload_schema(device.dpm.parts[SHARED].values())
            message = carry(upload_message(upload), schema, self.ledger, device.name, "up")
            uploads.append(read_upload(message))
        return uploads

    def finish(self, download: Download) -> None:
        """Each device finishes with the last download."""
        for device in self.devices:
            self.method.device_finish(device, self._receive(device, download), self.journal)

    def _receive(self, device: Device, download: Download) -> Download:
        schema = download_schema(device.dpm.parts[SHARED].values())
        message = carry(download_message(download), schema, self.ledger, device.name, "down")
        return read_download(message)


def welcome(content: Welcome, device: str, ledger: Ledger) -> Welcome:
    """The first contact with a device, as the device reads it."""
    return read_welcome(carry(welcome_message(content), WELCOME, ledger, device, "down"))


def carry(
    message: Message, schema: Schema, ledger: Ledger, device: str, direction: Direction
) -> Message:
    """The message after it was bytes; the ledger has counted them."""
    data = encode(message)
    content: dict[str, int] = {}
    for name, tensor in message.tensors.items():
        kind = name if message.kind == "welcome" else "shared"
        content[kind] = content.get(kind, 0) + tensor.numel() * tensor.element_size()
    content["info"] = sum(len(value.encode()) for value in message.info.values())
    tensor_bytes = count_tensor_bytes(message.tensors)
    entry = LedgerEntry(message.round_number, device, direction, len(data), tensor_bytes, content)
    ledger.append(entry)
    return decode(data, schema)
