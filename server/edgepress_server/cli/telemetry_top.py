"""``edgepress telemetry top``: the fleet in a terminal, live."""

from __future__ import annotations

import shutil
import sys
import threading
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from .output import api, emit_json, server_options
from .top_draw import clock, drawn
from .top_feed import Feed, read_page
from .top_view import SORTS, Page, View, pressed, rows_that_fit

STYLES = {"online": "green", "offline": "red", "registered": "yellow", "revoked": "dim"}
PLAIN_WIDTH, PLAIN_HEIGHT = 120, 50


@click.command()
@click.option("--sort", type=click.Choice(SORTS), default=SORTS[0], show_default=True, help="Order.")
@click.option("--filter", "query", default="", help="Words that name, profile, model or a label hold.")
@click.option("--once", is_flag=True, help="Print it once; so it is, too, where there is no terminal.")
@server_options
def top(sort: str, query: str, once: bool, url: str, token: str | None, as_json: bool) -> None:
    """Watch the fleet live, worst devices first.

    Keys: q quit, s sort, f filter, arrows and pages move, enter shows one device with its last hour.
    """
    client = api(url, token)
    view = View(sort=sort, query=query.strip())
    if as_json:
        page = read_page(client, view, 500)
        emit_json({"total": page.total, "matching": page.matching, "devices": list(page.rows)})
        return
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        width = shutil.get_terminal_size((PLAIN_WIDTH, PLAIN_HEIGHT)).columns
        page = read_page(client, view, rows_that_fit(PLAIN_HEIGHT))
        for line in drawn(replace(view, page=page, cursor=-1), width, PLAIN_HEIGHT, clock())[:-1]:
            if line:
                click.echo(line)
        return
    read_page(client, view, 1)  # what is wrong from the beginning is said before the screen is taken
    _Screen(client, view).run()


class _Screen:
    def __init__(self, client: Any, view: View) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._console = Console(highlight=False)
        self._feed = Feed(client, self._told)

    def run(self) -> None:
        from .top_keys import raw_terminal, read_keys

        self._feed.start()
        try:
            with (
                raw_terminal() as number,
                Live(console=self._console, screen=True, auto_refresh=False, redirect_stderr=False) as live,
            ):
                asked: tuple[Any, ...] = ()
                while not self._view.done:
                    width, height = self._console.size
                    wanted = self._wanted(height)
                    if wanted != asked:
                        asked = wanted
                        self._feed.ask(self._view, rows_that_fit(height))
                    live.update(_coloured(drawn(self._view, width, height, clock())), refresh=True)
                    for key in read_keys(number, 0.25):
                        with self._lock:
                            self._view = pressed(self._view, key, height)
        finally:
            self._feed.stop()

    def _wanted(self, height: int) -> tuple[Any, ...]:
        view = self._view
        return (view.sort, view.query, view.offset, view.device, rows_that_fit(height))

    def _told(self, page: Page | None, detail: dict[str, Any] | None, trouble: str) -> None:
        with self._lock:
            view = replace(self._view, trouble=trouble)
            if page is not None:
                view = replace(view, page=page, offset=min(view.offset, max(0, page.matching - 1)))
                if detail is not None and view.device is not None:
                    view = replace(view, detail=detail)
            self._view = view


def _coloured(lines: list[str]) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    for number, line in enumerate(lines):
        styled = Text(line)
        if number == 0:
            styled.stylize("bold")
        elif line.startswith(">"):
            styled.stylize("reverse")
        elif number == len(lines) - 1:
            styled.stylize("dim")
        for word, style in STYLES.items():
            if number > 2:
                styled.highlight_words([f" {word} "], style)
        text.append_text(styled)
        if number < len(lines) - 1:
            text.append("\n")
    return text
