"""``trio-oplog ui``: look at your own store, on a page."""

from __future__ import annotations

import signal
import webbrowser
from functools import partial

import click
import trio

from trio_oplog._cli.destination import default_store
from trio_oplog._cli.listening import name_of, open_listeners, serve_until_told
from trio_oplog._errors import ConfigError, StoreError
from trio_oplog._serving import HTTPServer
from trio_oplog.collector import Store, open_store
from trio_oplog.collector._sign_in import create_local_app


@click.command("ui")
@click.option("--store", "url", metavar="URL", help="sqlite:///path or postgresql://...; else your own store.")
@click.option("--port", type=click.IntRange(0, 0xFFFF), default=0, metavar="PORT", help="Where on 127.0.0.1; else any.")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
def command(*, url: str | None, port: int, no_browser: bool) -> None:
    """Show what was recorded on a page in your browser, until Ctrl-C.

    The link signs in once, and each use prints the next one. Nobody but who has it sees anything, and the page can be
    reached from this machine only.
    """
    try:
        store = open_store(url or default_store())
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}.", param_hint="--store") from None
    if url is not None and store.file is not None and not store.file.exists():
        raise StoreError(f"nothing was recorded in {store.file} yet: there is no such file")
    trio.run(_show, store, port, not no_browser)


async def _show(store: Store, port: int, with_browser: bool) -> None:  # noqa: FBT001
    links_shown: list[str] = []
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with store:
            listeners = await open_listeners("127.0.0.1", port)
            address = f"http://{name_of(listeners[0])}"

            def used(code: str) -> None:
                click.echo(f"{'another browser signs in with' if links_shown else 'open'} {address}/#code={code}", err=True)
                links_shown.append(code)

            app, links = create_local_app(store, used)
            server = HTTPServer(app)
            async with trio.open_nursery() as nursery:

                def started() -> None:
                    click.echo(f"showing {store.url} until Ctrl-C", err=True)
                    links.renew()
                    if with_browser:
                        nursery.start_soon(_open, f"{address}/#code={links_shown[0]}")

                await serve_until_told(server, partial(server.serve, listeners), signals, started)
                nursery.cancel_scope.cancel()


async def _open(link: str) -> None:
    """Show a link in the browser of whoever is here; one that keeps its caller waiting is left alone at the end."""
    await trio.to_thread.run_sync(webbrowser.open, link, abandon_on_cancel=True)
