"""A spool in memory. It passes the same contract tests as the real one.

A test drops files with `drop`, says who writes with `writers` (by name, before and after the claim), and
looks at `outbox`, `partial`, `archived` and `status`. `journals` holds the ids of batches whose journal
stands; `free` is what `free_bytes` answers, `touched` counts the changes of a claimed file.

DIAGNOSTICS
    Fatal: SpoolError, where the real one raises it.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from batchd.core.lifecycle import Place
from batchd.core.options import is_batch_id
from batchd.core.settle import Kind, Seen, Signature, options_name
from batchd.core.waiting import Original
from batchd.errors import NotUsableError, SpoolError

OPTIONS_BYTES_MAX = 2**20


@dataclass(slots=True)
class Dropped:
    """A file in the inbox. `reason` makes it unclaimable."""

    content: bytes
    inode: int
    changes: int = 0
    reason: str = ""
    uid: int = 0


@dataclass(slots=True)
class Directory:
    """processing/<id>."""

    orig: dict[bytes, bytes] = field(default_factory=dict)
    copy: bytes | None = None
    publish: dict[str, bytes] | None = None
    uid: int = 0
    aside: list[str] = field(default_factory=list)


class _Result(io.BytesIO):
    """Keeps its bytes in publish/ when it is closed."""

    def __init__(self, publish: dict[str, bytes], name: str) -> None:
        super().__init__()
        self._publish = publish
        self._name = name
        publish[name] = b""

    def close(self) -> None:
        if not self.closed:
            self._publish[self._name] = self.getvalue()
        super().close()


class MemorySpool:
    """Dictionaries where the real one has directories."""

    def __init__(self) -> None:
        self.inbox: dict[bytes, Dropped] = {}
        self.processing: dict[str, Directory] = {}
        self.outbox: dict[str, dict[str, bytes]] = {}
        self.partial: dict[str, bytes] = {}
        self.archived: dict[str, tuple[float, dict[bytes, bytes]]] = {}
        self.told: dict[tuple[str, str], float] = {}
        self.touched: dict[bytes, int] = {}
        self.journals: set[str] = set()
        self.writers: set[bytes] = set()
        self.unusable: dict[bytes, str] = {}
        self.status = b""
        self.kept_turns = b""
        self.free = self.size = 10**12
        self.grown = 0  # bytes of each journal
        self.files_left: int | None = None  # it does not count them
        self.archived_at = 0.0
        self._inodes = 0

    def drop(self, name: bytes, content: bytes, reason: str = "", uid: int = 0) -> None:
        """Put a file into the inbox, or change it there."""
        known = self.inbox.get(name)
        if known is None:
            self._inodes += 1
            self.inbox[name] = Dropped(content, self._inodes, reason=reason, uid=uid)
        else:
            self.inbox[name] = replace(known, content=content, changes=known.changes + 1, reason=reason)

    def sweep(self) -> Sequence[Seen]:
        return [self._seen(name, item) for name, item in sorted(self.inbox.items())]

    def has_writer(self, name: bytes) -> bool | None:
        return name in self.writers if name in self.inbox else None

    def peek_options(self, name: bytes) -> bytes | None:
        item, batch = self.inbox.get(options_name(name)), self.inbox.get(name)
        if item is None or batch is None or item.uid != batch.uid or len(item.content) > OPTIONS_BYTES_MAX:
            return None
        return item.content

    def claim(self, name: bytes, batch_id: str) -> bool:
        _check(batch_id)
        if batch_id in self.processing:
            raise SpoolError(f"A batch with the id {batch_id} is in processing/ already.")
        item = self.inbox.pop(name, None)
        if item is None:
            return False
        self.processing[batch_id] = Directory({name: item.content}, uid=item.uid)
        return True

    def claim_options(self, name: bytes, batch_id: str) -> bool:
        wanted = options_name(name)
        orig, owner = self._directory(batch_id).orig, self._directory(batch_id).uid
        if wanted in orig or wanted not in self.inbox or self.inbox[wanted].uid != owner:
            return False
        orig[wanted] = self.inbox.pop(wanted).content
        return True

    def read_options(self, name: bytes, batch_id: str) -> bytes | None:
        content = self._directory(batch_id).orig.get(options_name(name))
        if content is not None and len(content) > OPTIONS_BYTES_MAX:
            raise NotUsableError("The options file is too large.")
        return content

    def batch_bytes(self, batch_id: str) -> int:
        directory = self.processing.get(batch_id)
        if directory is None:
            return 0
        return len(directory.copy or b"") + sum(map(len, (directory.publish or {}).values())) + self.grown

    def is_known(self, batch_id: str) -> bool:
        _check(batch_id)
        return self.is_at_work(batch_id) or batch_id in self.archived or bool(self._named(batch_id))

    def is_at_work(self, batch_id: str) -> bool:
        _check(batch_id)
        return batch_id in self.processing

    def original_name(self, batch_id: str) -> bytes | None:
        names = [name for name in self._directory(batch_id).orig if not name.endswith(b".options.json")]
        return names[0] if names else None

    def original(self, batch_id: str) -> Original | None:
        name, directory = self.original_name(batch_id), self._directory(batch_id)
        if name is None:
            return None
        content, touched = directory.orig[name], self.touched.get(name, 0)
        signature: Signature = (1, 1, len(content), touched, touched)
        return Original(name, directory.uid, signature, name in self.writers, content.count(b"\n"))

    def copy_input(
        self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
    ) -> tuple[str, int]:
        name = self.original_name(batch_id)
        directory = self._directory(batch_id)
        if directory.aside and directory.copy is not None:
            return hashlib.sha256(directory.copy).hexdigest(), len(directory.copy)
        if name is None or directory.copy is not None:
            raise SpoolError("There is nothing to copy, or a copy already.")
        if name in self.unusable:
            raise NotUsableError(self.unusable[name])
        if not on_block(directory.orig[name]):
            raise NotUsableError("The batch file is not read to its end.")
        directory.copy = directory.orig[name]
        return hashlib.sha256(directory.copy).hexdigest(), len(directory.copy)

    def copy_nothing(self, batch_id: str) -> tuple[str, int]:
        directory = self._directory(batch_id)
        if directory.copy is not None:
            raise SpoolError("There is a copy already.")
        directory.copy = b""
        return hashlib.sha256().hexdigest(), 0

    def open_input(self, batch_id: str) -> BinaryIO:
        copy = self._directory(batch_id).copy
        if copy is None:
            raise SpoolError("There is no copy.")
        return io.BytesIO(copy)

    def journal_path(self, batch_id: str) -> str:
        _check(batch_id)
        return f"memory/processing/{batch_id}/journal"

    def put_journal_aside(self, batch_id: str) -> None:
        directory = self._directory(batch_id)
        directory.publish = None
        self.journals.discard(batch_id)
        directory.aside.append(f"memory/{batch_id}/journal.damaged-{len(directory.aside) + 1}")

    def journals_aside(self, batch_id: str) -> Sequence[str]:
        return tuple(self._directory(batch_id).aside)

    def reset_intake(self, batch_id: str) -> None:
        if not self._directory(batch_id).aside:
            self._directory(batch_id).copy = None
        self.journals.discard(batch_id)

    def append_partial(self, batch_id: str, lines: bytes) -> None:
        _check(batch_id)
        self.partial[batch_id] = self.partial.get(batch_id, b"") + lines

    def begin_publish(self, batch_id: str) -> None:
        self._directory(batch_id).publish = {}

    def drop_publish(self, batch_id: str) -> None:
        self._directory(batch_id).publish = None

    def create_result(self, batch_id: str, name: str) -> BinaryIO:
        publish = self._publish(batch_id)
        if name in publish:
            raise SpoolError(f"{name} is in publish/ already.")
        return _Result(publish, name)

    def seal_publish(self, batch_id: str) -> str:
        whole = hashlib.sha256()
        for name, content in sorted(self._publish(batch_id).items()):
            whole.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
        return whole.hexdigest()

    def publish(self, batch_id: str, final_name: str) -> str:
        publish = self._directory(batch_id).publish
        if publish is None:
            return f"memory/outbox/{final_name}"
        if self.outbox.get(final_name):
            raise SpoolError(f"The outbox has a {final_name} already, and batchd overwrites nothing.")
        self.outbox[final_name] = publish
        self._directory(batch_id).publish = None
        return f"memory/outbox/{final_name}"

    def archive(self, batch_id: str) -> None:
        directory = self._directory(batch_id)
        if directory.orig:
            self.archived[batch_id] = (self.archived_at, directory.orig)
            directory.orig = {}

    def discard(self, batch_id: str) -> None:
        _check(batch_id)
        self.processing.pop(batch_id, None)
        self.journals.discard(batch_id)

    def empty_trash(self, batch_id: str) -> None:
        self.partial.pop(batch_id, None)

    def places(self) -> Mapping[str, Place]:
        return {
            batch_id: Place(
                has_original=self.original_name(batch_id) is not None,
                has_copy=directory.copy is not None,
                has_journal=batch_id in self.journals,
                has_publish=directory.publish is not None,
            )
            for batch_id, directory in sorted(self.processing.items())
        }

    def strangers(self) -> list[str]:
        return []

    def result_path(self, batch_id: str) -> str | None:
        found = [name for name in self._named(batch_id) if "batch.json" in self.outbox[name]]
        return f"memory/outbox/{found[0]}" if found else None

    def remains_path(self, batch_id: str) -> str | None:
        found = [name for name in self._named(batch_id) if self.outbox[name].keys() - {"batch.json"}]
        return f"memory/outbox/{found[0]}" if found and self.result_path(batch_id) is None else None

    def free_bytes(self) -> int:
        return self.free

    def free_files(self) -> int | None:
        return self.files_left

    def disk_files(self) -> int:
        return 0 if self.files_left is None else 10_000

    def disk_bytes(self) -> int:
        return self.size

    def expire_archive(
        self, older_than_s: float, now: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> int:
        old = [batch_id for batch_id, (at, _) in self.archived.items() if now - at > older_than_s]
        return sum(is_wanted() and bool(self.archived.pop(batch_id)) for batch_id in old)

    def turns(self) -> bytes:
        return self.kept_turns

    def keep_turns(self, content: bytes) -> None:
        self.kept_turns = content

    def write_status(self, content: bytes) -> None:
        self.status = content

    def remove_litter(self, now: float) -> int:
        return 0

    def control_at(self, batch_id: str, verb: str) -> float | None:
        return self.told.get((batch_id, verb))

    def remove_control(self, batch_id: str, verb: str) -> bool:
        return self.told.pop((batch_id, verb), None) is not None

    def controls(self, now: float) -> Sequence[tuple[str, str, float]]:
        oldest = sorted(self.told.items(), key=lambda told: told[1])
        return [(batch_id, verb, now - at) for (batch_id, verb), at in oldest]

    def _named(self, batch_id: str) -> list[str]:
        return sorted(name for name in self.outbox if name.endswith(f".{batch_id}"))

    def _seen(self, name: bytes, item: Dropped) -> Seen:
        signature = (1, item.inode, len(item.content), item.changes, item.changes)
        if item.reason:
            return Seen(name, Kind.UNCLAIMABLE, signature, item.reason, item.uid)
        kind = Kind.OPTIONS if name.endswith(b".options.json") else Kind.BATCH
        return Seen(name, kind, signature, uid=item.uid)

    def _directory(self, batch_id: str) -> Directory:
        _check(batch_id)
        try:
            return self.processing[batch_id]
        except KeyError:
            raise SpoolError(f"There is no batch {batch_id} in processing/.") from None

    def _publish(self, batch_id: str) -> dict[str, bytes]:
        publish = self._directory(batch_id).publish
        if publish is None:
            raise SpoolError("There is no publish/.")
        return publish


def _check(batch_id: str) -> None:
    if not is_batch_id(batch_id):
        raise SpoolError(f"{batch_id!a} is not the id of a batch.")
