"""The chief of a search, and the workers of its machine, through KerasTuner's own protocol.

KerasTuner's chief waits for every worker that ever asked, without end, and looks every 20 s. Here it watches: a worker
of this machine that dies is started again under its old name, and the protocol gives it its old trial; the trial of a
worker elsewhere is given to another when its time is over.
"""

import time
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from recipes.commands import processes
from recipes.commands.tuning.specification import Specification
from recipes.commands.tuning.worker import VARIABLES, WorkersLost, work_here
from recipes.shared.errors import UsageError

ANY_PORT = ("127.0.0.1", 0)
POLL_SECONDS = 0.2
PATIENCE = 15  # seconds of silence after which a worker elsewhere is taken to have ended
MOST_DEATHS = 3  # of one worker in a row, with no trial ended in between


@dataclass
class Worker:
    """A worker process of this machine."""

    name: str
    process: processes.Child
    deaths: int = 0
    ended_before: int = 0  # trials of the search that had ended when it died last


@dataclass
class Chief:
    """Serves an oracle to workers, until there are no more trials.

    Args:
        specification: the search.
        oracle: what proposes the trials.
        address: host and port to listen at; port 0 is any free one.
        server: what starts the workers of this machine.
    """

    specification: Specification
    oracle: Any
    address: tuple[str, int]
    server: processes.Server = field(default_factory=processes.Server)
    workers: list[Worker] = field(default_factory=list)

    def run(self) -> None:
        """Serve until the search is over.

        Raises:
            UsageError: the address cannot be used, or a worker was given bad values.
            WorkersLost: nobody is left to go on.
        """
        servicer = OracleServicer(self.oracle)
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
        protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
        host, port = self.address
        try:
            port = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise UsageError(f"the chief cannot listen at {host}:{port}: {error}") from error
        self.address = host, port
        server.start()
        try:
            for number in range(1, self.specification.workers + 1):
                name = f"local-{number}"  # workers elsewhere may be called worker-1
                self.workers.append(Worker(name, self._start(name)))
            while not self._is_over(servicer):
                time.sleep(POLL_SECONDS)
                if self.oracle.broken is not None:
                    raise self.oracle.broken
                self._watch()
        finally:
            processes.end([worker.process for worker in self.workers])
            for worker in self.workers:
                worker.process.close()
            server.stop(grace=None).wait()

    def _is_over(self, servicer: OracleServicer) -> bool:
        if not servicer.stop_triggered or self.oracle.workers_at_work():
            return False
        if any(worker.process.returncode is None for worker in self.workers):
            return False
        # Workers that live ask every now and then until they hear that there is no more.
        silent = time.monotonic() - self.oracle.heard_at
        return not self.oracle.tuner_ids or silent > min(PATIENCE, self.specification.time_limit)

    def _watch(self) -> None:
        limit = self.specification.time_limit
        now = time.monotonic()
        ours = {worker.name: worker for worker in self.workers}
        at_work = self.oracle.workers_at_work()
        for name, began in at_work.items():
            if now - began > limit:
                if name in ours:
                    ours[name].process.kill()  # it is started again below, and its trial counted as killed
                else:
                    self.oracle.take_back(name)
        for worker in self.workers:
            if worker.process.returncode not in (None, 0):
                self._start_again(worker)
        alive = any(worker.process.returncode is None for worker in self.workers)
        if not at_work and not alive and now - self.oracle.heard_at > limit:
            raise WorkersLost(f"no worker has asked for a trial for {limit:g} s")

    def _start_again(self, worker: Worker) -> None:
        if worker.process.returncode == 2:  # a mistake that every worker would make
            raise UsageError(worker.process.last_words())
        ended = len(self.oracle.end_order)
        worker.deaths = worker.deaths + 1 if ended == worker.ended_before else 1
        worker.ended_before = ended
        if worker.deaths > MOST_DEATHS:
            raise WorkersLost(f"{worker.name} died {worker.deaths} times in a row: {worker.process.last_words()}")
        print(f"{worker.name} died ({worker.process.last_words()}); starting it again", flush=True)
        worker.process.close()
        worker.process = self._start(worker.name)
        trial = self.oracle.ongoing_trials.get(worker.name)
        if trial is not None:
            self.oracle.began_at[trial.trial_id] = time.monotonic()

    def _start(self, name: str) -> processes.Child:
        host, port = self.address
        variables = dict(zip(VARIABLES, (name, host, str(port)), strict=True))
        return self.server.start(work_here, self.specification, variables=variables)
