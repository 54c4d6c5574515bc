"""A service manager that only remembers what it was told.

DIAGNOSTICS
    None.
"""


class SilentService:
    """The port `ServiceManager`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lines: list[str] = []
        self.pings = 0

    def ready(self) -> None:
        self.told.append("ready")

    def status(self, line: str) -> None:
        self.lines.append(line)

    def reloading(self, monotonic_s: float) -> None:
        self.told.append("reloading")

    def stopping(self, drain_s: float) -> None:
        self.told.append("stopping")

    def ping(self) -> None:
        self.pings += 1
