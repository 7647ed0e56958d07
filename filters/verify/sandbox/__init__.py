"""Running untrusted programs: many a second, each in a jail of its own.

A bubblewrap *box* is opened once a core: no network, no environment, a read-only file system with
the interpreter and /usr in it, its own processes only. Inside waits a warm Python (`inside.zygote`)
that forks a fresh process a test, in namespaces of its own, with hard limits, no capability and an
allowlist of system calls, at a third of the price of one bubblewrap each.

The host side: `Task` says what to run, `Outcome` what came of it, `Boxes` runs many.
"""

from filters.verify.sandbox.box import SandboxFailure, available
from filters.verify.sandbox.boxes import Boxes, Job
from filters.verify.sandbox.library import Library
from filters.verify.sandbox.task import Limits, Outcome, Task

__all__ = ["Boxes", "Job", "Library", "Limits", "Outcome", "SandboxFailure", "Task", "available"]
