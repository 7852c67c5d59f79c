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
def _find(orbit, table, keys):
    """Return the place in the open-addressing table of the orbit with the key of this one, or a free one."""
    h = np.int64(0)
    for a in range(4):
        # 31 bits at a time, so that no product overflows
        h = ((h ^ (keys[orbit, a] & 0x7FFFFFFF)) * 1103515245) & 0x7FFFFFFF
        h ^= h >> 13
    mask = table.size - 1
    place = h & mask
    while True:
        other = table[place]
        if other < 0:
            return place
        same = True
        for a in range(4):
            same = same and keys[other, a] == keys[orbit, a]
        if same:
            return place
        place = (place + 1) & mask


@njit(cache=True, nogil=True)
def _join(n_orbits, grid, table, keys, k_orbit, inputs, column, number):
    """Put state `number` into its orbit, and return n_orbits; column 0: transverse, 2: longitudinal.

    Its k stands in k_orbit[n_orbits], where a new orbit keeps it.
    """
    sign = 0
    for a in range(4):
        key = np.int64(np.rint(k_orbit[n_orbits, a] / grid[a]))
        if sign == 0 and key != 0:
            sign = 1 if key > 0 else -1
        keys[n_orbits, a] = sign * key
    if sign == 0:
        orbit, sign = 0 if column == 0 else n_orbits, 1
    else:
        place = _find(n_orbits, table, keys)
        if table[place] < 0:
            table[place] = n_orbits
        orbit = table[place]
    column = 1 if (column == 0 and sign < 0) else column
    if orbit == n_orbits or inputs[orbit, column] >= 0:
        # states that were just too far apart to merge before may meet here by rounding; they stay apart
        orbit = n_orbits
        for a in range(4):
            k_orbit[orbit, a] *= sign
        n_orbits += 1
    inputs[orbit, column] = number
    return n_orbits


@njit(cache=True, nogil=True)
def _pulse(n, number, cos, sin, phase, e1, e2, of_t, of_z, equilibrium, orbit, made):
    """Write the magnetisation after pulse n of the states of an orbit; `number` 0: of the one with k = 0.

    cos, sin : of the angles of pulse n. orbit : numbers of its states before the pulse.
    """
    turn = complex(np.cos(phase[n]), np.sin(phase[n]))
    back = np.conj(turn)
    i_p, i_m, i_z = orbit[0], orbit[1], orbit[2]
    for r in range(cos.size):
        p, m, y = 0j, 0j, 0j
        if i_p >= 0:
            p = of_t[i_p, r] * (e2[n - 1, r] * back)
        if i_m >= 0:
            m = np.conj(of_t[i_m, r] * (e2[n - 1, r] * back))
        if i_z >= 0:
            y = of_z[i_z, r] * e1[n - 1, r]
        if number == 0:
            y = complex(1 + (equilibrium[r] - 1) * e1[n - 1, r] if n else 1.0)
        s, d = p + m, p - m
        s, y = cos[r] * s + sin[r] * y, cos[r] * y - sin[r] * s
        made[0, r], made[1, r], made[2, r] = 0.5 * (s + d) * turn, np.conj(0.5 * (s - d)) * turn, y
        if number == 0:
            made[0, r] += made[1, r]
            equilibrium[r] = y.real


@njit(cache=True, nogil=True)
def _angles(flip, b1, cos, sin):
    for r in range(b1.size):
        cos[r], sin[r] = np.cos(flip * b1[r]), np.sin(flip * b1[r])


@njit(cache=True, nogil=True)
def _keep(made, c, values, i):
    """Copy row c of made to row i of values."""
    for r in range(made.shape[1]):
        values[i, r] = made[c, r]


@njit(cache=True, nogil=True)
def _energy(made, c, weight):
    energy = 0.0
    for r in range(weight.size):
        energy += weight[r] * (made[c, r].real ** 2 + made[c, r].imag ** 2)
    return energy


