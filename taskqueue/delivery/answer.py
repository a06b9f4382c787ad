"""One answer, read out of the bytes of a connection within fixed bounds."""

from __future__ import annotations

import httptools

from taskqueue.core.outcome import KEPT_BODY, Response
from taskqueue.core.text import clean
from taskqueue.delivery.failure import AttemptFailed

READ_CAP = 2**20  # of one answer's bytes, framing included; what need not be whole is cut before a read could pass it
_LARGEST_READ = 2**18  # that an event loop hands over at once
ERROR_KEPT = 2**18  # of what tells why a function failed
HEAD_CAP = 64 * 1024
MAX_HEADERS = 128
MAX_INTERIM = 10
KEPT_HEADERS = 50
KEPT_HEADER_BYTES = 8 * 1024
_VERSIONS = frozenset({"1.0", "1.1"})
# These decide over the task: kept however many others came before them.
_STEERING = frozenset(
    {
        *("content-type", "content-encoding", "retry-after", "retry-after-ms"),
        *("x-ratelimit-reset", "x-ratelimit-remaining", "ratelimit-reset", "ratelimit-remaining"),
        *("taskqueue-control", "upstash-nonretryable-error"),
        *("x-amz-function-error", "x-amzn-errortype", "x-amzn-requestid"),
    }
)
_FUNCTION_ERROR = b"x-amz-function-error"
_NO_NAMES: frozenset[str] = frozenset()


class Answer:
    """Takes the bytes of one answer as they come; ``AttemptFailed`` once they are not HTTP.

    Of a body the beginning is kept, more of it where it tells why a function failed, and all of it if it is wanted
    ``whole``: attempts under way keep a mebibyte each at the most. ``read`` names headers that are kept whatever came
    before them.
    ``complete`` says the peer finished it, ``cut`` that we had enough of it, ``reusable`` that the connection may
    carry another request.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_extra",
        "_head_bytes",
        "_headers",
        "_interim",
        "_keep",
        "_keep_alive",
        "_parser",
        "_read",
        "_whole",
        "_wire_bytes",
        "_wrong",
        "complete",
        "cut",
        "head_complete",
        "status",
    )

    def __init__(self, *, whole: bool = False, read: frozenset[str] = _NO_NAMES) -> None:
        self._whole, self._read = whole, read
        self._keep = READ_CAP if whole else KEPT_BODY
        self.status = 0
        self.head_complete = self.complete = self.cut = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._body_bytes = self._head_bytes = self._wire_bytes = self._interim = 0
        self._keep_alive = self._extra = False
        self._wrong: str | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    @property
    def reusable(self) -> bool:
        return self.complete and self._keep_alive and not self._extra and not self.cut

    @property
    def interim_only(self) -> bool:
        """Whether nothing but 1xx has come so far."""
        return self._interim > 0 and not self.head_complete

    def feed(self, data: bytes) -> bool:
        """Take ``data``; True once no more is needed."""
        assert self._parser is not None, "the answer is over"
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.complete:
                self._extra = True
            else:
                self._wrong = self._wrong or str(error)
        if not self.head_complete and self._wire_bytes > HEAD_CAP:
            self._wrong = self._wrong or "the head is too long"
        if self._wrong is not None:
            raise AttemptFailed("protocol_error", "MalformedAnswer", f"the answer is not valid HTTP: {self._wrong}")
        self.cut = not self.complete and self._wire_bytes > (READ_CAP if self._whole else READ_CAP - _LARGEST_READ)
        return self.complete or self.cut

    def end(self, *, orderly: bool) -> None:
        """The peer closed the connection; it may have been the way to end a body of no stated length."""
        if self.head_complete and orderly and not self._framed():
            self.complete = True

    def close(self) -> None:
        """Let go of the parser, which holds this object in a circle."""
        self._parser = None

    def response(self) -> Response:
        """What is kept of the answer."""
        return Response(
            status=self.status,
            headers=self._kept_headers(),
            body=bytes(self._body),
            truncated=not self.complete or self._body_bytes > len(self._body),
        )

    def on_message_begin(self) -> None:
        self._extra = self._extra or self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self.head_complete:
            return  # a trailer
        self._headers.append((name.lower(), value))
        if len(self._headers) > MAX_HEADERS:
            self._wrong = f"there are more than {MAX_HEADERS} headers"
            self._headers.clear()
        elif self._head_bytes > HEAD_CAP:
            self._wrong = "the head is too long"

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self.complete or parser is None:
            return  # a second answer, which nobody asked for
        status = parser.get_status_code()
        if parser.get_http_version() not in _VERSIONS:
            self._wrong = "the version is neither 1.0 nor 1.1"
        elif 100 <= status <= 199 and status != 101:
            self._interim += 1
            self._headers.clear()
            if self._interim > MAX_INTERIM:
                self._wrong = "there is no end of 1xx answers"
        elif not 200 <= status <= 599:
            self._wrong = f"status {status} has no meaning here"
        else:
            self.status, self.head_complete = status, True
            self._keep_alive = parser.should_keep_alive()
            if any(name == _FUNCTION_ERROR for name, _ in self._headers):
                self._keep = max(self._keep, ERROR_KEPT)

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return
        self._body_bytes += len(data)
        if (room := self._keep - len(self._body)) > 0:
            self._body += data[:room]

    def on_message_complete(self) -> None:
        self.complete = self.head_complete

    def _framed(self) -> bool:
        """Whether the head says where the body ends."""
        coding = b""
        for name, value in self._headers:
            if name == b"content-length":
                return True
            if name == b"transfer-encoding":
                coding = value
        return coding.rpartition(b",")[2].strip().lower() == b"chunked"

    def _kept_headers(self) -> tuple[tuple[str, str], ...]:
        kept = []
        room, places = KEPT_HEADER_BYTES, KEPT_HEADERS
        for raw_name, raw_value in self._headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            size = len(name) + len(value)
            if (size <= room and places > 0) or name in _STEERING or name in self._read:
                room, places = room - size, places - 1
                fit = value.isprintable() and size <= KEPT_HEADER_BYTES
                kept.append((name, value if fit else clean(value, KEPT_HEADER_BYTES)))
        return tuple(kept)
