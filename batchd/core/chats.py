"""Chats: which requests are turns of the same conversation, found at intake.

SUMMARY
    In place of `core/prefix` and `core/plan` under the strategy `conversation`. A chat is a model, an
    endpoint, parameters other than the seed, and system messages; its requests keep their input order, and
    are a group of the plan. What is no turn (`core/conversation`) is in groups of its own, and is sent as
    it stands. Nothing is computed once for two: what a request reads depends on where it stands.

    Models run one after the other, in the order of their first line.

DIAGNOSTICS
    None: values in, a plan out.
"""

from array import array
from collections import Counter
from hashlib import blake2b

from batchd.core.conversation import is_turn
from batchd.core.fit import WINDOW_TOKENS_MAX, least_of, need_of
from batchd.core.record import Group, Plan
from batchd.core.request import Request
from batchd.core.tokens import estimate, estimate_request

#: Of the hash that stands for a chat: two chats in one would read each other's answers.
_KEY_BYTES = 16


class Chats:
    """Collects requests one by one."""

    def __init__(self, window_tokens_max: int = WINDOW_TOKENS_MAX) -> None:
        self._window_tokens_max = window_tokens_max
        self._number: dict[bytes, int] = {}
        self._families: list[tuple[str, str]] = []  # by chat: model and endpoint
        self._models: dict[str, int] = {}
        self._system_tokens = array("I")
        self._need = array("I")
        self._least = array("I")
        self._index = array("I")
        self._chat_of = array("I")
        self.prompt_tokens = 0  # as the requests stand in the file
        self.longest_tokens = 0
        self.alone = 0  # requests that are no turn
        self.lowered = 0  # those whose bound no allowed window holds

    def __repr__(self) -> str:
        return f"<Chats of {len(self._index)} requests: {len(self._families)}>"

    @property
    def copies(self) -> int:
        """None are."""
        return 0

    def add(self, index: int, request: Request) -> None:
        """Enter a request."""
        prompt, is_one = estimate_request(request), is_turn(request)
        chat = self._chat(request, is_one)
        self._index.append(index)
        self._chat_of.append(chat)
        bound, most = request.completion_tokens_max, self._window_tokens_max
        self._need[chat] = max(self._need[chat], need_of(prompt, bound, most))
        self._least[chat] = min(self._least[chat] or prompt + bound, least_of(prompt, bound))
        self.lowered += prompt < most < prompt + bound
        self.prompt_tokens += prompt
        self.longest_tokens = max(self.longest_tokens, prompt)
        self.alone += not is_one

    def notes(self) -> tuple[str, ...]:
        """What is to be said of these requests."""
        if not self.alone:
            return ()
        said = "requests have turns of their own, or are no chat: they are sent as they stand"
        return (f"{self.alone} {said}, and no other request reads them.",)

    def plan(self, line_count: int) -> Plan:
        """Chat by chat, each in input order."""
        sizes = Counter(self._chat_of)
        chats = sorted(sizes, key=lambda chat: (self._models[self._families[chat][0]], chat))
        place = {chat: number for number, chat in enumerate(chats)}
        groups, start = [], 0
        for chat in chats:
            model, endpoint = self._families[chat]
            tokens = self._system_tokens[chat]
            windows = self._need[chat], self._least[chat]
            groups.append(Group(model, endpoint, start, sizes[chat], tokens, windows[0], 0, 0, windows[1]))
            start += sizes[chat]
        ranks = array("I", (place[chat] for chat in self._chat_of))
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        return Plan(line_count, tuple(groups), array("I", (self._index[number] for number in order)))

    def _chat(self, request: Request, is_one: bool) -> int:
        system = [message.text for message in request.messages[:-1]] if is_one else []
        parts = (
            request.model,
            request.endpoint.value,
            is_one,
            sorted(item for item in request.parameters.items() if item[0] != "seed"),
            system,
        )
        key = blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        if key not in self._number:
            self._number[key] = len(self._families)
            self._families.append((request.model, request.endpoint.value))
            self._models.setdefault(request.model, len(self._models))
            text_bytes = sum(len(text.encode()) for text in system)
            self._system_tokens.append(estimate(text_bytes, len(system)) if system else 0)
            self._need.append(0)
            self._least.append(0)
        return self._number[key]
