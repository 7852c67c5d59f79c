"""The error of limits."""

from design import LimitError


def test_a_limit_error_is_an_error_of_value_that_knows_the_way_out():
    error = LimitError("te=1 ms is below 2 ms; lengthen te", limit="te", nearest=2e-3)
    assert isinstance(error, ValueError)
    assert (str(error), error.limit, error.nearest) == ("te=1 ms is below 2 ms; lengthen te", "te", 2e-3)