@njit(cache=True, nogil=True)
def build(flip, phase, total, grid, e1, e2, b1, weight, cut, first, k_t, k_z, of_t, of_z, orbits, dropped):
    """Follow representative voxels through all pulses; states with less than `cut` energy are dropped.

    flip, phase : (n,). total : (n, 4), (k, tau) gained after each pulse. e1, e2 : (n, r), decay after each
    pulse. b1, weight : (r,), weights add to 1.

    Writes the first states and orbits of each pulse, (n + 1, 3) in the order transverse, longitudinal,
    orbits; k and magnetisation after the pulse of both kinds of states; orbits, (capacity, 6); and the
    dropped energy (n, 2) of transverse and longitudinal states. Tells whether there was room for all.
    """
    n_pulses, n_voxels, capacity = flip.size, b1.size, orbits.shape[0]
    equilibrium = np.ones(n_voxels)
    cos, sin = np.empty(n_voxels), np.empty(n_voxels)
    made = np.empty((3, n_voxels), np.complex128)
    table, keys = np.empty(16, np.int64), np.empty((4, 4), np.int64)
    k_orbit, inputs = np.empty((4, 4)), np.empty((4, 3), np.int64)
    transverse, longitudinal = np.int64(0), np.int64(2)
    t0 = t1 = z0 = z1 = n_orbit = 0
    for n in range(n_pulses):
        n_in = (t1 - t0) + (z1 - z0)
        if 3 * n_in >= table.size or n_in + 2 > keys.shape[0]:
            size = table.size
            while size < 6 * n_in:
                size *= 2
            table, keys = np.empty(size, np.int64), np.empty((size, 4), np.int64)
            k_orbit, inputs = np.empty((size, 4)), np.empty((size, 3), np.int64)
        for i in range(table.size):
            table[i] = -1
        for i in range(n_in + 1):
            inputs[i, 0] = inputs[i, 1] = inputs[i, 2] = -1
        k_orbit[0, 0] = k_orbit[0, 1] = k_orbit[0, 2] = k_orbit[0, 3] = 0.0
        n_orbits = np.int64(1)
        for i in range(t0, t1):
            for a in range(4):
                k_orbit[n_orbits, a] = k_t[i, a] + total[n - 1, a]
            n_orbits = _join(n_orbits, grid, table, keys, k_orbit, inputs, transverse, i)
        for i in range(z0, z1):
            for a in range(4):
                k_orbit[n_orbits, a] = k_z[i, a]
            n_orbits = _join(n_orbits, grid, table, keys, k_orbit, inputs, longitudinal, i)
        if n_orbit + n_orbits > capacity or t1 + 2 * n_orbits > capacity or z1 + n_orbits > capacity:
            return False
        t0, z0 = t1, z1
        _angles(flip[n], b1, cos, sin)
        for j in range(n_orbits):
            _pulse(n, j, cos, sin, phase, e1, e2, of_t, of_z, equilibrium, inputs[j], made)
            for a in range(3):
                orbits[n_orbit, a], orbits[n_orbit, 3 + a] = inputs[j, a], -1
            for c in range(1 if j == 0 else 3):
                energy = _energy(made, c, weight)
                if energy <= cut and j > 0:
                    dropped[n, c // 2] += energy
                elif c < 2:
                    for a in range(4):
                        k_t[t1, a] = k_orbit[j, a] * (1 - 2 * c)
                    _keep(made, c, of_t, t1)
                    orbits[n_orbit, 3 + c] = t1
                    t1 += 1
                else:
                    for a in range(4):
                        k_z[z1, a] = k_orbit[j, a]
                    _keep(made, c, of_z, z1)
                    orbits[n_orbit, 5] = z1
                    z1 += 1
            n_orbit += 1
        first[n + 1, 0], first[n + 1, 1], first[n + 1, 2] = t1, z1, n_orbit
    return True


@njit(cache=True, nogil=True)
def follow(first, orbits, keep_t, keep_z, flip, phase, e1, e2, b1):
    """Magnetisation of the transverse states if only those to be kept exist, (n_states, r)."""
    n_pulses, n_voxels = flip.size, b1.size
    of_t = np.zeros((keep_t.size, n_voxels), np.complex128)
    of_z = np.zeros((keep_z.size, n_voxels), np.complex128)
    equilibrium = np.ones(n_voxels)
    cos, sin = np.empty(n_voxels), np.empty(n_voxels)
    made = np.empty((3, n_voxels), np.complex128)
    for n in range(n_pulses):
        _angles(flip[n], b1, cos, sin)
        for j in range(first[n, 2], first[n + 1, 2]):
            number = j - first[n, 2]
            _pulse(n, number, cos, sin, phase, e1, e2, of_t, of_z, equilibrium, orbits[j], made)
            for c in range(2):
                i = orbits[j, 3 + c]
                if i >= 0 and (keep_t[i] or number == 0):
                    _keep(made, c, of_t, i)
            i = orbits[j, 5]
            if i >= 0 and keep_z[i]:
                _keep(made, np.int64(2), of_z, i)
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


_TOGETHER = 8
"""Consecutive samples whose mean time stands for theirs."""


@njit(cache=True, nogil=True)
def emitted(first, k_t, first_sample, k, time, size, spectrum, r2, r2_prime, changes):
    """Energy that transverse states of unit energy emit before the next pulse, (n_states, r).

    first_sample : (n + 1,), samples of each repetition. k, time : (samples, 3) and (samples,), since the
    pulse.
    spectrum : (z, y, x), power of the object in cells of 1 / (number of cells * size). changes : whether what
    states would emit after small changes of moments counts too.
    """
    n_pulses, n_voxels = first.shape[0] - 1, r2.size
    result = np.zeros((k_t.shape[0], n_voxels))
    of_axis, cell = np.empty(3), np.empty(3, np.int64)
    for n in range(n_pulses):
        for i in range(first[n, 0], first[n + 1, 0]):
            powers = times = taus = 0.0
            for j in range(first_sample[n], first_sample[n + 1]):
                for a in range(3):
                    if j == first_sample[n] or k[j, a] != k[j - 1, a]:
                        x, n_cells = (k_t[i, a] + k[j, a]) * size[a], spectrum.shape[2 - a]
                        of_axis[a] = _shape(x, changes)
                        cell[a] = np.int64(np.rint(x * n_cells)) % n_cells
                power = of_axis[0] * of_axis[1] * of_axis[2]
                if power >= 1e-12:
                    power *= spectrum[cell[2], cell[1], cell[0]]
                    powers += power
                    times += power * time[j]
                    taus += power * abs(k_t[i, 3] + time[j])
                done = j + 1 - first_sample[n]
                if powers > 0 and (done % _TOGETHER == 0 or j + 1 == first_sample[n + 1]):
                    for r in range(n_voxels):
                        decay = np.exp(-2 * (r2[r] * times + r2_prime[r] * taus) / powers)
                        result[i, r] += powers * decay
                    powers = times = taus = 0.0
    return result


@njit(cache=True, nogil=True)
def lead_to(first, orbits, flip, b1, e1, e2, own):
    """Energy that states of unit energy lead to by themselves and by what comes of them, added up as energy.

    own : what transverse states emit themselves, (n_states, r). Returns it for both kinds of states.
    """
    n_pulses, n_voxels = flip.size, b1.size
    of_t, of_z = own.copy(), np.zeros((first[n_pulses, 1], n_voxels))
    for n in range(n_pulses - 1, 0, -1):
        for j in range(first[n, 2], first[n + 1, 2]):
            i_p, i_m, i_z = orbits[j, 0], orbits[j, 1], orbits[j, 2]
            o_p, o_m, o_z = orbits[j, 3], orbits[j, 4], orbits[j, 5]
            for r in range(n_voxels):
                cos = np.cos(flip[n] * b1[r])
                keep, swap = ((1 + cos) / 2) ** 2, ((1 - cos) / 2) ** 2
                up, stay = 1 - cos**2, cos**2
                p = of_t[o_p, r] if o_p >= 0 else 0.0
                m = of_t[o_m, r] if o_m >= 0 else 0.0
                z = of_z[o_z, r] if o_z >= 0 else 0.0
                if i_p >= 0:
                    of_t[i_p, r] += e2[n - 1, r] ** 2 * (keep * p + swap * m + up * z)
                if i_m >= 0:
                    of_t[i_m, r] += e2[n - 1, r] ** 2 * (keep * m + swap * p + up * z)
                if i_z >= 0:
                    of_z[i_z, r] += e1[n - 1, r] ** 2 * (up / 4 * (p + m) + stay * z)
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
    row = np.empty(6, np.int64)
    n_t = n_z = n_orbit = 0
    for n in range(n_pulses):
        for j in range(first[n, 2], first[n + 1, 2]):
            zero = j == first[n, 2]
            for c in range(6):
                row[c] = -1
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
                for c in range(6):
                    new_orbits[n_orbit, c] = row[c]
                n_orbit += 1
        new_first[n + 1, 0], new_first[n + 1, 1], new_first[n + 1, 2] = n_t, n_z, n_orbit
    return new_first, new_orbits[:n_orbit]
