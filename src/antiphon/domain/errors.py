"""Everything that can go wrong, each with the answer a client gets for it.

One class is one row of the table in docs/errors.md: add a class here and nothing else. An answer carries
`x-should-retry: false` where OpenAI's clients would otherwise send the same prompt again (they retry 408, 409, 429 and
every 5xx twice), and `Retry-After` where trying again is the right thing.

    AntiphonError
    ├── InvalidRequest            422  what was sent is malformed; carries one FieldFault per finding
    ├── Unsupported               400  well-formed, but this model or request cannot have it
    │   └── ContextTooLong, FileQuotaExceeded
    ├── InvalidKey                401        NotAllowed                403
    ├── NotFound                  404        MethodNotAllowed          405
    │   ├── UnknownModel          PredictionCancelled       409
    │   ├── UnknownPrediction     PredictionEnded           409        IdempotencyConflict   409
    │   ├── UnknownFile
    │   └── UnknownCompletion     BodyTooLarge              413        UnsupportedMediaType  415
    ├── MalformedHttp             400        HeadersTooLarge           431
    ├── RateLimited               429        InsufficientQuota
    ├── InternalError             500        EngineFailed, PredictionAbandoned      502
    ├── Unavailable               503: QueueFull, EngineUnavailable, Draining, StorageUnavailable
    └── DeadlineExceeded          504
"""

from typing import ClassVar

from antiphon.domain.faults import FieldFault

RETRY_AFTER_S = 1
"""What `Retry-After` says on answers that are worth another try."""


class AntiphonError(Exception):
    """A named failure. Subclasses say how it is answered; an instance says what happened, in words for a client."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    should_retry: ClassVar[bool | None] = None
    """False writes `x-should-retry: false`; True writes `Retry-After`; None writes neither (clients do not retry)."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.said_code = code or self.code
        """The code of this instance: the class's own unless a narrower one was given."""


class InvalidRequest(AntiphonError):
    """What was sent is malformed, out of range or contradicts itself."""

    status = 422
    type = "invalid_request_error"
    code = "invalid_value"

    def __init__(self, faults: tuple[FieldFault, ...]) -> None:
        first = faults[0]
        message = f"{first.param}: {first.msg}" if first.param else first.msg
        super().__init__(message, param=first.param, code=first.code)
        self.faults = faults


class Unsupported(AntiphonError):
    """Well-formed, but this model or its engine cannot do it."""

    status = 400
    type = "invalid_request_error"
    code = "unsupported_parameter"


class ContextTooLong(Unsupported):
    """The prompt does not fit the model's context."""

    code = "context_length_exceeded"


class FileQuotaExceeded(Unsupported):
    """The account keeps as many files, or as many bytes of them, as it may: remove some first."""

    code = "file_quota_exceeded"


class MalformedHttp(AntiphonError):
    """The bytes on the wire are not an HTTP request we accept."""

    status = 400
    type = "invalid_request_error"
    code = "malformed_http"


class InvalidKey(AntiphonError):
    """No key, a malformed one, an unknown one or a revoked one: one answer for all."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotAllowed(AntiphonError):
    """The key is good and may not do this."""

    status = 403
    type = "permission_error"
    code = "not_allowed"


class NotFound(AntiphonError):
    """No such path."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class UnknownModel(NotFound):
    """No such model or version, or one of somebody else's private ones."""

    code = "model_not_found"


class UnknownPrediction(NotFound):
    """No such prediction, or somebody else's."""

    code = "prediction_not_found"


class UnknownFile(NotFound):
    """No such file, or somebody else's."""

    code = "file_not_found"


class UnknownCompletion(NotFound):
    """No such stored completion, or somebody else's."""

    code = "completion_not_found"


class MethodNotAllowed(AntiphonError):
    """The path exists; this method does not."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class PredictionCancelled(AntiphonError):
    """Somebody asked for this prediction to be cancelled while it was being answered."""

    status = 409
    type = "prediction_cancelled"
    code = "prediction_cancelled"
    should_retry = False


class PredictionEnded(AntiphonError):
    """Only a prediction that has not ended can be cancelled."""

    status = 409
    type = "invalid_request_error"
    code = "prediction_ended"
    should_retry = False


class PredictionAbandoned(AntiphonError):
    """The process that ran this prediction died before it had ended."""

    status = 502
    code = "abandoned"
    should_retry = False


class IdempotencyConflict(AntiphonError):
    """This idempotency key stands for another request."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_key_reused"
    should_retry = False


class BodyTooLarge(AntiphonError):
    """More bytes than the server reads."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(AntiphonError):
    """The body is not sent as plain JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_content_type"


class HeadersTooLarge(AntiphonError):
    """More or longer headers than the server reads."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RateLimited(AntiphonError):
    """This key has asked for as much as it may, for now."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    should_retry = True

    def __init__(self, message: str, *, retry_after_s: int = RETRY_AFTER_S, limit: int = 0) -> None:
        super().__init__(message)
        self.retry_after_s, self.limit = retry_after_s, limit


class InsufficientQuota(RateLimited):
    """This key has used all its tokens of this month."""

    code = "insufficient_quota"


class InternalError(AntiphonError):
    """A fault of ours; the message never says which."""

    should_retry = False


class EngineFailed(AntiphonError):
    """The engine died, or said something that is not an answer."""

    status = 502
    code = "engine_failed"
    should_retry = False


class Unavailable(AntiphonError):
    """Not now; trying again is reasonable."""

    status = 503
    code = "engine_unavailable"
    should_retry = True

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int = RETRY_AFTER_S
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.retry_after_s = retry_after_s


class QueueFull(Unavailable):
    """The model's queue is at its bound."""

    code = "queue_full"


class EngineUnavailable(Unavailable):
    """The engine is loading, restarting or unreachable."""


class Draining(Unavailable):
    """The server is shutting down and takes no new work."""

    code = "draining"


class StorageUnavailable(Unavailable):
    """The store does not answer."""

    code = "storage_unavailable"


class DeadlineExceeded(AntiphonError):
    """The deadline passed; the prediction was cancelled."""

    status = 504
    code = "deadline_exceeded"
    should_retry = False


def tell(error: BaseException) -> AntiphonError:
    """Give the error a client is told: itself when it is one of ours, else an InternalError that hides it."""
    if isinstance(error, AntiphonError):
        return error
    return InternalError("The server had an internal error. It has been recorded under this request's id.")
