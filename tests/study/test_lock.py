"""The lock of a folder within a process; between two, see tests of workdirs."""

from qbm_jax.study.lock import LOCK, check_lock, lock_folder, release_locks


def test_a_process_may_lock_its_folder_again_and_leaves_nothing_when_done(tmp_path):
    for _ in range(2):
        lock_folder(tmp_path)
        check_lock(tmp_path)
    (tmp_path / LOCK).unlink()
    lock_folder(tmp_path)
    assert (tmp_path / LOCK).exists()
    release_locks()
    assert not list(tmp_path.iterdir())
