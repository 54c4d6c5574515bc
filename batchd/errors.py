"""Errors that end a verb: what went wrong in one sentence, and the next step.

SUMMARY
    Expected trouble with a line or a model is a value (`core/fault`). What stands here is trouble that the
    code cannot go on with. Each class carries the exit code that the command line ends with.

    ConfigError        the operator must change a setting             exit 78
    UsageError         the command was typed wrongly                  exit 2
    UnavailableError   held by another, or out of reach: try later    exit 75
    SpoolError         the spool's directory or disk failed us        exit 1
      NotUsableError     what was claimed is no plain file of its own: the batch fails, the daemon goes on
      InputChangedError  the original changed while it was copied: intake begins again
      NoSpaceError       the disk is full, or a quota used up: what can wait waits
    JournalError       a journal cannot be opened, read or written    exit 1
      DamagedJournalError  what it holds cannot be believed: the next start salvages what is whole
      FullJournalError     its disk is full: nothing of it is lost, what can wait waits
      JournalVersionError  another batchd wrote it, in a form that this one does not know    exit 78

DIAGNOSTICS
    Fatal: every one of them, where nobody below the roof may go on.
"""


class BatchdError(Exception):
    """One sentence for a person, and the step that helps."""

    exit_code = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}\n{self.next_step}" if self.next_step else self.message


class ConfigError(BatchdError):
    """A setting is wrong; `RestartPreventExitStatus=78` keeps systemd from trying again."""

    exit_code = 78


class UsageError(BatchdError):
    """The command line was typed wrongly."""

    exit_code = 2


class UnavailableError(BatchdError):
    """The spool is held by another, or the model server is out of reach (EX_TEMPFAIL)."""

    exit_code = 75


class SpoolError(BatchdError):
    """The spool cannot be used; recovery runs at the next start."""


class NotUsableError(SpoolError):
    """A claimed file can never be a batch: a link, a second name, no plain file, too large."""


class InputChangedError(SpoolError):
    """The original changed while it was copied; the copy is gone and may be made again."""


class NoSpaceError(SpoolError):
    """The disk is full, or the quota is used up."""


class JournalError(BatchdError):
    """A journal cannot be opened, read or written; recovery runs at the next start."""


class DamagedJournalError(JournalError):
    """What a journal holds cannot be believed; recovery keeps it and salvages what is whole."""


class FullJournalError(JournalError):
    """The disk of a journal is full, or the quota is used up."""


class JournalVersionError(JournalError):
    """Another batchd wrote the journal; starting this one again would not help."""

    exit_code = 78
