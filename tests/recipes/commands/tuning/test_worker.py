import pytest

from recipes.commands.tuning import worker
from recipes.shared.errors import UsageError

pytestmark = pytest.mark.usefixtures("no_variables")


@pytest.mark.parametrize(
    ("identifier", "role"), [(None, "alone"), ("chief", "chief"), ("my-chief-2", "chief"), ("worker-1", "worker")]
)
def test_the_variables_say_what_this_process_is(identifier, role, monkeypatch):
    if identifier is not None:
        for name, value in zip(worker.VARIABLES, (identifier, "10.0.0.1", "8000"), strict=True):
            monkeypatch.setenv(name, value)
        assert worker.address() == ("10.0.0.1", 8000)
    assert worker.role() == role


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"KERASTUNER_TUNER_ID": "chief"}, "KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT is not"),
        (
            dict(zip(worker.VARIABLES, ("chief", "127.0.0.1", "http"), strict=True)),
            "KERASTUNER_ORACLE_PORT is 'http'; it must be a port's number",
        ),
    ],
)
def test_variables_that_make_no_sense_are_refused(variables, message, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def ask():
        return worker.role() != "alone" and worker.address()

    with pytest.raises(UsageError, match=message):
        ask()
