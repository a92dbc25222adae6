"""Where a tutorial's file is found: a folder of the user's, the cache, or Triton's repository.

A file of the user's may be of any version, and its provenance says which. What is downloaded must
be the pinned file, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tritonexp.errors import ConfigError, ExpertError
from tritonexp.user_cache import cache_folder

# of Triton's main branch: the last that changed the files before Triton 3.8; 3.6 and 3.7 have them
COMMIT = "d6b0238086c5f8c8849c97d39fb7b41709393ee4"
URL = "https://raw.githubusercontent.com/triton-lang/triton/{commit}/python/tutorials/{file}"
VARIABLE = "TRITON_TUTORIALS"
# where a checkout has them
IN_CHECKOUT = Path("python", "tutorials")
DOWNLOAD_TIMEOUT_S = 30.0
# the tutorials have some 20 kB
MAX_BYTES = 1 << 20
WHERE = "a folder that holds it, such as python/tutorials of a checkout of Triton"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A tutorial's file as it was found."""

    text: str
    path: Path  # here, without links
    location: str  # its address, or its path where the user named one
    version: str | None  # a commit of Triton, if it is known to be that commit's
    sha256: str


def find(file: str, sha256: str, path: str | None = None) -> Found:
    """The file at `path` or at TRITON_TUTORIALS, or else the pinned one with this sha256.

    Raises ConfigError where one of these is set and does not lead to the file, and ExpertError
    where it cannot be downloaded or read.
    """
    for setting, given in (("expert.path", path), (VARIABLE, os.environ.get(VARIABLE))):
        if given:
            return _of_user(file, sha256, _located(file, setting, given))
    url = URL.format(commit=COMMIT, file=file)
    place = _cache() / COMMIT / file
    try:
        content = place.read_bytes()
    except OSError:
        content = b""
    # what was changed there since is downloaded again
    if _hash(content) != sha256:
        content = _downloaded(file, url, sha256)
        _keep(place, content)
    return Found(
        text=_decoded(content, place),
        path=place.resolve(),
        location=url,
        version=COMMIT,
        sha256=sha256,
    )


def private_paths(files: Iterable[str]) -> tuple[str, ...]:
    """What no candidate may read, whether it is used or not: the cache and the user's files."""
    given = os.environ.get(VARIABLE)
    places = [place for file in files for place in _candidates(file, given)] if given else []
    # a folder as a whole may hold what a worker needs
    private = [place for place in places if os.path.isfile(place)]  # noqa: PTH113 - as above
    # where there is no cache, there is nothing in it
    with contextlib.suppress(ConfigError):
        private.append(_cache())
    return tuple(str(place.resolve()) for place in private)


def _cache() -> Path:
    return cache_folder() / "tutorials"


def _candidates(file: str, given: str) -> tuple[Path, ...]:
    """Where the file may lie, if the user named a folder, a checkout or the file itself."""
    named = Path(os.path.expanduser(given))  # noqa: PTH111 - Path's own raises for an unknown user
    return named, named / file, named / IN_CHECKOUT / file


def _located(file: str, setting: str, given: str) -> Path:
    for place in _candidates(file, given):
        if os.path.isfile(place):  # noqa: PTH113 - Path's own raises in a folder that is closed
            return place.resolve()
    raise ConfigError(
        f"{setting}={given} leads to no file: it must be the tutorial {file} or {WHERE}. Correct"
        " it, or leave it out to have the file downloaded."
    )


def _of_user(file: str, sha256: str, path: Path) -> Found:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the tutorial {path} cannot be read: {error.strerror}. Make it readable, or name"
            f" another {file} with expert.path or {VARIABLE}."
        ) from error
    own = _hash(content)
    return Found(
        text=_decoded(content, path),
        path=path,
        location=str(path),
        version=COMMIT if own == sha256 else _commit_of(path),
        sha256=own,
    )


def _commit_of(path: Path) -> str | None:
    """The commit that a file is checked out at, "-dirty" where it was changed since; else None."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - arguments of ours, and no shell
            ["git", "-C", str(path.parent), *arguments],  # noqa: S607 - wherever git is installed
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        # the second fails for a file that the commit does not hold
        known = git("rev-parse", "HEAD", f"HEAD:./{path.name}")
        changed = git("diff", "--quiet", "HEAD", "--", path.name)
    except OSError:
        # no git here
        return None
    if known.returncode:
        return None
    commit = known.stdout.split()[0]
    return f"{commit}-dirty" if changed.returncode else commit


def _downloaded(file: str, url: str, sha256: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as response:  # noqa: S310 - a constant of ours
            content: bytes = response.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        has_status = isinstance(error, urllib.error.HTTPError)
        reason = error if has_status else getattr(error, "reason", error)
        raise ExpertError(
            f"the tutorial {file} cannot be downloaded from {url}: {reason}. Set expert.path or the"
            f" environment variable {VARIABLE} to {WHERE}, or choose another expert."
        ) from error
    found = _hash(content)
    if found != sha256:
        raise ExpertError(
            f"what {url} gave is not the tutorial that is pinned: its sha256 is {found} where"
            f" {sha256} is expected. It was not kept; set expert.path or the environment variable"
            f" {VARIABLE} to {WHERE}, or choose another expert."
        )
    return content


def _keep(place: Path, content: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # written beside and renamed, so that a second process never reads half of it
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as beside:
            beside.write(content)
        Path(beside.name).replace(place)
    except OSError as error:
        raise ExpertError(
            f"the tutorial {place.name} cannot be kept in {place.parent}: {error.strerror}. Set"
            " TRITONEXP_CACHE to a folder that can be written."
        ) from error


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ExpertError(
            f"{path} is no text in UTF-8 (byte {error.start}). Name an official tutorial of Triton"
            " with expert.path."
        ) from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
