"""The servers behind one version: turns by weight, and none for one that failed again and again."""

import math
import time
from collections.abc import Collection, Iterable, Mapping

from antiphon.domain.errors import EngineUnavailable
from antiphon.engines.upstream.client import NO_HEADERS, Resource

FAILURES = 5
"""In a row, after which an endpoint is given up for a while."""
COOL_S = 1.0
"""How long at first; each time it fails again, twice as long."""
MOST_COOL_S = 30.0


class Endpoint:
    """One server, and whether it is worth asking."""

    def __init__(self, base_url: str, weight: int, headers: Mapping[str, str]) -> None:
        self.chat = Resource(f"{base_url}/chat/completions", headers)
        self.models = Resource(f"{base_url}/models", headers)
        self.weight, self.credit = weight, 0
        self.used_at = -math.inf
        self._failures, self._cool_s = 0, COOL_S
        self._closed_until = -math.inf
        self._is_tried = False

    @property
    def is_given_up(self) -> bool:
        """Whether it failed so often that only a trial now and then is made."""
        return self._failures >= FAILURES

    def left_s(self, now: float) -> float:
        """How long it is not asked; more while a trial of it is under way."""
        if not self.is_given_up:
            return 0.0
        return max(self._closed_until - now, COOL_S if self._is_tried else 0.0)

    def take(self, now: float) -> None:
        """Be asked; of one that was given up this is the trial."""
        self.used_at = now
        self._is_tried = self.is_given_up

    def worked(self) -> None:
        """It answered, be it with a refusal."""
        self._failures, self._cool_s, self._is_tried = 0, COOL_S, False

    def seen(self) -> None:
        """It is there, though nobody knows whether it answers: it is asked again, and one more failure gives it up."""
        self._failures, self._is_tried = min(self._failures, FAILURES - 1), False
        self._closed_until = -math.inf

    def failed(self) -> None:
        """It did not. Those that were asked before it was given up, and fail later, keep it away no longer."""
        self._failures += 1
        self._is_tried = False
        now = time.monotonic()
        if self.is_given_up and now >= self._closed_until:
            self._closed_until = now + self._cool_s
            self._cool_s = min(2 * self._cool_s, MOST_COOL_S)

    def left(self) -> None:
        """Whoever asked it went, perhaps before it answered: a trial is free again."""
        self._is_tried = False


class Endpoints:
    """All of a version's."""

    def __init__(self, configured: Iterable[tuple[str, int]], headers: Mapping[str, str] = NO_HEADERS) -> None:
        self.all = tuple(Endpoint(base_url, weight, headers) for base_url, weight in configured)

    def pick(self, tried: Collection[Endpoint] = ()) -> Endpoint:
        """Give the one whose turn it is: smooth weighted round robin, as nginx has it, over those worth asking.

        Args:
            tried: those that failed this request already; one of them only when there is no other.

        Raises:
            EngineUnavailable: at once, when none is.
        """
        now = time.monotonic()
        open_ones = [endpoint for endpoint in self.all if endpoint.left_s(now) <= 0]
        if not open_ones:
            wait_s = math.ceil(min(endpoint.left_s(now) for endpoint in self.all))
            raise EngineUnavailable("The model's server cannot be reached. Try again later.", retry_after_s=wait_s)
        chosen = open_ones[0] if len(open_ones) == 1 else _next(open_ones, tried)
        chosen.take(now)
        return chosen


def _next(open_ones: list[Endpoint], tried: Collection[Endpoint]) -> Endpoint:
    open_ones = [endpoint for endpoint in open_ones if endpoint not in tried] or open_ones
    for endpoint in open_ones:
        endpoint.credit += endpoint.weight
    chosen = max(open_ones, key=lambda endpoint: endpoint.credit)
    chosen.credit -= sum(endpoint.weight for endpoint in open_ones)
    return chosen
