import io
import zipfile

from coplms.runtimes.flower.app import PROJECT, app_bundle


def test_a_bundle_holds_nothing_but_its_project_file():
    with zipfile.ZipFile(io.BytesIO(app_bundle())) as archive:
        assert archive.namelist() == [PROJECT]


def test_a_bundle_is_the_same_every_time():
    assert app_bundle() == app_bundle()


def test_flower_finds_a_bundle_valid():
    from flwr.common.config import get_fab_config

    assert get_fab_config(app_bundle())["project"]["name"] == "coplms"


def test_the_modules_that_a_bundle_names_do_not_exist():
    from importlib.util import find_spec

    assert b"coplms_sends_no_code:server" in app_bundle()
    assert find_spec("coplms_sends_no_code") is None
