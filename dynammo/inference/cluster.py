"""Studies spread over the workers of a Ray cluster: nothing is lost and nothing doubled when workers die.

Plain actors instead of Ray Data, which was tried: as of Ray 2.60 it does not run over ray:// at all. There is one step
and no order to keep, while Ray Data would gather results into blocks, which it writes to the disks of the workers when
they grow, and results hold pictures of patients.
"""

import logging
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from dynammo.errors import UserError
from dynammo.io.studies import Study
from dynammo.runtime.plain import expanded

__all__ = ["LOCAL", "Classifier", "classify_on_cluster"]

LOCAL = "local"
CHUNK = 32  # studies that a worker gets at a time: what is done again when it dies
AHEAD = 2  # chunks that each worker has before it, so that none waits for the next
RETRIES = 3  # a study that kills its worker must not do so for ever
TRIES = 4  # to reach a cluster that is busy
Classified = tuple[dict[str, Any], Any]


class Classifier(Protocol):
    """What a worker works with; see `dynammo.inference.classifier.StudyClassifier`."""

    def classify(self, studies: Sequence[Study]) -> Iterator[Any]:
        """Results with `item` and `picture`, in order."""


def classify_on_cluster(
    address: str, studies: Sequence[Study], make: Callable[[], Classifier], workers: int | None = None
) -> Iterator[Classified]:
    """Yield item and picture of every study once, as they are ready.

    Args:
        address: `local` for workers on this machine alone, or the address of a cluster, such as ray://host:10001.
        studies: their files must lie under the same paths on all machines; names are unique.
        make: makes the classifier of a worker, once in each; found by name, so dynammo must be installed there.
        workers: how many; by default one for each GPU of the cluster, or for each processor core.

    Raises:
        UserError: Ray is not installed, no cluster answers, a worker cannot work, or studies kill their workers.
    """
    if not studies:
        return
    with _connected(address) as ray:
        left = {study.name for study in studies}
        for item, picture in _spread(ray, list(studies), make, workers):
            if item["path"] in left:  # else its worker died when it had just been told
                left.remove(item["path"])
                yield item, picture
    if left:
        raise UserError(f"the cluster gave no result of {len(left)} studies; type the same command with --resume.")


class Worker:
    """Lives in a process of the cluster; what it says there would name patients, so it says nothing.

    Args:
        make: see `classify_on_cluster`.
    """

    def __init__(self, make: Callable[[], Classifier]) -> None:
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        self.fault, self.classifier = "", None
        try:
            self.classifier = make()
        except UserError as error:
            self.fault = str(error)

    def process(self) -> int:
        """Its number in its machine."""
        return os.getpid()

    def classify(self, studies: list[Study]) -> tuple[str, list[Classified]]:
        """Why it cannot work, or item and picture of every study."""
        if self.classifier is None:
            return self.fault, []
        return "", [(result.item, result.picture) for result in self.classifier.classify(studies)]


def _spread(
    ray: Any,  # noqa: ANN401
    studies: list[Study],
    make: Callable[[], Classifier],
    workers: int | None,
) -> Iterator[Classified]:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = workers or gpus or max(1, int(resources.get("CPU", 1)))
    size = max(1, min(CHUNK, len(studies) // (AHEAD * count)))
    chunks = iter([studies[i : i + size] for i in range(0, len(studies), size)])
    needs = {"num_gpus": 1} if gpus and not workers else {"num_cpus": 1}
    remote = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **needs)(Worker)
    actors = [remote.remote(make) for _ in range(min(count, -(-len(studies) // size)))]
    at_work = {actor.classify.remote(chunk): actor for actor, chunk in zip(actors * AHEAD, chunks, strict=False)}
    while at_work:
        (done,), _ = ray.wait(list(at_work), num_returns=1)
        actor = at_work.pop(done)
        yield from _results(ray, done)
        for chunk in chunks:
            at_work[actor.classify.remote(chunk)] = actor
            break


def _results(ray: Any, done: Any) -> list[Classified]:  # noqa: ANN401
    try:
        fault, found = ray.get(done)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"a worker of the cluster failed again and again at the same studies ({type(error).__name__}); what was "
            "classified is kept: type the same command with --resume, without --engine-cluster to see why."
        ) from error
    if fault:
        raise UserError(f"a worker of the cluster cannot work: {fault}")
    return list(found)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anyone
    _set_secret(address)
    try:
        import ray

        if address.startswith("ray://"):
            import grpc  # noqa: F401  Ray's client needs it, and plain Ray does not bring it
    except ImportError as error:
        raise UserError("--engine-cluster needs Ray; type: pip install 'dynammo[ray]'.") from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        options["include_dashboard"] = False
    try:
        for left in reversed(range(TRIES)):
            try:
                ray.init(address, **options)
                break
            except ConnectionAbortedError:  # a busy cluster is late with the process that it starts for each client
                ray.shutdown()
                if not left:
                    raise
    except Exception as error:  # Ray raises many kinds, plain ones too
        raise UserError(
            f"no Ray cluster answers at {address} ({type(error).__name__}); start one with ray start --head "
            "--include-dashboard=false --disable-usage-stats and copy its ~/.ray/auth_token to the same place here, "
            "or type --engine-cluster local."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _set_secret(address: str) -> None:
    """Before Ray is imported, for then it reads who may use a cluster: whoever holds its token."""
    if address == LOCAL:  # its ports are open to the network: nobody else may use them
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    elif {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or expanded("~/.ray/auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
