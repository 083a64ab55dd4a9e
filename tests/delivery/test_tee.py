"""The tee: one Submitter that feeds several."""

from __future__ import annotations

import pytest

from trio_oplog import ConfigError, tee


class Broken:
    def submit(self, operation):
        raise ValueError(operation.result_summary)


class Keeping:
    def __init__(self):
        self.kept = []

    def submit(self, operation):
        self.kept.append(operation)


def test_one_that_raises_does_not_touch_the_others_and_is_counted(make_operation, caplog, payload):
    first, last = Keeping(), Keeping()
    both = tee(first, Broken(), last)
    operations = [make_operation() for _ in range(3)]
    for operation in operations:
        both.submit(operation)
    assert first.kept == last.kept == operations
    assert both.errors == (0, 3, 0)
    assert caplog.text.count("submitter 1 of a tee raised ValueError") == 2
    assert payload not in caplog.text


@pytest.mark.parametrize("submitters", [(), (None,), (Keeping(), 5)])
def test_what_is_no_submitter_is_refused(submitters):
    with pytest.raises(ConfigError, match="submitters"):
        tee(*submitters)
