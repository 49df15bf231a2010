"""The error tree: one root, leaves named for the cause.

    VedetteError                 70  (internal: a worker ended with an unexpected error)
    ├── UsageError               64  a command line is wrong
    ├── ConfigError              78  the configuration cannot be used; it carries every problem
    ├── ModelError               65  a model file cannot be used
    │   ├── ModelUnreadable          missing, empty, not readable, or not a TFLite file
    │   ├── ModelDamaged             its digest differs, or the child that loaded it died or hung
    │   │   └── ModelUnproven        the child had no memory, or was killed; another try may succeed
    │   │       └── ModelTimedOut        it had no time; the next try gets more
    │   ├── ModelUnsupported         intact, but no decoder fits or the runtime cannot run it
    │   ├── ModelBadlyQuantised      intact, but none of its scores can ever pass the threshold
    │   ├── ModelMismatched          runs, but its golden frames do not yield their detections
    │   └── ModelTooSlow             runs, but takes longer for a frame than the budget
    ├── DetectError              65  detection failed for one frame; the next one may succeed
    │   ├── InvokeFailed             the interpreter refused to run
    │   └── OutputInvalid            the output is not what the decoder expects
    ├── SourceError              69  the camera source gives no frames
    │   ├── SourceMissing            there is no such source now; it may come back
    │   ├── SourceInvalid        65  the source is neither a video nor an image
    │   └── SourceEnded           0  a file or a folder was played to its end
    ├── CameraStuck              74  a new capture child does not help; systemd must restart the daemon
    ├── RuntimeMissing           69  no TFLite runtime can be imported
    ├── OutputLost               69  the output of a command cannot be written
    │   └── OutputUnread          0  its reader has left, as in `| head -1`
    ├── ExtraMissing             69  a command needs a package of an optional extra that is not installed
    ├── ToolMissing              69  a tool of the workshop, or its Python, is not here and cannot be installed
    ├── NotInstallable           69  the service cannot be installed on this machine, or not from this environment
    ├── StateUnusable            69  the state folder cannot be made, locked, read or written
    │   ├── AlreadyRunning           another daemon holds it
    │   ├── StoreFull                the disk has no room for a model
    │   └── RequestUnanswered        the daemon that holds it did not answer a command in time
    ├── HttpError                69  a server gave no usable answer
    │   ├── HttpUnreachable          no address, no connection, or no TLS
    │   │   └── HttpHungUp               the server ended the connection before its answer was complete
    │   ├── HttpTooSlow              the total deadline passed, or no byte came for a long time
    │   ├── HttpTooLong              the body is longer than the requested file can be
    │   └── HttpStatus               a status other than success; it carries the status and the time to retry
    ├── CloudError               69  the cloud gave no result for a frame: no usable answer, or no token to call it
    │   ├── CloudBudgetSpent         the hour's or the day's calls or bytes are used up; no call was made
    │   └── RegionChanged            the picture shows a region that a reload has changed since
    ├── UpdateError              69  the update source gives no update now
    │   ├── UpdateUnreachable        the source gave no complete answer; it may later
    │   │   ├── UpdateBusy               it may have too much to do: late, hung up, or it said so
    │   │   └── UpdateMissing            the source has no such file: not yet, or no longer
    │   └── UpdateRefused        65  its data is not trusted, or not for this device; the message names the rule
    │       └── UpdateExpired        its signatures have expired
    ├── FleetError               65  an operator's repository cannot be changed or published in this way
    │   ├── KeyUnusable          69  a signing key is missing or is a wrong one, or its passphrase is wrong
    │   └── FleetBusy            69  another command is changing the repository
    ├── DaemonAway               69  no daemon of this machine gave a usable answer on its local socket
    └── BrokerError              69  the MQTT broker cannot be used, or can no longer be used
        ├── BrokerAway               no connection, or the connection was lost
        │   └── BrokerBusy           no answer in time, or it hung up before its answer
        ├── BrokerRefused            it refused: credentials, client id, protocol
        └── BrokerTakenOver          another client with the same id took over the connection

Invariants: each message says what is wrong, with which file, key or device, and what was expected; `exit_code` is the
exit code of a command that ends with the error (docs/operations.md lists them).
"""


class VedetteError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code = 70


class UsageError(VedetteError):
    """The command line is wrong, or it asks for something impossible."""

    exit_code = 64


