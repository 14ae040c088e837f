"""Progress bars, which are shown in a terminal or a notebook, and nowhere else."""
import sys


def progress_bar(items=None, description=None, total=None, *, shown=True, **options):
    """Return tqdm's bar over items, hidden if nobody would see it move: in a log file, in a pipe.

    Args:
        items: iterable; None if the bar is moved by its method `update`.
        description: str, in front of the bar.
        total: int, number of items; None for `len(items)`.
        shown: bool, whether a bar is wanted.
        options: more of tqdm's.

    Example:
        >>> for path in progress_bar(paths, "recordings", unit="recording"):
        ...     hear(path)
    """
    from tqdm import tqdm
    seen = sys.stderr is not None and sys.stderr.isatty()
    if "ipykernel" in sys.modules:  # Where there is no notebook, nobody waits for the import of its bars.
        from tqdm.auto import notebook_tqdm
        seen, tqdm = seen or notebook_tqdm is not tqdm, notebook_tqdm
    return tqdm(iterable=items, desc=description, total=total, disable=not (shown and seen), **options)
