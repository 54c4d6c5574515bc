"""Trie: which texts begin alike and how far, found in one pass over them.

SUMMARY
    A text is cut into blocks of `BLOCK_BYTES`. A node is a beginning of so many whole blocks in which several
    texts agree before they part; its children are the texts, or longer beginnings, that go on with another
    block each. Of a beginning only a hash is kept, and of a text only the node it hangs on: memory grows by
    some bytes for each text, whatever its length. Where two texts turn out to agree further than is known,
    the earlier one is asked for again (`text_of`), so the result is exact to the byte: `shared` is the length
    that all texts below a node have in common, and two texts share a whole block more than their node says
    only if a deeper node holds both.

    A hash has 64 bits and a seed of its own in each process, so no file can be written that makes it err.

DIAGNOSTICS
    None: bytes in, numbers out. What `text_of` raises passes through.
"""

from array import array
from collections.abc import Callable

#: Some 16 tokens. Texts that part within one block are siblings: nobody gains by telling them apart.
BLOCK_BYTES = 64

#: Beginnings that are kept as they are, in 4 MB at most: to compare is ten times faster than to hash.
EDGES_MAX = 64
EDGE_BYTES_MAX = 64 * 1024


class Trie:
    """Texts, added one by one and numbered from 0. `text_of` gives an earlier one again."""

    def __init__(self, text_of: Callable[[int], bytes]) -> None:
        self._text_of = text_of
        self._children: dict[int, int] = {}  # hash of (node, next block) -> text, or ~node
        self.depth = array("I")  # whole blocks
        self._hash = array("q")  # of those that its parent lacks
        self._edges: dict[int, bytes] = {}  # those blocks themselves, of the first nodes that are followed
        self._tails: list[bytes] = []  # what all children have in common of their next block
        self.line = array("I")  # one text below the node
        self.parent = array("i")  # -1: a root
        self.shared = array("I")  # bytes that all texts below have in common
        self.home = array("I")  # the node of each text

    def __repr__(self) -> str:
        return f"<Trie of {len(self.home)} texts, {len(self.parent)} nodes>"

    def add_root(self) -> int:
        """A node of texts that share nothing with those below other roots."""
        return self._add_node(-1, 0, 0, 0, 0, b"")

    def add(self, root: int, text: bytes) -> int | None:
        """Enter the next text; an earlier one that is the same, if there is one."""
        node, line = root, len(self.home)
        self.home.append(root)
        while True:
            start = self.depth[node] * BLOCK_BYTES
            block = text[start : start + BLOCK_BYTES]
            key = hash((node, block))
            child = self._children.setdefault(key, line)
            if child == line:
                self._narrow(node, block)
                break
            if child >= 0 and not block:
                self.home[line] = node
                return child
            if child < 0 and self._follows(text, start, ~child):
                node = ~child
                continue
            other = self._text_of(child if child >= 0 else self.line[~child])
            common = common_bytes(text, other)
            if common < start + len(block):
                break  # two blocks with one hash, once in the life of the sun: it stays without a child
            node = self._split(key, child, node, text, other, common)
        self.home[line] = node
        return None

    def add_alone(self, root: int) -> None:
        """A text that shares nothing with any, whatever stands in it."""
        self.home.append(root)

    def forget_texts(self) -> None:
        """The pass is over: only the nodes are needed from now on."""
        self._children = {}
        self._edges = {}
        self._tails = []

    def _follows(self, text: bytes, start: int, node: int) -> bool:
        """Whether the text goes on from `start` as those below the node do, down to it."""
        edge = self._edges.get(node)
        if edge is not None:
            return text.startswith(edge, start)
        end = self.depth[node] * BLOCK_BYTES
        edge = text[start:end]
        if hash(edge) != self._hash[node]:
            return False
        if len(self._edges) < EDGES_MAX and len(edge) == end - start <= EDGE_BYTES_MAX:
            self._edges[node] = edge
        return True

    def _split(self, key: int, child: int, parent: int, text: bytes, other: bytes, common: int) -> int:
        """A new node between `parent` and `child`, which leads to `other`: so far it agrees with `text`."""
        # Where the texts are the same, the last block counts as a whole one: both go on with no block at all.
        blocks = -(-common // BLOCK_BYTES) if text == other else common // BLOCK_BYTES
        start, end = self.depth[parent] * BLOCK_BYTES, blocks * BLOCK_BYTES
        line = child if child >= 0 else self.line[~child]
        node = self._add_node(parent, blocks, hash(text[start:end]), common, line, text[end:common])
        self._children[key] = ~node
        self._children[hash((node, other[end : end + BLOCK_BYTES]))] = child
        if child >= 0:
            self.home[child] = node
        else:
            self.parent[~child] = node
            self._edges.pop(~child, None)
            self._hash[~child] = hash(other[end : self.depth[~child] * BLOCK_BYTES])
        return node

    def _add_node(
        self, parent: int, depth: int, fingerprint: int, shared: int, line: int, tail: bytes
    ) -> int:
        self.parent.append(parent)
        self.depth.append(depth)
        self._hash.append(fingerprint)
        self.shared.append(shared)
        self.line.append(line)
        self._tails.append(tail)
        return len(self.parent) - 1

    def _narrow(self, node: int, block: bytes) -> None:
        """A child that begins with this block hangs on the node from now on."""
        tail = self._tails[node]
        if tail and not block.startswith(tail):
            kept = common_bytes(tail, block)
            self._tails[node] = tail[:kept]
            self.shared[node] -= len(tail) - kept


def common_bytes(one: bytes, other: bytes) -> int:
    """How long the common beginning of two texts is."""
    high = min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    low = 0  # up to here they agree, up to `high` they do not
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
