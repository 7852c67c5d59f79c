"""Fluid suppression: the inversion time of an EPI after inversion by gradient descent (64 x 64, 20 s).

The loss is the power of cerebrospinal fluid relative to that of the brain, in decibels; it begins at 1 s.
From equilibrium, an ideal inversion nulls a tissue after T1 ln 2.
"""

import numpy as np
import tensorflow as tf
from scipy.ndimage import binary_erosion

from design.mrzero import ImageGrid, Twin, Voxels
from design.mrzero.losses import nulling
from design.mrzero.optimiser import Phase, optimise
from design.mrzero.reconstruction import fft
from design.mrzero.sequences import echo_planar
from design.mrzero.tf_twin import signals
from design.mrzero.trajectory import nominal_trajectory

MATRIX, FOV, START = 64, 0.2, 1.0
T1, T2 = {"white": 0.85, "gray": 1.4, "fluid": 4.2}, {"white": 0.07, "gray": 0.09, "fluid": 2.0}


def head():
    """Masks of a simple head: white matter around two ventricles, gray matter around that."""
    y, x = FOV / MATRIX * np.mgrid[-MATRIX // 2 : MATRIX // 2, -MATRIX // 2 : MATRIX // 2]
    fluid = np.hypot((np.abs(x) - 0.018) / 0.013, y / 0.03) < 1
    white = (np.hypot(x / 0.055, y / 0.07) < 1) & ~fluid
    gray = (np.hypot(x / 0.07, y / 0.085) < 1) & ~fluid & ~white
    return {"white": white, "gray": gray, "fluid": fluid}


def main(n_iterations: int = 60) -> float:
    masks = head()
    t1, t2 = (sum(times[name] * mask for name, mask in masks.items()) for times in (T1, T2))
    inside = sum(masks.values())
    outside = 1 - inside  # any times will do there
    twin = Twin(Voxels.from_maps(inside, t1 + outside, t2 + outside, fov=(FOV, FOV), slice_thickness=5e-3))
    # away from the edges, across which echoes of a decaying train leak
    fluid = binary_erosion(masks["fluid"])
    tissue = masks["white"] | masks["gray"]
    sequence = echo_planar(MATRIX, FOV, te=35e-3, inversion_time=START)
    k, grid = nominal_trajectory(sequence), ImageGrid((MATRIX, MATRIX), (FOV, FOV))

    def loss(variables):
        time = tf.cast(variables["inversion_time"], tf.float64)
        durations = tf.concat([[time], sequence.durations[1:]], axis=0)
        image = fft(signals(twin, sequence, durations=durations), k, grid)[0]
        return tf.math.log(nulling(image, fluid, tissue))

    phase = Phase({"inversion_time": 0.2}, n_iterations)
    found = optimise(loss, {"inversion_time": START}, phase, decay=0.02, record_every=n_iterations // 6)
    for i, time in zip(found.recorded_iterations, found.recorded["inversion_time"], strict=True):
        decibels = 10 / np.log(10) * found.losses[i]
        print(f"iteration {i:3d}: inversion time {time:.3f} s, fluid / brain {decibels:.1f} dB")
    nulled = T1["fluid"] * np.log(2)
    learned = float(found.values["inversion_time"])
    print(f"learned {learned:.3f} s, T1 ln 2 = {nulled:.3f} s: {100 * (learned / nulled - 1):+.1f} %")
    print(f"{np.median(found.seconds):.2f} s an iteration")
    return learned / nulled


if __name__ == "__main__":
    main()
