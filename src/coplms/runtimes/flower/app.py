"""The app that Flower asks for to start a run. It holds no code: nothing of it is ever executed.

Our own processes take the tasks that a run gives out, so an app in Flower's sense never starts,
neither on the server nor on a device. If somebody else's executor took such a task, it would fail
to load the modules named here.
"""

import io
import zipfile

PROJECT = "pyproject.toml"
_CONTENT = """[project]
name = "coplms"
version = "1.0.0"

[tool.flwr.app]
publisher = "coplms"

[tool.flwr.app.components]
serverapp = "coplms_sends_no_code:server"
clientapp = "coplms_sends_no_code:client"

[tool.flwr.app.config]
"""


def app_bundle() -> bytes:
    """A Flower App Bundle of one file, the same bytes every time."""
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr(zipfile.ZipInfo(PROJECT), _CONTENT)
    return bundle.getvalue()
