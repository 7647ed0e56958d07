"""A stand-in for a judge model, so that role_play.yaml can be tried without one.

    python recipes/json/scripted_judge.py [PORT]

It looks up whether a word is in the reply, which answers the canaries. To any other question it
says yes if the reply shares a longer word with it. It understands nothing: name a real judge for a
corpus that you mean to use.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(prompt: str) -> str:
    """The verdict on one item of a rubric, in the form that judges are asked for."""
    reply = _section(prompt, "reply").casefold()
    asked = _section(prompt, "asked")
    if word := re.search("“(.+)”", asked):
        found = word[1].casefold() in reply
    else:
        found = any(stem in reply for stem in re.findall(r"[a-z]{5}", asked.casefold()))
    return json.dumps({"answer": "yes" if found else "no"})


def _section(prompt: str, name: str) -> str:
    return prompt.partition(f"<{name}>\n")[2].partition(f"\n</{name}>")[0]


class Judge(BaseHTTPRequestHandler):
    """Answers /v1/chat/completions."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": answer(asked["messages"][-1]["content"])}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8008
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Judge).serve_forever()
