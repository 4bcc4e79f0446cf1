r"""The exception tree: what is drawn in the docstring is what there is."""

import inspect
import re

import pytest

from relume import errors
from relume.errors import MissingExtra, RelumeError

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, RelumeError)
}
EXIT_CODES = {
    "RelumeError": 1,
    "UsageError": 2,
    "OutputExists": 2,
    "ImageError": 3,
    "UnreadableImage": 3,
    "UnsupportedImage": 3,
    "InconsistentScan": 3,
    "ImageTooLarge": 3,
    "NoInput": 4,
    "BundleError": 5,
    "BundleNotFound": 5,
    "BundleCorrupt": 5,
    "EngineError": 6,
    "EngineUnavailable": 6,
    "OutOfMemory": 6,
    "MissingExtra": 6,
    "TrainingError": 1,
    "ServiceError": 1,
    "Busy": 1,
    "Draining": 1,
    "NoSuchJob": 1,
    "NotReady": 1,
    "LostLease": 1,
    "Unreachable": 1,
    "StoreFull": 1,
    "StoreBroken": 1,
}


def drawn() -> list[tuple[str, str | None, int]]:
    """(name, parent, exit code) of every line of the tree in the docstring."""
    found: list[tuple[str, str | None, int]] = []
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ([│├└─ ]*)(\w+) +(\d)\b", line)
        if not match:
            continue
        depth = len(match[1]) // 4
        above = [entry for entry in above if entry[0] < depth]
        found.append((match[2], above[-1][1] if above else None, int(match[3])))
        above.append((depth, match[2]))
    return found


def test_every_class_is_public_and_has_its_exit_code() -> None:
    assert {name: value.exit_code for name, value in CLASSES.items()} == EXIT_CODES
    assert set(errors.__all__) == set(CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    lines = drawn()
    assert [name for name, _, _ in lines] == errors.__all__
    for name, parent, code in lines:
        bases = [base.__name__ for base in CLASSES[name].__mro__[1:] if base.__name__ in CLASSES]
        assert (bases[0] if bases else None) == parent, name
        assert CLASSES[name].exit_code == code, name


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_says_what_it_means(name: str) -> None:
    assert (CLASSES[name].__doc__ or "").endswith(".")


def test_no_code_is_one_that_a_shell_uses_for_itself() -> None:
    assert {value.exit_code for value in CLASSES.values()} <= {1, 2, 3, 4, 5, 6}


def test_builtin_kin_can_be_caught_as_such() -> None:
    kin = {
        name: {base.__name__ for base in value.__mro__}
        & {"ValueError", "ImportError", "OSError", "MemoryError"}
        for name, value in CLASSES.items()
    }
    assert {name: bases for name, bases in kin.items() if bases} == {
        "UsageError": {"ValueError"},
        "OutputExists": {"ValueError"},
        "MissingExtra": {"ImportError"},
    }


def test_a_missing_extra_names_the_way_out_in_one_line() -> None:
    error = MissingExtra("reading HEIC", "heif")
    assert str(error) == 'reading HEIC needs an optional dependency: pip install "relume[heif]"'
    assert error.extra == "heif"


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "MissingExtra"])
def test_messages_are_kept(name: str) -> None:
    assert str(CLASSES[name]("use --overwrite")) == "use --overwrite"
