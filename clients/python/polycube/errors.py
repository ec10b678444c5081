"""What can go wrong."""

from __future__ import annotations

import http
import json
from typing import Any


class PolycubeError(Exception):
    """What all errors of this package have in common."""


class Unreachable(PolycubeError):
    """The daemon does not answer, or its answer is not complete."""


class Refused(PolycubeError):
    """The daemon answered, and refused.

    `info` has the message in fields, so that a program need not read the sentence.
    """

    def __init__(self, status: int, message: str, tag: str = "", path: str = "", info: Any = None):
        super().__init__(message)
        self.status, self.tag, self.path, self.info = status, tag, path, info

    @classmethod
    def read(cls, status: int, body: bytes) -> Refused:
        """The refusal in an answer, which is a RESTCONF error (RFC 8040, section 7.1)."""
        try:
            errors = json.loads(body)["ietf-restconf:errors"]["error"]
            first = errors[0]
            message = "; ".join(error["error-message"] for error in errors)
            return cls(status, message, first["error-tag"], first["error-path"], first.get("error-info"))
        except (ValueError, LookupError, TypeError):
            try:
                phrase = http.HTTPStatus(status).phrase
            except ValueError:
                phrase = "no such status is known"
            return cls(status, f"status {status}: {phrase}")