class ConfigError(VedetteError):
    """The configuration cannot be used.

    `problems` has one line for each problem, in the order of the file.
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
    """The digest differs from the expected one, or the child that loaded the file died or hung."""


class ModelUnproven(ModelDamaged):
    """The child had no time or no memory, or was killed from outside. The file itself may be fine."""


class ModelTimedOut(ModelUnproven):
    """The child had no time. The file may only be slow here, so the next try gets more."""


class ModelUnsupported(ModelError):
    """The file is intact, but no decoder fits it or the runtime cannot run it."""


class ModelBadlyQuantised(ModelError):
    """The file runs, but none of its scores can ever pass the threshold."""


class ModelMismatched(ModelError):
    """The file runs, but its golden frames do not yield their recorded detections."""


class ModelTooSlow(ModelError):
    """The file runs, but takes longer for a frame than `update.latency_budget_ms`."""


class DetectError(VedetteError):
    """Detection failed for one frame. This never means that the frame is empty."""

    exit_code = 65


class InvokeFailed(DetectError):
    """The interpreter refused to run."""


class OutputInvalid(DetectError):
    """The output tensors are not what the decoder expects."""


class SourceError(VedetteError):
    """The camera source gives no frames."""

    exit_code = 69


class SourceMissing(SourceError):
    """There is no such source now. A device or a stream may come back."""


class SourceInvalid(SourceError):
    """The source exists, but it is neither a video nor an image."""

    exit_code = 65


class SourceEnded(SourceError):
    """A file or a folder was played to its end."""

    exit_code = 0


class CameraStuck(VedetteError):
    """A new capture child does not help any more. Only a new process can."""

    exit_code = 74


class RuntimeMissing(VedetteError):
    """No TFLite runtime can be imported and used."""

    exit_code = 69


class OutputLost(VedetteError):
    """The output of a command cannot be written."""

    exit_code = 69


class OutputUnread(OutputLost):
    """The reader of a command's output has left."""

    exit_code = 0


class ExtraMissing(VedetteError):
    """A command needs a package of an optional extra, which is not installed."""

    exit_code = 69


class ToolMissing(VedetteError):
    """A tool of the workshop is not here and cannot be installed: no fitting Python, no network, no room."""

    exit_code = 69


class NotInstallable(VedetteError):
    """The service cannot be installed: no root rights, an environment that its user cannot read, or it is there."""

    exit_code = 69


class StateUnusable(VedetteError):
    """The state folder cannot be made, locked, read or written."""

    exit_code = 69


class AlreadyRunning(StateUnusable):
    """Another daemon holds the state folder."""


class FleetError(VedetteError):
    """An operator's repository cannot be changed or published: no such release, damaged, expired, or a wrong clock."""

    exit_code = 65


class KeyUnusable(FleetError):
    """A signing key is missing or is a wrong one, or its passphrase is wrong."""

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
    """There is no address, no connection or no TLS."""


class HttpHungUp(HttpUnreachable):
    """The server ended the connection before its answer was complete. It may have too much to do."""


class HttpTooSlow(HttpError):
    """The total deadline passed, or no byte came for a long time."""


class HttpTooLong(HttpError):
    """The body is longer than the requested file can be."""


class HttpStatus(HttpError):
    """The server answered with a status other than success.

    `retry_after_s` is the pause that the server asked for, within bounds, or None.
    """

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message)


class CloudError(VedetteError):
    """The cloud gave no result for a frame. This never means that the frame is empty."""

    exit_code = 69


class CloudBudgetSpent(CloudError):
    """The calls or bytes of the hour or the day are used up, or cannot be counted. No call was made."""


class RegionChanged(CloudError):
    """The picture shows a region that a reload has changed since. It was not sent, or not as a whole."""


class UpdateError(VedetteError):
    """The update source gives no update now."""

    exit_code = 69


class UpdateUnreachable(UpdateError):
    """The source gave no complete answer. It may do so later.

    `retry_after_s` is the pause that the source asked for, at most an hour, or None.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class UpdateBusy(UpdateUnreachable):
    """The source may have too much to do: it was late, hung up before its answer was complete, or said so."""


class UpdateMissing(UpdateUnreachable):
    """The source has no such file: not yet, or no longer."""


class UpdateRefused(UpdateError):
    """The data of the source is not trusted, or not for this device. The message begins with the rule."""

    exit_code = 65


class UpdateExpired(UpdateRefused):
    """The signatures of the source have expired."""


class DaemonAway(VedetteError):
    """No daemon of this machine gave a usable answer on its local socket."""

    exit_code = 69


class BrokerError(VedetteError):
    """The MQTT broker cannot be used, or can no longer be used."""

    exit_code = 69


class BrokerAway(BrokerError):
    """There is no connection, or the connection was lost."""


class BrokerBusy(BrokerAway):
    """The broker did not answer in time, or it hung up before its answer: it may have too much to do."""


class BrokerRefused(BrokerError):
    """The broker refused the connection: credentials, client id, protocol."""


class BrokerTakenOver(BrokerError):
    """Another client with the same id took over the connection."""
