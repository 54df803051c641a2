"""When a parallel loop may run."""

import numba


def may_run_parallel():
    """Tell whether more than one thread may be used here."""
    return numba.get_num_threads() > 1
