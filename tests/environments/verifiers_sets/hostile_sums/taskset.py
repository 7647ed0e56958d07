import os
import random
import subprocess
import time

import verifiers.v1 as vf

from hostile_sums.tools import Calculator


class SumData(vf.TaskData):
    answer: int = 0
    manner: str = "well"


class SumsTaskConfig(vf.TaskConfig):
    tools: vf.ToolsetConfig = vf.ToolsetConfig()


class Sum(vf.Task[SumData, vf.State, SumsTaskConfig]):
    @classmethod
    def toolsets(cls, config):
        return [Calculator(config.tools)]

    async def setup(self, trace, runtime):
        if self.data.manner == "raises in setup":
            raise RuntimeError("no setup")
        if self.data.manner == "starts a program":
            subprocess.Popen(["sleep", "1000"], start_new_session=True)

    @vf.stop
    async def enough(self, trace: vf.Trace) -> bool:
        if self.data.manner == "dies early" and trace.num_turns >= 1:
            os._exit(3)
        return self.data.manner == "stops" and trace.num_turns >= 1

    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        manner = self.data.manner
        if manner == "hangs":
            time.sleep(1000)
        if manner == "dies":
            os._exit(3)
        if manner == "raises":
            raise RuntimeError("no reward")
        if manner == "infinite":
            return float("inf")
        if manner in REWARDS:
            return REWARDS[manner]
        return float(str(self.data.answer) in (trace.last_reply or ""))

    @vf.metric
    async def drawn(self, trace: vf.Trace) -> float:
        return float("nan") if self.data.manner == "no metric" else random.random()


REWARDS = {"earns nothing": None, "earns text": "good", "earns NaN": float("nan")}

PROMPTS = {
    "no prompt": None,
    "image": [
        vf.UserMessage(
            content=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
        )
    ],
    "no text": " ",
    "surrogate": "What is \ud800?",
}


class SumsConfig(vf.TasksetConfig):
    manners: tuple[str, ...] = ("well",)
    task: SumsTaskConfig = SumsTaskConfig()


class SumsTaskset(vf.Taskset[Sum, SumsConfig]):
    def load(self):
        print("a taskset may print")
        for number, manner in enumerate(self.config.manners):
            if manner == "never comes":
                time.sleep(1000)
            prompt = PROMPTS.get(manner, f"What is {number} + 40?")
            data = SumData(
                prompt=prompt, system_prompt="Calculate.", answer=number + 40, manner=manner
            )
            yield Sum(data, self.config.task)
