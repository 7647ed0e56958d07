"""The web app: look at a run, move its thresholds, review its samples, watch it being built.

    create_app(run, token)            the ASGI app
    serve(run, host, port, token)     serves it until interrupted, once `announce` has its address
    serving(run, host, port, token)   serves it while the caller goes on, as `build --watch` does

Pages come from the server as HTML; a little script draws figures, moves sliders and takes keys.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
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

    from factory.view.session import Desk

DEFAULT_PORT = 8765
KEEP_ALIVE_SECONDS = 4
"""A page that follows a run asks every two seconds."""
FAREWELL_SECONDS = 15.0


def create_app(run: Path, token: str | None = None) -> Starlette:
    """The app over one run directory, which need not be finished. Raises RunError without one."""
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
    from factory.view.session import Desk

    desk = Desk(run)
    pages, reviews = Pages(desk), ReviewPages(desk)

    def explained(request: Request, error: Exception) -> Response:
        """A user's mistake, in words: to a script as JSON, to a reader as a page. Anything else
        stays a 500."""
        assert isinstance(error, FactoryError)
        if request.method == "POST":
            return JSONResponse({"error": str(error)}, 422)
        return page("error.html.j2", desk, status_code=422, error=str(error))

    def unknown(request: Request, error: Exception) -> Response:
        what = f"there is no page {request.url.path}"
        return page("error.html.j2", desk, status_code=404, error=what)

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
            Route("/api/reviewer", reviews.introduce, methods=["POST"]),
            Route("/api/review/{sample_id}/decide", reviews.decide, methods=["POST"]),
            Route("/api/review/{sample_id}/edit", reviews.edit, methods=["POST"]),
            Route("/static/vega.js", pages.vega),
            Route("/static/figures.js", _file(shared / "figures.js", "text/javascript")),
            Route("/static/report.css", _file(shared / "report.css", "text/css")),
            Mount("/static", StaticFiles(directory=here / "static")),
        ],
        middleware=[Middleware(Guard, token=token or None)],
        exception_handlers={FactoryError: explained, 404: unknown},
    )
    app.state.desk = desk
    return app


def serve(
    run: Path,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    token: str | None = None,
    announce: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the app until interrupted. Beyond this machine it is served with a token only."""
    with _listening(host, port, token) as listening:
        server = _server(create_app(run, token))
        announce(_address(host, listening))
        server.run([listening])


@contextmanager
def serving(
    run: Path, host: str = "127.0.0.1", port: int | None = DEFAULT_PORT, token: str | None = None
) -> Iterator[str]:
    """The app in a thread of this process while something else goes on; yields its address.

    Port 0 takes a free one, None the usual one or else a free one. The run may be one that is about
    to be made. Where it ends well, pages that are open get a moment to show the end.
    """
    run.mkdir(parents=True, exist_ok=True)
    with _listening(host, port, token) as listening:
        app = create_app(run, token)
        server = _server(app)
        thread = threading.Thread(target=server.run, args=([listening],), name="view", daemon=True)
        thread.start()
        try:
            yield _address(host, listening)
            _farewell(server, app.state.desk)
        finally:
            server.should_exit = True
            thread.join(timeout=5)


def _farewell(server: uvicorn.Server, desk: Desk) -> None:
    """Let those who look see how it ended. An open page asks again before its connection lapses."""
    desk.expire()
    ends = time.monotonic() + FAREWELL_SECONDS
    while server.server_state.connections and time.monotonic() < ends:
        time.sleep(0.1)


def _server(app: Starlette) -> uvicorn.Server:
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_keep_alive=KEEP_ALIVE_SECONDS)
    )


def _address(host: str, listening: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


def _listening(host: str, port: int | None, token: str | None) -> socket.socket:
    """A listening socket. Raises RecipeError that names the flag to change."""
    if port is None:
        with suppress(RecipeError):
            return _listening(host, DEFAULT_PORT, token)
        port = 0
    if not token and not is_loopback(host):
        raise RecipeError(
            [Problem(f"--host {host}", "is not this machine alone; give a --token as well")]
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        what = f"cannot be listened on ({error.strerror}); choose another"
        raise RecipeError([Problem(f"--host {host} --port {port}", what)]) from error


def _file(path: Path, media_type: str) -> Callable[[Request], Response]:
    from starlette.responses import FileResponse

    def answer(request: Request) -> Response:
        return FileResponse(path, media_type=media_type)

    return answer
