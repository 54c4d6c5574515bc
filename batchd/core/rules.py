"""Rules: the operator's settings that the rooms decide by.

SUMMARY
    The settings stand above the daemon, which may not import them; the app copies out what the rooms need.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchd.core.strategy import Habits, Strategy
from batchd.core.validity import Answers


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits carry their unit in the name; the reasons stand beside the settings."""

    slots: int
    window_tokens_max: int = 32_768
    request_timeout_s: float = 300.0
    give_up_s: float | None = None
    idle_unload_s: float = 300.0
    completion_tokens_default: int = 1_024
    line_bytes_max: int = 8 * 2**20
    lines_max: int = 5_000_000
    attempts_max: int = 3
    answers: Answers = Answers.CHECKED
    answer_attempts: int = 2
    strict: bool = False
    deduplicate: bool = True
    strategy: Strategy = Strategy.PREFIX
    habits: Habits = field(default_factory=Habits)
    enforce_window: bool = False
    settle_s: float = 2.0
    archive_days: float = 30.0
    pilot: int = 20
    input_bytes_max: int = 256 * 2**30
    owner_bytes_max: int = 128 * 2**30
    reserve_bytes: int | None = None  # free disk below which nothing is begun; None: by the size of the disk
    model: str | None = None
    model_aliases: Mapping[str, str] = field(default_factory=dict)

    def served_model(self, name: str) -> str:
        """The model here that answers lines which name that one."""
        return self.model or self.model_aliases.get(name, name)
