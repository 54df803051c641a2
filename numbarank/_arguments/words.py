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
        raised_as = {BufferError: BufferError, ValueError: ValueError, OverflowError: ValueError}
        cls = next((raised_as[cls] for cls in raised_as if isinstance(error, cls)), TypeError)
        raise cls(f"{problem}: {shown(error, str)}") from error


def shown(value, text=repr):
    """Return a value as messages show it, short, and whatever its own text does."""
    try:
        shown = text(value) or type_name(value)
    except Exception:
        shown = f"an object of type {type_name(value)}"
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def type_name(value):
    return name_of(type(value))


def name_of(cls):
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def shapes_of(*items):
    first, *rest = (f"{item.name} has shape {tuple(item.array.shape)}" for item in items)
    return ", ".join([first, *(text.replace(" has shape", "") for text in rest)])
