"""``--upstream`` and what goes with it: a server that has an http URL."""

from __future__ import annotations

import click
import httpx

from trio_oplog._address import check_url
from trio_oplog._cli.headers import read_headers
from trio_oplog._cli.options import UpstreamServer
from trio_oplog._errors import ConfigError
from trio_oplog._reach import make_tls
from trio_oplog._recording import Headers


def read_upstream(upstream: UpstreamServer) -> tuple[httpx.URL, Headers]:
    """Read what the options name, now and not when the first request is to be sent.

    Args:
        upstream: The options; there is a URL.

    Returns:
        The URL, and the headers that the server gets in every request.

    Raises:
        click.BadParameter: The URL is none that is http or https, a file cannot be read, or it holds something else.
    """
    try:
        url = check_url(str(upstream.url))
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--upstream") from None
    try:
        if upstream.ca_file is not None:
            make_tls(upstream.ca_file)
    except ConfigError as error:
        raise click.BadParameter(f"{upstream.ca_file} {error.problem}.", param_hint="--upstream-ca-file") from None
    return url, [] if upstream.header_file is None else read_headers(upstream.header_file, "--upstream-header-file")
