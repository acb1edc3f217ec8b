"""Every module computes what the authors' code computes, for their weights converted to ours."""

import pytest

from .reference import Case

#: Begin the names of what is no module: losses, TensorFlow files.
OTHERS = ("loss_", "tf_")
CASES = [(paper, name) for paper, name in Case.names() if not name.startswith(OTHERS)]


@pytest.mark.parametrize(("paper", "name"), CASES)
def test_equals_the_authors_code(paper, name):
    case = Case.load(paper, name)
    case.assert_equal(case.run())
