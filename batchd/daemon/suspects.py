"""Suspects: the lines that a dying model server held, in companies that are halved until one is alone.

SUMMARY
    `note` each line that was held at a death; `split` makes two companies of them once all lanes have ended.
    What another server still holds then comes as companies of its own.

    `first` is the company to be tried next. One that comes through is cleared by its answers; one under which
    the server dies again is split again. One poison among 64 is found in seven halvings.

DIAGNOSTICS
    None: plain memory; the journal knows which lines were ever held at a death.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

#: More lines than this do not wait for the end: a server that hangs under everything would never be seen to.
LATE_MAX = 16


@dataclass(frozen=True, slots=True)
class Company:
    """Suspects that are tried together, from a moment on; late ones after all that is no suspect."""

    members: tuple[int, ...]
    due: float = 0.0
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The requests that were to blame, and what they did: deaths in company, by server."""

    guilty: tuple[str, ...]
    deaths: Mapping[int, int]


class Suspects:
    """The companies that wait, the next one first."""

    def __init__(self) -> None:
        self._companies: list[Company] = []
        self._noted: list[int] = []
        self._noted_late: list[int] = []
        self._guilty: list[str] = []
        self._deaths: dict[int, int] = {}
        self._is_open = False

    def __repr__(self) -> str:
        return f"Suspects({[len(company.members) for company in self._companies]}, {len(self._noted)} noted)"

    def __len__(self) -> int:
        return sum(len(company.members) for company in self._companies) + len(self._held)

    @property
    def _held(self) -> list[int]:
        return [*self._noted, *self._noted_late]

    def __iter__(self) -> Iterator[int]:
        yield from self._held
        for company in self._companies:
            yield from company.members

    def note(self, index: int, is_late: bool = False) -> None:
        """It was held at the death that just happened; late, where the server hung under it."""
        (self._noted_late if is_late else self._noted).append(index)
        self._is_open = True

    def split(self) -> None:
        """Everything that was held is known: halves of it are tried next."""
        for noted, is_late in ((self._noted_late, True), (self._noted, False)):
            middle = (len(noted) + 1) // 2
            halves = (noted[:middle], noted[middle:])
            self._companies[:0] = [Company(tuple(half), is_late=is_late) for half in halves if half]
        self._noted, self._noted_late = [], []

    def put(self, members: Sequence[int], due: float = 0.0) -> None:
        """These wait, behind the others."""
        if members:
            self._companies.append(Company(tuple(members), due))
            self._is_open = True

    def first(
        self, now: float, fits: Callable[[int], bool] = lambda index: True, may_be_late: bool = True
    ) -> Company | None:
        """The next company whose moment has come, and all of whom this server can hold."""
        may_be_late = may_be_late or self._late_count > LATE_MAX
        due = (company for company in self._companies if company.due <= now)
        wanted = (company for company in due if may_be_late or not company.is_late)
        return next((company for company in wanted if all(map(fits, company.members))), None)

    @property
    def _late_count(self) -> int:
        return sum(len(company.members) for company in self._companies if company.is_late)

    def take(self, company: Company) -> bool:
        """It is being tried. False: another server was faster."""
        if company not in self._companies:
            return False
        self._companies.remove(company)
        self._is_open = True
        return True

    def left_s(self, now: float) -> float:
        """Seconds until the next one is due; 0 when there is none."""
        return max(0.0, min((company.due for company in self._companies), default=now) - now)

    def died(self, server: int) -> None:
        """This server died under lines of which not all were suspects."""
        self._deaths[server] = self._deaths.get(server, 0) + 1

    def convict(self, custom_id: str) -> None:
        """This one alone was to blame."""
        self._guilty.append(custom_id)

    def verdict(self) -> Verdict | None:
        """When none is left: the guilty, and the deaths since the last one. None: not yet, or not again."""
        if not self._is_open or len(self) > self._late_count:
            return None
        found = Verdict(tuple(self._guilty), self._deaths)
        self._guilty, self._deaths, self._is_open = [], {}, False
        return found
