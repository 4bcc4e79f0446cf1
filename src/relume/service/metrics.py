r"""What Prometheus reads: requests as this server saw them, jobs as the table has them."""

__all__ = ["Metrics"]

from collections.abc import Iterator
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from relume.errors import ServiceError
from relume.service.store import Store

METHODS = frozenset(HTTPMethod)  # each name that is counted stays in memory


class Metrics:
    """One registry of its own, so that several services can live in one process."""

    def __init__(self, store: Store) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "relume_http_requests", "Answers.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "relume_http_seconds", "Time to the end of an answer.", ["route"], registry=self._registry
        )
        self._registry.register(_Jobs(store))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered. Methods are the caller's words: those that are none share a name."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Jobs(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("relume_store_up", "Whether the job table can be read.")
        try:
            counts, waiting, rate = self._store.counts(), self._store.waiting(), self._store.rate()
            ended = {name: self._store.fact(f"jobs_{name}") or 0.0 for name in ("done", "failed")}
        except ServiceError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        jobs = GaugeMetricFamily("relume_jobs", "Jobs in the table.", labels=["state"])
        for state, count in counts.items():
            jobs.add_metric([state], count)
        yield jobs
        total = CounterMetricFamily("relume_jobs_ended", "Jobs that came to an end.", labels=["state"])
        for state, number in ended.items():
            total.add_metric([state], number)
        yield total
        yield GaugeMetricFamily(
            "relume_queue_work", "Work that waits or runs, pixels × evaluations.", value=waiting
        )
        yield GaugeMetricFamily(
            "relume_worker_rate", "Measured pixels × evaluations a second of one worker.", value=rate
        )
