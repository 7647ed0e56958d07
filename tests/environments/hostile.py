"""Environments that misbehave, each in one way. Run only as environments of tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt


def shown(text: Any, **fields: Any) -> Observation:
    return Observation((Message(role="tool", content=text),), **fields)


class Ordinary:
    """What the others are, but for their `act`."""

    replayable = True

    def __init__(self, pids: str = "") -> None:
        self.pids = pids

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        if self.pids:
            with open(self.pids, "a") as stream:
                stream.write(f"{os.getpid()}\n")
        return Observation(())

    def step(self, action: Action) -> Observation:
        if action["content"] == "stop":
            return Observation((), done=True, reward=1.0, state={"steps": 1})
        return self.act()

    def act(self) -> Any:
        return shown("fine")


class Writes(Ordinary):
    """Fails for text that is not Unicode, as most libraries do."""

    def step(self, action: Action) -> Observation:
        text = json.dumps(action, ensure_ascii=False)
        text.encode()
        return shown(text)


class Spins(Ordinary):
    def act(self) -> Any:
        while True:
            pass


class Sleeps(Ordinary):
    def act(self) -> Any:
        time.sleep(1000)


class Exits(Ordinary):
    def act(self) -> Any:
        os._exit(3)


class KillsItself(Ordinary):
    def act(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Raises(Ordinary):
    def act(self) -> Any:
        raise RuntimeError("no such luck")


class Leaves(Ordinary):
    def act(self) -> Any:
        raise SystemExit(0)


class Floods(Ordinary):
    def act(self) -> Any:
        return shown("x" * 50_000_000)


class NoUnicode(Ordinary):
    def act(self) -> Any:
        return shown("\ud800 and \x00")


class EatsMemory(Ordinary):
    def act(self) -> Any:
        held = []
        while True:
            held.append(bytearray(16 << 20))


class NoObservation(Ordinary):
    def act(self) -> Any:
        return "a text"


class NoText(Ordinary):
    def act(self) -> Any:
        return shown(b"bytes")


class NoNumber(Ordinary):
    def act(self) -> Any:
        return shown("x", reward=float("nan"))


class HugeState(Ordinary):
    def act(self) -> Any:
        return shown("x", state={"all": "x" * 2_000_000})


class NoJson(Ordinary):
    def act(self) -> Any:
        return shown("x", state={"all": {1, 2}})


class LeavesChildren(Ordinary):
    """Starts a process in a session of its own, which a signal to its group does not reach."""

    def act(self) -> Any:
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        with open(self.pids, "a") as stream:
            stream.write(f"{child.pid}\n")
        return shown("started")


class Prints(Ordinary):
    def act(self) -> Any:
        os.write(1, b"x" * 1_000_000)
        print("y" * 1_000_000)
        return shown("printed")


class FailsToReset(Ordinary):
    def reset(self, prompt: Prompt, seed: int) -> Observation:
        raise ValueError("this prompt has no board")


class OffersNonsense(Ordinary):
    def reset(self, prompt: Prompt, seed: int) -> Observation:
        return Observation((), tools=({"type": "function"},))


class NotReplayable(Ordinary):
    """Every episode sees another number."""

    replayable = False

    def act(self) -> Any:
        return shown(str(os.getpid()))
