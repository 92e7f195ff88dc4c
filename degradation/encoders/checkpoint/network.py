"""The hub over a network that may fail: patience, byte ranges, and errors in plain words.

huggingface_hub does what it can: authentication, addresses, redirects, its cache, and the download
of small files. What is added is the reading of byte ranges that are known to come from one
version of a file, and that goes on where a broken connection left off.
"""

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # of httpx or httpx2, whichever this huggingface_hub uses
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from degradation.errors import WeightsError

__all__ = [
    "ChangedFileError",
    "RemoteFacts",
    "append_range",
    "download_command",
    "plain_words",
    "remote_facts",
    "small_file",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between tries
LONGEST_WAIT = 60.0
NO_SUCH_RANGE = 416
PASSING = frozenset({408, 429, 500, 502, 503, 504})  # answers that another try may mend
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
LINKED_ETAG = constants.HUGGINGFACE_HEADER_X_LINKED_ETAG


class ChangedFileError(WeightsError):
    """The hub answered with another version of a file than the one that was begun."""


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """One version of a file on the hub.

    Attributes:
        repo: `ORG/NAME`.
        revision: Commit hash.
        name: Path of the file in the repository.
        etag: SHA-256 of a large file, git's SHA-1 of a small one.
        size: Bytes.
    """

    repo: str
    revision: str
    name: str
    etag: str
    size: int

    @property
    def source(self) -> str:
        """The file, for messages."""
        return f"{self.repo}@{self.revision[:12]}/{self.name}"


def small_file(repo: str, name: str, revision: str) -> Path | None:
    """A whole file in the hub's cache, downloaded if need be; None if the repository lacks it.

    Raises:
        WeightsError: The hub cannot be reached or refuses, or the disk is full.
    """
    with plain_words(repo, revision):
        try:
            return Path(patiently(lambda: hf_hub_download(repo, name, revision=revision), name))
        except RemoteEntryNotFoundError:
            return None


def remote_facts(repo: str, name: str, revision: str) -> RemoteFacts | None:
    """What the hub says about a file at a commit; None if the repository lacks it.

    Raises:
        WeightsError: The hub cannot be reached or refuses, or what answers is not a hub.
    """
    url = hf_hub_url(repo, name, revision=revision)
    with plain_words(repo, revision):
        try:
            found = patiently(lambda: get_hf_file_metadata(url), name)
        except RemoteEntryNotFoundError:
            return None
    if found.commit_hash != revision or found.etag is None or found.size is None:
        raise WeightsError(
            f"Expected etag and size of {name} at commit {revision} from {constants.ENDPOINT}, but "
            f"found etag {found.etag}, size {found.size}, commit {found.commit_hash}. It is not a "
            "hub: check HF_ENDPOINT and the proxy."
        )
    return RemoteFacts(repo, revision, name, found.etag, found.size)


def append_range(facts: RemoteFacts, start: int, stop: int, sink: Callable[[bytes], Any]) -> None:
    """Pass bytes `start` to `stop` of a remote file to `sink`, in order, each once.

    Raises:
        ChangedFileError: The file is not the one that `facts` describe.
        WeightsError: The server gives no ranges, refuses, or fails too often.
    """
    with plain_words(facts.repo, facts.revision):
        while start < stop:
            start += patiently(lambda at=start: stream(facts, at, stop, sink), facts.name)


def stream(facts: RemoteFacts, start: int, stop: int, sink: Callable[[bytes], Any]) -> int:
    """Bytes passed to `sink` until the range ended or, after the first, the connection broke.

    Raises:
        WeightsError: The answer is empty, or not this range.
        ChangedFileError: The hub has another version by now.
    """
    headers = build_hf_headers() | {
        "Range": f"bytes={start}-{stop - 1}",
        "Accept-Encoding": "identity",  # a range of a compressed file would be another range
    }
    url = hf_hub_url(facts.repo, facts.name, revision=facts.revision)
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    done = 0
    try:
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code >= 400:
                response.read()
            if response.status_code != NO_SUCH_RANGE:
                hf_raise_for_status(response)
            check_answer(response, facts, start, stop)
            # Without a chunk size: gathering chunks would lose what arrived before a break.
            for chunk in response.iter_raw():
                sink(chunk[: stop - start - done])
                done += len(chunk)
    except HTTPError as error:
        if not done:
            raise
        logger.warning("%s: %s; going on at byte %d", facts.source, reason(error), start + done)
    if not done:
        raise WeightsError(
            f"Expected bytes {start} to {stop} of {facts.source}, but the answer was empty. Check "
            "HF_ENDPOINT and the proxy."
        )
    return done


def check_answer(response: Any, facts: RemoteFacts, start: int, stop: int) -> None:
    """Refuse an answer that is not this range of this version of the file.

    Raises:
        ChangedFileError: It is of another version.
        WeightsError: It is another range, or the whole file.
    """
    # A large file is answered by a redirect, and only that knows the etag of the repository.
    linked = [hop.headers[LINKED_ETAG] for hop in response.history if LINKED_ETAG in hop.headers]
    own = [response.headers["ETag"]] if not response.history and "ETag" in response.headers else []
    etags = {etag.removeprefix("W/").strip('"') for etag in linked or own}
    found = response.headers.get("Content-Range", "")
    other_size = found.startswith("bytes ") and not found.endswith(f"/{facts.size}")
    if etags - {facts.etag} or other_size:
        raise ChangedFileError(
            f"Expected {facts.source} with etag {facts.etag} and {facts.size:,} bytes, but now the "
            f"hub answers with etag {', '.join(etags) or 'unknown'} and range {found or 'none'}. "
            "What was fetched of it was removed: run the same command again."
        )
    expected = f"bytes {start}-{stop - 1}/{facts.size}"
    if found != expected:
        raise WeightsError(
            f"Expected {expected} of {facts.source}, but the answer ({response.status_code}) has "
            f"range {found or 'none'}. This server gives no byte ranges: download the whole file "
            f"with `{download_command(facts.repo, facts.revision, facts.name)}`."
        )


def patiently(action: Callable[[], T], what: str) -> T:
    """The result of `action`, tried again after 1, 2, 4, 8 and 16 seconds if the network fails."""
    for wait in WAITS:
        try:
            return action()
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in PASSING:
                raise
            wait = max(wait, asked_wait(error))
            logger.warning("%s: %s; trying again in %g s", what, reason(error), wait)
            time.sleep(wait)
    return action()


def asked_wait(error: HTTPError) -> float:
    """Seconds that a busy hub asks for, within reason."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    asked = error.response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0


def reason(error: BaseException) -> str:
    """The first line of an error, or its kind if it says nothing."""
    if isinstance(error, HfHubHTTPError):
        return f"the hub answers {error.response.status_code}"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def plain_words(repo: str, revision: str) -> Iterator[None]:
    """Turn the errors of hub, network and disk into `WeightsError`s that say what to do.

    Raises:
        WeightsError: In place of each of these.
    """
    try:
        yield
    except (HTTPError, OSError) as error:
        raise WeightsError(explanation(error, repo, revision)) from error


def explanation(error: Exception, repo: str, revision: str) -> str:
    """What happened and what to do."""
    page = f"{constants.ENDPOINT}/{repo}"
    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and refused(cause):
        error = cause
    match error:
        case GatedRepoError():
            return (
                f"{repo} is gated: its owner wants the licence accepted first. Accept it at "
                f"{page}, run `hf auth login` here with a token of that account, and try again."
            )
        case RepositoryNotFoundError():
            return (
                f"Expected a repository {repo} on {constants.ENDPOINT}, but there is none that you "
                "may see, nor a folder of that name here. Check the spelling; if it is private, "
                "run `hf auth login`."
            )
        case RevisionNotFoundError():
            return (
                f"Expected revision {revision} in {repo}, but there is none. Give a commit hash, a "
                f"tag or a branch listed at {page}/commits/main."
            )
        case RemoteEntryNotFoundError():
            return (
                f"A file of {repo} at revision {revision} is gone from {page}. Choose another "
                "revision."
            )
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return (
                f"{repo} is not in the cache and {constants.ENDPOINT} cannot be reached "
                f"({reason(error.__cause__ or error)}). Try again later, or copy the files into a "
                "folder and give that."
            )
        case HfHubHTTPError() if refused(error):
            return (
                f"{constants.ENDPOINT} refuses to give {repo} ({reason(error)}). Run "
                f"`hf auth login` with a token that may read it; see {page}."
            )
        case OSError() if error.errno in FULL:
            return (
                f"There is no room for {repo} in {constants.HF_HOME} ({error.strerror}). Make room "
                "or set HF_HOME to a larger disk, and run the same command again: it goes on "
                "where it stopped."
            )
    return (
        f"Could not fetch {repo} from {constants.ENDPOINT}: {reason(error)}. What has arrived is "
        "kept: run the same command again to go on."
    )


def refused(error: BaseException | None) -> bool:
    """Whether the hub knows the file and does not give it."""
    return isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)


def download_command(repo: str, revision: str | None, *names: str) -> str:
    """The command that puts files into the hub's cache."""
    at = f" --revision {revision}" if revision else ""
    return f"hf download {repo}{at} {' '.join(names)}"
