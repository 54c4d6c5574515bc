"""Voice: the log of one model server. Where there are several, each of its lines begins with its name.

DIAGNOSTICS
    None.
"""

from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Logger, Record


def voice(name: str) -> "Logger":
    """The log of the server of this name; of one without a name, the log as it is."""

    def patch(record: "Record") -> None:
        record["message"] = f"{name}: {record['message']}"

    return logger.bind(server=name).patch(patch) if name else logger
