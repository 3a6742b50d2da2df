"""What `coplms train` makes of the same consortium: runs on one machine, nobody interfering."""

from pathlib import Path

from tests.network.processes import Running
from tests.network.sites import rows, tuned, write_site_config


class Reference:
    """Uninterrupted runs, each done once."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache

    def run(self, **how: object) -> Path:
        """The folder of the run of a site that is made with these words."""
        name = "-".join(f"{key}={value}" for key, value in sorted(how.items())) or "plain"
        run = self.folder / name / "run"
        if not run.exists():
            config = write_site_config(run.parent, **how)
            arguments = ["-m", "coplms.cli.main", "train", str(config), "--output", str(run)]
            env = {"COPLMS_CACHE": str(self.cache), "OMP_NUM_THREADS": "1"}
            Running(arguments, run.parent / "train.log", env).finish()
        return run

    def tuned(self, **how: object) -> dict[str, str]:
        """What all its members have tuned."""
        run = self.run(**how)
        return tuned(run, *(path.name for path in run.glob("[am]*/*")))

    def phase_names(self, **how: object) -> list[str]:
        """The phases that its record tells of."""
        return [row["phase"] for row in rows(self.run(**how) / "phases.jsonl")]
