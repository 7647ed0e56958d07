"""An OpenEnv server, run by a Python that has `openenv`: count down from a number.

python openenv_server.py PORT
"""

import os
import sys
import time

import uvicorn
from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app


class Count(Action):
    say: int


class Seen(Observation):
    text: str = ""


class Countdown(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        super().__init__()
        self._state = State(episode_id="e", step_count=0)

    def reset(self, seed=None, episode_id=None, **options):
        self.left = (seed or 0) % 5 + 2
        return Seen(text=f"Count down from {self.left}.", done=False, reward=None)

    def step(self, action, timeout_s=None, **options):
        if action.say == 666:
            time.sleep(1000)
        if action.say == 667:
            os._exit(3)
        if action.say == 668:
            raise RuntimeError("broken")
        right = action.say == self.left - 1
        self.left -= right
        self._state.step_count += 1
        done = self.left == 0 or not right
        return Seen(
            text="over" if done else "go on", done=done, reward=1.0 if self.left == 0 else 0.0
        )

    @property
    def state(self):
        return self._state


app = create_fastapi_app(Countdown, Count, Seen, max_concurrent_envs=2)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
