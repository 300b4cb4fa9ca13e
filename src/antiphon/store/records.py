"""Predictions, written down as log lines: one for each that ended, without any of its content."""

import structlog

from antiphon.core.fold import Fold
from antiphon.domain.errors import AntiphonError
from antiphon.domain.prediction import Prediction

_log = structlog.get_logger()


class LoggedRecords:
    """Records that are lines in the log."""

    async def write(self, prediction: Prediction, fold: Fold, error: AntiphonError | None) -> None:
        """Write a line when a prediction has ended."""
        if not prediction.status.is_terminal:
            return
        usage = fold.usage
        _log.info(
            "prediction",
            id=str(prediction.id),
            account=prediction.account,
            model=f"{prediction.model}:{prediction.version}",
            status=str(prediction.status),
            reason=prediction.reason and str(prediction.reason),
            error=error and error.said_code,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            parameters=prediction.receipt,
        )
