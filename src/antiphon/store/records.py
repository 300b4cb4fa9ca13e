"""Predictions as log lines: one for each that ended, without any of its content."""

import structlog

from antiphon.core.ports import WRITTEN, Writing
from antiphon.core.running import Running

_log = structlog.get_logger()


class LoggedRecords:
    """Records that are lines in the log and nothing else; see core.records.Records."""

    def write(self, running: Running) -> Writing:
        """Write a line when a prediction has ended."""
        if running.prediction.status.is_terminal:
            log_ended(running)
        return WRITTEN


def log_ended(running: Running) -> None:
    """Write the line of a prediction that has ended."""
    prediction, usage = running.prediction, running.fold.usage
    _log.info(
        "prediction",
        id=str(prediction.id),
        account=prediction.account,
        model=f"{prediction.model}:{prediction.version}",
        status=str(prediction.status),
        reason=prediction.reason and str(prediction.reason),
        error=running.error and running.error.said_code,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        parameters=prediction.receipt,
    )
