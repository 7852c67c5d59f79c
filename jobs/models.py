"""The signal model that a dictionary was made with."""

from __future__ import annotations

from dictionaries import Dictionary, DictionaryError
from epgbloch import EPGBloch
from surrogate import GRUSurrogate


def stored_model(dictionary: Dictionary, network: str | None = None) -> EPGBloch | GRUSurrogate | None:
    """Return the model of a dictionary, from the settings stored with it; None if it is an unknown one.

    Parameters
    ----------
    dictionary : Dictionary
        What the model made.
    network : str or None
        File of the weights, for dictionaries of a surrogate that does not come with the package.

    Raises
    ------
    DictionaryError
        If the network is not the one that made the dictionary, or cannot be found.
    """
    settings = dict(dictionary.model)
    kind = settings.pop("model", None)
    if kind == "EPGBloch":
        return EPGBloch(**settings)
    if kind != "GRUSurrogate":
        return None
    try:
        model = GRUSurrogate(network or settings["network"])
    except ValueError as error:
        raise DictionaryError(
            f"the dictionary was made by network {settings['network']!r}: {error}"
        ) from error
    if model.settings()["sha256"] != settings["sha256"]:
        raise DictionaryError(
            f"network {network or settings['network']!r} is not the one that made the dictionary; give the "
            "file of its weights"
        )
    return model
