import numpy as np

from gradbook.datasets.makers.airfoil import write_airfoil


def table(tmp_path):
    write_airfoil(tmp_path / "airfoil.dat")
    return np.genfromtxt(tmp_path / "airfoil.dat", dtype=np.float32, delimiter="\t")


def test_the_table_has_the_shape_and_the_quantities_of_the_original(tmp_path):
    data = table(tmp_path)
    assert data.shape == (1503, 6)
    frequency, angle, chord, velocity, thickness, level = data.T
    assert (frequency.min(), frequency.max()) == (200, 20000)
    assert (angle.min(), angle.max() < 25) == (0, True)
    assert set(chord.round(4)) == set(np.float32([0.0254, 0.0508, 0.1016, 0.1524, 0.2286, 0.3048]))
    assert set(velocity) == set(np.float32([31.7, 39.6, 55.5, 71.3]))
    assert 0 < thickness.min() < thickness.max() < 0.1
    assert 120 < level.mean() < 130


def test_it_is_the_same_whatever_seed_is_set(tmp_path):
    np.random.seed(1)
    first = table(tmp_path)
    np.random.seed(2)
    np.testing.assert_array_equal(first, table(tmp_path))


def test_a_line_explains_about_half_of_the_level_as_in_the_original(tmp_path):
    data = table(tmp_path)
    data = (data - data.mean(0)) / data.std(0)
    X, y = np.column_stack((data[:, :-1], np.ones(len(data)))), data[:, -1]
    residuals = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    assert 0.4 < 1 - residuals.var() < 0.6
