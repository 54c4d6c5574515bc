"""Prefix groups: which requests begin with the same text.

SUMMARY
    A group is a model, an endpoint and the same canonical text before the last message, so that the shared
    beginning is read once per slot and not once per request. Found in one pass; what is kept of a group is a
    64-bit hash and a few numbers, whatever the length of its text.

DIAGNOSTICS
    None: values in, numbers out.
"""

from array import array
from dataclasses import dataclass
from hashlib import blake2b

from batchd.core.request import Request, canonical_head
from batchd.core.tokens import estimate, estimate_request


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """What is known of a group after the pass. Token counts are estimates; `bytes_shared` is exact."""

    model: str
    endpoint: str
    count: int
    bytes_shared: int
    prefix_tokens: int
    window_tokens: int


class PrefixGroups:
    """Collects groups request by request."""

    def __init__(self) -> None:
        self._ids: dict[int, int] = {}
        self._families: list[tuple[str, str]] = []
        self._family_ids: dict[tuple[str, str], int] = {}
        self._family = array("I")
        self._count = array("I")
        self._bytes_shared = array("I")
        self._window = array("I")
        self.prompt_tokens = 0
        self.longest_tokens = 0

    def add(self, request: Request) -> int:
        """The group of this request."""
        head = canonical_head(request)
        prompt = estimate_request(request)
        self.prompt_tokens += prompt
        self.longest_tokens = max(self.longest_tokens, prompt)
        group = self._group_of(request, head)
        self._count[group] += 1
        self._window[group] = max(self._window[group], prompt + request.completion_tokens_max)
        return group

    def summary(self) -> list[GroupSummary]:
        """The groups, in the order of their first request."""
        return [self._summarize(group) for group in range(len(self._count))]

    def _group_of(self, request: Request, head: bytes) -> int:
        family = (request.model, request.endpoint.value)
        family_id = self._family_ids.setdefault(family, len(self._families))
        if family_id == len(self._families):
            self._families.append(family)
        digest = blake2b(head, digest_size=8, salt=family_id.to_bytes(16, "big")).digest()
        group = self._ids.setdefault(int.from_bytes(digest, "big"), len(self._count))
        if group == len(self._count):
            self._family.append(family_id)
            self._count.append(0)
            self._bytes_shared.append(len(head))
            self._window.append(0)
        return group

    def _summarize(self, group: int) -> GroupSummary:
        model, endpoint = self._families[self._family[group]]
        shared = self._bytes_shared[group]
        return GroupSummary(
            model=model,
            endpoint=endpoint,
            count=self._count[group],
            bytes_shared=shared,
            prefix_tokens=estimate(shared, 1) if shared else 0,
            window_tokens=self._window[group],
        )
