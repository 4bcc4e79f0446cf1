r"""``--on ray``: the pictures of an archive, spread by Ray Data over the actors of a cluster.

.. code-block:: text

    driver: plan → what the ledger says is left ──▶ Ray Data ──▶ actor: reads, restores, writes, keeps account
                                what became of each picture  ◀──

Only names travel, never pixels: all machines see the same files under the same names. An actor writes results
and lines of its own manifest by itself, so nothing depends on whether the driver lives to hear of it. When an
actor dies, Ray starts another and hands it the same rows; the ledger knows which of them are finished.
"""

__all__ = ["on_ray"]

import argparse
import functools
import json
import logging
import os
import pickle
import secrets
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from relume import bundle as bundles
from relume.archive import Ledger
from relume.cli.console import Console, Progress
from relume.cli.extras import need
from relume.cli.jobs import Job
from relume.cli.keeping import keeping, ledger_of, work_of
from relume.cli.proof import Proof
from relume.cli.report import Entry, Report
from relume.cli.restoring import settings_of
from relume.errors import EngineError, RelumeError
from relume.files import one_line

STORE = 100_000_000  # bytes of a local cluster's object store: only names go through it
TOGETHER = 16  # pictures that are handed out at once, and handed out again where an actor dies


class Restoring:
    """One actor: a model on a device, for as many pictures as come."""

    def __init__(self, args: argparse.Namespace) -> None:
        from relume.cli.restore import loaded

        self._report = Report(settings={})
        self._restorer = functools.cache(lambda: loaded(args, self._report, Console(quiet=True)))
        self._settings = settings_of(args)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._open = ExitStack()  # the manifest, as long as this actor lives
        self._keep, self._args = self._open.enter_context(keeping(args, [], self._report, worker=name))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does one picture; what became of it, as JSON."""
        from relume.cli.restore import one_by_one

        job: Job = pickle.loads(row["job"])
        entry = Entry(job.name, str(job.output))
        self._report.entries = [entry]
        quiet = Progress(1, Console(quiet=True))
        list(one_by_one([job], self._settings, self._args, self._report, self._keep, self._restorer, quiet))
        facts = {"entry": asdict(entry), "engine": self._report.engine}
        return {"number": row["number"], "facts": json.dumps(facts)}


def on_ray(jobs: list[Job], args: argparse.Namespace, report: Report) -> Generator[Entry, None, None]:
    """Restores the pictures on a cluster, and hands out their entries in the order in which they end.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: this part of the archive is being worked on, or a key cannot be read.
        BundleError: the model is missing, or not what its card says.
        EngineError: the cluster cannot be reached, or what its actors say when they cannot work.
    """
    need("ray", "--on ray")
    Proof.of(args)  # a key that cannot be read is refused here, and not by every actor
    bundle = bundles.find(args.model)
    bundle.verify()
    report.model = {"name": bundle.name, "version": bundle.card["version"], "hash": bundle.hash}
    ledger = ledger_of(args)  # held until the end: nobody else works on this part
    try:
        left = []
        for number, (job, entry) in enumerate(zip(jobs, report.entries, strict=True)):
            if _finished(job, ledger, args):
                entry.status = "skipped"
                yield entry
            else:
                left.append({"number": number, "job": pickle.dumps(job)})
        if not left:
            return
        with _cluster(args.on):
            for row in _rows(left, args):
                facts = json.loads(row["facts"])
                report.engine = facts["engine"] or report.engine
                entry = report.entries[int(row["number"])] = Entry(**facts["entry"])
                yield entry
    finally:
        ledger.close()


def _finished(job: Job, ledger: Ledger, args: argparse.Namespace) -> bool:
    """What is wrong, if something is, an actor will find out and say."""
    try:
        return not job.refused and ledger.finished(work_of(job, args))
    except (RelumeError, OSError):
        return False


@contextmanager
def _cluster(where: str) -> Iterator[None]:
    """A cluster: the one that this process is in, the one of an address, or a small one of this machine."""
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {"address": "local", "object_store_memory": STORE, "include_dashboard": False}
    address = where if where.startswith("ray://") else os.environ.get("RAY_ADDRESS")
    how = {"address": address} if address else own
    try:
        ray.init(**how, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise EngineError(f"Ray cannot be had at {address or 'this machine'}: {one_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _rows(left: list[dict[str, Any]], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    actors, each = _actors(args)
    blocks = max(min(len(left), 4 * actors), len(left) // TOGETHER)
    pictures = ray.data.from_items(left, override_num_blocks=blocks)
    done = pictures.map(
        Restoring,
        fn_constructor_args=(args,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        **each,
    )
    try:
        yield from done.iter_rows()
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"Ray gave up: {one_line(error.__cause__ or error)}; the same call goes on"
        ) from error


def _actors(args: argparse.Namespace) -> tuple[int, dict[str, int]]:
    """How many, and what each needs: a GPU where there are some, else a machine, or --threads of its CPUs."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if gpus and args.device != "cpu":
        return gpus, {"num_gpus": 1}
    cpus = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    each = min(args.threads or min(cpus), max(cpus))
    return sum(cpu // each for cpu in cpus), {"num_cpus": each}
