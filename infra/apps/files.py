"""The files of an app on disk: found without leaving their folder, small ones held in memory."""

import asyncio
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from domain.apps import Asset, AssetChanged

KIB = 1024
LARGEST_BYTES = 512 * KIB
MOST_BYTES = 32 * KIB * KIB
MOST_FILES = 4096
PIECE_BYTES = 256 * KIB
SUFFIXES = {"br": ".br", "gzip": ".gz"}


class LocalFiles:
    """The files in a folder, each as it is at the moment.

    Files of up to `largest` bytes are held in memory, `most` bytes at a time, and read again when they change.
    """

    def __init__(self, root: Path, *, largest: int = LARGEST_BYTES, most: int = MOST_BYTES) -> None:
        self._root = root.resolve()
        self._largest = largest
        self._most = most
        self._held: OrderedDict[str, Asset] = OrderedDict()
        self._bytes = 0
        # Requests look files up in threads.
        self._lock = threading.Lock()

    async def find(self, names: Sequence[str], encodings: Sequence[str] = ()) -> Asset | None:
        """The file at these names, folder by folder; compressed by the first of `encodings` it is there in."""
        return await asyncio.to_thread(self._find, names, encodings)

    async def read(self, asset: Asset, start: int, stop: int) -> AsyncIterator[bytes]:
        """Some bytes of a file, in pieces. Raises `AssetChanged`."""
        if asset.content is not None:
            yield asset.content[start:stop]
            return
        file = await asyncio.to_thread(_open, asset, start)
        try:
            while start < stop:
                piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, stop - start))
                if not piece:
                    raise AssetChanged(f"{asset.path} has become shorter")
                start += len(piece)
                yield piece
        finally:
            file.close()

    def _find(self, names: Sequence[str], encodings: Sequence[str]) -> Asset | None:
        plain = inside(self._root, names)
        if plain is None:
            return None
        *folders, name = names
        variants = {
            encoding: path
            for encoding, suffix in SUFFIXES.items()
            if (path := inside(self._root, [*folders, name + suffix])) is not None
        }
        chosen = next((encoding for encoding in encodings if encoding in variants), None)
        asset = self._asset(variants.get(chosen or "", plain))
        if asset is None or not variants:
            return asset
        return msgspec.structs.replace(asset, encoding=chosen, has_variants=True)

    def _asset(self, path: Path) -> Asset | None:
        """The file at a resolved path, from memory when it is still the same."""
        key = str(path)
        try:
            with self._lock:
                held = self._held.get(key)
                if held is not None:
                    self._held.move_to_end(key)
            if held is not None and _stamp(path.stat()) == held.stamp:
                return held
            asset = _load(path, self._largest)
        except OSError:
            return None
        self._hold(key, asset)
        return asset

    def _hold(self, key: str, asset: Asset) -> None:
        with self._lock:
            before = self._held.pop(key, None)
            self._bytes += _weight(asset) - _weight(before)
            self._held[key] = asset
            while self._bytes > self._most or len(self._held) > MOST_FILES:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= _weight(dropped)


def inside(root: Path, names: Sequence[str]) -> Path | None:
    """The regular file at these names below a resolved folder, links followed; None if there is none inside of it."""
    try:
        path = root.joinpath(*names).resolve(strict=True)
        if not stat.S_ISREG(path.stat().st_mode):
            return None
    # ValueError: names that no file system takes. RuntimeError: links that lead to each other, before Python 3.13.
    except (OSError, ValueError, RuntimeError):
        return None
    if not path.is_relative_to(root) or any(part.startswith(".") for part in path.relative_to(root).parts):
        return None
    return path


def _weight(asset: Asset | None) -> int:
    return len(asset.content) if asset is not None and asset.content is not None else 0


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _load(path: Path, largest: int) -> Asset:
    """Read a file once, for its tag, and keep what was read if that is little."""
    with _opened(path) as file:
        found = os.fstat(file.fileno())
        digest = hashlib.blake2b(digest_size=16)
        content = file.read(largest + 1) if found.st_size <= largest else b""
        # It may have grown since it was measured.
        is_small = found.st_size <= largest and len(content) <= largest
        size = len(content)
        digest.update(content)
        if not is_small:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
    return Asset(
        path=str(path),
        stamp=_stamp(found),
        size=size,
        modified_at=int(found.st_mtime),
        tag=f'"{digest.hexdigest()}"',
        content=content if is_small else None,
    )


def _opened(path: Path) -> BinaryIO:
    # Since it was resolved, a link may have taken its place.
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")


def _open(asset: Asset, start: int) -> BinaryIO:
    try:
        file = _opened(Path(asset.path))
    except OSError as error:
        raise AssetChanged(f"{asset.path} is gone") from error
    if _stamp(os.fstat(file.fileno())) != asset.stamp:
        file.close()
        raise AssetChanged(f"{asset.path} has changed")
    file.seek(start)
    return file
