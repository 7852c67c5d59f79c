"""The signal model that a dictionary was made with."""

from __future__ import annotations

from dictionaries import Dictionary, DictionaryError
from epgbloch import EPGBloch, __version__
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
        If the settings are not those of this version, the network is not the one that made the dictionary or
        cannot be read, or one is given and none made it.
    """
    settings = dict(dictionary.model)
    kind = settings.pop("model", None)
    if kind != "GRUSurrogate" and network is not None:
        raise DictionaryError(f"network={network!r}: no network made this dictionary; leave it out")
    if kind == "EPGBloch":
        try:
            return EPGBloch(**settings)
        except (TypeError, ValueError) as error:
            raise DictionaryError(
                f"the dictionary was made with settings of the engine that epgbloch {__version__} does not "
                f"have ({error}); make it again"
            ) from error
    if kind != "GRUSurrogate":
        return None
    name = settings.get("network")
    try:
        model = GRUSurrogate(network or str(name))
    except (ValueError, OSError) as error:
        raise DictionaryError(f"the dictionary was made by network {name!r}: {error}") from error
    if model.settings()["sha256"] != settings.get("sha256"):
        raise DictionaryError(
            f"network {network or name!r} is not the one that made the dictionary; give the file of its "
            "weights"
        )
    return model
