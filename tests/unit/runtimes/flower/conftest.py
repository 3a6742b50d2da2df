import pytest

pytest.importorskip("flwr", reason="needs pip install 'coplms[flower]'")
