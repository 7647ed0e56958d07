"""What went wrong with a store, as a message with place, value and remedy, and without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from factory.core.errors import StoreError

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)KEY(_|$)", re.IGNORECASE)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
_QUERY = re.compile(r"\?[^\s'\"]+")
_LONGEST = 300

ACCESS = (
    "Allow these credentials to list, read, write and delete objects there (on S3: s3:ListBucket, "
    "s3:GetObject, s3:PutObject, s3:DeleteObject)"
)
CREDENTIALS = (
    "Give valid ones in the environment, as the store's own tools read them (on S3: "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of the machine)"
)
NETWORK = "Check the network and the address (on S3: AWS_ENDPOINT_URL)"
REGION = "Set AWS_DEFAULT_REGION to the region of the bucket"

_BY_CODE = {
    **dict.fromkeys(
        ("AccessDenied", "AllAccessDisabled", "AccountProblem", "403"), ("access is denied", ACCESS)
    ),
    **dict.fromkeys(
        (
            *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
            *("TokenRefreshRequired", "InvalidSecurity", "NotSignedUp"),
        ),
        ("the credentials are unknown or have expired", CREDENTIALS),
    ),
    **dict.fromkeys(
        (
            *("PermanentRedirect", "AuthorizationHeaderMalformed", "Redirect", "301", "307"),
            *("IllegalLocationConstraintException", "TemporaryRedirect"),
        ),
        ("the bucket is in another region", REGION),
    ),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "Set the clock"),
    "InvalidBucketName": ("this is no name of a bucket", "Correct `store` in the recipe"),
    "NoSuchBucket": (
        "the bucket does not exist",
        "Create it, or correct `store` in the recipe",
    ),
}
"""S3's error codes that have a remedy: what is wrong, and what to do."""

_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
_NO_NETWORK = (
    *("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError"),
    *("ReadTimeoutError", "HTTPClientError", "ProxyConnectionError", "FSTimeoutError"),
    *("ClientConnectorError", "ServerDisconnectedError", "gaierror", "TimeoutError"),
    *("ConnectionError", "ConnectError", "ConnectionRefusedError", "ConnectionResetError"),
)
_PASSING = (
    *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "OperationAborted"),
    "ConditionalRequestConflict",  # two writes of one name at the same moment
)


UNSUPPORTED = ("NotImplemented", "501")
"""What a store answers to a request that it does not know."""


def explain(url: str, error: BaseException) -> StoreError:
    """Return what an exception of a store's library means to the user.

    `passing` is true for what may be over in a minute: no network, an error of the server.
    """
    code, status = find_code(error)
    names = {type(one).__name__ for one in _chain(error)}
    passing = False
    if code in _BY_CODE:
        what, remedy = _BY_CODE[code]
    elif names & {*_NO_CREDENTIALS}:
        what, remedy = "there are no credentials", CREDENTIALS
    elif code in _PASSING or (status >= 500 and code not in UNSUPPORTED):
        what, remedy, passing = f"the store fails ({code})", "Try again later", True
    elif names & {*_NO_NETWORK} and not code:
        what, remedy, passing = "the store cannot be reached", NETWORK, True
    elif isinstance(error, PermissionError):
        what, remedy = "access is denied", ACCESS
    else:
        detail = hide_secrets(f"{type(error).__name__}: {error}")
        what, remedy = f"the store refuses ({detail})", "Check `store` in the recipe"
    return StoreError(f"store {url}: {what}. {remedy}.", passing=passing, code=code)


def find_code(error: BaseException) -> tuple[str, int]:
    """Return the code and the HTTP status of an answer of S3; "" and 0 for another error."""
    for one in _chain(error):
        answer = getattr(one, "response", None)
        if isinstance(answer, dict):
            code = str(answer.get("Error", {}).get("Code", ""))
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return code, int(status or 0)
    return "", 0


def hide_secrets(text: str) -> str:
    """Return a text without the secrets of this process's environment, key ids and URL queries."""
    for name, value in os.environ.items():
        if len(value) >= 6 and _SECRET_NAME.search(name):
            text = text.replace(value, "…")
    text = _QUERY.sub("?…", _KEY_ID.sub("…", text))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what caused it."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
