"""A run in a few lines of Python."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from coplms.api.assemble import MINI, Assembler
from coplms.api.baseline_run import BaselineRun
from coplms.api.cache import default_cache
from coplms.api.folder import check_folder, describe, open_folder
from coplms.api.local_devices import LocalDevices
from coplms.api.lock import hold
from coplms.api.output import save_server
from coplms.api.parties import SimulatedParties
from coplms.api.post import Network, all_done, make_post, without_devices
from coplms.api.recorder import DeviceRecorder, Recorder, Silent
from coplms.api.refuse import check_before_training, refuse_baseline, refuse_remote
from coplms.api.run import Run
from coplms.api.server import ServerBuilder
from coplms.api.workshop import Workshop
from coplms.api.zoo import ZooProgress, ensure_zoo, zoo_folders
from coplms.config.load import load_config
from coplms.config.run import RunConfig
from coplms.consortium.journal import Journal, Observer
from coplms.consortium.members import Server
from coplms.consortium.post import Post
from coplms.consortium.report import DeviceReport
from coplms.data.members import load_data
from coplms.runtimes.local import LocalLink
from coplms.transport.ledger import Ledger

__all__ = ["Consortium", "ZooProgress", "default_cache"]


class Consortium:
    """One server and its devices, to be tuned together on this machine.

    >>> from coplms import Consortium
    >>> Consortium.from_yaml("configs/quickstart.yaml").train("runs/mine")  # doctest: +SKIP
    """

    def __init__(self, config: RunConfig, cache: Path | None = None) -> None:
        """Nothing is read or loaded before `train`."""
        self.config = config
        self.cache = cache or default_cache()

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> "Consortium":
        """The consortium that a YAML file describes; `overrides` are `key.path=value`."""
        return cls(load_config(Path(path), overrides))

    def build_models(self, on_progress: ZooProgress | None = None) -> dict[str, Path]:
        """Folders of the mini models that the configuration names, trained where not cached."""
        return ensure_zoo(self.config, self.cache, on_progress)

    def train(
        self,
        output: str | Path,
        observer: Observer | None = None,
        on_zoo_progress: ZooProgress | None = None,
    ) -> Path:
        """Tune everything, or go on where an earlier start of the same run ended.

        Args:
            output: The run's folder; made if absent.
            observer: Watches the phases.
            on_zoo_progress: Watches mini models being built: name, step, steps, loss.

        Returns:
            The run's folder.

        Raises:
            RunError: If the folder holds a run with another configuration, or no run at all, or
                another process trains into it.
        """
        refuse_remote(self.config)
        return self._run(Path(output), observer or Silent(), on_zoo_progress, None)

    def serve(
        self,
        output: str | Path,
        network: Network,
        observer: Observer | None = None,
        on_zoo_progress: ZooProgress | None = None,
    ) -> Path:
        """Tune the LLM here and the devices where they are; otherwise as `train`.

        Args:
            output: The run's folder; made if absent.
            network: Reaches the devices.
            observer: Watches the phases.
            on_zoo_progress: Watches mini models being built: name, step, steps, loss.

        Raises:
            QuorumError: If too few devices answered; started again, the run goes on.
            ConfigError: If the method is a baseline, which is only simulated.
        """
        refuse_baseline(self.config)
        served = Consortium(without_devices(self.config), self.cache)
        return served._run(Path(output), observer or Silent(), on_zoo_progress, network)

    def _run(
        self,
        folder: Path,
        observer: Observer,
        on_zoo_progress: ZooProgress | None,
        network: Network | None,
    ) -> Path:
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        check_folder(folder, self.config)
        with hold(folder):
            self._run_held(folder, observer, on_zoo_progress, network)
        return folder

    def _run_held(
        self,
        folder: Path,
        observer: Observer,
        on_zoo_progress: ZooProgress | None,
        network: Network | None,
    ) -> None:
        data = load_data(self.config)
        classes = self.cache / "classes"
        zoo = zoo_folders(self.config, self.cache)
        check_before_training(self.config, data, zoo, classes, folder)
        if not all(path.is_dir() for path in zoo.values()):
            zoo = self.build_models(on_zoo_progress)
            check_before_training(self.config, data, zoo, classes, folder)
        record = open_folder(folder, self.config)
        describe(record, self.config, data)
        for name in ("phases", "evaluation"):
            record.write_text(f"{name}.jsonl", "")
        recorder = Recorder(record, observer)
        journal = Journal(folder / "checkpoints", self.config.seed, recorder)
        record.forget_unfinished(all_done(journal, folder))
        assembler = Assembler(self.config, zoo)
        text = self._distill_text()
        builder = ServerBuilder(folder, classes, self.config, assembler, data, text, journal)
        if self.config.method.name != "coplms":
            ledger = Ledger(folder / "ledger.jsonl")
            parties = SimulatedParties(builder, Workshop(classes), ledger)
            BaselineRun(parties, journal).execute()
            return

        def connect(server: Server) -> Post:
            if network is not None:
                post = make_post(self.config, folder, server, network.link, network.watch)
                network.wait(post.devices)
                return post
            devices = LocalDevices(
                folder,
                self.config,
                data.devices,
                zoo,
                Workshop(classes),
                replace(server.public, test=data.server.test),
                DeviceRecorder(recorder),
            )
            link = LocalLink(devices.answer, list(data.devices), strict=True)
            return make_post(self.config, folder, server, link, lambda _: None)

        def greeted(reports: Mapping[str, DeviceReport]) -> None:
            if network is not None:
                describe(record, self.config, data, reports)

        server = Run(builder, connect, greeted).execute()
        save_server(folder, server, self.config)

    def _distill_text(self) -> tuple[str, ...]:
        given = self.config.method.distill.text
        if given or self.config.zoo is None or not self.config.llm.model.startswith(MINI):
            return given
        return self.config.zoo.text or ("demo",)
