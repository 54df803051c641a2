"""What becomes of the losses of the pairs: 'none', 'mean' or 'sum'."""

import warnings

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction):
    """Return ``reduction`` if it is one of the three names, or raise ValueError."""
    if isinstance(reduction, str) and reduction in REDUCTIONS:
        return reduction
    came = repr(reduction) if type(reduction) is str else f"a {type(reduction).__name__}"
    raise ValueError(f"reduction is {came}; it must be 'none', 'mean' or 'sum'")


def reduction_from_legacy(size_average, reduce, stacklevel):
    """Translate torch's two retired arguments, where None counts as True, and say what to write instead."""
    try:
        if reduce is not None and not reduce:
            reduction = "none"
        else:
            reduction = "mean" if size_average is None or size_average else "sum"
    except Exception as error:
        raise TypeError("size_average and reduce must be True, False or None") from error
    warnings.warn(
        f"size_average and reduce are legacy arguments and override reduction; write reduction={reduction!r}",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return reduction


def divisor(reduction, size):
    """Return what the total and the upstream gradient are divided by."""
    return size if reduction == "mean" else 1
