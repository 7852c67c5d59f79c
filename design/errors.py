"""What a design may not do."""

from __future__ import annotations


class LimitError(ValueError):
    """A design beyond a limit; the message says which limit, where, by how much, and the nearest way out.

    Parameters
    ----------
    message : str
        The whole message.
    limit : str
        Name of the limit, as in "te", "slew rate" or "B1+rms".
    nearest : float or None
        Nearest value of the quantity in question that keeps to the limit, in SI units; None: there is none.
    """

    def __init__(self, message: str, *, limit: str, nearest: float | None = None) -> None:
        super().__init__(message)
        self.limit, self.nearest = limit, nearest
