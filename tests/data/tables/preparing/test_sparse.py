"""A LIBSVM table is the matrix that scikit-learn reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.tables.people import table


def test_a_libsvm_table_is_scikit_learns_matrix(tmp_path: Path) -> None:
    from scipy.sparse import random as random_sparse
    from sklearn.datasets import dump_svmlight_file, load_svmlight_file

    x = random_sparse(120, 40, density=0.1, format="csr", random_state=0)
    y = np.where(np.random.default_rng(0).random(120) < 0.4, 1, -1)
    dump_svmlight_file(x, y, str(tmp_path / "t.svm"), zero_based=False)
    data = table(tmp_path, str(tmp_path / "t.svm"), target=None)
    expected, labels = load_svmlight_file(str(tmp_path / "t.svm"))
    for split in ("train", "val", "test"):
        ours, ones = data.tensors(split)
        assert ours.is_sparse_csr
        np.testing.assert_allclose(ours.to_dense(), expected[data.rows[split]].toarray(), rtol=1e-6)
        np.testing.assert_array_equal(ones, labels[data.rows[split]] == 1)
    positions = np.array([5, 3, 5])
    import torch

    batch = data.served("train").take(torch.from_numpy(positions))
    np.testing.assert_allclose(batch[0].to_dense(), expected[data.rows["train"][positions]].toarray(), rtol=1e-6)
