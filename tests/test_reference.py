"""Every module computes what the authors' code computes, for their weights converted to ours."""

import pytest

from .reference import Case

CASES = [(paper, name) for paper, name in Case.names() if not name.startswith("loss_")]


@pytest.mark.parametrize(("paper", "name"), CASES)
def test_equals_the_authors_code(paper, name):
    case = Case.load(paper, name)
    case.assert_equal(case.run())
