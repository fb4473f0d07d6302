"""What huggingface_hub's many failures mean to a user: each becomes one WeightsError with an action.

Source: huggingface_hub.errors; the hub answers 401 both for private and for missing repositories.
"""

from __future__ import annotations

import errno

from .errors import WeightsError
from .sources import HubSource


def hub_failures() -> tuple[type[BaseException], ...]:
    """All that a call into huggingface_hub may raise for reasons outside this program."""
    from huggingface_hub import errors

    names = (
        "HTTPError",
        "EntryNotFoundError",
        "HFValidationError",
        "XetDownloadError",
        "LocalTokenNotFoundError",
    )
    return (OSError, *(getattr(errors, name) for name in names if hasattr(errors, name)))


def offline_miss(source: HubSource, name: str) -> WeightsError:
    """The error for a file that only the network could give."""
    what = f"{name} of it is" if name else "it is"
    return WeightsError(
        "E469",
        f"{source}: {what} not in the local cache, and --offline (or HF_HUB_OFFLINE) forbids to fetch it.",
        "run once without --offline",
    )


def explain(error: BaseException, source: HubSource, *, commit: str = "", name: str = "") -> WeightsError:
    """One clear error for a failure of the hub. commit: the pinned one; name: the file being fetched."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            "E466",
            f"{source}: the repository is gated: its owner asks to accept terms first.",
            f"accept them on the repository's page, then `hf auth login` or set HF_TOKEN ({source.repo})",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(
            "E464",
            f"{source}: the hub has no repository {source.repo}, or it is private.",
            "check ORG/NAME; for a private one, `hf auth login` or set HF_TOKEN",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return _no_revision(source, commit)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _no_network(error, source)
    if isinstance(error, errors.EntryNotFoundError):
        return WeightsError(
            "E465",
            f"{source}: the repository has no file {name}.",
            "check the path after ORG/NAME, and the commit",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        where = error.filename or "the hub's cache"
        return WeightsError(
            "E475",
            f"{source}: {where} cannot be written: {error.strerror}.",
            "free space, or set HF_HOME elsewhere",
        )
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return WeightsError(
            "E470", f"{source}: {name} arrived incomplete.", "run again: what has come is kept and continued"
        )
    response = getattr(error, "response", None)
    if response is not None:
        return _bad_answer(int(response.status_code), source)
    return _no_network(error, source)


def _no_revision(source: HubSource, commit: str) -> WeightsError:
    if commit and not source.is_commit:
        return WeightsError(
            "E467",
            f"{source}: the lock pins commit {commit}, which the hub no longer has.",
            f"remove {source.key} from the lock file to pin the present one, after looking at what changed",
        )
    revision = source.revision or "main"
    return WeightsError(
        "E467",
        f"{source}: the repository has no commit, branch or tag {revision}.",
        "check what follows '@', or leave it out for the main branch",
    )


def _bad_answer(status: int, source: HubSource) -> WeightsError:
    if status in (401, 403):
        return WeightsError(
            "E466",
            f"{source}: the hub refuses access ({status}).",
            "set HF_TOKEN to a token that may read it (`hf auth login`)",
        )
    if status == 429:
        return WeightsError("E468", f"{source}: the hub says there were too many requests (429).", "wait, or log in")
    return WeightsError("E468", f"{source}: the hub answers with status {status}.", "try again in a while")


def _no_network(error: BaseException, source: HubSource) -> WeightsError:
    cause: BaseException = error.__cause__ or error
    first = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return WeightsError(
        "E468",
        f"{source}: the hub cannot be reached ({first[:160]}).",
        "check the network, proxy and HF_ENDPOINT; weights fetched before work with --offline",
    )
