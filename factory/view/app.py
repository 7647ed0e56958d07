"""The web app: browse a run, move its thresholds, review its samples, watch it being built.

    create_app(run, token, hosts)                 returns the ASGI app
    serve(run, host, port, token)                 serves it until interrupted
    serve_in_background(run, host, port, token)   serves it from a thread, as `build --watch` does

The server renders the pages as HTML. A small script draws figures and handles sliders and keys.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.errors import FactoryError, MissingDependency, Problem, RecipeError
from factory.view.auth import is_loopback

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from factory.view.session import RunSession

DEFAULT_PORT = 8765
KEEP_ALIVE_SECONDS = 4
"""Longer than the two seconds between the polls of a page that follows a run."""
DRAIN_SECONDS = 15.0
"""How long open pages may take to fetch the final state before the server stops."""


def create_app(run: Path, token: str | None = None, hosts: Sequence[str] = ()) -> Starlette:
    """Return the app for one run directory, which need not be finished.

    `hosts` are the names by which visitors may address it, besides this machine's loopback.

    Raises RunError where the directory does not exist, MissingDependency without the extra `view`.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.responses import JSONResponse
        from starlette.routing import Mount, Route
        from starlette.staticfiles import StaticFiles
    except ImportError as error:
        raise MissingDependency(
            f"the app needs {error.name}: pip install 'r1-factory[view]'"
        ) from error
    from factory.view.auth import Guard
    from factory.view.pages import Pages, page
    from factory.view.review import ReviewPages
    from factory.view.session import RunSession

    session = RunSession(run)
    pages, reviews = Pages(session), ReviewPages(session)

    def show_error(request: Request, error: Exception) -> Response:
        """Answer 422 with the message: JSON for a POST, a page for a GET. Other errors stay 500."""
        assert isinstance(error, FactoryError)
        if request.method == "POST":
            return JSONResponse({"error": str(error)}, 422)
        return page("error.html.j2", session, status_code=422, error=str(error))

    def show_not_found(request: Request, error: Exception) -> Response:
        what = f"there is no page {request.url.path}"
        return page("error.html.j2", session, status_code=404, error=what)

    here = Path(__file__).parent
    shared = here.parent / "report" / "templates"
    app = Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/live", pages.live),
            Route("/samples", pages.samples),
            Route("/samples/{sample_id}", pages.sample),
            Route("/thresholds", pages.thresholds),
            Route("/api/funnel", pages.funnel, methods=["POST"]),
            Route("/review", reviews.queue),
            Route("/review/{sample_id}", reviews.sample),
            Route("/api/reviewer", reviews.set_reviewer, methods=["POST"]),
            Route("/api/review/{sample_id}/decide", reviews.decide, methods=["POST"]),
            Route("/api/review/{sample_id}/edit", reviews.edit, methods=["POST"]),
            Route("/static/vega.js", pages.vega),
            Route("/static/figures.js", _file(shared / "figures.js", "text/javascript")),
            Route("/static/report.css", _file(shared / "report.css", "text/css")),
            Mount("/static", StaticFiles(directory=here / "static")),
        ],
        middleware=[Middleware(Guard, token=token or None, hosts=hosts)],
        exception_handlers={FactoryError: show_error, 404: show_not_found},
    )
    app.state.session = session
    return app


def serve(
    run: Path,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    token: str | None = None,
    announce: Callable[[str], None] = lambda address: None,
    allow_hosts: Sequence[str] = (),
) -> None:
    """Serve the app until interrupted. Calls `announce` with the address once it listens.

    `allow_hosts` are further names by which visitors reach it, such as that of a proxy.

    Raises RecipeError for a host other than this machine without a token, or a port in use.
    """
    with _open_socket(host, port, token) as listener:
        server = _create_server(create_app(run, token, (host, *allow_hosts)))
        announce(_format_address(host, listener))
        server.run([listener])


@contextmanager
def serve_in_background(
    run: Path, host: str = "127.0.0.1", port: int | None = DEFAULT_PORT, token: str | None = None
) -> Iterator[str]:
    """Serve the app from a thread of this process; yields its address.

    Port 0 means any free port; None means the default port, or any free port where that is in use.
    The run directory is created where it does not exist. If the block ends without an error, the
    server stops only after open pages have fetched the final state, or after DRAIN_SECONDS.
    """
    run.mkdir(parents=True, exist_ok=True)
    with _open_socket(host, port, token) as listener:
        app = create_app(run, token, (host,))
        server = _create_server(app)
        thread = threading.Thread(target=server.run, args=([listener],), name="view", daemon=True)
        thread.start()
        try:
            yield _format_address(host, listener)
            _drain_connections(server, app.state.session)
        finally:
            server.should_exit = True
            thread.join(timeout=5)


def _drain_connections(server: uvicorn.Server, session: RunSession) -> None:
    """Wait until open pages have shown the end. A page polls before its connection times out."""
    session.expire()
    ends = time.monotonic() + DRAIN_SECONDS
    while server.server_state.connections and time.monotonic() < ends:
        time.sleep(0.1)


def _create_server(app: Starlette) -> uvicorn.Server:
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_keep_alive=KEEP_ALIVE_SECONDS)
    )


def _format_address(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _open_socket(host: str, port: int | None, token: str | None) -> socket.socket:
    """Return a listening socket. Raises RecipeError that names the flag to change."""
    if port is None:
        with suppress(RecipeError):
            return _open_socket(host, DEFAULT_PORT, token)
        port = 0
    if not token and not is_loopback(host):
        raise RecipeError(
            [Problem(f"--host {host}", "can be reached from other machines; leave out --no-token")]
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        what = f"cannot be used ({error.strerror}); choose another port or host"
        raise RecipeError([Problem(f"--host {host} --port {port}", what)]) from error


def _file(path: Path, media_type: str) -> Callable[[Request], Response]:
    from starlette.responses import FileResponse

    def answer(request: Request) -> Response:
        return FileResponse(path, media_type=media_type)

    return answer
