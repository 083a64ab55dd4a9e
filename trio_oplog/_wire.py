"""Step 6: Operation <-> JSON bytes.

The form is the predecessor's: flat, snake_case, absent means left out, times in RFC 3339 with ``Z``.  ``arguments`` goes in
and comes out as the exact text it is.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from msgspec import Raw

from trio_oplog._errors import WireError
from trio_oplog._json import ABSENT, Reader
from trio_oplog._operation import ArgumentsMeta, Operation, Outcome, ResultMeta
