"""The error tree: one root, leaves named for the cause.

    VedetteError                 70  (internal: a worker died of something nobody foresaw)
    ├── UsageError               64  a command was called in a way it does not know
    ├── ConfigError              78  the configuration cannot be used; carries every problem found
    ├── ModelError               65  a model file cannot be used
    │   ├── ModelUnreadable          missing, empty, no permission, not a TFLite file
    │   ├── ModelDamaged             its digest differs, or the child that loaded it died or hung
    │   │   └── ModelUnproven        the child had no time or no memory: another try may end otherwise
    │   ├── ModelUnsupported         sound, but not what a decoder or the runtime can run
    │   ├── ModelBadlyQuantised      sound, but no score of it can ever pass the threshold
    │   ├── ModelMismatched          runs, but its golden frames come out otherwise than they must
    │   └── ModelTooSlow             runs, but takes longer for a frame than the budget
    ├── DetectError              65  one frame could not be looked at; the next one may be
    │   ├── InvokeFailed             the interpreter refused
    │   └── OutputInvalid            the output is not what the decoder was promised
    ├── SourceError              69  the camera source gives no frames
    │   ├── SourceMissing            nothing is there (or not now: a device may come back)
    │   ├── SourceInvalid        65  something is there and it is no video and no picture
    │   └── SourceEnded           0  a file or a folder was played to its end
    ├── CameraStuck              74  replacing the capture child no longer helps; systemd must restart us
    ├── RuntimeMissing           69  no TFLite runtime can be imported
    ├── OutputLost               69  what a command prints cannot be written
    │   └── OutputUnread          0  its reader has left, as `| head -1` does
    ├── ExtraMissing             69  a command needs a package of an optional extra that is not installed
    ├── StateUnusable            69  the state folder cannot be made, locked, read or written
    │   ├── AlreadyRunning           another daemon holds it
    │   ├── StoreFull                the disk has no room for a model
    │   └── RequestUnanswered        the daemon that holds it did not answer a command in time
    ├── HttpError                69  a server gave no usable answer
    │   ├── HttpUnreachable          no address, no connection, no TLS, or the answer ended early
    │   ├── HttpTooSlow              the total deadline passed, or no byte came for long
    │   ├── HttpTooLong              the body is longer than what was asked for can be
    │   └── HttpStatus               another status than a success: carries it, and when to come back
    ├── CloudError               69  the cloud gave no result for a frame: its answer is none, or no token for it
    │   └── CloudBudgetSpent         calls or bytes of the hour or the day are used up: no call was made
    ├── UpdateError              69  no update from there now
    │   ├── UpdateUnreachable        the source gave no answer, or not all of it; later it may
    │   │   └── UpdateMissing            it has no such file: not yet, or not any more
    │   └── UpdateRefused        65  what it gave is not trusted, or not for this device; the rule is named
    ├── FleetError               65  an operator's repository cannot be changed or published so
    │   ├── KeyUnusable          69  a signing key is missing, another one, or its passphrase is wrong
    │   └── FleetBusy            69  another command is changing it
    └── BrokerError              69  the MQTT broker cannot be used, or not any longer
        ├── BrokerAway               no connection, no answer in time, or the connection was lost
        ├── BrokerRefused            it answered no: credentials, client id, protocol
        └── BrokerTakenOver          another client of the same id has taken the connection's place

Invariants: every error's message says what, which, and what was expected; `exit_code` is what a command
that ends with it returns (documented in docs/operations.md).
"""


class VedetteError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 70


class UsageError(VedetteError):
    """A command was called in a way it does not know."""

    exit_code = 64


class ConfigError(VedetteError):
    """The configuration cannot be used.

    `problems` holds one line for each problem found, in the order of the file.
    """

    exit_code = 78

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class ModelError(VedetteError):
    """A model file cannot be used."""

    exit_code = 65


class ModelUnreadable(ModelError):
    """The model is missing, empty, not readable, or not a TFLite file."""


class ModelDamaged(ModelError):
    """The digest differs from the one promised, or the child that loaded the file died or hung."""


class ModelUnproven(ModelDamaged):
    """The child had no time, no memory, or was killed by somebody else: that says nothing lasting of the file."""


