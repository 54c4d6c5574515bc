"""Prefix groups: which requests begin with the same text, and which ask the same thing.

SUMMARY
    A group is a model, an endpoint and a beginning that its requests share: of the text that the model reads,
    wherever messages end in it. Groups may stand inside of others: the same system prompt, then the same
    document. A request belongs to the innermost group. Group 0 of each model and endpoint has the requests
    that share nothing.

    Found in one pass over the requests (`core/trie`); lengths are exact to the byte, tokens are estimates.

    With `deduplicate`, a request that equals an earlier one in all but its custom_id is a copy of it, if the
    answer cannot differ: `temperature` is 0, or a `seed` is given. It is not planned.

DIAGNOSTICS
    None: values in, numbers out. What `request_of` raises passes through.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

from batchd.core.fit import WINDOW_TOKENS_MAX, least_of, need_of
from batchd.core.request import Endpoint, Request, canonical_text
from batchd.core.tokens import estimate, estimate_request
from batchd.core.trie import BLOCK_BYTES, Trie

#: What a group inside of another shares beyond it: some 130 tokens. Less is kept together by the order alone.
NESTED_BYTES_MIN = 512

#: Copies of one request: they get their outcomes in the one commit that has its own.
COPIES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Tree:
    """The groups after the pass. Numbers are by group, but in `group_of`.

    `requests` counts those that belong to the group itself, `requests_below` all that begin so. `parent` -1:
    the group of a family (model and endpoint) that shares nothing.
    """

    parent: "array[int]"
    family: "array[int]"
    bytes_shared: "array[int]"
    requests: "array[int]"
    requests_below: "array[int]"
    first: "array[int]"  # the first request below
    group_of: "array[int]"  # of each request, in the order of `add`; copies too
    node: "array[int]"  # of the trie

    def meeting(self, one: int, other: int) -> int:
        """The innermost group that holds both; -1 for two families."""
        while one != other:
            if self.bytes_shared[one] < self.bytes_shared[other]:
                one, other = other, one
            one = self.parent[one]
            if one < 0:
                return -1
        return one


class PrefixGroups:
    """Collects requests one by one. `request_of` gives the one of an earlier index again."""

    def __init__(
        self,
        request_of: Callable[[int], Request],
        deduplicate: bool = False,
        window_tokens_max: int = WINDOW_TOKENS_MAX,
    ) -> None:
        self._request_of = request_of
        self._deduplicate = deduplicate
        self.window_tokens_max = window_tokens_max
        self._trie = Trie(lambda number: canonical_text(request_of(self.index[number])))
        self._roots: dict[tuple[str, str], int] = {}
        self._twins: dict[tuple[int, int], tuple[int, int]] = {}  # (node, what is asked): original, copies
        self.index = array("I")  # the line of each request
        self.bound = array("I")
        self.need = array("I")  # the window of each, in tokens
        self.least = array("I")  # and the smallest in which it is worth a try
        self.lowered = 0  # requests whose bound no allowed window holds
        self.is_copy = bytearray()
        self.copies = 0
        self.prompt_tokens = 0  # without copies
        self.longest_tokens = 0

    def __repr__(self) -> str:
        return f"<PrefixGroups of {len(self.index)} requests>"

    @property
    def families(self) -> list[tuple[str, str]]:
        """Models and endpoints, in the order of their first requests."""
        return list(self._roots)

    def add(self, index: int, request: Request) -> int | None:
        """Enter a request; the index of the one that it is a copy of, if it is one."""
        self.index.append(index)
        prompt = estimate_request(request)
        self.bound.append(request.completion_tokens_max)
        bound = request.completion_tokens_max
        self.need.append(need_of(prompt, bound, self.window_tokens_max))
        self.least.append(least_of(prompt, bound))
        self.lowered += prompt < self.window_tokens_max < prompt + bound
        self.longest_tokens = max(self.longest_tokens, prompt)
        root = self._root(request)
        original = None
        if request.endpoint is Endpoint.EMBEDDINGS:
            self._trie.add_alone(root)  # nothing is kept in a slot between two embeddings
        else:
            earlier = self._trie.add(root, canonical_text(request))
            if earlier is not None and self._deduplicate and _is_settled(request):
                original = self._original(index, request, earlier)
        self.is_copy.append(original is not None)
        self.copies += original is not None
        self.prompt_tokens += prompt if original is None else 0
        return original

    def tree(self) -> Tree:
        """The groups. Nothing can be added any more."""
        trie = self._trie
        trie.forget_texts()
        self._twins = {}
        order = sorted(range(len(trie.parent)), key=trie.depth.__getitem__)
        below = array("I", bytes(4 * len(order)))
        for home, is_copy in zip(trie.home, self.is_copy, strict=True):
            below[home] += not is_copy
        for node in reversed(order):
            if trie.parent[node] >= 0:
                below[trie.parent[node]] += below[node]
        group_of_node = array("I", bytes(4 * len(order)))
        tree = Tree(*(array(kind) for kind in "iiIIIIIi"))
        families = {root: number for number, root in enumerate(self._roots.values())}
        for node in order:
            parent = trie.parent[node]
            above = group_of_node[parent] if parent >= 0 else -1
            if above >= 0 and not _is_group(tree, above, trie.shared[node], below[node]):
                group_of_node[node] = above
                continue
            group_of_node[node] = len(tree.parent)
            tree.parent.append(above)
            tree.family.append(families[node] if above < 0 else tree.family[above])
            tree.bytes_shared.append(trie.shared[node])
            tree.requests.append(0)
            tree.requests_below.append(below[node])
            tree.first.append(trie.line[node])
            tree.node.append(node)
        for home, is_copy in zip(trie.home, self.is_copy, strict=True):
            tree.group_of.append(group_of_node[home])
            tree.requests[group_of_node[home]] += not is_copy
        return tree

    def cluster(self, number: int, group: int, tree: Tree) -> int:
        """Equal for requests of one group that share more than the group does."""
        home = self._trie.home[number]
        return number if home == tree.node[group] else self._trie.line[home]

    def _root(self, request: Request) -> int:
        family = (request.model, request.endpoint.value)
        root = self._roots.get(family)
        if root is None:
            root = self._roots[family] = self._trie.add_root()
        return root

    def _original(self, index: int, request: Request, earlier: int) -> int | None:
        node = self._trie.home[-1]
        if (node, 0) not in self._twins:
            first = self._request_of(self.index[earlier])
            self._twins[node, 0] = (0, 0)
            self._twins[node, _asked(first)] = (self.index[earlier], 0)
        key = (node, _asked(request))
        original, copies = self._twins.get(key, (index, 0))
        if original == index or copies == COPIES_MAX or not self._is_same(request, original):
            self._twins[key] = (index, 0)
            return None
        self._twins[key] = (original, copies + 1)
        return original

    def _is_same(self, request: Request, original: int) -> bool:
        """Hashes have led here; an answer is given to another request only if the two are equal."""
        other = self._request_of(original)
        return replace(request, custom_id=other.custom_id) == other


def prefix_tokens(bytes_shared: int) -> int:
    """Tokens of a shared beginning, estimated."""
    return estimate(bytes_shared, 1) if bytes_shared else 0


def _is_group(tree: Tree, above: int, bytes_shared: int, requests_below: int) -> bool:
    is_outermost = tree.parent[above] < 0
    more = bytes_shared - tree.bytes_shared[above]
    return requests_below > 1 and more >= (BLOCK_BYTES if is_outermost else NESTED_BYTES_MIN)


def _is_settled(request: Request) -> bool:
    """Whether the same request gets the same answer."""
    return request.parameters.get("temperature") == 0 or "seed" in request.parameters


def _asked(request: Request) -> int:
    """Equal for two requests with one text that ask the same; never 0."""
    return hash(repr((sorted(request.parameters.items()), request.completion_tokens_max))) or 1
