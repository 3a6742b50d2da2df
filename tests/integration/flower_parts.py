"""What tests of the Flower link start: certificates, keys, toy devices, and processes to kill.

Run as a program it is one of these processes:

    python flower_parts.py device STATE ADDRESS CA KEY NAME
    python flower_parts.py server STATE PORT COUNT     (devices' keys are STATE/keys/NAME)
"""

import datetime
import ipaddress
import json
import signal
import sys
import threading
import time
from pathlib import Path

from coplms.runtimes.flower.superlink import LoopbackTls, SuperLink
from coplms.transport.link import Answer, DeviceFailure, Reply


def toy(name: str) -> Answer:
    """Answers 'WORD:NAME REST': does what the word says if the name is its own, and echoes."""

    def answer(message: bytes) -> bytes:
        order, _, rest = message[:100].partition(b" ")
        word, _, whom = order.partition(b":")
        if whom in (b"", name.encode()):
            if word == b"fail":
                raise RuntimeError(f"private text of /home/{name}")
            if word == b"sleep":
                time.sleep(float(rest))
            if word == b"name":
                return name.encode()
        return message

    return answer


def make_tls(folder: Path) -> LoopbackTls:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def certificate(name, key, issuer, issuer_key, extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    folder.mkdir(exist_ok=True)
    files = LoopbackTls(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = [(x509.BasicConstraints(ca=True, path_length=0), True)]
    addresses = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    names = [(x509.SubjectAlternativeName(addresses), False)]
    files.ca.write_bytes(certificate("ca", ca_key, "ca", ca_key, authority))
    files.certificate.write_bytes(certificate("server", key, "ca", ca_key, names))
    files.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return files


def make_key(path: Path) -> bytes:
    """Write a private key; return the public one."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    path.parent.mkdir(exist_ok=True, parents=True)
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public)
    return public


def wait_for(claim, seconds: float, what: str) -> float:
    """Wait until the claim holds; how long that took."""
    start = time.monotonic()
    while not claim():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.1)
    return time.monotonic() - start


def outcome(reply: Reply) -> bytes | str:
    """A reply's bytes, or its failure's code."""
    content = reply.content
    return str(content.code) if isinstance(content, DeviceFailure) else content


def run_device(state: str, address: str, ca: str, key: str, name: str) -> None:
    from coplms.runtimes.flower.device import FlowerDevice

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    FlowerDevice(Path(state), address, Path(ca), Path(key), name, toy(name)).serve(stop)


def run_server(state: str, port: str, count: str) -> None:
    """Exchange so many messages with all devices, and print what came."""
    from coplms.runtimes.flower.link import FlowerLink

    folder = Path(state)
    tls = LoopbackTls(*(folder / "tls" / n for n in ("ca.crt", "server.crt", "server.key")))
    superlink = SuperLink(folder / "superlink", tls, int(port))
    superlink.start()
    for key in (folder / "keys").glob("*.pub"):
        superlink.register(key.read_bytes(), key.stem)
    link = FlowerLink(superlink)
    for number in range(int(count)):
        message = f"hello {number}".encode()
        came = {r.device: outcome(r) for r in link.exchange(message, [*superlink.nodes], 60, 10**6)}
        answered = all(answer == message for answer in came.values())
        print(json.dumps({"exchange": number, "answered": answered}), flush=True)
    superlink.close()


if __name__ == "__main__":
    {"device": run_device, "server": run_server}[sys.argv[1]](*sys.argv[2:])