class ModelUnsupported(ModelError):
    """The file is sound, but no decoder fits it or the runtime cannot run it."""


class ModelBadlyQuantised(ModelError):
    """The file runs, but none of its scores can ever pass the threshold."""


class ModelMismatched(ModelError):
    """The file runs, but its golden frames do not yield the detections they must."""


class ModelTooSlow(ModelError):
    """The file runs, but takes longer for a frame than `update.latency_budget_ms`."""


class DetectError(VedetteError):
    """One frame could not be looked at. Never the same as a frame with nothing in it."""

    exit_code = 65


class InvokeFailed(DetectError):
    """The interpreter refused to run."""


class OutputInvalid(DetectError):
    """The output tensors are not what the decoder was promised."""


class SourceError(VedetteError):
    """The camera source gives no frames."""

    exit_code = 69


class SourceMissing(SourceError):
    """Nothing is there, or not now: a device or a stream may come back."""


class SourceInvalid(SourceError):
    """Something is there, and it is no video and no picture."""

    exit_code = 65


class SourceEnded(SourceError):
    """A file or a folder was played to its end."""

    exit_code = 0


class CameraStuck(VedetteError):
    """Replacing the capture child no longer helps: only a new process can."""

    exit_code = 74


class RuntimeMissing(VedetteError):
    """No TFLite runtime can be imported and used."""

    exit_code = 69


class OutputLost(VedetteError):
    """What a command prints cannot be written."""

    exit_code = 69


class OutputUnread(OutputLost):
    """The reader of what a command prints has left."""

    exit_code = 0


class ExtraMissing(VedetteError):
    """A command needs a package of an optional extra, which is not installed."""

    exit_code = 69


class StateUnusable(VedetteError):
    """The state folder cannot be made, locked, read or written."""

    exit_code = 69


class AlreadyRunning(StateUnusable):
    """Another daemon holds the state folder."""


class FleetError(VedetteError):
    """An operator's repository cannot be changed or published so: no such release, damaged, expired, a wrong clock."""

    exit_code = 65


class KeyUnusable(FleetError):
    """A signing key is missing, is another one, or its passphrase is wrong."""

    exit_code = 69


class FleetBusy(FleetError):
    """Another command is changing the repository."""

    exit_code = 69


class StoreFull(StateUnusable):
    """The disk has no room for a model."""


class RequestUnanswered(StateUnusable):
    """The daemon that holds the state folder did not answer a command in time."""


class HttpError(VedetteError):
    """A server gave no usable answer."""

    exit_code = 69


class HttpUnreachable(HttpError):
    """No address, no connection, no TLS, or the answer ended early."""


class HttpTooSlow(HttpError):
    """The total deadline passed, or no byte came for long."""


class HttpTooLong(HttpError):
    """The body is longer than what was asked for can be."""


class HttpStatus(HttpError):
    """The server answered with another status than a success.

    `retry_after_s` is what it asked for, within bounds, or None.
    """

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message)


class CloudError(VedetteError):
    """The cloud gave no result for a frame. Never the same as a frame with nothing in it."""

    exit_code = 69


class CloudBudgetSpent(CloudError):
    """Calls or bytes of the hour or the day are used up, or cannot be accounted for: no call was made."""


class UpdateError(VedetteError):
    """There is no update from there now."""

    exit_code = 69


class UpdateUnreachable(UpdateError):
    """The source gave no answer, or not all of it. Later it may.

    `retry_after_s` is how long it asked to be left alone, at most an hour, or None.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class UpdateMissing(UpdateUnreachable):
    """The source has no such file: not yet, or not any more."""


class UpdateRefused(UpdateError):
    """What the source gave is not trusted, or not for this device. The message begins with the rule."""

    exit_code = 65


class BrokerError(VedetteError):
    """The MQTT broker cannot be used, or not any longer."""

    exit_code = 69


class BrokerAway(BrokerError):
    """There is no connection, no answer in time, or the connection was lost."""


class BrokerRefused(BrokerError):
    """The broker answered no: credentials, client id, protocol."""


class BrokerTakenOver(BrokerError):
    """Another client of the same id has taken this connection's place."""
