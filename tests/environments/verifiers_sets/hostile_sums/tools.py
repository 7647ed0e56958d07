import os
import time

import verifiers.v1 as vf


class Calculator(vf.Toolset[vf.ToolsetConfig]):
    TOOL_PREFIX = None

    @vf.tool
    def calculate(self, expression: str) -> str:
        """Add two numbers.

        expression: such as 1 + 2
        """
        if expression == "flood":
            return "x" * 3_000_000
        if expression == "hang":
            time.sleep(1000)
        if expression == "die":
            os._exit(3)
        left, right = expression.split("+")
        return str(int(left) + int(right))


if __name__ == "__main__":
    Calculator.run()
