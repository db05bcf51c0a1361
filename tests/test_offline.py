"""No network unless a user asks for a downloaded data set."""

import os
import subprocess
import sys

import pytest

NO_NETWORK = """
import socket

def refuse(*args, **kwargs):
    open("network-was-used", "w").close()
    raise OSError("no network")

def unless_it_stays_on_this_machine(connect):
    def checked(self, *args):
        return connect(self, *args) if self.family == socket.AF_UNIX else refuse()  # multiprocessing's own sockets
    return checked

socket.getaddrinfo = refuse
socket.socket.connect = unless_it_stays_on_this_machine(socket.socket.connect)
socket.socket.connect_ex = unless_it_stays_on_this_machine(socket.socket.connect_ex)
"""


def run(tmp_path, *args):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "KERAS_HOME": str(tmp_path / "keras")}
    command = [sys.executable, "-m", "recipes", *args]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_training_and_comparing_need_no_network(tmp_path):
    process = run(tmp_path, "compare", "mlp_classifier", "--epochs", "2")
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "network-was-used").exists()


@pytest.mark.slow
def test_a_data_set_that_cannot_be_downloaded_ends_in_one_line_that_names_another(tmp_path):
    process = run(tmp_path, "fit", "mlp_classifier", "--data", "fashion_mnist")
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert "could not download fashion_mnist" in line
    assert "--data digits" in line
    assert (tmp_path / "network-was-used").exists()  # the block works
    assert not (tmp_path / "logs").exists()
