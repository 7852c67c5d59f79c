import math

import pytest

from surrogate.settings import Settings, Stage

STAGES = (Stage(10, 4), Stage(100, 3))


def test_learning_rate_rises_then_follows_a_cosine():
    settings = Settings(STAGES, 100, 10, 10, learning_rate=1e-2, final_learning_rate=1e-4, warmup_steps=4)
    total = settings.total_pulses
    assert total == 100 * (10 * 4 + 100 * 3)
    assert [settings.learning_rate_at(0, n) for n in (0, 1, 3, 4)] == pytest.approx(
        [2.5e-3, 5e-3, 1e-2, 1e-2]
    )
    assert settings.learning_rate_at(total // 2, 100) == pytest.approx((1e-2 + 1e-4) / 2)
    quarter = 1e-4 + (1e-2 - 1e-4) * (1 + math.sqrt(0.5)) / 2
    assert settings.learning_rate_at(total // 4, 100) == pytest.approx(quarter)
    assert settings.learning_rate_at(total, 100) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": ()}, "stages is empty"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"training_signals": 10, "batch_size": 11}, "batch_size=11 exceeds training_signals=10"),
        ({"learning_rate": 0.0}, "learning_rate=0 must be positive"),
        ({"output_weights": (1.0, 0.0)}, "output_weights"),
        ({"output_weights": (0.0, 0.0, 0.0)}, "not all zero"),
        ({"output_weights": (1.0, -1.0, 1.0)}, "output_weights"),
        ({"patience": 0}, "patience=0"),
        ({"seed": -1}, "seed=-1"),
        ({"method": "magic"}, "method='magic' must be one of auto, kernels, keras"),
        ({"precision": "float64"}, "precision='float64' must be one of"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Settings(**({"stages": STAGES} | values))


def test_impossible_stages_are_refused():
    with pytest.raises(ValueError, match="pulses=0"):
        Stage(0, 1)
    with pytest.raises(ValueError, match="epochs=-1"):
        Stage(1, -1)
