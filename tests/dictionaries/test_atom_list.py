import numpy as np

from dictionaries import AtomList, generate
from epgbloch import Tissue

TISSUE = Tissue([1.0, 0.5, 1.0], [0.1, 0.2, 0.05], [1.0, 0.9, 1.1], [0, 3, -2], [0, 1e-9, 3e-9])


def test_axes_are_the_values_that_occur():
    atoms = AtomList(TISSUE)
    assert atoms.n_atoms == 3
    assert atoms.t1.tolist() == [0.5, 1.0]
    assert atoms.t2.tolist() == [0.05, 0.1, 0.2]
    assert atoms.b1.tolist() == [0.9, 1.0, 1.1]
    assert atoms.off_resonance.tolist() == [-2, 0, 3]


def test_atoms_by_slice_and_by_number():
    atoms = AtomList(TISSUE)
    assert atoms[1:].t2.tolist() == [0.2, 0.05]
    assert atoms[np.array([2, 0])].diffusion.tolist() == [3e-9, 0]


def test_dict_holds_every_atom():
    again = AtomList(Tissue(**AtomList(TISSUE).to_dict()))
    for name in ("t1", "t2", "b1", "off_resonance", "diffusion"):
        np.testing.assert_array_equal(getattr(again.tissue, name), getattr(TISSUE, name))


def test_list_of_a_grid_gives_its_dictionary(closed_form, sequence, grid):
    listed, gridded = (
        generate(closed_form(), sequence, atoms, rank=6) for atoms in (AtomList(grid.tissue), grid)
    )
    np.testing.assert_array_equal(listed.coefficients, gridded.coefficients)
    np.testing.assert_array_equal(listed.basis, gridded.basis)
