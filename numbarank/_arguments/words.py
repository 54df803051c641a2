"""How messages show what came."""

import contextlib
import numbers


@contextlib.contextmanager
def blaming(problem):
    """Turn whatever a caller's object raises into an error that begins with the problem."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        kinds = {BufferError: BufferError, ValueError: ValueError, OverflowError: ValueError}
        kind = next((kinds[kind] for kind in kinds if isinstance(error, kind)), TypeError)
        raise kind(f"{problem}: {shown(error, str)}") from error


def shown(value, text=repr):
    """Return a value as messages show it, short, and whatever its own text does."""
    try:
        shown = text(value) or type_name(value)
    except Exception:
        shown = f"an object of type {type_name(value)}"
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def type_name(value):
    return name_of(type(value))


def name_of(kind):
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def shapes_of(*items):
    first, *rest = (f"{item.name} has shape {tuple(item.array.shape)}" for item in items)
    return ", ".join([first, *(text.replace(" has shape", "") for text in rest)])
