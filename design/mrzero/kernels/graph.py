"""Which states arise at which pulse, and how much signal they lead to, for a few representative voxels.

At a pulse, the transverse states at k and -k and the longitudinal pair of k mix with nobody else: they are an
orbit. An orbit is a row (P, M, Z before; P, M, Z after) of numbers of states, -1 where there is none. Orbit 0
of each pulse holds k = 0, and the longitudinal magnetisation with k = 0, which is no state of the list.

In the frame of the pulse, with M* the conjugate of the state at -k, Y = 2 Z, S = P + M* and D = P - M*, a
pulse turns S and Y like a vector in the plane and leaves D alone.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _find(key, table, keys):
    """Place of a key in the open-addressing table: that of the orbit with this key, or a free one."""
    h = np.uint64(1469598103934665603)
    for a in range(4):
        h = (h ^ np.uint64(key[a])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    mask = np.uint64(table.size - 1)
    place = h & mask
    while True:
        orbit = table[place]
        if orbit < 0:
            return place
        same = True
        for a in range(4):
            same = same and keys[orbit, a] == key[a]
        if same:
            return place
        place = (place + np.uint64(1)) & mask


@njit(cache=True, nogil=True)
def _join(k, grid, table, keys, k_orbit, inputs, n_orbits, column, number):
    """Put state `number` at k into its orbit; column 0: transverse, 2: longitudinal. Return n_orbits."""
    key = np.empty(4, np.int64)
    sign = 0
    for a in range(4):
        key[a] = np.int64(np.rint(k[a] / grid[a]))
        if sign == 0:
            sign = 1 if key[a] > 0 else (-1 if key[a] < 0 else 0)
    if sign == 0:
        inputs[0, 0] = number
        return n_orbits
    if sign < 0:
        key = -key
    place = _find(key, table, keys)
    orbit = table[place]
    if orbit < 0:
        orbit = n_orbits
        n_orbits += 1
        table[place] = orbit
        keys[orbit] = key
        for a in range(4):
            k_orbit[orbit, a] = sign * k[a]
        inputs[orbit] = -1
    inputs[orbit, 1 if (column == 0 and sign < 0) else column] = number
    return n_orbits


@njit(cache=True, nogil=True)
def _pulse(n, number, flip, phase, b1, e1, e2, of_t, of_z, equilibrium, row, made):
    """Write the magnetisation after pulse n of the states of an orbit; `number` 0: of the one with k = 0."""
    turn = np.exp(1j * phase[n])
    for r in range(b1.size):
        cos, sin = np.cos(flip[n] * b1[r]), np.sin(flip[n] * b1[r])
        p, m, y = 0j, 0j, 0j
        if row[0] >= 0:
            p = of_t[row[0], r] * e2[n - 1, r] / turn
        if row[1] >= 0:
            m = np.conj(of_t[row[1], r] * e2[n - 1, r] / turn)
        if row[2] >= 0:
            y = of_z[row[2], r] * e1[n - 1, r]
        if number == 0:
            y = complex(1 + (equilibrium[r] - 1) * e1[n - 1, r] if n else 1.0)
        s, d = p + m, p - m
        s, y = cos * s + sin * y, cos * y - sin * s
        made[0, r], made[1, r], made[2, r] = 0.5 * (s + d) * turn, np.conj(0.5 * (s - d)) * turn, y
        if number == 0:
            made[0, r] += made[1, r]
            equilibrium[r] = y.real


@njit(cache=True, nogil=True)
def _energy(values, weight):
    energy = 0.0
    for r in range(weight.size):
        energy += weight[r] * (values[r].real ** 2 + values[r].imag ** 2)
    return energy


@njit(cache=True, nogil=True)
def build(flip, phase, total, grid, e1, e2, b1, weight, cut, capacity):
    """Follow representative voxels through all pulses; states with less than `cut` energy are dropped.

    flip, phase : (n,). total : (n, 4), (k, tau) gained after each pulse. e1, e2 : (n, r), decay after each
    pulse. b1, weight : (r,), weights add to 1.

    Returns whether `capacity` sufficed; first states and orbits of each pulse, (n + 1, 3) in the order transverse,
    longitudinal, orbits; k and magnetisation after the pulse of both kinds of states; orbits; and the dropped
    energy (n, 2) of transverse and longitudinal states.
    """
    n_pulses, n_voxels = flip.size, b1.size
    first = np.zeros((n_pulses + 1, 3), np.int64)
    k_t, k_z = np.empty((capacity, 4)), np.empty((capacity, 4))
    of_t, of_z = np.empty((capacity, n_voxels), np.complex128), np.empty((capacity, n_voxels), np.complex128)
    orbits = np.empty((capacity, 6), np.int64)
    dropped = np.zeros((n_pulses, 2))
    equilibrium = np.ones(n_voxels)
    made = np.empty((3, n_voxels), np.complex128)
    for n in range(n_pulses):
        t0, t1 = (first[n - 1, 0], first[n, 0]) if n else (0, 0)
        z0, z1 = (first[n - 1, 1], first[n, 1]) if n else (0, 0)
        n_in = (t1 - t0) + (z1 - z0)
        size = 16
        while size < 3 * n_in:
            size *= 2
        table = np.full(size, -1, np.int64)
        keys = np.zeros((n_in + 1, 4), np.int64)
        k_orbit = np.zeros((n_in + 1, 4))
        inputs = np.full((n_in + 1, 3), -1, np.int64)
        n_orbits = 1
        for i in range(t0, t1):
            n_orbits = _join(k_t[i] + total[n - 1], grid, table, keys, k_orbit, inputs, n_orbits, 0, i)
        for i in range(z0, z1):
            n_orbits = _join(k_z[i], grid, table, keys, k_orbit, inputs, n_orbits, 2, i)
        n_t, n_z, n_orbit = t1, z1, first[n, 2]
        if n_orbit + n_orbits > capacity or n_t + 2 * n_orbits > capacity or n_z + n_orbits > capacity:
            return False, first, k_t, k_z, of_t, of_z, orbits, dropped
        for j in range(n_orbits):
            _pulse(n, j, flip, phase, b1, e1, e2, of_t, of_z, equilibrium, inputs[j], made)
            orbits[n_orbit, :3] = inputs[j]
            orbits[n_orbit, 3:] = -1
            for c in range(1 if j == 0 else 3):
                energy = _energy(made[c], weight)
                if energy <= cut and j > 0:
                    dropped[n, c // 2] += energy
                elif c < 2:
                    k_t[n_t] = k_orbit[j] * (1 - 2 * c)
                    of_t[n_t] = made[c]
                    orbits[n_orbit, 3 + c] = n_t
                    n_t += 1
                else:
                    k_z[n_z] = k_orbit[j]
                    of_z[n_z] = made[c]
                    orbits[n_orbit, 5] = n_z
                    n_z += 1
            n_orbit += 1
        first[n + 1] = n_t, n_z, n_orbit
    n_t, n_z, n_orbit = first[n_pulses]
    return True, first, k_t[:n_t], k_z[:n_z], of_t[:n_t], of_z[:n_z], orbits[:n_orbit], dropped


@njit(cache=True, nogil=True)
def follow(first, orbits, keep_t, keep_z, flip, phase, e1, e2, b1):
    """Magnetisation of the transverse states if only those to be kept exist, (n_states, r)."""
    n_pulses, n_voxels = flip.size, b1.size
    of_t = np.zeros((keep_t.size, n_voxels), np.complex128)
    of_z = np.zeros((keep_z.size, n_voxels), np.complex128)
    equilibrium = np.ones(n_voxels)
    made = np.empty((3, n_voxels), np.complex128)
    for n in range(n_pulses):
        for j in range(first[n, 2], first[n + 1, 2]):
            number = j - first[n, 2]
            _pulse(n, number, flip, phase, b1, e1, e2, of_t, of_z, equilibrium, orbits[j], made)
            for c in range(2):
                i = orbits[j, 3 + c]
                if i >= 0 and (keep_t[i] or number == 0):
                    of_t[i] = made[c]
            i = orbits[j, 5]
            if i >= 0 and keep_z[i]:
                of_z[i] = made[2]
    return of_t


@njit(cache=True, nogil=True)
def _shape(x, changes):
    """Square of sinc, plus that of its derivative over pi if moments are to change."""
    y = np.pi * x
    if abs(y) < 1e-3:
        return 1.0
    sinc = np.sin(y) / y
    slope = (np.cos(y) - sinc) / y if changes else 0.0
    return sinc * sinc + slope * slope


@njit(cache=True, nogil=True)
def emitted(first, k_t, first_sample, k, time, size, spectrum, r2, r2_prime, changes):
    """Energy that transverse states of unit energy emit before the next pulse, (n_states, r).

    first_sample : (n + 1,), samples of each repetition. k, time : (samples, 3) and (samples,), since the pulse.
    spectrum : (z, y, x), power of the object in cells of 1 / (number of cells * size). changes : whether what states
    would emit after small changes of moments counts too.
    """
    n_pulses, n_voxels = first.shape[0] - 1, r2.size
    n_z, n_y, n_x = spectrum.shape
    result = np.zeros((k_t.shape[0], n_voxels))
    for n in range(n_pulses):
        for i in range(first[n, 0], first[n + 1, 0]):
            for j in range(first_sample[n], first_sample[n + 1]):
                x = (k_t[i, 0] + k[j, 0]) * size[0]
                y = (k_t[i, 1] + k[j, 1]) * size[1]
                z = (k_t[i, 2] + k[j, 2]) * size[2]
                power = _shape(x, changes) * _shape(y, changes) * _shape(z, changes)
                if power < 1e-12:
                    continue
                i_z, i_y = np.int64(np.rint(z * n_z)) % n_z, np.int64(np.rint(y * n_y)) % n_y
                power *= spectrum[i_z, i_y, np.int64(np.rint(x * n_x)) % n_x]
                tau = abs(k_t[i, 3] + time[j])
                for r in range(n_voxels):
                    result[i, r] += power * np.exp(-2 * (r2[r] * time[j] + r2_prime[r] * tau))
    return result


@njit(cache=True, nogil=True)
def lead_to(first, orbits, flip, b1, e1, e2, own):
    """Energy that states of unit energy lead to by themselves and by what comes of them, if all adds up by energy.

    own : what transverse states emit themselves, (n_states, r). Returns it for transverse and longitudinal states.
    """
    n_pulses, n_voxels = flip.size, b1.size
    of_t, of_z = own.copy(), np.zeros((first[n_pulses, 1], n_voxels))
    for n in range(n_pulses - 1, 0, -1):
        for j in range(first[n, 2], first[n + 1, 2]):
            for r in range(n_voxels):
                angle = flip[n] * b1[r]
                keep, swap = np.cos(angle / 2) ** 4, np.sin(angle / 2) ** 4
                up, stay = np.sin(angle) ** 2, np.cos(angle) ** 2
                p = of_t[orbits[j, 3], r] if orbits[j, 3] >= 0 else 0.0
                m = of_t[orbits[j, 4], r] if orbits[j, 4] >= 0 else 0.0
                z = of_z[orbits[j, 5], r] if orbits[j, 5] >= 0 else 0.0
                if orbits[j, 0] >= 0:
                    of_t[orbits[j, 0], r] += e2[n - 1, r] ** 2 * (keep * p + swap * m + up * z)
                if orbits[j, 1] >= 0:
                    of_t[orbits[j, 1], r] += e2[n - 1, r] ** 2 * (keep * m + swap * p + up * z)
                if orbits[j, 2] >= 0:
                    of_z[orbits[j, 2], r] += e1[n - 1, r] ** 2 * (up / 4 * (p + m) + stay * z)
    return of_t, of_z


@njit(cache=True, nogil=True)
def prune(first, orbits, keep_t, keep_z):
    """Drop states that are not kept and those that nothing leads to, and number the others anew.

    keep_t, keep_z : overwritten by the new numbers, -1 for dropped ones. Returns the new first states and
    orbits of each pulse and the new orbits.
    """
    n_pulses = first.shape[0] - 1
    new_first = np.zeros_like(first)
    new_orbits = np.empty_like(orbits)
    n_t = n_z = n_orbit = 0
    for n in range(n_pulses):
        for j in range(first[n, 2], first[n + 1, 2]):
            zero = j == first[n, 2]
            row = np.full(6, -1, np.int64)
            fed = zero
            for c in range(3):
                i = orbits[j, c]
                if i >= 0:
                    row[c] = keep_z[i] if c == 2 else keep_t[i]
                    fed = fed or row[c] >= 0
            for c in range(3, 6):
                i = orbits[j, c]
                if i < 0:
                    continue
                if c == 5:
                    if fed and keep_z[i] >= 0:
                        row[c] = keep_z[i] = n_z
                        n_z += 1
                    else:
                        keep_z[i] = -1
                elif fed and (zero or keep_t[i] >= 0):
                    row[c] = keep_t[i] = n_t
                    n_t += 1
                else:
                    keep_t[i] = -1
            if zero or row[3] >= 0 or row[4] >= 0 or row[5] >= 0:
                new_orbits[n_orbit] = row
                n_orbit += 1
        new_first[n + 1] = n_t, n_z, n_orbit
    return new_first, new_orbits[:n_orbit]
