r"""The pages that hold Python run as they are written."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["inversion.md", "provenance.md"])
def test_the_examples_of_a_page_run(page: str) -> None:
    done = doctest.testfile(str(DOCS / page), module_relative=False, encoding="utf-8")
    assert done.attempted > 0 and done.failed == 0
