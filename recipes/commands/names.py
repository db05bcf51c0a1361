"""Words of the user's that become names: of a folder below the logs, of a link on a board."""

from recipes.shared.errors import UsageError

LONGEST = 200  # bytes; file systems take 255, and some names get a word before them


def require_text(word: str) -> None:
    """Raise a UsageError unless `word` can be printed, passed to another process and written to every file.

    Python takes bytes that are no UTF-8 for single surrogates, which nothing can write; no path holds a NUL.
    """
    try:
        holds = b"\0" not in word.encode()
    except UnicodeEncodeError:
        holds = False
    if not holds:
        raise UsageError(f"{word!r} is no UTF-8 text; write it, or rename the file, in letters that are")


def require_plain(name: str, what: str) -> None:
    """Raise a UsageError about `what` unless `name` is that of a folder in whatever folder it is joined to.

    A dot at its beginning could lead out of there, and hides what is still being written.
    """
    plain = name and not name.startswith(".") and "/" not in name and name.isprintable()
    if not plain or len(name.encode()) > LONGEST:
        raise UsageError(
            f"{what} is {name!r}; it must be a plain name, without slashes, without a dot at its beginning, and of at"
            f" most {LONGEST} bytes"
        )
